#!/usr/bin/env python3
"""Writes a stand-in for the dog-breed data set, in its layout, below OUT:

    train/001.Affenpinscher/Affenpinscher_00001.jpg …      valid/…      test/…

Its 133 folders have the names of the real ones, but there is no dog in it: each class is a part of one of the photographs
that scikit-image ships (tests/data/photographs), in a colour of its own, cut a little differently for each picture.
The real set is `real_dataset.py`'s. The bytes depend on the options and on the pinned Pillow alone.
"""
import argparse
import colorsys
import random
import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
PHOTOGRAPHS = HERE.parents[1] / "tests" / "data" / "photographs"
SIZE = (160, 120)


def folders():
    """001.Affenpinscher … 133.Yorkshire_terrier"""
    return [f"{number:03}.{breed}" for number, breed in enumerate((HERE / "breeds.txt").read_text().split(), 1)]


def picture(photographs, label, chance):
    """One picture of a class: `chance` says which."""
    own = random.Random(label)  # what all pictures of the class share
    photograph = photographs[label % len(photographs)]
    side = min(photograph.size) // 2
    left, top = (own.randrange(extent - side) for extent in photograph.size)
    left, top = (max(0, start + chance.randint(-side // 20, side // 20)) for start in (left, top))
    cut = photograph.resize(SIZE, box=(left, top, min(left + side, photograph.width), min(top + side, photograph.height)))
    colour = colorsys.hsv_to_rgb(label * 0.618 % 1, 0.9, own.uniform(0.5, 1))
    tint = Image.new("RGB", SIZE, tuple(round(255 * part) for part in colour))
    return Image.blend(cut, tint, chance.uniform(0.4, 0.5))


def make(out, per_class):
    """`per_class`: how many pictures of each class there are in train, valid and test."""
    photographs = [Image.open(path).convert("RGB") for path in sorted(PHOTOGRAPHS.glob("*.jpg"))]
    for label, folder in enumerate(folders()):
        number = 0
        for channel, count in zip(("train", "valid", "test"), per_class):
            (out / channel / folder).mkdir(parents=True, exist_ok=True)
            for _ in range(count):
                number += 1
                name = f"{folder.split('.', 1)[1]}_{number:05}.jpg"
                picture(photographs, label, random.Random(f"{label} {number}")).save(out / channel / folder / name, quality=85)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--per-class", metavar="TRAIN,VALID,TEST", default="6,1,1", help="pictures (default: %(default)s)")
    options = parser.parse_args()
    per_class = [int(count) for count in options.per_class.split(",")]
    if len(per_class) != 3 or min(per_class) < 1:
        parser.error("--per-class must be three numbers of at least 1")
    make(options.out, per_class)
    print(f"make_dataset: {133 * sum(per_class)} pictures of 133 classes in {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
