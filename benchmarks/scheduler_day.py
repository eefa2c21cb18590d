#!/usr/bin/env python3
"""The scheduler over a simulated day of 10,000 jobs, beside plain first come, first served.

benchmarks/scheduler_day.py [--build DIR] [--seed N] [--out FILE]

Runs bin/scheduler_day of a build with -DMUSHER_BENCHMARKS=ON.
"""
import argparse
import subprocess
from pathlib import Path

from report import DAY, machine_line, put_section

ROOT = Path(__file__).resolve().parents[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a page whose section is replaced")
    options = parser.parse_args()
    tables = subprocess.run([options.build / "bin" / "scheduler_day", str(options.seed)], check=True, capture_output=True,
                            text=True).stdout
    body = ("In simulated time (`benchmarks/scheduler_day.cpp`), sizes and durations as traces of shared clusters have them: most "
            "jobs are small and\nshort, most time is in a few large ones; a third have the default limit of a day, the others one to five "
            "times what they take.\n*Used* is the share of the slots' time until the last arrival; waits are of all "
            "jobs.\n\n" + tables +
            machine_line())
    if options.out:
        put_section(options.out, DAY, body)
    print(body)


if __name__ == "__main__":
    main()
