#!/usr/bin/env python3
"""Writes weights for ResNet-50's backbone that were never trained, for machines that can't reach the real ones.

Random by seed, with batch-norm statistics of pictures below DATA, without which a deep network of random weights gives
nothing to learn from. Real weights, trained on ImageNet, are a download of torchvision's and are taken as they are:

    https://download.pytorch.org/models/resnet50-0676ba61.pth       (torchvision's IMAGENET1K_V1, `pretrained=True` of old)
"""
import argparse
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import resnet50
from torchvision.transforms.v2.functional import normalize, pil_to_tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # Musher's normalize_mean and normalize_std


def batch(paths, size):
    images = [pil_to_tensor(Image.open(path).convert("RGB").resize((size, size))) for path in paths]
    return normalize(torch.stack(images).float() / 255, MEAN, STD)


def make(data, out, size, pictures=32):
    paths = sorted(data.rglob("*.jpg"))
    paths = paths[::max(1, len(paths) // pictures)][:pictures]
    torch.manual_seed(1)
    model = resnet50()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the statistics of just these pictures
    model.train()
    with torch.no_grad():
        model(batch(paths, size))
    save_file({name: tensor for name, tensor in model.state_dict().items() if not name.startswith("fc.")}, out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", type=Path, help="a folder of pictures")
    parser.add_argument("out", metavar="OUT", type=Path, help="the file to write, safetensors")
    parser.add_argument("--image-size", type=int, default=64, help="default: %(default)s")
    options = parser.parse_args()
    make(options.data, options.out, options.image_size)


if __name__ == "__main__":
    main()
