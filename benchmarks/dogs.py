#!/usr/bin/env python3
"""An epoch of the dog recipe (frozen ResNet-50 at 224×224, head 2048→128→133, Adam) in Musher and in the PyTorch script.

    .venv/bin/python benchmarks/dogs.py [--images 2] [--rounds 3] [--ranks 2] [--photographs DIR] [--out BENCHMARKS.md]

133 classes of real photographs stand in for the dogs, and random weights for the pretrained ones: what an epoch takes depends on
neither. Epochs are timed from inside, without start-up. With --out the result is put on that page.
"""
import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import photographs
from report import DOGS, machine_line, put_section, row, spread
from sides import one_thread

ROOT = Path(__file__).resolve().parents[1]
CLASSES, BATCH, EPOCHS = 133, 32, 2
CASES = {"crop": "with random crops and flips, so that every epoch is new", "none": "without augmentation, the second epoch"}
TARGET = 2


def make_images(paths, folder, count):
    """`count` pictures of 500×375 a class: parts of the photographs."""
    chance = random.Random(1)
    large = [image for image in (photographs.open_large(path, 2048, 1536) for path in paths) if image]
    large = [image.resize((2048, 2048 * image.height // image.width)) for image in large]
    for label in range(CLASSES):
        place = folder / f"{label:03}"
        place.mkdir(parents=True)
        for number in range(count):
            image = large[(label * count + number) % len(large)]
            left, top = chance.randrange(image.width - 1000), chance.randrange(image.height - 750)
            image.crop((left, top, left + 1000, top + 750)).resize((500, 375)).save(place / f"{number}.jpg", quality=90)


def make_job(folder, augmentation, options):
    job = {
        "TrainingJobName": f"dogs-{augmentation}",
        "AlgorithmSpecification": {"AlgorithmName": "image-classification", "TrainingInputMode": "FastFile"},
        "InputDataConfig": [{"ChannelName": "train", "DataSource": {
            "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"file://{folder}/images"}}}],
        "OutputDataConfig": {"S3OutputPath": f"file://{folder}/jobs"},
        "ResourceConfig": {"InstanceCount": options.ranks},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "HyperParameters": {
            "model": "resnet50", "head_widths": "128", "freeze_backbone": "true", "image_size": "224",
            "initial_weights": f"file://{folder}/resnet50.pt", "initial_weights_match": "by_name",
            "optimizer": "adam", "learning_rate": "0.001", "lr_schedule": "constant",
            "epochs": str(EPOCHS), "batch_size": str(BATCH),
            "augmentation": "random_resized_crop" if augmentation == "crop" else "none",
            # What PyTorch's script has no word for: a frozen backbone's features are the same in every epoch.
            **({"feature_cache_bytes": str(1 << 30)} if augmentation == "none" else {})},
    }
    path = Path(folder) / f"{augmentation}.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def run(command, environment=None):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"dogs: {command[0]} ended with exit code {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def last_epoch(side, folder, augmentation, samples, options):
    """Seconds of the last epoch."""
    if side == "musher":
        description = json.loads(run([options.build / "bin/musher", "train", make_job(folder, augmentation, options), "--json"],
                                     one_thread()))
        metrics = {point["MetricName"]: point["Value"] for point in description["FinalMetricDataList"]}
        return samples / metrics["train:samples_per_second"]
    return json.loads(run([sys.executable, ROOT / "benchmarks/dogs_peer.py", Path(folder) / "resnet50.pt", Path(folder) / "images",
                           EPOCHS, BATCH, options.ranks, augmentation]))["seconds"][-1]


def measure(options):
    """{case: a {side: seconds} a round}, and the number of images"""
    import torch
    import torchvision
    paths, kept = photographs.find(options.photographs)
    rounds = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory(prefix="musher-dogs-") as folder:
        make_images(paths, Path(folder) / "images", options.images)
        del kept
        torch.manual_seed(1)
        torch.save(torchvision.models.resnet50().state_dict(), Path(folder) / "resnet50.pt")
        samples = CLASSES * options.images
        for number in range(options.rounds):
            order = ["musher", "peer"] if number % 2 == 0 else ["peer", "musher"]
            for case in CASES:
                rounds[case].append({side: last_epoch(side, folder, case, samples, options) for side in order})
                print(f"round {number + 1} of {options.rounds}, {case}: {rounds[case][-1]}", file=sys.stderr, flush=True)
    return rounds, samples


def section(rounds, samples, options):
    lines = [f"Frozen ResNet-50 at 224×224, head 2048→128→{CLASSES}, Adam, batch {BATCH}, {samples:,} JPEG files of 500×375 in {CLASSES} "
             "classes (`benchmarks/dogs.py`):", f"Musher with {options.ranks} ranks of one thread, beside the script that the project "
             f"began from, in PyTorch with {options.ranks} threads (`benchmarks/dogs_peer.py`).",
             f"Seconds of the second of {EPOCHS} epochs, decoding included. Asked for is {TARGET} times.", "",
             "| | Musher | PyTorch | times better |", "|---|---|---|---|"]
    lines += [row(CASES[case], rounds[case], lambda seconds: seconds, False) for case in CASES]
    medians = [spread(one["peer"] / one["musher"] for one in rounds[case]).split()[0] for case in CASES]
    reached = [f"{CASES[case]}: {'reached' if float(median) >= TARGET else 'NOT reached'}" for case, median in zip(CASES, medians)]
    return "\n".join([*lines, "", f"{TARGET} times, {'; '.join(reached)}. Without augmentation Musher keeps the features of the frozen "
                      "backbone after the first", f"epoch (`feature_cache_bytes`). {machine_line()}"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--photographs", help="a folder of large JPEG files, instead of the package's")
    parser.add_argument("--images", type=int, default=2, help="of each class")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a page whose section is replaced")
    options = parser.parse_args()
    if min(options.images, options.rounds, options.ranks) < 1:
        parser.error("--images, --rounds and --ranks are at least 1")
    body = section(*measure(options), options)
    if options.out:
        put_section(options.out, DOGS, body)
    print(body)


if __name__ == "__main__":
    main()
