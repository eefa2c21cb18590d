"""The peer of benchmarks/recipe.py: the same recipe in PyTorch DistributedDataParallel over Gloo, started by torchrun.

Reads the hyperparameters from a job file, trains the network that Musher calls convnet on Fashion-MNIST in memory, and prints
one line of JSON (rank 0) with accuracy and loss on the test images. What is PyTorch's own way is done so: the order of samples
(DistributedSampler), the random numbers, the optimizer. One thread a rank.
"""
import argparse
import gzip
import json
import math
import os
import time
from pathlib import Path

import torch
import torch.distributed
from torch import nn
from torch.utils.data import DistributedSampler

SOURCE = Path("/usr/share/datasets/fashion-mnist")


def read(stem, mean, deviation):
    """Normalised images [N, 1, 28, 28] and labels [N]."""
    def idx(name, header):
        data = bytearray(gzip.decompress((SOURCE / name).read_bytes()))
        return torch.frombuffer(data, dtype=torch.uint8)[header:]

    images = idx(f"{stem}-images-idx3-ubyte.gz", 16).view(-1, 1, 28, 28)
    return (images.float() / 255 - mean) / deviation, idx(f"{stem}-labels-idx1-ubyte.gz", 8).long()


def convnet():
    """model/convnet.h, with its initial weights: normal by fan-in and biases of 0, the last layer small."""
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10))
    for layer in network:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    nn.init.normal_(network[-1].weight, std=0.01)
    return network


def rate(hyper, step, steps):
    """trainer/schedule.h: a linear warm-up, then half a cosine."""
    warmup = float(hyper["warmup_epochs"]) * steps / int(hyper["epochs"])
    peak = float(hyper["learning_rate"])
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak / 2 * (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, steps - warmup))))


def flipped(images):
    """Each with the chance of one half, as RandomHorizontalFlip does."""
    chosen = torch.rand(len(images)) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def test(model, images, labels, rank, ranks):
    """(accuracy, loss) over all test images, a part a rank."""
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        for first in range(rank * 500, len(images), ranks * 500):
            logits, targets = model(images[first:first + 500]), labels[first:first + 500]
            sums[0] += (logits.argmax(1) == targets).sum()
            sums[1] += nn.functional.cross_entropy(logits, targets, reduction="sum")
    torch.distributed.all_reduce(sums)
    return (sums / len(images)).tolist()


def train(hyper, rank, ranks):
    mean, deviation = float(hyper["normalize_mean"]), float(hyper["normalize_std"])
    images, labels = read("train", mean, deviation)
    torch.manual_seed(int(hyper["seed"]))
    model = nn.parallel.DistributedDataParallel(convnet(), gradient_as_bucket_view=True)
    torch.manual_seed(1000 * int(hyper["seed"]) + rank)
    optimizer = torch.optim.SGD(model.parameters(), lr=float(hyper["learning_rate"]), momentum=float(hyper["momentum"]),
                                weight_decay=float(hyper["weight_decay"]), fused=True)
    sampler = DistributedSampler(range(len(images)), ranks, rank, seed=int(hyper["seed"]))
    batch = int(hyper["batch_size"]) // ranks
    epochs = int(hyper["epochs"])
    steps = epochs * math.ceil(len(sampler) / batch)
    step = 0
    for epoch in range(epochs):
        model.train()
        sampler.set_epoch(epoch)
        for chosen in torch.tensor(list(sampler)).split(batch):
            for group in optimizer.param_groups:
                group["lr"] = rate(hyper, step, steps)
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(flipped(images[chosen])), labels[chosen]).backward()
            optimizer.step()
            step += 1
    return test(model.module, *read("t10k", mean, deviation), rank, ranks)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", type=Path, required=True, help="a job file, for its HyperParameters")
    hyper = json.loads(parser.parse_args().job.read_text(encoding="utf-8"))["HyperParameters"]
    for name, only in {"model": "convnet", "optimizer": "sgd", "lr_schedule": "cosine", "augmentation": "flip"}.items():
        if hyper[name] != only:
            parser.error(f"{name} must be {only}, which is all that this peer knows, not {hyper[name]}")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    started = time.time()
    rank = torch.distributed.get_rank()
    accuracy, loss = train(hyper, rank, torch.distributed.get_world_size())
    if rank == 0:
        print(json.dumps({"accuracy": accuracy, "loss": loss, "seconds": time.time() - started}), flush=True)
    torch.distributed.barrier()
    os._exit(0)  # destroy_process_group() over Gloo was seen to hang in one rank when the other has gone


if __name__ == "__main__":
    main()
