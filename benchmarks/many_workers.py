#!/usr/bin/env python3
"""What a job of 1,000 ranks costs the coordinator: processor time and memory.

    .venv/bin/python benchmarks/many_workers.py [--build build] [--workers 1000] [--seconds 60] [--out BENCHMARKS.md]

The ranks are simulated: they train nothing, but join, ask for their samples and report over real gRPC, each on a connection of its
own, as often as the coordinator tells them (bin/many_workers of a build with -DMUSHER_BENCHMARKS=ON). Processor time is user and
system of the coordinator's process while they train, an epoch's end among it; memory is its peak.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from report import WORKERS, machine_line, put_section

ROOT = Path(__file__).resolve().parents[1]


def processor_seconds(pid):
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def make_job(folder, workers):
    for number in range(100):
        path = folder / "data" / f"class{number % 10}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not decoded here")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "file://./data"}}
    (folder / "job.json").write_text(json.dumps({
        "TrainingJobName": "many", "AlgorithmSpecification": {"TrainingInputMode": "File"},
        "HyperParameters": {"model": "convnet", "batch_size": str(workers), "virtual_workers": str(workers), "epochs": "100"},
        "InputDataConfig": [{"ChannelName": "train", "DataSource": source}],
        "OutputDataConfig": {"S3OutputPath": "file://./out"}, "ResourceConfig": {"InstanceCount": workers},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600}}))


def measure(options, folder):
    program = options.build / "bin" / "many_workers"
    make_job(folder, options.workers)
    environment = os.environ | {"AWS_EC2_METADATA_DISABLED": "true"}
    result = {}
    coordinator = subprocess.Popen([program, "serve", folder, str(options.workers)], stdout=subprocess.PIPE, text=True,
                                   env=environment)
    try:
        address, token = coordinator.stdout.readline().split()
        workers = subprocess.Popen([program, "work", address, token, str(options.workers), str(options.seconds)],
                                   stdout=subprocess.PIPE, text=True)
        try:
            for line in workers.stdout:
                result |= json.loads(line)
                if "assigned" in result and "begin" not in result:
                    result["begin"] = processor_seconds(coordinator.pid)
            if workers.wait() != 0:
                sys.exit("the workers failed")
        finally:
            workers.kill()
            workers.wait()
        result["share"] = (processor_seconds(coordinator.pid) - result["begin"]) / options.seconds
        result["mib"] = peak_mib(coordinator.pid)
    finally:
        coordinator.terminate()
        coordinator.wait()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out", type=Path, help="a page whose section is replaced")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="musher-benchmark-") as folder:
        result = measure(options, Path(folder))
    body = (f"One job of {options.workers:,} simulated ranks, each on a connection of its own (`benchmarks/many_workers.py`). In "
            f"{options.seconds:.0f} s of training they sent {result['reports']:,} reports, each\nrank one every "
            f"{result['heartbeat']:.3g} s but for the leader, and ended an epoch: **{100 * result['share']:.1f} % of a core**. Peak memory of the "
            f"coordinator: **{result['mib']:.0f} MiB**.\nAll had joined after {result['joined']:.1f} s, and had their samples "
            f"{result['assigned']:.1f} s later. {machine_line()}")
    if options.out:
        put_section(options.out, WORKERS, body)
    print(body)


if __name__ == "__main__":
    main()
