"""A model.tar.gz as a job leaves it (docs/formats.md), around any TorchScript: for what is about serving and not about training."""
import io
import json
import tarfile
from pathlib import Path

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def write_artifact(path, script, shape, classes, resize_size=0):
    """`script`: the TorchScript file's path; `shape`: [channels, size, size] of one input."""
    channels, size = shape[0], shape[1]
    files = {
        "musher.json": {"format_version": 1, "model": "net.pt", "weights": "model.pt", "input_shape": list(shape),
                        "classes": classes, "num_classes": classes, "head_widths": []},
        "classes.json": [f"class{number}" for number in range(classes)],
        "preprocessing.json": {"format": "image", "size": size, "resize_size": resize_size, "channels": channels,
                               "mean": MEAN[:channels], "std": STD[:channels], "jpeg_scaled_decode": True},
        "metrics.json": {},
    }
    members = {name: json.dumps(value).encode() for name, value in files.items()} | {"model.pt": Path(script).read_bytes()}
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
