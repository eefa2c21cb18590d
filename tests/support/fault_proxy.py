"""A proxy in front of an S3 server that misbehaves as object stores do, seeded and replayable.

    with FaultProxy(server.port, seed=7, rates={"error": 0.1, "slow_down": 0.1}) as proxy:
        subprocess.run([...], env={**os.environ, **server.env(), "AWS_ENDPOINT_URL": proxy.endpoint})

Requests go through as they came, byte for byte, the Host header included: clients sign for the proxy's address, and the
server checks the signature against the Host that it is told. What happens to a request is a function of (seed, method,
path, how often it has come), so that the same client meets the same faults whatever its threads do. Faults:

    error        500, without asking the server
    slow_down    503 SlowDown, likewise
    reset        the connection is reset before anything is answered, without asking the server
    lost_answer  the server does what was asked, and then the connection is reset
    cut          half of the answer's body comes, and then a reset
    truncated    half of it comes, and then an orderly end
    short        half of it comes, and Content-Length agrees with that (objects' GET only)
    stall        half of it comes, and then nothing until the client gives up
    slow         it comes in pieces, `slow_seconds` altogether

A `script` decides before the rates: called with each Request, it may return the name of a fault, bytes to be sent as the
whole answer, something to call once the server has done what was asked (its answer is then lost), or None; it may also block,
or do something to the client.
"""

import collections
import contextlib
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass

HOST = "127.0.0.1"
BODY_FAULTS = ("cut", "truncated", "short", "stall", "slow")
FAULTS = ("error", "slow_down", "reset", "lost_answer", *BODY_FAULTS)


@dataclass
class Request:
    method: str
    path: str  # with the query
    headers: dict  # lower-case names
    raw: bytes
    body: bytes
    time: int  # how often this method and path came before

    @property
    def writes(self):
        return self.method in ("PUT", "POST", "DELETE")


