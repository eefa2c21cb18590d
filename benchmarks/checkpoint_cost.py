#!/usr/bin/env python3
"""What checkpoints cost: the same job with one every 10 steps and with none, in turns; the slowdown within each pair.

    .venv/bin/python benchmarks/checkpoint_cost.py [--pairs 5] [--model NAME …] [--ranks 2] [--every 10] [--out BENCHMARKS.md]

Whole jobs with `musher train`, data and checkpoints in files; both models have 25 million parameters (the perceptron takes
128×128 pixels). Measured is the last epoch's samples a second, which leaves out the start; the checkpoint at the end of the epoch
before counts in it. With SGD and momentum a checkpoint is twice the parameters, about 200 MB over all ranks. With --out the result
is put on that page.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from report import CHECKPOINTS, machine_line, put_section

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 1800  # of one run
MODELS = {
    "multilayer_perceptron": {"image_size": 128, "batch_size": 64, "steps": 100},
    "resnet50": {"image_size": 64, "batch_size": 32, "steps": 40},
}


def make_images(folder, count, size):
    random = np.random.default_rng(0)
    for index in range(count):
        label = folder / f"class{index % 2}"
        label.mkdir(parents=True, exist_ok=True)
        pixels = np.kron(random.integers(0, 256, (8, 8, 3), dtype=np.uint8), np.ones((size // 8, size // 8, 1), dtype=np.uint8))
        Image.fromarray(pixels).save(label / f"{index:05}.jpg", quality=80)


def rate(options, model, folder, name, checkpoints):
    """Samples a second of the last epoch, and how many checkpoints were written."""
    case = MODELS[model]
    hyper = {"model": model, "image_size": case["image_size"], "batch_size": case["batch_size"], "epochs": 2,
             "learning_rate": 0.001, "momentum": 0.9, "augmentation": "none"}
    job = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"AlgorithmName": "image-classification", "TrainingInputMode": "FastFile"},
        "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": {
            "S3DataType": "S3Prefix", "S3Uri": f"file://{folder}/images"}}}],
        "OutputDataConfig": {"S3OutputPath": f"file://{folder}/jobs"},
        "ResourceConfig": {"InstanceCount": options.ranks},
        "StoppingCondition": {"MaxRuntimeInSeconds": LIMIT_S},
    }
    if checkpoints:
        hyper["checkpoint_every_steps"] = options.every
        job["CheckpointConfig"] = {"S3Uri": f"file://{folder}/checkpoints-{name}"}
    job["HyperParameters"] = {key: str(value) for key, value in hyper.items()}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(job))
    done = subprocess.run([options.build / "bin/musher", "train", path, "--json"], capture_output=True, text=True,
                          timeout=LIMIT_S, env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true"})
    if done.returncode != 0:
        sys.exit(f"checkpoint_cost: exit code {done.returncode}: {done.stderr[-2000:]}")
    written = done.stderr.count("checkpoint at step")
    if "was not written" in done.stderr or bool(written) != checkpoints:
        sys.exit(f"checkpoint_cost: {written} checkpoints were written: {done.stderr[-2000:]}")
    metrics = {point["MetricName"]: point["Value"] for point in json.loads(done.stdout)["FinalMetricDataList"]}
    return metrics["train:samples_per_second"], written


def slowdowns_of(options, model):
    """One of each pair; and how many checkpoints were written in one."""
    case = MODELS[model]
    slowdowns = []
    with tempfile.TemporaryDirectory(prefix="checkpoint-cost-", dir=options.folder) as name:
        folder = Path(name)
        make_images(folder / "images", case["batch_size"] * (options.steps or case["steps"]), case["image_size"])
        for pair in range(options.pairs):
            rates = {}
            for checkpoints in ((False, True) if pair % 2 == 0 else (True, False)):
                kind = "with" if checkpoints else "without"
                rates[kind], written = rate(options, model, folder, f"{kind}-{pair}", checkpoints)
                if checkpoints:
                    count = written
                    shutil.rmtree(folder / f"checkpoints-{kind}-{pair}")
            slowdowns.append(rates["without"] / rates["with"] - 1)
            print(f"{model}, pair {pair + 1}: {rates['without']:.1f} samples/s without, {rates['with']:.1f} with {count} "
                  f"checkpoints: {slowdowns[-1]:+.1%}", file=sys.stderr, flush=True)
    return slowdowns, count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--steps", type=int, help="of an epoch; default: the model's own number")
    parser.add_argument("--folder", help="where data and checkpoints go; default: the temporary folder")
    parser.add_argument("--out", type=Path, help="a page whose section is replaced")
    options = parser.parse_args()
    lines = [f"The same job of {options.ranks} ranks with a checkpoint every {options.every} steps and with none, in turns "
             "(`benchmarks/checkpoint_cost.py`): 25 million", "parameters, SGD with momentum, so 200 MB a checkpoint, written to "
             f"files. {machine_line()}", "", "| model | slower by, median | least | most | pairs | checkpoints in a run |",
             "|---|---|---|---|---|---|"]
    for model in options.model:
        slowdowns, count = slowdowns_of(options, model)
        lines.append(f"| {model} | {statistics.median(slowdowns):+.1%} | {min(slowdowns):+.1%} | {max(slowdowns):+.1%} | "
                     f"{len(slowdowns)} | {count} |")
    body = "\n".join(lines)
    if options.out:
        put_section(options.out, CHECKPOINTS, body)
    else:
        print(body)


if __name__ == "__main__":
    main()
