"""The programs that benchmarks/run puts beside each other: how each is started, and what it says."""
import contextlib
import json
import os
import re
import struct
import subprocess
import tempfile
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 600  # of one run


def one_thread():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def output_of(command, what):
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=one_thread())
    if done.returncode != 0:
        raise SystemExit(f"benchmarks/run: {what} ended with exit code {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def mpirun(options):
    return [options.venv / "bin/mpirun", "--with-ft", "ulfm", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none",
            "-n", str(options.ranks)]


def flags(case):
    words = ["--model", case["model"], "--shape", *case["shape"], "--batch", case["batch"], "--steps", case["steps"],
             "--warmup", 5, "--launched", f"{time.time():.3f}"]
    return [str(word) for word in words]


def training(side, case, options):
    """The JSON that one run of a training loop prints."""
    if side == "musher":
        # A session of its own for each rank, as torchrun gives: Linux shares a busy machine out by sessions (autogroup).
        command = [*mpirun(options), "setsid", "--wait", options.build / "bin/training_benchmark"]
    else:
        command = [options.venv / "bin/torchrun", "--standalone", "--nproc-per-node", str(options.ranks),
                   ROOT / "benchmarks/ddp_peer.py"]
    lines = [line for line in output_of([*command, *flags(case)], side).splitlines() if line.startswith("{")]
    if len(lines) != 1:
        raise SystemExit(f"benchmarks/run: {side} printed {len(lines)} results")
    return json.loads(lines[0])


def allreduce(side, options):
    """{bytes: microseconds}, medians of one run."""
    iterations = "20"
    if side == "musher":
        command = [*mpirun(options), options.build / "bin/collective_benchmark", "shared", "allocated", iterations]
    else:
        command = [options.venv / "bin/python3", ROOT / "benchmarks/collective_benchmark.py", str(options.ranks), iterations]
    rows = [line.split() for line in output_of(command, side).splitlines() if line and not line.startswith("#")]
    return {int(row[0]): float(row[2]) for row in rows}


def png(pixels, size):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + pixels[row * size * 3:(row + 1) * size * 3] for row in range(size))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


@contextlib.contextmanager
def make_first_job(case, ranks):
    """A job of many steps over images of noise, in a folder that goes at the end."""
    with tempfile.TemporaryDirectory(prefix="musher-benchmark-") as folder:
        size = case["shape"][1]
        for label in range(2):
            (Path(folder) / f"data/class{label}").mkdir(parents=True)
            for number in range(8 * case["batch"] * ranks):
                path = Path(folder) / f"data/class{label}/{number:04}.png"
                path.write_bytes(png(os.urandom(size * size * 3), size))
        job = {
            "TrainingJobName": "first-step",
            "AlgorithmSpecification": {"AlgorithmName": "image-classification", "TrainingInputMode": "FastFile"},
            "InputDataConfig": [{"ChannelName": "train", "DataSource": {
                "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"file://{folder}/data"}}}],
            "OutputDataConfig": {"S3OutputPath": f"file://{folder}/jobs"},
            "ResourceConfig": {"InstanceCount": ranks},
            "StoppingCondition": {"MaxRuntimeInSeconds": LIMIT_S},
            "HyperParameters": {"model": case["model"], "image_size": str(size), "epochs": "100",
                                "batch_size": str(case["batch"] * ranks), "virtual_workers": str(ranks)},
        }
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        yield path


def first_step(side, case, job, options):
    """Seconds from the command to the first step."""
    if side == "peer":
        return training(side, {**case, "steps": 1}, options)["seconds_to_first_step"]
    started = time.time()
    words = [options.build / "bin/musher", "train", job, "--workers", str(options.ranks)]
    said = []
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=one_thread()) as process:
        seconds = None
        for line in process.stderr:
            said.append(line)
            if re.match(r"epoch \d+ of \d+, step [1-9]", line):
                seconds = time.time() - started
                process.terminate()  # stops the job
                break
        process.communicate(timeout=LIMIT_S)
    if seconds is None:
        raise SystemExit("benchmarks/run: musher train came to no step: " + "".join(said[-10:]))
    return seconds
