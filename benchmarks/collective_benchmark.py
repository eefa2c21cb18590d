"""The peer of collective_benchmark: Gloo's all-reduce through torch.distributed, at the same sizes, in the same table.

    python collective_benchmark.py [ranks] [iterations]
"""
import os
import socket
import statistics
import sys
import time

import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing

SIZES = [4096, 65536, 1 << 20, 4 << 20, 10 << 20, 40 << 20, 100 << 20]


def seconds_of_one(tensor, token):
    distributed.all_reduce(token)
    begin = time.perf_counter()
    distributed.all_reduce(tensor)
    return time.perf_counter() - begin


def rank_main(rank, ranks, iterations, port):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    distributed.init_process_group("gloo", rank=rank, world_size=ranks)
    if rank == 0:
        print(f"# {ranks} ranks, Gloo, torch {torch.__version__}, median and best of {iterations}")
        print(f"#{'size(B)':>11} {'type':>10} {'time(us)':>12} {'best(us)':>12} {'algbw(GB/s)':>10} {'busbw(GB/s)':>10}")
    token = torch.zeros(1)
    for size in SIZES:
        tensor = torch.zeros(size // 4)
        for _ in range(3):
            seconds_of_one(tensor, token)
        times = [seconds_of_one(tensor, token) for _ in range(iterations)]
        median = statistics.median(times)
        if rank == 0:
            bandwidth = size / median / 1e9
            bus = bandwidth * 2 * (ranks - 1) / ranks
            print(f"{size:12} {'float':>10} {median * 1e6:12.1f} {min(times) * 1e6:12.1f} {bandwidth:10.2f} {bus:10.2f}",
                  flush=True)
    distributed.destroy_process_group()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    world = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    multiprocessing.spawn(rank_main, args=(world, rounds, free_port()), nprocs=world)
