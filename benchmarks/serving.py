#!/usr/bin/env python3
"""musher-endpoint beside a FastAPI server and TorchServe, around one TorchScript ResNet-50; and how much it serves of nothing.

    .venv/bin/python benchmarks/serving.py [--build build] [--rounds 2] [--seconds 10] [--out BENCHMARKS.md]

Pictures are sent as JPEG by wrk, from 1, 8 and 64 connections; each side runs alone, the order changes from round to round. The
peers are installed into an environment of their own beside Musher's (benchmarks/requirements.txt). TorchServe needs a Java
runtime; without one its rows are left out, which is said.
"""
import argparse
import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from report import SERVING, machine_line, put_section, spread

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "launch"), str(ROOT / "tests" / "support")]
import processes  # noqa: E402
from serving_artifact import write_artifact  # noqa: E402

PICTURE = ROOT / "tests/data/photographs/coffee.jpg"
CLIENTS = (1, 8, 64)
START_LIMIT_S = 180
SIDES = {"musher": "Musher", "fastapi": "FastAPI, uvicorn", "fastapi-optimized": "the same, `optimize_for_inference`",
         "torchserve": "TorchServe"}


def peers_environment():
    """Beside Musher's own, whose torch it sees."""
    musher = (ROOT / ".venv").resolve()
    pins = ROOT / "benchmarks/requirements.txt"
    digest = hashlib.sha256(pins.read_bytes() + str(musher).encode()).hexdigest()[:16]
    venv = musher.parent / f"venv-benchmarks-{digest}"
    if not (venv / ".ready").exists():
        print(f"installing the peers into {venv}", file=sys.stderr, flush=True)
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run(["/usr/bin/python3", "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", pins], check=True)
        packages = next(venv.glob("lib/python3*/site-packages"))
        shared = next(musher.glob("lib/python3*/site-packages"))
        (packages / "musher.pth").write_text(f"{shared}\n", encoding="utf-8")
        (venv / ".ready").touch()
    return venv


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def make_models(folder):
    """ResNet-50 with chance weights, and a model that does nothing; the TorchScript of the first is for all sides."""
    import torch
    import torchvision

    class Nothing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = torch.nn.Parameter(torch.zeros(1, 10))

        def forward(self, inputs: torch.Tensor):
            return self.logits.expand(inputs.size(0), 10)

    torch.manual_seed(0)
    torch.jit.script(torchvision.models.resnet50(weights=None).eval()).save(str(folder / "resnet50.pt"))
    torch.jit.script(Nothing()).save(str(folder / "nothing.pt"))
    write_artifact(folder / "resnet50.tar.gz", folder / "resnet50.pt", [3, 224, 224], 1000, resize_size=256)
    write_artifact(folder / "nothing.tar.gz", folder / "nothing.pt", [1, 16, 16], 10)
    import numpy
    with open(folder / "kilobyte.npy", "wb") as file:
        numpy.save(file, numpy.zeros((1, 16, 16), "f4"))


def torchserve_command(venv, folder, port):
    store = folder / "store"
    if not store.exists():
        store.mkdir()
        subprocess.run([venv / "bin/torch-model-archiver", "--model-name", "resnet", "--version", "1.0", "--serialized-file",
                        folder / "resnet50.pt", "--handler", ROOT / "benchmarks/serving_torchserve.py", "--export-path", store],
                       check=True, stdout=subprocess.DEVNULL)
    model = {"marName": "resnet.mar", "minWorkers": 1, "maxWorkers": 1, "batchSize": 8, "maxBatchDelay": 2, "responseTimeout": 300}
    (folder / "config.properties").write_text("\n".join([
        f"inference_address=http://127.0.0.1:{port}", f"management_address=http://127.0.0.1:{free_port()}",
        f"metrics_address=http://127.0.0.1:{free_port()}", "job_queue_size=1000", "disable_token_authorization=true",
        "load_models=resnet.mar", 'models={"resnet": {"1.0": ' + json.dumps(model) + "}}", ""]), encoding="utf-8")
    return [venv / "bin/torchserve", "--start", "--foreground", "--ncs", "--model-store", store, "--ts-config",
            folder / "config.properties"]


def command_of(side, venv, folder, options, port):
    """(command, further environment, path of a request)"""
    if side == "musher":
        return ([options.build / "bin/musher-endpoint", "--model", f"file://{folder}/resnet50.tar.gz", "--port", port,
                 "--max-batch-size", options.batch, "--max-batch-delay-ms", 0], {}, "/invocations")
    if side == "torchserve":
        path = f"{venv}/bin:{os.environ['PATH']}"
        threads = {"OMP_NUM_THREADS": str(options.threads)}
        return torchserve_command(venv, folder, port), {"PATH": path, "LOG_LOCATION": str(folder), "METRICS_LOCATION": str(folder),
                                                        **threads}, "/predictions/resnet"
    environment = {"MODEL": str(folder / "resnet50.pt"), "THREADS": str(options.threads), "PYTHONPATH": str(ROOT / "benchmarks")}
    if side == "fastapi-optimized":
        environment["OPTIMIZE"] = "1"
    return ([venv / "bin/uvicorn", "serving_fastapi:app", "--port", port, "--loop", "uvloop", "--http", "httptools",
             "--no-access-log", "--log-level", "warning"], environment, "/invocations")


