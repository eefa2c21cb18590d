#!/usr/bin/env python3
"""The Fashion-MNIST recipe in Musher and in PyTorch DDP, over several seeds: does training here end where it ends there?

    .venv/bin/python benchmarks/recipe.py [--seeds 3] [--epochs N] [--ranks 2] [--out BENCHMARKS.md]

Trains examples/fashion-mnist/job.json with `musher train` and with benchmarks/recipe_peer.py, in turns, and prints the accuracy on
the 10,000 test images. Exit code 1 where the means are more than 0.2 points apart. With --out the result is put on that page.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import RECIPE, machine_line, put_section
from sides import one_thread

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples/fashion-mnist"
ALLOWED = 0.2  # points


def make_job(folder, seed, options):
    """The example's job with its data in `folder`; the path of its file."""
    job = json.loads((EXAMPLE / "job.json").read_text(encoding="utf-8"))
    job["TrainingJobName"] = f"recipe-{seed}"
    for channel in job["InputDataConfig"]:
        channel["DataSource"]["S3DataSource"]["S3Uri"] = f"file://{folder}/data/{channel['ChannelName']}"
    job["OutputDataConfig"]["S3OutputPath"] = f"file://{folder}/jobs"
    job["ResourceConfig"]["InstanceCount"] = options.ranks
    job["HyperParameters"] |= {"seed": str(seed)} | ({"epochs": str(options.epochs)} if options.epochs else {})
    path = Path(folder) / f"job-{seed}.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def output_of(command, what):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=one_thread())
    if done.returncode != 0:
        sys.exit(f"recipe: {what} ended with exit code {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def run_musher(job, options):
    description = json.loads(output_of([options.build / "bin/musher", "train", job, "--json"], "musher train"))
    metrics = {point["MetricName"]: point["Value"] for point in description["FinalMetricDataList"]}
    return {"accuracy": metrics["validation:accuracy"], "loss": metrics["validation:loss"]}


def run_peer(job, options):
    lines = output_of([options.venv / "bin/torchrun", "--standalone", "--nproc-per-node", options.ranks,
                       ROOT / "benchmarks/recipe_peer.py", "--job", job], "the peer").splitlines()
    return json.loads(next(line for line in lines if line.startswith("{")))


SIDES = {"musher": run_musher, "peer": run_peer}


def measure(options):
    """{side: a result for each seed}"""
    results = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory(prefix="musher-recipe-") as folder:
        output_of([sys.executable, EXAMPLE / "make_dataset.py", "--out", Path(folder) / "data"], "make_dataset.py")
        for seed in range(1, options.seeds + 1):
            job = make_job(folder, seed, options)
            for side in SIDES if seed % 2 else reversed(SIDES):
                started = time.time()
                results[side].append(SIDES[side](job, options))
                results[side][-1]["seconds"] = time.time() - started
                print(f"seed {seed}, {side}: {results[side][-1]}", file=sys.stderr, flush=True)
    return results


def mean_of(results, field):
    return statistics.mean(result[field] for result in results)


def section(results, options):
    hyper = json.loads((EXAMPLE / "job.json").read_text(encoding="utf-8"))["HyperParameters"]
    epochs = int(options.epochs or hyper["epochs"])
    lines = [
        f"`examples/fashion-mnist/job.json` ({epochs} epoch{'s' if epochs > 1 else ''}, batch {hyper['batch_size']}, SGD with momentum, "
        "cosine), trained by `musher train` and in",
        "PyTorch DDP over Gloo (`benchmarks/recipe_peer.py`) with the same network, distributions of initial weights, augmentation, schedule",
        f"and optimizer, {options.ranks} ranks, each side with its own random numbers (`benchmarks/recipe.py`). Accuracy on the 10,000 test",
        "images, percent. Seconds are those of the whole command; the peer has its images in memory and decodes none.", "",
        "| seed | Musher | PyTorch DDP | Musher's loss | DDP's loss | Musher, s | DDP, s |", "|---|---|---|---|---|---|---|"]

    def line(name, ours, theirs):
        return (f"| {name} | {100 * ours['accuracy']:.2f} | {100 * theirs['accuracy']:.2f} | {ours['loss']:.4f} | {theirs['loss']:.4f} | "
                f"{ours['seconds']:.0f} | {theirs['seconds']:.0f} |")

    lines += [line(seed, ours, theirs) for seed, (ours, theirs) in enumerate(zip(*results.values()), start=1)]
    means = [{field: mean_of(side, field) for field in ("accuracy", "loss", "seconds")} for side in results.values()]
    lines.append(line("mean", *means))
    apart = difference(results)
    lines += ["", f"The means are {abs(apart):.2f} points apart, Musher's being the {'higher' if apart >= 0 else 'lower'} one; allowed are "
              f"{ALLOWED}. {machine_line()}"]
    return "\n".join(lines)


def difference(results):
    """Points, Musher's mean less the peer's."""
    return 100 * (mean_of(results["musher"], "accuracy") - mean_of(results["peer"], "accuracy"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1 to N (default 3)")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a page whose section is replaced")
    options = parser.parse_args()
    if options.seeds < 1 or options.ranks < 1 or (options.epochs is not None and options.epochs < 1):
        parser.error("--seeds, --epochs and --ranks are at least 1")
    results = measure(options)
    body = section(results, options)
    if options.out:
        put_section(options.out, RECIPE, body)
    print(body)
    sys.exit(0 if abs(difference(results)) <= ALLOWED else 1)


if __name__ == "__main__":
    main()
