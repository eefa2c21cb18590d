"""What the system tests share: real binaries, a real S3 server, small data sets, and the check that nothing is left behind.

Each test gets a scratch folder and may start what it likes through `self`; when it is over, whatever still runs is ended.
The build to test is ${MUSHER_BUILD}, by default build/.
"""
import json
import os
import re
import shutil
import signal
import socket
import sys
import tarfile
import tempfile
import time
import unittest
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("MUSHER_BUILD", ROOT / "build")).resolve()
MUSHER = BUILD / "bin" / "musher"
TRAINER = BUILD / "bin" / "musher-trainer"
MPIRUN = ROOT / ".venv" / "bin" / "mpirun"

sys.path += [str(ROOT / "launch"), str(ROOT / "tests" / "support")]
import processes  # noqa: E402
from s3_server import S3Server  # noqa: E402

BUCKET = "test"
LIMIT = 180  # seconds for one job, on a machine that has other things to do


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def make_images(folder, classes=3, per_class=20, size=16, seed=0):
    """`<folder>/<class>/<n>.png|jpg`: noise around a colour of the class's own, which a small network learns at once. A
    number of images that few batch sizes divide."""
    random = np.random.default_rng(seed)
    for label in range(classes):
        (Path(folder) / f"class{label}").mkdir(parents=True, exist_ok=True)
        for index in range(per_class + label):
            pixels = random.integers(0, 120, (size, size, 3))
            pixels[..., label % 3] += 120
            image = Image.fromarray(pixels.astype(np.uint8))
            image.save(Path(folder) / f"class{label}" / f"{index:03}.{'jpg' if index % 3 == 0 else 'png'}")
    return sum(per_class + label for label in range(classes))


def make_job(name, train, output, validation=None, workers=2, checkpoints=None, **hyperparameters):
    """A small job; further keywords are hyperparameters, and None leaves one out."""
    chosen = {"model": "convnet", "image_size": 16, "epochs": 2, "batch_size": 16, "virtual_workers": 4, "learning_rate": 0.05}
    chosen |= hyperparameters
    channels = {"train": train} | ({"validation": validation} if validation else {})
    job = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"AlgorithmName": "image-classification", "TrainingInputMode": "FastFile"},
        "HyperParameters": {key: str(value) for key, value in chosen.items() if value is not None},
        "InputDataConfig": [
            {"ChannelName": channel, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}}
            for channel, uri in channels.items()
        ],
        "OutputDataConfig": {"S3OutputPath": output},
        "ResourceConfig": {"InstanceCount": workers},
        "StoppingCondition": {"MaxRuntimeInSeconds": LIMIT},
    }
    if checkpoints:
        job["CheckpointConfig"] = {"S3Uri": checkpoints}
    return job


def metrics_of(description):
    return {point["MetricName"]: point["Value"] for point in description.get("FinalMetricDataList", [])}


class MusherTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="musher-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.processes = processes.Processes()
        self.processes.__enter__()
        self.addCleanup(self.processes.end)
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith(("AWS_", "MUSHER_", "OMPI_", "PMIX_", "PRTE_"))}
        # A short path of its own: sockets are made there, whose names may have 107 characters.
        self.temporary = Path(tempfile.mkdtemp(prefix="mt-"))
        self.addCleanup(shutil.rmtree, self.temporary, ignore_errors=True)
        self.environment |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(self.folder), "TMPDIR": str(self.temporary)}
        self.address = None
        self.daemon_prefix = []  # words before `musher serve`
        self.tls = None  # the folder of the client's certificate, where the coordinator wants one

    # -- servers

    def start_s3(self):
        """From now on every process of the test may reach the server."""
        self.s3 = S3Server(self.folder / "s3")
        self.addCleanup(self.s3.stop, at_once=True)
        self.s3.make_bucket(BUCKET)
        self.environment |= self.s3.env()
        return self.s3

    def upload(self, folder, prefix):
        client = self.s3.client()
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                client.upload_file(str(path), BUCKET, f"{prefix}/{path.relative_to(folder)}")

    def keys(self, prefix=""):
        pages = self.s3.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def start_daemon(self, *arguments, slots=2, address=None, listen=None):
        """`musher serve` on self.folder/state; the client's commands of the test then go to it, at `address`. Returns its
        process."""
        self.address = address or f"127.0.0.1:{free_port()}"
        log = self.folder / "daemon.log"
        daemon = self.processes.start(
            [*self.daemon_prefix, MUSHER, "serve", "--state", self.folder / "state", "--listen", listen or self.address,
             *(["--slots", slots] if slots else []), *arguments],
            env=self.environment, log=log)
        if self.daemon_prefix:
            self.addCleanup(daemon.kill)  # `unshare` lets no SIGTERM through: its end would be waited for in vain

        def ready():
            self.assertIsNone(daemon.poll(), f"the daemon ended: {log.read_text()}")
            return self.musher("list").returncode == 0

        self.wait_until(ready, 30, "the daemon answers")
        return daemon

    def stop_daemon(self, daemon, number=signal.SIGTERM):
        daemon.send_signal(number)
        return daemon.wait(timeout=30)

    # -- commands

    def command(self, words):
        words = [str(MUSHER), *map(str, words)]
        if not self.address or words[1] in ("train", "serve", "validate", "certs", "access", "function", "hosts", "fleet"):
            return words
        tls = ["--tls", str(self.tls)] if self.tls and "--tls" not in words else []
        return words + ["--coordinator", self.address, *tls]

    def musher(self, *words, timeout=LIMIT, code=None):
        """Runs a command to its end. With `code` that must be its exit code."""
        done = self.processes.run(self.command(words), env=self.environment, cwd=self.folder, timeout=timeout)
        if code is not None:
            self.assertEqual(done.returncode, code, f"musher {' '.join(map(str, words))}:\n{done.stdout}\n{done.stderr}")
        return done

    def start_musher(self, *words):
        """A command that goes on beside the test; stdout and stderr go to files beside each other."""
        number = len(list(self.folder.glob("*.stderr")))
        out, err = self.folder / f"{number}.stdout", self.folder / f"{number}.stderr"
        with open(out, "wb") as stdout, open(err, "wb") as stderr:
            process = self.processes.start(self.command(words), env=self.environment, cwd=self.folder, stdout=stdout,
                                           stderr=stderr)
        process.stdout_path, process.stderr_path = out, err
        return process

    def write_job(self, job, name="job.json"):
        path = self.folder / name
        path.write_text(job if isinstance(job, str) else json.dumps(job, indent=1))
        return path

    def train(self, job, *arguments, code=0):
        """`musher train --json`; the description of the job, and what came on stderr."""
        done = self.musher("train", self.write_job(job), "--json", *arguments, code=code)
        return json.loads(done.stdout), done.stderr

    def describe(self, name):
        return json.loads(self.musher("status", name, "--json", code=0).stdout)

    # -- results

    def artifact(self, description):
        """The artifact unpacked; its folder."""
        uri = description["ModelArtifacts"]["S3ModelArtifacts"]
        path = self.folder / "model.tar.gz"
        if uri.startswith("file://"):
            path = Path(uri.removeprefix("file://"))
        else:
            self.s3.client().download_file(BUCKET, uri.removeprefix(f"s3://{BUCKET}/"), str(path))
        target = Path(tempfile.mkdtemp(dir=self.folder))
        with tarfile.open(path) as tar:
            tar.extractall(target)
        return target

    def weights(self, description):
        """{name: array} as Python's own safetensors reads them."""
        from safetensors.numpy import load_file
        return load_file(self.artifact(description) / "model.safetensors")

    def assert_same_weights(self, left, right):
        self.assertEqual(sorted(left), sorted(right))
        for name, array in left.items():
            self.assertEqual(array.tobytes(), right[name].tobytes(), f"{name} differs")

    def assert_other_weights(self, left, right):
        self.assertTrue(any(left[name].tobytes() != right[name].tobytes() for name in left))

    # -- waiting and what is left

    def wait_until(self, condition, seconds, what):
        """Polls: what is waited for has no way to tell us."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            self.assertLess(time.monotonic(), deadline, f"{what}: not after {seconds} s")
            time.sleep(0.1)
        return value

    def children(self):
        """Processes below this test but for the S3 server's."""
        return {pid: command for pid, command in processes.descendants().items() if "weed" not in command}

    def most_memory(self, pid):
        """Bytes that a process has had so far; 0: it is gone."""
        try:
            found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        except (FileNotFoundError, ProcessLookupError):
            return 0
        return int(found[1]) << 10 if found else 0

    def assert_nothing_runs(self, seconds=15):
        deadline = time.monotonic() + seconds
        while (left := self.children()) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(left, {}, "processes left behind")
