"""What torchvision.transforms.v2 makes of photographs, for transforms_test.

usage: torchvision_cases.py PHOTOGRAPHS FOLDER

Reads FOLDER/cases.jsonl, a case a line with the parameters that Musher chose, and writes FOLDER/<name>.f32 with the result of
the same parameters: float32 tensors, row-major. "input" gives the pixels that an operation begins with. Also FOLDER/space.txt:
`operation magnitude value signed` for RandAugment at 96 x 64 pixels.
"""

import json
import sys
from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

torch.set_num_threads(1)
RAND_AUGMENT = v2.RandAugment()


def photograph(folder, case):
    image = Image.open(folder / case["photo"]).convert("RGB" if case["channels"] == 3 else "L")
    return F.to_dtype(F.pil_to_tensor(image), torch.float32, scale=True)


def part(folder, case):
    """Pixels for operations: full colours, also saturated ones, and a few that are quite black or white."""
    image = F.center_crop(photograph(folder, case), [120, 160]).contiguous()
    image[:, :4, :4] = 0
    image[:, :4, 4:8] = 1
    return image


def operation(folder, case):
    image, name, magnitude = part(folder, case), case["op"], case["magnitude"]
    if name.startswith("adjust_"):
        return getattr(F, name)(image, magnitude)
    return RAND_AUGMENT._apply_image_or_video_transform(
        image, name, magnitude, interpolation=RAND_AUGMENT.interpolation, fill=RAND_AUGMENT._fill)


def view(image, case):
    v = case["view"]
    size = [case["size"], case["size"]]
    if case["augmentation"] == "random_resized_crop":
        image = F.resized_crop(image, v["top"], v["left"], v["height"], v["width"], size, antialias=True)
    elif case["resize_size"] == 0:
        image = F.resize(image, size, antialias=True)
    else:
        image = v2.CenterCrop(case["size"])(v2.Resize(case["resize_size"], antialias=True)(image))
    if case["augmentation"] == "crop_flip":
        border = case["size"]
        image = F.pad(image, [border] * 4)
        image = F.crop(image, border + v["shift_y"], border + v["shift_x"], *size)
    return F.horizontal_flip(image) if v["mirrored"] else image


def decoded(folder, case):
    image = view(photograph(folder, case), case)
    adjust = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
    for kind in case["jitter_order"]:
        if case["jitter"][kind] is not None:
            image = adjust[kind](image, case["jitter"][kind])
    for name, magnitude in case["ops"]:
        image = RAND_AUGMENT._apply_image_or_video_transform(
            image, name, magnitude, interpolation=RAND_AUGMENT.interpolation, fill=RAND_AUGMENT._fill)
    image = F.normalize(image, case["mean"], case["std"])
    if case["erased"]:
        left, top, right, bottom = case["erased"]
        image = F.erase(image, top, left, bottom - top, right - left, torch.zeros(case["channels"], 1, 1))
    return image


def mixed(folder, case):
    """Samples and then soft labels, of a batch whose sample i is a photograph times (i + 1) / n, with label i."""
    count = case["samples"]
    photo = F.resize(photograph(folder, case), [24, 32], antialias=True)
    inputs = torch.stack([photo * ((i + 1) / count) for i in range(count)])
    if case["kind"] == "input":
        return inputs
    labels = torch.arange(count)
    mixer = (v2.CutMix if case["box"] else v2.MixUp)(num_classes=count)
    params = {"labels": labels, "batch_size": count, "lam": case["share"], "box": case["box"], "lam_adjusted": case["share"]}
    return torch.cat([mixer.transform(inputs, params).flatten(), mixer.transform(labels, params).flatten()])


def space():
    lines = []
    for name, (values, signed) in RAND_AUGMENT._AUGMENTATION_SPACE.items():
        magnitudes = values(RAND_AUGMENT.num_magnitude_bins, 64, 96)
        for i in range(RAND_AUGMENT.num_magnitude_bins):
            lines.append(f"{name} {i} {0.0 if magnitudes is None else float(magnitudes[i])} {int(signed)}")
    return "\n".join(lines) + "\n"


def main(photographs, folder):
    make = {"input": part, "operation": operation, "decoded": decoded, "mixed": mixed}
    for line in (folder / "cases.jsonl").read_text().splitlines():
        case = json.loads(line)
        make[case["case"]](photographs, case).contiguous().numpy().tofile(folder / f"{case['name']}.f32")
    (folder / "space.txt").write_text(space())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
