#!/usr/bin/env python3
"""Fetches the real dog-breed data set, 8351 pictures of 133 breeds (1.1 GB), and unpacks it below OUT:

    train/001.Affenpinscher/Affenpinscher_00001.jpg …      valid/…      test/…

as run.py --data takes it. A zip that was fetched before is taken by --zip.
"""
import argparse
import shutil
import sys
import urllib.request
import zipfile
from pathlib import Path

URL = "https://s3-us-west-1.amazonaws.com/udacity-aind/dog-project/dogImages.zip"
COUNTS = {"train": 6680, "valid": 835, "test": 836}


def unpack(archive, out):
    """Only what is dogImages/<channel>/<class>/<file>, wherever a zip would like to write else."""
    with zipfile.ZipFile(archive) as members:
        for member in members.infolist():
            parts = member.filename.split("/")
            if len(parts) != 4 or parts[0] != "dogImages" or parts[1] not in COUNTS or not parts[3]:
                continue
            if any(part in ("", ".", "..") or "\\" in part for part in parts):
                continue
            target = out.joinpath(*parts[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            with members.open(member) as source, open(target, "wb") as copy:
                shutil.copyfileobj(source, copy)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--zip", type=Path, help="dogImages.zip (default: it is fetched)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    archive = options.zip
    if archive is None:
        archive = options.out / "dogImages.zip"
        partial = archive.with_suffix(".partial")
        with urllib.request.urlopen(URL, timeout=60) as source, open(partial, "wb") as copy:
            shutil.copyfileobj(source, copy)
        partial.rename(archive)
    unpack(archive, options.out)
    for channel, expected in COUNTS.items():
        found = sum(1 for _ in (options.out / channel).glob("*/*.jpg"))
        if found != expected:
            print(f"real_dataset: {channel} has {found} pictures, not {expected}", file=sys.stderr)


if __name__ == "__main__":
    main()
