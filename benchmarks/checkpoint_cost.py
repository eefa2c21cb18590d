#!/usr/bin/env python3
"""What a checkpoint every 10 steps costs training, measured within one run (benchmarks/checkpoint_benchmark.cpp).

    .venv/bin/python benchmarks/checkpoint_cost.py [--checkpoints 10] [--case NAME …] [--ranks 2] [--every 10] [--out BENCHMARKS.md]

Windows of steps with a checkpoint that begins with the window, and without, follow each other in one run; a window with one is
compared with those before and after it. All models have 25 million parameters; with SGD and momentum a checkpoint is twice the
parameters, about 200 MB over all ranks, written to files. With --out the result is put on that page.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from report import CHECKPOINTS, machine_line, put_section
from sides import mpirun, one_thread

ROOT = Path(__file__).resolve().parents[1]
CASES = {
    "resnet50, 128×128, 16 a rank": {"model": "resnet50", "shape": [3, 128, 128], "batch": 16},
    "resnet50, 64×64, 16 a rank": {"model": "resnet50", "shape": [3, 64, 64], "batch": 16},
    "perceptron, 64 a rank": {"model": "multilayer_perceptron:512", "shape": [3, 128, 128], "batch": 64},
}


def measure(options, case):
    with tempfile.TemporaryDirectory(prefix="checkpoint-cost-", dir=options.folder) as folder:
        command = [*mpirun(options), options.build / "bin/checkpoint_benchmark", "--model", case["model"], "--shape",
                   *case["shape"], "--batch", case["batch"], "--window", options.every, "--checkpoints", options.checkpoints,
                   "--store", f"file://{folder}"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=one_thread())
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or len(lines) != 1:
        sys.exit(f"checkpoint_cost: exit code {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(lines[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--checkpoints", type=int, default=10)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--folder", help="where checkpoints go; default: the temporary folder")
    parser.add_argument("--out", type=Path, help="a page whose section is replaced")
    options = parser.parse_args()
    lines = [f"Training of {options.ranks} ranks with a checkpoint every {options.every} steps beside training without, in turns "
             "within one run", "(`benchmarks/checkpoint_cost.py`): 25 million parameters, SGD with momentum, so 200 MB a checkpoint, "
             f"written to files. {machine_line()}", "",
             "| model | a step, s | slower by, median | least | most | checkpoints |", "|---|---|---|---|---|---|"]
    for name in options.case:
        result = measure(options, CASES[name])
        costs = result["slowdowns"]
        lines.append(f"| {name} | {result['step_seconds']:.3f} | {statistics.median(costs):+.1%} | {min(costs):+.1%} | "
                     f"{max(costs):+.1%} | {len(costs)} |")
        print(lines[-1], file=sys.stderr, flush=True)
    body = "\n".join(lines)
    if options.out:
        put_section(options.out, CHECKPOINTS, body)
    else:
        print(body)


if __name__ == "__main__":
    main()