def post(url, body, content_type):
    request = urllib.request.Request(url, body, {"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@contextlib.contextmanager
def serving(command, environment, folder, url, body, content_type):
    """The first answer of a server that is ended after the block."""
    with processes.Processes() as started:
        log = folder / "server.log"
        server = started.start(list(map(str, command)), env={**os.environ, **environment}, log=log, cwd=folder)
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"benchmarks/serving.py: {command[0]} does not serve: {log.read_text()[-3000:]}")
            try:
                answer = post(url, body, content_type)
                break
            except (OSError, urllib.error.HTTPError):
                time.sleep(0.2)
        yield answer


def load(url, file, content_type, clients, seconds):
    done = subprocess.run(
        ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "120s", "-s", ROOT / "benchmarks/serving_post.lua", url, "--",
         file, content_type], check=True, capture_output=True, text=True)
    result = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    if result["bad_statuses"] or result["broken"]:
        raise SystemExit(f"benchmarks/serving.py: {url} failed under {clients} clients: {result}")
    return {"rate": result["requests"] / result["seconds"], "p50": result["p50_ms"], "p99": result["p99_ms"]}


def measure_side(side, venv, folder, options):
    """{clients: result}, and the logits of the picture."""
    port = free_port()
    command, environment, path = command_of(side, venv, folder, options, port)
    url = f"http://127.0.0.1:{port}{path}"
    picture = PICTURE.read_bytes()
    with serving(command, environment, folder, url, picture, "image/jpeg") as logits:
        load(url, PICTURE, "image/jpeg", 8, 2)  # every shape of batch has been seen once
        results = {clients: load(url, PICTURE, "image/jpeg", clients, options.seconds) for clients in CLIENTS}
    print(f"{side}: " + ", ".join(f"{clients} clients {result['rate']:.1f}/s p50 {result['p50']:.0f} ms p99 {result['p99']:.0f} ms"
                                  for clients, result in results.items()), file=sys.stderr, flush=True)
    return results, logits


def measure_nothing(folder, options):
    port = free_port()
    url = f"http://127.0.0.1:{port}/invocations"
    file = folder / "kilobyte.npy"
    command = [options.build / "bin/musher-endpoint", "--model", f"file://{folder}/nothing.tar.gz", "--port", port,
               "--max-batch-delay-ms", 0]
    with serving(command, {}, folder, url, file.read_bytes(), "application/x-npy"):
        return [load(url, file, "application/x-npy", 64, options.seconds) for _ in range(options.rounds)]


def table(rounds, sides):
    lines = []
    for clients in CLIENTS:
        lines += [f"{clients} client{'s' if clients > 1 else ''}:", "", "| | requests/s | p50, ms | p99, ms | Musher's requests/s to its |",
                  "|---|---|---|---|---|"]
        for side in sides:
            each = [one[side][clients] for one in rounds]
            ratios = [one["musher"][clients]["rate"] / one[side][clients]["rate"] for one in rounds]
            lines.append(f"| {SIDES[side]} | " + " | ".join(spread(result[field] for result in each) for field in ("rate", "p50", "p99")) +
                         f" | {spread(ratios)} |")
        lines.append("")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=10, help="of each load")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="that the peers' model computes with")
    parser.add_argument("--batch", type=int, default=16, help="musher-endpoint's --max-batch-size")
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--out", type=Path, help="a page whose section is replaced")
    options = parser.parse_args()
    options.build = options.build.resolve()
    sides = options.sides
    notes = []
    if "torchserve" in sides and shutil.which("java") is None:
        sides = [side for side in sides if side != "torchserve"]
        notes.append("TorchServe was left out: no Java runtime here.")
    venv = peers_environment()
    rounds = []
    with tempfile.TemporaryDirectory(prefix="musher-benchmark-") as name:
        folder = Path(name)
        make_models(folder)
        for number in range(options.rounds):
            answers = {side: measure_side(side, venv, folder, options) for side in (sides if number % 2 == 0 else sides[::-1])}
            rounds.append({side: results for side, (results, _) in answers.items()})
        nothing = measure_nothing(folder, options)
    body = "\n".join([
        "One TorchScript ResNet-50 at 224, float32, behind HTTP; a JPEG of 600×400 goes in, logits come out (`benchmarks/serving.py`, load",
        f"from wrk for {options.seconds} s on the same cores). All sides compute with {options.threads} threads; musher-endpoint batches up to "
        f"{options.batch}, TorchServe up to 8.", "",
        *table(rounds, sides),
        f"A model that does nothing, 1 KiB of npy, 64 clients: {spread(one['rate'] for one in nothing)} requests/s, p50 "
        f"{spread(one['p50'] for one in nothing)} ms, p99 {spread(one['p99'] for one in nothing)} ms.", "", *notes, machine_line()])
    if options.out:
        put_section(options.out, SERVING, body)
    print(body)


if __name__ == "__main__":
    main()
