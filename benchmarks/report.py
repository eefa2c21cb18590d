"""BENCHMARKS.md from what benchmarks/run measured. A round is {"musher": result, "peer": result}."""
import os
import platform
import statistics
import subprocess
from datetime import date
from pathlib import Path

# Field of the JSON line, heading, whether more of it is better.
MEASURES = [("samples_per_second", "samples/s", True), ("cpu_milliseconds_per_step", "processor time a rank and step, ms", False),
            ("seconds_to_first_step", "launch to first step, s", False),
            ("peak_mib_per_rank", "peak memory a rank, MiB", False)]
TIMES = [("forward", "forward, with the loss"), ("backward", "backward, with the all-reduce that it hides"),
         ("reduce", "all-reduce that backward did not hide"), ("optimizer", "optimizer")]


def number(value):
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def spread(values):
    values = list(values)
    return f"{number(statistics.median(values))} ({number(min(values))} to {number(max(values))})"


def row(heading, rounds, value, more_is_better):
    ratios = []
    for one in rounds:
        ours, theirs = value(one["musher"]), value(one["peer"])
        ratios.append(ours / theirs if more_is_better else theirs / ours)
    return (f"| {heading} | {spread(value(one['musher']) for one in rounds)} | {spread(value(one['peer']) for one in rounds)} | "
            f"{spread(ratios)} |")


def training_section(trained):
    lines = [
        "## Training beside PyTorch DDP over Gloo", "",
        "Musher's step (`benchmarks/training_benchmark.cpp`) and a DDP loop (`benchmarks/ddp_peer.py`) train the same network in",
        "float32 on synthetic data in memory, SGD with momentum 0.9 and weight decay 1e-4, one thread a rank; the networks compute",
        "the same to rounding (`tests/unit/model/pytorch_test.py`). DDP has its fastest settings on a CPU: `gradient_as_bucket_view`,",
        "gradients set to None, the fused SGD kernel. Processor time is user and system, all threads of a rank; unlike the clock it",
        "hardly sees other work on the machine, nor waiting.", ""]
    for name, rounds in trained.items():
        lines += [f"### {name}", "", "| | Musher | DDP + Gloo | times better |", "|---|---|---|---|"]
        lines += [row(heading, rounds, lambda result, field=field: result[field], more) for field, heading, more in MEASURES]
        lines += ["", "Where Musher's step goes (rank 0, by the clock):", "", "| | ms |", "|---|---|"]
        lines += [f"| {heading} | {spread(one['musher']['milliseconds_per_step'][field] for one in rounds)} |"
                  for field, heading in TIMES]
        lines.append("")
    return "\n".join(lines)


def launch_section(rounds):
    return "\n".join([
        "## From the command to the first step", "",
        "`musher train` of a job over a folder of images, until it shows the first committed step (the ranks tell the coordinator",
        "once a second, so this is up to a second late), beside `torchrun` until DDP's first step on data in memory. ResNet-18.", "",
        "| | Musher | torchrun | times better |", "|---|---|---|---|",
        row("seconds", rounds, lambda seconds: seconds, False), ""])


def allreduce_section(rounds):
    lines = ["## All-reduce beside Gloo", "",
             "float32, sum, ranks on one machine; microseconds, medians of 20 in each run. `benchmarks/collective_benchmark.cpp`,",
             "buffers from `Collective::allocate`, and `benchmarks/collective_benchmark.py`.", "",
             "| bytes | Musher | Gloo | times better |", "|---|---|---|---|"]
    for size in rounds[0]["musher"]:
        lines.append(row(f"{size:,}", rounds, lambda times, size=size: times[size], False))
    return "\n".join([*lines, ""])


# What other scripts than benchmarks/run put on the page.
RECOVERY, CHECKPOINTS, RESTART = "## A rank dies", "## Checkpoints", "## A coordinator comes back"
DAY, WORKERS, LIST = "## A day of 10,000 jobs", "## Many ranks", "## 100,000 jobs"
MANIFEST = "## A manifest of 10 million images"
RECIPE = "## The Fashion-MNIST recipe beside PyTorch DDP"
HOSTS = "## Several hosts"
DECODE, DOGS = "## Pictures beside torchvision", "## The dog recipe beside PyTorch"
SERVING = "## Serving ResNet-50"
SCALED = "## Pictures reduced while they are decoded"


def find_section(text, heading):
    """(begin, end) of it with its heading; None where it is not there."""
    begin = text.find(heading + "\n")
    if begin < 0:
        return None
    end = text.find("\n## ", begin)
    return begin, len(text) if end < 0 else end + 1


def kept_sections(path):
    """Those of other scripts, as a list of parts."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    headings = (RECOVERY, CHECKPOINTS, RESTART, DAY, MANIFEST, WORKERS, LIST, HOSTS, RECIPE, DECODE, SCALED, DOGS, SERVING)
    found = [find_section(text, heading) for heading in headings]
    return [text[place[0]:place[1]].rstrip() + "\n" for place in found if place]


def put_section(path, heading, body):
    """Replaces the section on the page, or adds it at the end."""
    text = path.read_text(encoding="utf-8")
    section = f"{heading}\n\n{body.strip()}\n"
    place = find_section(text, heading)
    if place is None:
        path.write_text(text.rstrip() + "\n\n" + section, encoding="utf-8")
    else:
        rest = text[place[1]:]
        path.write_text(text[:place[0]] + section + ("\n" + rest if rest else ""), encoding="utf-8")


def machine_line():
    """Of a section that was measured by itself: when, on what, and how busy it was."""
    return (f"{date.today()}, {len(os.sched_getaffinity(0))} cores ({processor()}), load average of the machine "
            f"{os.getloadavg()[0]:.1f}.")


def processor():
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def page(parts, options, load):
    torch = subprocess.run([options.venv / "bin/python3", "-c", "import torch; print(torch.__version__)"],
                           capture_output=True, text=True, check=True).stdout.strip()
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    lines = [
        "# Benchmarks", "",
        "Each side runs in turns on one machine. Numbers are the median and the range over the rounds; ratios are taken within a",
        "round, and more than 1 is better for Musher. Again: `benchmarks/run`.", "",
        f"{date.today()}: rounds {options.rounds}, {options.ranks} ranks on {cores} cores ({processor()}), {memory:.0f} GiB, Linux",
        f"{platform.release()}, PyTorch and LibTorch {torch}. Load average of the machine (the larger of begin and end): {load:.1f}."]
    if load > cores + 0.5:
        lines.append("Other work ran beside it: compare the ratios, not the absolute numbers.")
    return "\n".join([*lines, "", *parts])
