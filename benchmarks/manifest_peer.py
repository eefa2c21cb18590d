"""benchmarks/manifest_benchmark.cpp as PyTorch has it: torchvision's list of (path, class), sorted, pickled, unpickled, and a
DistributedSampler over it for one rank of eight. The same names, and the same lines of JSON.

manifest_peer.py SAMPLES FOLDER
"""
import json
import pickle
import sys
import time
from pathlib import Path

from torch.utils.data import DistributedSampler

CLASSES = 1000


def status_mib(field):
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0


def measure(phase, base, work):
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    begin = time.monotonic()
    result = work()
    print(json.dumps({"phase": phase, "seconds": time.monotonic() - begin, "peak_mib": status_mib("VmHWM:") - base}), flush=True)
    return result


def make(count):
    """What torchvision.datasets.ImageFolder has as `samples`."""
    samples = [(f"n{i % CLASSES:08}/n{i % CLASSES:08}_{i}.JPEG", i % CLASSES) for i in range(count)]
    samples.sort()
    return samples


def store(samples, path):
    with open(path, "wb") as file:
        pickle.dump(samples, file, protocol=pickle.HIGHEST_PROTOCOL)


def load(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def deal(samples):
    sampler = DistributedSampler(samples, num_replicas=8, rank=0, seed=1)
    sampler.set_epoch(3)
    return sum(1 for index in sampler if samples[index])


def main():
    count, path = int(sys.argv[1]), Path(sys.argv[2]) / "samples.pickle"
    base = status_mib("VmRSS:")
    samples = measure("make", base, lambda: make(count))
    measure("store", base, lambda: store(samples, path))
    print(json.dumps({"phase": "file", "mib": path.stat().st_size / 2**20}))
    del samples
    samples = measure("load", base, lambda: load(path))
    dealt = measure("deal", base, lambda: deal(samples))
    return 0 if dealt >= count // 8 else 1


if __name__ == "__main__":
    sys.exit(main())
