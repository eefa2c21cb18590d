"""The peers of decode_benchmark: torchvision's own ways from a JPEG's bytes in memory to normalised floats, on one thread.

decode_peer.py FOLDER SIZE train|evaluate pil|draft|decode_jpeg SECONDS

`draft` is Pillow told to reduce while it decodes, by hand; torchvision's datasets do not.
"""
import io
import json
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2


def transform_of(size, kind):
    cut = ([v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip()] if kind == "train" else
           [v2.Resize(size * 256 // 224, antialias=True), v2.CenterCrop(size)])
    return v2.Compose([*cut, v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
                       v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])


def decoder_of(way, size):
    if way == "decode_jpeg":
        return lambda data: decode_jpeg(torch.frombuffer(data, dtype=torch.uint8), ImageReadMode.RGB)

    def pillow(data):
        image = Image.open(io.BytesIO(data))
        if way == "draft":
            image.draft("RGB", (size, size))
        return image.convert("RGB")
    return pillow


def main():
    folder, size, kind, way, seconds = sys.argv[1:]
    torch.set_num_threads(1)
    torch.manual_seed(1)
    files = [bytearray(path.read_bytes()) for path in sorted(Path(folder).iterdir())]
    decode, transform = decoder_of(way, int(size)), transform_of(int(size), kind)
    for data in files:
        transform(decode(data))
    decoded, begin = 0, time.process_time()
    while time.process_time() - begin < float(seconds):
        for data in files:
            transform(decode(data))
        decoded += len(files)
    print(json.dumps({"images_per_second": decoded / (time.process_time() - begin)}))


if __name__ == "__main__":
    main()