def answer(status, reason, code, message=""):
    """An S3 error as a server would send it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message or reason}</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class FaultProxy:
    def __init__(self, target_port, seed=0, rates=None, script=None, slow_seconds=0.5, stall_seconds=60.0):
        unknown = set(rates or {}) - set(FAULTS)
        if unknown:
            raise ValueError(f"no such fault: {sorted(unknown)}")
        self.rates = dict(rates or {})
        self.script = script
        self.injected = collections.Counter()
        self.log = []  # (method, path, fault or None), in order of arrival
        self._target_port = target_port
        self._seed = seed
        self._slow_seconds = slow_seconds
        self._stall_seconds = stall_seconds
        self._times = collections.Counter()
        self._lock = threading.Lock()
        self._away = threading.Event()
        self._closed = threading.Event()
        self._open = set()
        self._listener = socket.create_server((HOST, 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def endpoint(self):
        return f"http://{HOST}:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Idempotent."""
        if self._closed.is_set():
            return
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._drop_all()
        self._thread.join()

    def go_away(self):
        """Every connection is reset, and every new one, until come_back()."""
        self._away.set()
        self._drop_all()

    def come_back(self):
        self._away.clear()

    @contextlib.contextmanager
    def outage(self):
        self.go_away()
        try:
            yield
        finally:
            self.come_back()

    # -- connections

    def _accept(self):
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._away.is_set():
                with self._lock:
                    self.injected["away"] += 1
                _reset(client)
                continue
            with self._lock:
                self._open.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _drop_all(self):
        with self._lock:
            sockets = list(self._open)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _serve(self, client):
        server = None
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader = client.makefile("rb")
            while (request := self._read_request(reader, client)) is not None:
                fault = self._choose(request)
                if server is None:
                    server = socket.create_connection((HOST, self._target_port))
                    server_reader = server.makefile("rb")
                if not self._handle(request, fault, client, reader, server, server_reader):
                    return
        except OSError:
            pass  # either side is gone
        finally:
            with self._lock:
                self._open.discard(client)
            for one in (client, server):
                if one is not None:
                    # The makefile objects hold the descriptors open: this ends the connection all the same.
                    with contextlib.suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)
                    one.close()

    def _choose(self, request):
        fault = self.script(request) if self.script else None
        if fault is None and self.rates:
            draw = random.Random(f"{self._seed} {request.method} {request.path} {request.time}").random()
            for name, rate in self.rates.items():
                if draw < rate:
                    fault = name
                    break
                draw -= rate
        with self._lock:
            self.log.append((request.method, request.path, fault))
        return fault

    def _count(self, fault):
        with self._lock:
            self.injected[fault if isinstance(fault, str) else "call" if callable(fault) else "answer"] += 1

    # -- one request

    def _read_request(self, reader, client):
        head = _read_head(reader)
        if head is None:
            return None
        first, headers = _parse_head(head)
        method, path, _ = first.split(" ", 2)
        if headers.get("expect", "").lower() == "100-continue":
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = _read_body(reader, headers, has_body="content-length" in headers or "transfer-encoding" in headers)
        with self._lock:
            times = self._times[method, path]
            self._times[method, path] += 1
        return Request(method, path, headers, head, body, times)

    def _handle(self, request, fault, client, reader, server, server_reader):
        """Whether the connection goes on."""
        if fault == "error":
            fault = answer(500, "Internal Server Error", "InternalError", "We encountered an internal error.")
            self._count("error")
        elif fault == "slow_down":
            fault = answer(503, "Slow Down", "SlowDown", "Please reduce your request rate.")
            self._count("slow_down")
        elif isinstance(fault, bytes):
            self._count(fault)
        if isinstance(fault, bytes):
            client.sendall(fault.split(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.method == "HEAD" else fault)
            return True
        if fault == "reset":
            self._count(fault)
            _reset(client, reader)
            return False
        server.sendall(_without_expect(request.raw) + request.body)
        head = _read_head(server_reader)
        while head is not None and head.startswith(b"HTTP/1.1 100"):
            head = _read_head(server_reader)
        if head is None:
            return False
        first, headers = _parse_head(head)
        bodiless = request.method == "HEAD" or first.split(" ")[1] in ("204", "304")
        body = b"" if bodiless else _read_body(server_reader, headers, has_body=True)
        if fault == "lost_answer" or callable(fault):
            self._count(fault)
            if callable(fault):
                fault(request)
            _reset(client, reader)
            return False
        if fault in BODY_FAULTS and len(body) > 1:
            return self._send_badly(request, fault, client, reader, head, body)
        client.sendall(head + body)
        return headers.get("connection", "").lower() != "close"

    def _send_badly(self, request, fault, client, reader, head, body):
        if fault == "short":
            if request.method != "GET" or b"<?xml" in body[:100]:
                client.sendall(head + body)
                return True
            self._count(fault)
            half = body[: len(body) // 2]
            lines = [b"Content-Length: %d" % len(half) if line.lower().startswith(b"content-length:") else line
                     for line in head.split(b"\r\n")]
            client.sendall(b"\r\n".join(lines) + half)
            return True
        self._count(fault)
        if fault == "slow":
            client.sendall(head)
            pieces = 10
            for i in range(pieces):
                client.sendall(body[len(body) * i // pieces : len(body) * (i + 1) // pieces])
                self._closed.wait(self._slow_seconds / pieces)
            return True
        client.sendall(head + body[: len(body) // 2])
        if fault == "cut":
            _reset(client, reader)
        elif fault == "stall":
            self._wait_for_end(client)
        return False

    def _wait_for_end(self, client):
        """Until the client hangs up."""
        client.settimeout(0.2)
        deadline = time.monotonic() + self._stall_seconds
        while not self._closed.is_set() and time.monotonic() < deadline:
            try:
                if not client.recv(65536):
                    return
            except TimeoutError:
                continue


def _reset(connection, reader=None):
    """Ends it with RST instead of FIN. `reader` is its makefile(), which holds the descriptor too."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if reader is not None:
        reader.close()
    connection.close()


def _read_head(reader):
    """To the empty line; None where the connection ended."""
    lines = []
    while line := reader.readline(65536):
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return None


def _parse_head(head):
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return first, headers


def _read_body(reader, headers, has_body):
    """As it is on the wire, chunk sizes included."""
    if not has_body:
        return b""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        pieces = []
        while True:
            size = reader.readline(65536)
            pieces += [size, data := reader.read(int(size.split(b";")[0] or b"0", 16) + 2)]
            if len(data) == 2:
                return b"".join(pieces)
    if "content-length" in headers:
        return reader.read(int(headers["content-length"]))
    return reader.read()


def _without_expect(head):
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:"))
