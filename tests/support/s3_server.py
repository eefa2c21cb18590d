#!/usr/bin/env python3
"""A real S3 server for tests and for the quickstart: SeaweedFS on loopback, every signature checked.

As a module:

    with S3Server(folder) as server:
        server.make_bucket("data")
        subprocess.run([...], env={**os.environ, **server.env()})

As a command, it serves until SIGTERM or SIGINT (its exit code is then 0):

    python s3_server.py --data DIR --port-file FILE --credentials-file FILE [--port N] [--bucket NAME]...

The port file holds the port, and appears once the server answers. The credentials file is one that AWS's tools read
(AWS_SHARED_CREDENTIALS_FILE); where it exists, its keys are used.
"""

import argparse
import configparser
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

HOST = "127.0.0.1"
REGION = "us-east-1"
PR_SET_PDEATHSIG = 1


class S3Server:
    """Runs from construction to stop(). The processes also end when the thread that started them does."""

    def __init__(self, data_dir, port=None, access_key=None, secret_key=None, ready_timeout=60.0, host=HOST, iam=False):
        self.host = host  # an address of this machine
        self.iam = iam  # AWS's IAM API is there too, for users with policies
        self.access_key = access_key or secrets.token_hex(10).upper()
        self.secret_key = secret_key or secrets.token_hex(20)
        self.data_dir = Path(data_dir).resolve()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.log_path = self.data_dir / "server.log"
        self._process = None
        self._scratch = None
        deadline = time.monotonic() + ready_timeout
        try:
            self._start(port, deadline)
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def endpoint(self):
        return f"http://{self.host}:{self.port}"

    def env(self):
        """What Musher and AWS's own tools need to reach this server, and nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self):
        """A boto3 client."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5}),
        )

    def make_bucket(self, name):
        """Does nothing where it exists."""
        client = self.client()
        if name not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=name)

    def running(self):
        return self._process is not None and self._process.poll() is None

    def stop(self, at_once=False):
        """Ends all processes, in order first so that the data stays usable, or at once where nobody wants it any more. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            if not at_once:
                _signal_group(process, signal.SIGTERM)
                try:
                    # The volumes are on disk within a moment; its filer then waits for idle connections.
                    process.wait(timeout=2)
                except subprocess.TimeoutExpired:
                    pass
            _signal_group(process, signal.SIGKILL)
            process.wait()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            for socket_path in Path("/tmp").glob("seaweedfs-*-grpc-*.sock"):  # it knows no other place for these
                if int(socket_path.stem.rsplit("-", 1)[1]) in self._ports:
                    socket_path.unlink(missing_ok=True)
            self._scratch = None

    def log_tail(self, lines=20):
        try:
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def _start(self, port, deadline):
        # A free port may be taken between our look and the server's bind: then it exits, and we look again.
        while True:
            self._launch(port)
            if self._wait_until_ready(deadline):
                return
            tail = self.log_tail()
            self.stop()
            if port is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the S3 server did not start; the end of {self.log_path}:\n{tail}")

    def _launch(self, port):
        ports = _free_ports(8, self.host)
        if port is not None:
            ports[0] = port
        self.port, self._master_port = ports[0], ports[2]
        self._ports = set(ports)
        # Sockets have short paths, and the keys are nobody else's.
        self._scratch = tempfile.mkdtemp(prefix="s3-")
        config = Path(self._scratch) / "identities.json"
        config.write_text(json.dumps(self._identities()))
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                [_weed(), *self._arguments(ports, config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._process_env(),
                cwd=self._scratch,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def _identities(self):
        keys = {"accessKey": self.access_key, "secretKey": self.secret_key}
        return {"identities": [{"name": "musher", "credentials": [keys], "actions": ["Admin"]}]}

    def _arguments(self, ports, config):
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = ports
        return [
            "-logtostderr=true",
            "-v=0",
            "server",
            f"-dir={self.data_dir}",
            f"-ip={self.host}",
            f"-ip.bind={self.host}",
            f"-master.port={master}",
            f"-master.port.grpc={master_grpc}",
            "-master.peers=none",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=1024",
            f"-volume.port={volume}",
            f"-volume.port.grpc={volume_grpc}",
            "-volume.max=100",
            "-volume.preStopSeconds=0",
            "-volume.minFreeSpace=64MiB",
            "-filer",
            f"-filer.port={filer}",
            f"-filer.port.grpc={filer_grpc}",
            f"-filer.localSocket={self._scratch}/filer.sock",
            "-s3",
            f"-s3.port={s3}",
            f"-s3.port.grpc={s3_grpc}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.localSocket={self._scratch}/s3.sock",
            f"-s3.config={config}",
            "-s3.autoCreateBucket=false",
            f"-s3.iam.readOnly={str(not self.iam).lower()}",
        ]

    def _process_env(self):
        env = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        env["HOME"] = self._scratch
        env["GOMEMLIMIT"] = "300MiB"
        # One volume at a time instead of seven for each bucket.
        env["WEED_MASTER_VOLUME_GROWTH_COPY_1"] = "1"
        return env

    def _wait_until_ready(self, deadline):
        while self.running() and time.monotonic() < deadline:
            if self._has_volumes() and self._answers():
                return True
            time.sleep(0.05)  # it has no way to tell us
        return False

    def _has_volumes(self):
        """Whether a write would find a place: the volume server registers some time after S3 answers."""
        try:
            with urllib.request.urlopen(
                f"http://{self.host}:{self._master_port}/dir/status", timeout=2
            ) as answer:
                return json.load(answer)["Topology"].get("Max", 0) > 0
        except (OSError, ValueError, KeyError):
            return False

    def _answers(self):
        try:
            urllib.request.urlopen(self.endpoint, timeout=2).close()
        except urllib.error.HTTPError as refused:
            return refused.code == 403  # unsigned, as it should be
        except OSError:
            return False
        raise RuntimeError("the S3 server lets unsigned requests in")


def _weed():
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise RuntimeError("no weed (SeaweedFS) beside this Python: run launch/setup, use .venv/bin/python")
    return found


def _free_ports(count, host):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((host, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal_group(process, number):
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def _write_atomically(path, text):
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(temporary, path)


def _load_credentials(path):
    profiles = configparser.ConfigParser()
    profiles.read(path)
    if not profiles.has_section("default"):
        return {}
    keys = profiles["default"]
    return {
        "access_key": keys.get("aws_access_key_id"),
        "secret_key": keys.get("aws_secret_access_key"),
    }


def main():
    parser = argparse.ArgumentParser(description="An S3 server on loopback, until SIGTERM.")
    parser.add_argument("--data", required=True, help="folder for its data")
    parser.add_argument("--port-file", required=True, help="gets the port once the server answers")
    parser.add_argument("--credentials-file", required=True, help="AWS credentials file to read or make")
    parser.add_argument("--port", type=int, help="default: a free one")
    parser.add_argument("--bucket", action="append", default=[], help="make it if missing")
    arguments = parser.parse_args()

    asked_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_stop.set())

    Path(arguments.port_file).unlink(missing_ok=True)
    keys = _load_credentials(arguments.credentials_file)
    with S3Server(arguments.data, arguments.port, **keys) as server:
        for bucket in arguments.bucket:
            server.make_bucket(bucket)
        _write_atomically(
            arguments.credentials_file,
            f"[default]\naws_access_key_id = {server.access_key}\n"
            f"aws_secret_access_key = {server.secret_key}\n",
        )
        _write_atomically(arguments.port_file, f"{server.port}\n")
        while not asked_to_stop.wait(timeout=1):
            if not server.running():
                sys.exit(f"the S3 server died; the end of {server.log_path}:\n{server.log_tail()}")


if __name__ == "__main__":
    main()
