"""The peer: PyTorch DistributedDataParallel over Gloo, started by torchrun, one thread a rank, synthetic data in memory.

Settings are DDP's fastest on a CPU: gradient_as_bucket_view, gradients set to None, the fused SGD kernel. Rank 0 prints one line
of JSON with the same fields as training_benchmark.
"""

import argparse
import json
import os
import time

import torch
import torch.distributed
import torchvision
from torch import nn


def peak_memory():
    """VmHWM in MiB, as training_benchmark has it: ru_maxrss may be the launcher's."""
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


def make_model(name, classes):
    if name == "resnet18":
        return torchvision.models.resnet18(num_classes=classes)
    widths = [784, *map(int, name.split(":")[1].split(","))]
    layers = [nn.Flatten()]
    for wide, narrow in zip(widths, widths[1:]):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="resnet18 or multilayer_perceptron:W,W")
    parser.add_argument("--shape", type=int, nargs=3, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--classes", type=int, default=133)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--launched", type=float, default=0)
    options = parser.parse_args()

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    torch.manual_seed(1)
    model = nn.parallel.DistributedDataParallel(make_model(options.model, options.classes), gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True)
    loss_of = nn.CrossEntropyLoss()
    torch.manual_seed(rank)
    inputs = torch.rand(options.batch, *options.shape) * 2 - 1
    targets = torch.randint(options.classes, (options.batch,))

    first_step = started = cpu_started = 0
    for step in range(options.warmup + options.steps):
        if step == options.warmup:
            started = time.time()
            cpu_started = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(model(inputs), targets)
        loss.backward()
        optimizer.step()
        if step == 0:
            first_step = time.time()
    seconds = time.time() - started
    cpu = torch.tensor(time.process_time() - cpu_started)
    torch.distributed.all_reduce(cpu)

    peak = torch.tensor(peak_memory())
    torch.distributed.all_reduce(peak, torch.distributed.ReduceOp.MAX)
    if rank == 0:
        print(json.dumps({
            "model": options.model, "ranks": ranks,
            "samples_per_second": options.steps * options.batch * ranks / seconds,
            "cpu_milliseconds_per_step": cpu.item() / ranks / options.steps * 1e3,
            "seconds_to_first_step": first_step - options.launched if options.launched else 0,
            "peak_mib_per_rank": peak.item(), "loss": loss.item()}), flush=True)
    torch.distributed.barrier()
    os._exit(0)  # destroy_process_group() over Gloo was seen to hang in one rank when the other has gone


if __name__ == "__main__":
    main()
