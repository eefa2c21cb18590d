#!/usr/bin/env python3
"""What jpeg_scaled_decode does to accuracy: the same training with it and without, over several seeds.

    .venv/bin/python benchmarks/scaled_decode.py [--seeds 3] [--epochs 15] [--images 40] [--photographs DIR] [--out BENCHMARKS.md]

The task is to tell from which of the photographs a part of 512×384 pixels is; parts for validation come from the right third of each,
those for training from the rest. At 64×64 the decoder reduces them by four. With --out the result is put on that page.
"""
import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import photographs
from report import SCALED, machine_line, put_section
from sides import one_thread

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 512, 384


def make_images(paths, folder, count):
    """`count` parts of each photograph for training and half as many for validation; the number of photographs."""
    chance = random.Random(1)
    large = [image for image in (photographs.open_large(path, 2048, 1536) for path in paths) if image]
    for label, image in enumerate(large):
        wall = 2 * image.width // 3
        for channel, number_of, low, high in (("train", count, 0, wall), ("validation", count // 2, wall, image.width)):
            place = folder / channel / f"{label:02}"
            place.mkdir(parents=True)
            for number in range(number_of):
                left, top = chance.randrange(low, high - WIDTH), chance.randrange(image.height - HEIGHT)
                image.crop((left, top, left + WIDTH, top + HEIGHT)).save(place / f"{number:03}.jpg", quality=photographs.QUALITY)
    return len(large)


def accuracy(folder, seed, scaled, options):
    """Percent, on the validation channel, after the last epoch."""
    job = {
        "TrainingJobName": f"scaled-{scaled}-{seed}",
        "InputDataConfig": [{"ChannelName": channel, "DataSource": {"S3DataSource": {
            "S3DataType": "S3Prefix", "S3Uri": f"file://{folder}/{channel}"}}} for channel in ("train", "validation")],
        "OutputDataConfig": {"S3OutputPath": f"file://{folder}/jobs"},
        "ResourceConfig": {"InstanceCount": options.ranks},
        "HyperParameters": {"model": "convnet", "image_size": "64", "epochs": str(options.epochs), "batch_size": "32", "seed": str(seed),
                            "augmentation": "flip", "learning_rate": "0.01", "warmup_epochs": "1",
                            "jpeg_scaled_decode": "true" if scaled else "false"},
    }
    path = Path(folder) / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    done = subprocess.run([options.build / "bin/musher", "train", path, "--json"], capture_output=True, text=True, env=one_thread())
    if done.returncode != 0:
        sys.exit(f"scaled_decode: musher train ended with exit code {done.returncode}: {done.stderr[-2000:]}")
    metrics = {point["MetricName"]: point["Value"] for point in json.loads(done.stdout)["FinalMetricDataList"]}
    return 100 * metrics["validation:accuracy"]


def section(classes, pairs, options):
    differences = [scaled - full for scaled, full in pairs]
    lines = [f"Which of {classes} photographs a part of {WIDTH}×{HEIGHT} is from, convnet at 64×64, {options.images} parts a photograph, "
             f"{options.epochs} epochs", "(`benchmarks/scaled_decode.py`): accuracy in percent on parts that training has not seen, with the "
             "decoder reducing by four, the", "default, and with `jpeg_scaled_decode: false`.", "",
             "| seed | reduced while decoding | not | difference |", "|---|---|---|---|"]
    lines += [f"| {seed} | {scaled:.2f} | {full:.2f} | {scaled - full:+.2f} |" for seed, (scaled, full) in enumerate(pairs, start=1)]
    means = [statistics.mean(side) for side in zip(*pairs)]
    lines.append(f"| mean | {means[0]:.2f} | {means[1]:.2f} | {means[0] - means[1]:+.2f} |")
    if len(differences) > 1:
        error = statistics.stdev(differences) / len(differences) ** 0.5
        lines += ["", f"The mean difference has a standard error of {error:.2f} points. {machine_line()}"]
    else:
        lines += ["", f"One seed says little. {machine_line()}"]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--photographs", help="a folder of large JPEG files, instead of the package's")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1 to N")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--images", type=int, default=40, help="parts of each photograph to train on")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a page whose section is replaced")
    options = parser.parse_args()
    if min(options.seeds, options.epochs, options.ranks) < 1 or options.images < 2:
        parser.error("--seeds, --epochs and --ranks are at least 1, --images at least 2")
    paths, kept = photographs.find(options.photographs)
    pairs = []
    with tempfile.TemporaryDirectory(prefix="musher-scaled-") as folder:
        classes = make_images(paths, Path(folder), options.images)
        del kept
        for seed in range(1, options.seeds + 1):
            pairs.append(tuple(accuracy(folder, seed, scaled, options) for scaled in (True, False)))
            print(f"seed {seed}: {pairs[-1]}", file=sys.stderr, flush=True)
    body = section(classes, pairs, options)
    if options.out:
        put_section(options.out, SCALED, body)
    print(body)


if __name__ == "__main__":
    main()
