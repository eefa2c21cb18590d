"""What launch/quickstart does once everything is built: S3 server, data, coordinator, job, result."""
import argparse
import concurrent.futures
import fcntl
import hashlib
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

import processes

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "fashion-mnist"
BUCKET = "musher-quickstart"
WANTED_ACCURACY = 0.91

sys.path += [str(EXAMPLE), str(ROOT / "tests" / "support")]
from on_s3 import job_on_s3  # noqa: E402
from s3_server import S3Server  # noqa: E402


class Failed(Exception):
    """One line for the person."""


def say(line):
    print(f"\n== {line}", file=sys.stderr, flush=True)


def make_data(started):
    process = started.start([sys.executable, EXAMPLE / "make_dataset.py"])
    if process.wait(timeout=600) != 0:
        raise Failed("could not make the data set")
    return {f"fashion-mnist/{channel}/{path.name}": path for channel in ("train", "validation")
            for path in sorted((EXAMPLE / "data" / channel).iterdir())}


def upload(server, files):
    """Puts what the bucket lacks, by size and MD5."""
    server.make_bucket(BUCKET)
    client = server.client()
    there = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="fashion-mnist/"):
        there |= {item["Key"]: (item["Size"], item["ETag"].strip('"')) for item in page.get("Contents", [])}

    def put(key):
        content = files[key].read_bytes()
        if there.get(key) == (len(content), hashlib.md5(content).hexdigest()):
            return 0
        client.put_object(Bucket=BUCKET, Key=key, Body=content)
        return 1

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        new = sum(pool.map(put, files))
    say(f"Data: {len(files)} objects in s3://{BUCKET}/fashion-mnist at {server.endpoint}, {new} of them new")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Coordinator:
    """`musher serve`, and the client's commands against it."""

    def __init__(self, started, musher, home, environment):
        self.environment = environment
        self._started = started
        self._musher = str(musher)
        self._home = home
        self.address = f"127.0.0.1:{free_port()}"
        self._log = home / "coordinator.log"
        command = [musher, "serve", "--state", home / "state", "--listen", self.address,
                   "--slots", "2"]
        self._process = started.start(command, env=environment, log=self._log)
        deadline = time.monotonic() + 30
        while self.run("list").returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"the coordinator did not start: see {self._log}")
            time.sleep(0.1)

    def command(self, *words):
        return [self._musher, *words, "--coordinator", self.address]

    def run(self, *words, timeout=60):
        return self._started.run(self.command(*words), env=self.environment, timeout=timeout)

    def submit(self, job):
        path = self._home / "job.json"
        path.write_text(json.dumps(job, indent=2))
        done = self.run("submit", str(path))
        if done.returncode != 0:
            raise Failed(f"the job was not taken: {done.stderr.strip()}")
        return done.stdout.strip()

    def watch(self, name):
        """Shows progress until the job is over; its exit code says how that went."""
        return self._started.start(self.command("watch", name), env=self.environment).wait()

    def describe(self, name):
        done = self.run("status", name, "--json")
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise Failed(f"no status of {name}: {done.stderr.strip()}") from None

    def stop(self, name):
        """Asks once; the job has some seconds to save its model before all is ended."""
        try:
            self.run("stop", name, timeout=5)
            self._started.run(self.command("watch", name), env=self.environment, timeout=10)
        except subprocess.TimeoutExpired:
            pass


def train(coordinator, name):
    began = time.monotonic()
    try:
        code = coordinator.watch(name)
    except processes.Interrupted:
        processes.ignore_signals()
        say(f"Interrupted: stopping {name}")
        coordinator.stop(name)
        raise
    description = coordinator.describe(name)
    if code != 0 or description.get("TrainingJobStatus") != "Completed":
        reason = description.get("FailureReason") or f"musher watch ended with {code}"
        raise Failed(f"{name} is {description.get('TrainingJobStatus')}: {reason}")
    return description, time.monotonic() - began


def report(server, description, seconds, home):
    metrics = {point["MetricName"]: point["Value"] for point in description.get("FinalMetricDataList", [])}
    accuracy = metrics.get("validation:accuracy")
    artifact = description["ModelArtifacts"]["S3ModelArtifacts"]
    copy = home / "model.tar.gz"
    server.client().download_file(BUCKET, artifact.removeprefix(f"s3://{BUCKET}/"), str(copy))
    if accuracy is None:
        raise Failed(f"the job has no validation:accuracy among {sorted(metrics)}")
    print(f"\nTrained in {seconds:.0f} s with {description['ResourceConfig']['InstanceCount']} workers.\n"
          f"Artifact:          {artifact}\n"
          f"                   (a copy: {copy})\n"
          f"Held-out accuracy: {accuracy:.4f}", flush=True)
    if accuracy < WANTED_ACCURACY:
        raise Failed(f"held-out accuracy {accuracy:.4f} is below {WANTED_ACCURACY}")


NEXT = """
What to try next
  build/bin/musher train examples/fashion-mnist/job.json              the same on files: no daemon, no server
  build/bin/musher train examples/fashion-mnist/job.json --workers 1  with one worker
  build/bin/musher validate --list-hyperparameters                    what a job may set
  tar tzf build/quickstart/model.tar.gz                               what is in the artifact
  launch/quickstart --stay                                            keeps the server and the coordinator
README.md and docs/ have the rest: your own data, your own network, every command."""


def stay(coordinator, server, home):
    """Until a signal. The file holds the server's keys, so it is the user's alone."""
    path = home / "environment"
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in server.env().items())
    say("S3 server and coordinator stay until Ctrl-C. In another shell:\n"
        f"   {shlex.join(coordinator.command('list'))}\n"
        f"   . {path}    # the S3 server's address and keys, for musher train and AWS's own tools")
    try:
        while server.running():
            time.sleep(1)
    finally:
        path.unlink(missing_ok=True)


def run(started, options):
    files = make_data(started)
    say("S3 server")
    with S3Server(options.home / "s3") as server:
        upload(server, files)
        coordinator = Coordinator(started, options.build / "bin" / "musher", options.home, {**os.environ, **server.env()})
        name = coordinator.submit(job_on_s3(BUCKET, time.strftime("fashion-mnist-%Y%m%d-%H%M%S")))
        say(f"Job {name}")
        description, seconds = train(coordinator, name)
        report(server, description, seconds, options.home)
        print(NEXT, flush=True)
        if options.stay:
            stay(coordinator, server, options.home)
        started.end()  # before the S3 server


def main():
    parser = argparse.ArgumentParser(prog="launch/quickstart")
    parser.add_argument("--stay", action="store_true", help="keep server and coordinator until Ctrl-C")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="the build to use (default: %(default)s)")
    parser.add_argument("--home", type=Path, help="folder for the bucket, the state and logs (default: BUILD/quickstart)")
    options = parser.parse_args()
    options.home = options.home or options.build / "quickstart"
    options.home.mkdir(parents=True, exist_ok=True)
    lock = open(options.home / "lock", "w")
    processes.raise_on_signals()
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with processes.Processes() as started:
            try:
                run(started, options)
            finally:
                processes.ignore_signals()
    except BlockingIOError:
        sys.exit("quickstart: another one is running in this clone")
    except processes.Interrupted as signal_came:
        sys.exit(signal_came.exit_code)
    except (Failed, RuntimeError, subprocess.SubprocessError, BotoCoreError, ClientError) as failure:
        sys.exit(f"quickstart: {failure}")


if __name__ == "__main__":
    main()
