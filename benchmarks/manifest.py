#!/usr/bin/env python3
"""A manifest of 10 million images: seconds and memory, beside PyTorch's list and DistributedSampler, in turns.

benchmarks/manifest.py [--build DIR] [--samples N] [--rounds N] [--out FILE]

Runs bin/manifest_benchmark of a build with -DMUSHER_BENCHMARKS=ON, and benchmarks/manifest_peer.py.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from report import MANIFEST, machine_line, put_section, row

ROOT = Path(__file__).resolve().parents[1]
PHASES = [("make", "make it from a listing"), ("store", "store it"), ("load", "load it"),
          ("deal", "deal an epoch to one rank of eight, and go through its samples")]


def measure(command, samples):
    """{phase: its line}"""
    with tempfile.TemporaryDirectory(prefix="musher-manifest-") as folder:
        done = subprocess.run([*command, str(samples), folder], check=True, capture_output=True, text=True)
    return {line["phase"]: line for line in map(json.loads, done.stdout.splitlines())}


def section(rounds, samples):
    lines = [f"{samples:,} images in 1,000 classes, each side in a process of its own (`benchmarks/manifest_benchmark.cpp`,",
             "`benchmarks/manifest_peer.py`): Musher's manifest, beside torchvision's list of (path, class), pickle and",
             "`DistributedSampler`. Memory is the most that was resident in the phase, above the process at its start; the list of",
             "PyTorch is there in each rank and each of its loading processes, the manifest in the coordinator alone.", "",
             "| | Musher | PyTorch | times better |", "|---|---|---|---|"]
    for phase, heading in PHASES:
        lines.append(row(f"{heading}, s", rounds, lambda side, phase=phase: side[phase]["seconds"], False))
        lines.append(row(f"{heading}, MiB", rounds, lambda side, phase=phase: side[phase]["peak_mib"], False))
    lines.append(row("the file, MiB", rounds, lambda side: side["file"]["mib"], False))
    return "\n".join([*lines, "", machine_line()])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a page whose section is replaced")
    options = parser.parse_args()
    if options.rounds < 1 or options.samples < 1000:
        parser.error("--rounds is at least 1, --samples at least 1000")
    sides = {"musher": [options.build / "bin" / "manifest_benchmark"],
             "peer": [ROOT / ".venv" / "bin" / "python3", ROOT / "benchmarks" / "manifest_peer.py"]}
    rounds = []
    for number in range(options.rounds):
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        rounds.append({side: measure(sides[side], options.samples) for side in order})
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    body = section(rounds, options.samples)
    if options.out:
        put_section(options.out, MANIFEST, body)
    print(body)


if __name__ == "__main__":
    main()
