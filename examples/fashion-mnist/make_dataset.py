#!/usr/bin/env python3
"""Writes Fashion-MNIST (Debian's dataset-fashion-mnist) as WebDataset tars that Musher trains on.

Below OUT, by default the folder data/ beside this script:

    train/classes.txt            the ten class names, one a line
    train/train-000000.tar …     60 tars of 1000 samples: 00000.png (28x28 grey) and 00000.cls (the class, a number)
    validation/…                 the same for the 10,000 test images

The bytes depend on the data and on the pinned Pillow alone. Up to date: nothing is done. An interrupted run leaves no
half-written tar, and the next one starts over.
"""
import argparse
import ctypes
import gzip
import hashlib
import io
import multiprocessing
import os
import signal
import struct
import sys
import tarfile
from pathlib import Path

import PIL
from PIL import Image

SOURCE = Path("/usr/share/datasets/fashion-mnist")
CLASSES = [
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot",
]
CHANNELS = {"train": "train", "validation": "t10k"}
SAMPLES_PER_TAR = 1000


def read_idx(path, dimensions):
    """The bytes of an idx file of unsigned bytes, and its shape."""
    with gzip.open(path, "rb") as file:
        data = file.read()
    magic, *shape = struct.unpack_from(f">{1 + dimensions}I", data)
    body = memoryview(data)[4 * (1 + dimensions):]
    size = 1
    for extent in shape:
        size *= extent
    if magic != 0x0800 + dimensions or len(body) != size:
        raise SystemExit(f"{path}: not an idx file of {dimensions} dimensions, or cut off")
    return body, shape


def add(tar, name, content):
    member = tarfile.TarInfo(name)  # time 0, owner 0, mode 0644: nothing of this machine
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def write_tar(path, first, pixels, labels, shape):
    count, height, width = len(labels), *shape
    partial = path.with_name(path.name + ".partial")
    with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
        for i in range(count):
            image = Image.frombytes("L", (width, height), pixels[i * height * width:(i + 1) * height * width])
            png = io.BytesIO()
            image.save(png, format="PNG")
            add(tar, f"{first + i:05}.png", png.getvalue())
            add(tar, f"{first + i:05}.cls", str(labels[i]).encode())
    partial.rename(path)


def tasks(out):
    for channel, stem in CHANNELS.items():
        pixels, (count, *shape) = read_idx(SOURCE / f"{stem}-images-idx3-ubyte.gz", 3)
        labels, _ = read_idx(SOURCE / f"{stem}-labels-idx1-ubyte.gz", 1)
        if len(labels) != count:
            raise SystemExit(f"{SOURCE}: {count} images of {stem} but {len(labels)} labels")
        size = shape[0] * shape[1]
        for number, first in enumerate(range(0, count, SAMPLES_PER_TAR)):
            last = min(first + SAMPLES_PER_TAR, count)
            yield (out / channel / f"{channel}-{number:06}.tar", first, bytes(pixels[first * size:last * size]),
                   bytes(labels[first:last]), shape)


def end_with_parent():
    """In a pool's process: Ctrl-C is the parent's matter, and when that is gone, so is this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def version():
    """Changes with whatever the tars depend on."""
    digest = hashlib.sha256(Path(__file__).read_bytes() + PIL.__version__.encode())
    for path in sorted(SOURCE.glob("*.gz")):
        digest.update(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "data")
    out = parser.parse_args().out
    if not SOURCE.is_dir():
        raise SystemExit(f"{SOURCE} is missing: run launch/setup, which installs the package dataset-fashion-mnist")

    complete = out / "complete"
    if complete.is_file() and complete.read_text() == version():
        return
    complete.unlink(missing_ok=True)
    for channel in CHANNELS:
        folder = out / channel
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.tar*"):
            old.unlink()
        (folder / "classes.txt").write_text("".join(name + "\n" for name in CLASSES))
    processes = len(os.sched_getaffinity(0))
    with multiprocessing.Pool(processes, end_with_parent) as pool:
        pool.starmap(write_tar, tasks(out), chunksize=1)
    complete.write_text(version())
    print(f"make_dataset: 60,000 training and 10,000 validation images in {out}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
