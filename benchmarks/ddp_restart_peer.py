"""The peer of benchmarks/recovery.py: the same little network under DDP over Gloo, started by torchrun --max-restarts, with a
checkpoint every N steps. Each rank writes `<pid> <rank>` to FOLDER/ranks; rank 0 appends `<time> <pid> <step>` to FOLDER/steps."""
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed
from torch import nn

folder, every = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
# A store of its own for each restart: over torchrun's, restarted Gloo ranks were seen to look for those of the run before.
attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store{attempt}", rank=int(os.environ["RANK"]),
                                     world_size=int(os.environ["WORLD_SIZE"]))
rank = torch.distributed.get_rank()
(folder / f"rank{rank}").write_text(str(os.getpid()))
torch.manual_seed(1)
network = nn.Sequential(nn.Flatten(), nn.Linear(768, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 3))
model = nn.parallel.DistributedDataParallel(network, gradient_as_bucket_view=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9, fused=True)
step = 0
saved = folder / "checkpoint.pt"
if saved.exists():
    state = torch.load(saved)
    network.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    step = state["step"]
inputs, targets = torch.rand(8, 3, 16, 16), torch.randint(3, (8,))
with open(folder / "steps", "a", encoding="utf-8") as steps:
    while True:
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        step += 1
        if rank != 0:
            continue
        print(time.time(), os.getpid(), step, file=steps, flush=True)
        if step % every == 0:
            torch.save({"model": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, f"{saved}.new")
            os.replace(f"{saved}.new", saved)
