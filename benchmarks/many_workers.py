#!/usr/bin/env python3
"""What jobs of many ranks cost the coordinator, in processor time and memory, and how soon it answers them.

    .venv/bin/python benchmarks/many_workers.py [--build build] [--workers 64+tls,1000,1000+tls,10000] [--seconds 60]
        [--out BENCHMARKS.md]

The ranks are simulated: they train nothing, but join, ask for their samples and report over real gRPC, each on a connection of its
own, as often as the coordinator tells them (bin/many_workers of a build with -DMUSHER_BENCHMARKS=ON). Processor time is user and
system of the coordinator's process while they train, an epoch's end among it; memory is its peak. The ranks share the machine with
the coordinator, so the answers' times hold the ranks' own work as well.
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


def measure(options, ranks, tls, folder):
    program = options.build / "bin" / "many_workers"
    make_job(folder, ranks)
    certificates = [folder / "certificates"] if tls else []
    if tls:
        subprocess.run([options.build / "bin" / "musher", "certs", *certificates], check=True, stdout=subprocess.DEVNULL)
    environment = os.environ | {"AWS_EC2_METADATA_DISABLED": "true"}
    result = {}
    coordinator = subprocess.Popen([program, "serve", folder, str(ranks), *certificates], stdout=subprocess.PIPE, text=True,
                                   env=environment)
    try:
        address, token = coordinator.stdout.readline().split()
        workers = subprocess.Popen([program, "work", address, token, str(ranks), str(options.seconds)],
                                   stdout=subprocess.PIPE, text=True)
        try:
            for line in workers.stdout:
                result |= json.loads(line)
                if "assigned" in result and "begin" not in result:
                    result["begin"] = processor_seconds(coordinator.pid)
                if "reports" in result:  # before they hang up
                    result["end"] = processor_seconds(coordinator.pid)
            if workers.wait() != 0:
                sys.exit("the workers failed")
        finally:
            workers.kill()
            workers.wait()
        result["share"] = (result["end"] - result["begin"]) / options.seconds
        result["mib"] = peak_mib(coordinator.pid)
    finally:
        coordinator.terminate()
        coordinator.wait()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--workers", default="64+tls,1000,1000+tls,10000",
                        help="numbers of ranks, each a job of its own; +tls: with mutual TLS")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out", type=Path, help="a page whose section is replaced")
    options = parser.parse_args()
    lines = ["Jobs of simulated ranks, each on a connection of its own, with mutual TLS or as on loopback without, on the machine of the",
             f"coordinator (`benchmarks/many_workers.py`); they train for {options.seconds:.0f} s, and an epoch ends meanwhile. An answer's",
             f"time is median, 99th percentile and worst. {machine_line()}", "",
             "| ranks | TLS | all have joined, s | all have their samples, s | a report every, s | report, ms "
             "| samples of the next epoch, ms | of a core | peak MiB |", "|---|---|---|---|---|---|---|---|---|"]
    for word in options.workers.split(","):
        ranks, tls = int(word.removesuffix("+tls")), word.endswith("+tls")
        with tempfile.TemporaryDirectory(prefix="musher-benchmark-") as folder:
            lines.append(row(ranks, tls, measure(options, ranks, tls, Path(folder))))
        print(lines[-1], flush=True)
    body = "\n".join(lines)
    if options.out:
        put_section(options.out, WORKERS, body)
    print(body)


def row(ranks, tls, result):
    def answer(name):
        return "{median:.1f}, {p99:.1f}, {worst:.0f}".format(**result[name])

    return (f"| {ranks:,} | {'yes' if tls else 'no'} | {result['joined']:.2f} "
            f"| {result['joined'] + result['assigned']:.2f} | {result['heartbeat']:.3g} | {answer('report_ms')} | {answer('assignment_ms')} | {100 * result['share']:.1f} % | {result['mib']:.0f} |")


if __name__ == "__main__":
    main()
