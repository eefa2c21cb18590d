"""Writes tars of every format with Python's tarfile, and beside each where tarfile says that its images lie.

make_tars.py FOLDER: FOLDER/<name>.tar and FOLDER/<name>.txt with "<key>\t<offset>\t<size>\t<class>" a line.
"""
import io
import random
import sys
import tarfile
from pathlib import Path


def add(tar, name, content, **fields):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    tar.addfile(member, io.BytesIO(content))


def add_sample(tar, key, image, label, **fields):
    add(tar, key + ".jpg", image, **fields)
    add(tar, key + ".cls", b"%d" % label)


def write(path, tar_format, keys, rng, **fields):
    with tarfile.open(path, "w", format=tar_format) as tar:
        folder = tarfile.TarInfo("folder.of.images")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for i, key in enumerate(keys):
            size = [0, 1, 511, 512, 513, 1024][i] if i < 6 else rng.randrange(1, 60_000)
            add_sample(tar, key, rng.randbytes(size), i % 10, **fields)
            add(tar, key + ".json", b"{}")
        add(tar, "big.bin", bytes(9 << 20))  # longer than one ranged read: skipped, not fetched
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, keys[0] + ".jpg"
        tar.addfile(link)
        add_sample(tar, "last", b"picture", 3)


def describe(path):
    lines, labels = [], {}
    with tarfile.open(path) as tar:
        for member in tar:
            if member.name.endswith(".cls"):
                labels[member.name[:-4]] = tar.extractfile(member).read().decode()
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isreg() and member.name.endswith(".jpg"):
                key = member.name[:-4]
                lines.append(f"{key}\t{member.offset_data}\t{member.size}\t{labels[key]}\n")
    path.with_suffix(".txt").write_bytes("".join(lines).encode())


def main():
    folder = Path(sys.argv[1])
    rng = random.Random(4)
    short = [f"folder.of.images/{i:05}" for i in range(200)]
    split = [f"{'d' * 90}/{'k' * 60}{i:05}" for i in range(20)]  # ustar's prefix field
    long = [f"{'d' * 120}/{'k' * 150}{i:05}" for i in range(20)]
    names = [f"bilder/größe-{i}-犬" for i in range(20)]
    plans = {
        "ustar": (tarfile.USTAR_FORMAT, short + split, {}),
        "gnu": (tarfile.GNU_FORMAT, short + long + names, {}),
        "pax": (tarfile.PAX_FORMAT, short + long + names, {}),
        "pax-times": (tarfile.PAX_FORMAT, short, {"mtime": 1.5, "pax_headers": {"comment": "c" * 2000}}),
    }
    for name, (tar_format, keys, fields) in plans.items():
        path = folder / f"{name}.tar"
        write(path, tar_format, keys, rng, **fields)
        describe(path)


main()
