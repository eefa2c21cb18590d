#!/usr/bin/env python3
"""How long `musher serve` takes to serve again on a state folder with many jobs.

    .venv/bin/python benchmarks/coordinator_restart.py [--build build] [--jobs 1000] [--runs 5] [--out BENCHMARKS.md]

The jobs are real: submitted over gRPC, half of them stopped again while they wait, the others in the queue for slots that do not
suffice. Each run kills the daemon (SIGKILL), starts it again and takes the time until it answers ListTrainingJobs. Prints the
median and all runs, or with --out puts them on that page.
"""
import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc

from report import RESTART, machine_line, put_section

RAW = {"request_serializer": bytes, "response_deserializer": bytes}


def field(number, value):
    """One protobuf field of bytes."""
    data = value.encode() if isinstance(value, str) else value
    size, prefix = len(data), bytes([number << 3 | 2])
    while size > 127:
        prefix, size = prefix + bytes([size & 127 | 128]), size >> 7
    return prefix + bytes([size]) + data


def varint(number, value):
    out = bytes([number << 3])
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def job(name, folder):
    """A CreateTrainingJobRequest (proto/training_job.proto) of four ranks."""
    hyperparameters = {"model": "convnet", "batch_size": "16", "virtual_workers": "4", "epochs": "2"}
    source = varint(1, 2) + field(2, f"file://{folder}/data")
    channel = field(1, "train") + field(2, field(1, source))
    return (field(1, name) + b"".join(field(2, field(1, key) + field(2, value)) for key, value in hyperparameters.items())
            + field(3, varint(3, 2)) + field(5, channel) + field(6, field(1, f"file://{folder}/out")) + field(7, varint(2, 4))
            + field(8, varint(1, 3600)))


class Daemon:
    def __init__(self, build, folder, port):
        self.address = f"127.0.0.1:{port}"
        self.log = open(folder / "log", "ab")
        begin = time.monotonic()
        self.process = subprocess.Popen(
            [build / "bin" / "musher", "serve", "--state", folder / "state", "--listen", self.address, "--slots", "1",
             "--trainer", "/bin/true"], stdout=self.log, stderr=self.log,
            env=os.environ | {"AWS_EC2_METADATA_DISABLED": "true"})
        while True:
            try:
                self.call("ListTrainingJobs", b"", timeout=5)
                break
            except grpc.RpcError:
                if self.process.poll() is not None or time.monotonic() > begin + 120:
                    sys.exit(f"the daemon does not serve: {(folder / 'log').read_text()}")
                time.sleep(0.005)
        self.seconds = time.monotonic() - begin

    def call(self, method, request, timeout=30):
        with grpc.insecure_channel(self.address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            return channel.unary_unary(f"/musher.v1.Jobs/{method}", **RAW)(request, timeout=timeout)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=Path(__file__).resolve().parents[1] / "build")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a page whose section is replaced")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="musher-benchmark-") as name:
        folder = Path(name)
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        daemon = Daemon(options.build, folder, port)
        try:
            empty = daemon.seconds
            for number in range(options.jobs):
                daemon.call("CreateTrainingJob", job(f"job-{number:05}", folder))
                if number % 2:
                    daemon.call("StopTrainingJob", field(1, f"job-{number:05}"))
            runs = []
            for _ in range(options.runs):
                daemon.kill()
                daemon = Daemon(options.build, folder, port)
                runs.append(daemon.seconds)
        finally:
            daemon.kill()
    body = (f"From the start of `musher serve` after a SIGKILL, on a state folder with {options.jobs:,} jobs, half of them in the "
            "queue, to its first answer\n(`benchmarks/coordinator_restart.py`): median "
            f"{statistics.median(runs):.2f} s of {len(runs)} ({min(runs):.2f} to {max(runs):.2f} s); with no job {empty:.2f} s. "
            f"{machine_line()}")
    if options.out:
        put_section(options.out, RESTART, body)
    else:
        print(body)


if __name__ == "__main__":
    main()
