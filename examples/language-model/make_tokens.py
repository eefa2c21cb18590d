#!/usr/bin/env python3
"""Writes text as token shards that Musher trains a language model on: a token is a byte, so there are 256 of them.

    make_tokens.py [FILE …]      by default the C++ sources of this repository

Beside this script come data/train/tokens.bin and data/validation/tokens.bin, the last tenth: unsigned 16-bit numbers, little-endian. With a
tokenizer of your own, write its ids the same way, or by numpy.save() as whole numbers.
"""
import sys
from array import array
from pathlib import Path

HERE = Path(__file__).resolve().parent


def write(path, text):
    tokens = array("H", list(text))
    if sys.byteorder == "big":
        tokens.byteswap()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(tokens.tobytes())
    partial.replace(path)
    print(f"{path}: {len(tokens)} tokens")


def main():
    rooms = ("common", "storage", "dataset", "job", "model", "trainer", "coordinator")
    files = [Path(name) for name in sys.argv[1:]] or sorted(
        path for room in rooms for path in (HERE.parents[1] / room).rglob("*.cpp"))
    text = b"\n".join(path.read_bytes() for path in files)
    held_out = len(text) // 10
    write(HERE / "data" / "train" / "tokens.bin", text[:-held_out])
    write(HERE / "data" / "validation" / "tokens.bin", text[-held_out:])


if __name__ == "__main__":
    main()
