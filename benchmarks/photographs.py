"""Real photographs for benchmarks: those of Debian's package lomiri-wallpapers-16.04 (Creative Commons), cut to a size."""
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageOps

PACKAGE = "lomiri-wallpapers-16.04"
QUALITY = 90  # with Pillow's usual chroma subsampling, 4:2:0


def find(given=None):
    """Paths of large JPEG files: those of a folder, of the package where it is installed, or else of its .deb, which is
    downloaded, unpacked into a temporary folder (the second value, to be kept as long as the paths) and not installed."""
    folder, temporary = Path(given or "/usr/share/backgrounds"), None
    paths = sorted(folder.glob("*_by_*.jpg") if given is None else folder.glob("*.jpg"))
    if not paths and given is None:
        temporary = tempfile.TemporaryDirectory(prefix="musher-photographs-")
        for command in (["apt-get", "download", "-qq", PACKAGE], ["sh", "-c", "dpkg-deb -x *.deb ."]):
            subprocess.run(command, cwd=temporary.name, check=True, stderr=subprocess.DEVNULL)
        paths = sorted(Path(temporary.name).glob("usr/share/backgrounds/*_by_*.jpg"))
    if not paths:
        raise SystemExit(f"no photographs in {folder}: install {PACKAGE}, or name a folder of large JPEG files")
    return paths, temporary


def open_large(path, width, height):
    """The picture as RGB, turned to landscape; None where it is smaller."""
    image = Image.open(path)
    if min(image.size) < height or max(image.size) < width:
        return None
    image = image.convert("RGB")
    return image.rotate(90, expand=True) if image.height > image.width else image


def cut_all(paths, folder, width, height):
    """Each as a JPEG of that size in `folder`: the largest part of its shape, reduced."""
    folder.mkdir(parents=True)
    for number, path in enumerate(paths):
        image = open_large(path, width, height)
        if image is not None:
            ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS).save(folder / f"{number:02}.jpg", quality=QUALITY)
    return folder
