#!/usr/bin/env python3
"""Pictures a second on one core, from a JPEG's bytes to normalised floats: Musher beside torchvision, on real photographs.

    .venv/bin/python benchmarks/decode.py [--rounds 5] [--seconds 3] [--photographs DIR] [--out BENCHMARKS.md]

Runs bin/decode_benchmark of a build with -DMUSHER_BENCHMARKS=ON, and benchmarks/decode_peer.py, in turns. Rates are of processor
time, so that other work on the machine hardly counts. With --out the result is put on that page.
"""
import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import photographs
from report import DECODE, machine_line, number, put_section, spread
from sides import one_thread

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"500×375": (500, 375), "2048×1536": (2048, 1536)}
# What the design asks for: at least so many times the peer.
TARGETS = {("500×375", "pil"): 2.5, ("500×375", "decode_jpeg"): 1.4, ("2048×1536", "pil"): 5, ("2048×1536", "decode_jpeg"): 1.7}
SIDES = {"scaled": "Musher", "full": "Musher, `jpeg_scaled_decode: false`", "decode_jpeg": "torchvision, `decode_jpeg` and v2",
         "pil": "torchvision, Pillow and v2", "draft": "the same, `Image.draft` by hand"}
KINDS = {"train": "`RandomResizedCrop` and flip, to 224×224", "evaluate": "`Resize(256)` and `CenterCrop(224)`"}


def rate(side, folder, size, kind, options):
    program = ([options.build / "bin/decode_benchmark"] if side in ("scaled", "full") else
               [sys.executable, ROOT / "benchmarks/decode_peer.py"])
    done = subprocess.run([*program, folder, str(size), kind, side, str(options.seconds)], check=True, capture_output=True,
                          text=True, env=one_thread())
    return json.loads(done.stdout)["images_per_second"]


def measure(folders, options):
    """{(size, kind): a {side: rate} for each round}"""
    rounds = {}
    for number_of_round in range(options.rounds):
        order = list(SIDES) if number_of_round % 2 == 0 else list(reversed(SIDES))
        for name, folder in folders.items():
            for kind in KINDS:
                rounds.setdefault((name, kind), []).append({side: rate(side, folder, 224, kind, options) for side in order})
        print(f"round {number_of_round + 1} of {options.rounds}", file=sys.stderr, flush=True)
    return rounds


def table(name, kind, rounds):
    lines = [f"### {name}, {KINDS[kind]}", "", "| | images/s | Musher is times faster | asked for |", "|---|---|---|---|"]
    for side, heading in SIDES.items():
        ratios = [one["scaled"] / one[side] for one in rounds]
        target = TARGETS.get((name, side))
        reached = "" if target is None else f"{target}, {'reached' if statistics.median(ratios) >= target else 'NOT reached'}"
        lines.append(f"| {heading} | {spread(one[side] for one in rounds)} | {'' if side == 'scaled' else spread(ratios)} | {reached} |")
    return [*lines, ""]


def small_images(folder, options):
    """Whether decoding can keep up with ResNet-18 on 64×64, by the page's own figure for training."""
    rates = [rate("scaled", folder, 64, "train", options) for _ in range(options.rounds)]
    said = f"To 64×64 for training, from 500×375: {spread(rates)} images/s on one core."
    page = (options.out or ROOT / "BENCHMARKS.md").read_text(encoding="utf-8")
    found = re.search(r"### resnet18, 64×64, (\d+) a rank\n.*?\| processor time a rank and step, ms \| ([\d.]+)", page, re.DOTALL)
    if found:
        trained = 1000 * int(found[1]) / float(found[2])
        said += (f"\nResNet-18 trains {number(trained)} of them in a second of a core (above), so that decoding takes "
                 f"{100 / (1 + statistics.median(rates) / trained):.0f} % of what both take.")
    return said


def section(folders, counts, options):
    lines = ["JPEG bytes in memory to 3×224×224 floats, normalised; one thread, images a second of its processor time",
             "(`benchmarks/decode.py`). The photographs are those of Debian's "
             f"`{photographs.PACKAGE}`, {counts}, cut to", f"the size and saved at quality {photographs.QUALITY}. Musher's first row "
             "is the default, which reduces large pictures while it decodes them; what is", "asked for is asked of that row. "
             f"{options.rounds} round{'s' if options.rounds > 1 else ''}.", ""]
    for (name, kind), rounds in measure(folders, options).items():
        lines += table(name, kind, rounds)
    return "\n".join([*lines, small_images(folders["500×375"], options), "", machine_line()])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--photographs", help="a folder of large JPEG files, instead of the package's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of processor time, of each side, size and kind in each round")
    parser.add_argument("--out", type=Path, help="a page whose section is replaced")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds is at least 1, --seconds above 0")
    paths, kept = photographs.find(options.photographs)
    with tempfile.TemporaryDirectory(prefix="musher-decode-") as folder:
        folders = {name: photographs.cut_all(paths, Path(folder) / name, *size) for name, size in SIZES.items()}
        counts = " and ".join(f"{len(list(place.iterdir()))} at {name}" for name, place in folders.items())
        body = section(folders, counts, options)
    del kept
    if options.out:
        put_section(options.out, DECODE, body)
    print(body)


if __name__ == "__main__":
    main()
