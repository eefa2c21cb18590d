"""What stands beside the real S3 server in its tests: an instance metadata service, and connections that drop."""

import http.server
import json
import secrets
import socket
import threading
from datetime import datetime, timedelta, timezone

HOST = "127.0.0.1"


class InstanceMetadata:
    """EC2's instance metadata service, version 2 only: it gives credentials of a role to who brings a token."""

    ROLE = "musher-test-role"

    def __init__(self, access_key, secret_key):
        token = secrets.token_hex(16)
        credentials = {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": access_key,
            "SecretAccessKey": secret_key,
            "Token": "",
            "LastUpdated": _iso(datetime.now(timezone.utc)),
            "Expiration": _iso(datetime.now(timezone.utc) + timedelta(hours=6)),
        }
        base = "/latest/meta-data/iam/security-credentials"
        pages = {base: self.ROLE, f"{base}/": self.ROLE, f"{base}/{self.ROLE}": json.dumps(credentials)}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self):
                wants_token = self.path == "/latest/api/token"
                has_ttl = "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
                self._answer(200, token) if wants_token and has_ttl else self._answer(400, "")

            def do_GET(self):
                if self.headers.get("X-aws-ec2-metadata-token") != token:
                    self._answer(401, "")
                elif self.path in pages:
                    self._answer(200, pages[self.path])
                else:
                    self._answer(404, "")

            def _answer(self, code, body):
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "21600")
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.endpoint = f"http://{HOST}:{self._server.server_port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class DroppingRelay:
    """A TCP relay that closes its first `drops` connections at once, and any on which a request begins with `refused`."""

    def __init__(self, target_port, drops=0, refused=None):
        self._target = (HOST, target_port)
        self._drops = drops
        self._refused = refused
        self._listener = socket.create_server((HOST, 0))
        self.endpoint = f"http://{HOST}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._drops > 0:
                self._drops -= 1
                client.close()
                continue
            server = socket.create_connection(self._target)
            for source, sink, refused in ((client, server, self._refused), (server, client, None)):
                threading.Thread(target=_pump, args=(source, sink, refused), daemon=True).start()


def _pump(source, sink, refused):
    try:
        while data := source.recv(65536):
            if refused and data.startswith(refused):
                break
            sink.sendall(data)
    except OSError:
        pass
    for one in (source, sink):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def _iso(when):
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
