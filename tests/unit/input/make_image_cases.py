"""Pictures for image_decoder_test, and what PIL makes of them.

usage: make_image_cases.py FOLDER

Writes into FOLDER/
  cases.txt    a line per picture: file, size, channels, tolerance; <file>.<size>.<channels>.f32 holds the expected pixels
  broken/      files that can't be decoded
and, for each line `name file size left top width height resized_width resized_height window_left window_top shift_x shift_y
mirrored` of FOLDER/views.txt, <name>.f32: that view of the file. Pixels are float32 in [0, 255], [channels, size, size].
"""

import functools
import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

EXACT = 0.4  # PIL rounds to whole numbers twice
JPEG = 0.5  # and its colour conversion once more
WEBP = 0.5
REDUCED = 0.9  # power-of-two decoding filters a little differently than the triangle


@functools.cache
def photo(width, height, seed=0):
    """Smooth shades, hard edges and some noise: what a photograph has."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    planes = [
        127 + 90 * np.sin(9 * x + 3 * y + c) + 30 * np.cos(23 * y * (c + 1)) + 50 * ((x * 5).astype(int) % 2) * (c - 1)
        for c in range(3)
    ]
    image = np.stack(planes, axis=-1) + rng.normal(0, 6, (height, width, 3))
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def evaluation(image, size):
    if size < 64:
        return image if image.size == (size, size) else image.resize((size, size), Image.BILINEAR)
    shorter = round(size * 256 / 224)
    width, height = image.size
    if width <= height:
        image = image.resize((shorter, int(shorter * height / width)), Image.BILINEAR)
    else:
        image = image.resize((int(shorter * width / height), shorter), Image.BILINEAR)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def view(image, size, left, top, width, height, resized_width, resized_height, x, y, shift_x, shift_y, mirrored):
    image = image.crop((left, top, left + width, top + height))
    image = image.resize((resized_width, resized_height), Image.BILINEAR).crop((x, y, x + size, y + size))
    image = image.crop((shift_x, shift_y, shift_x + size, shift_y + size))  # PIL fills with black
    return image.transpose(Image.FLIP_LEFT_RIGHT) if mirrored else image


def planes(image):
    pixels = np.asarray(image, dtype=np.float32)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, interlaced=False):
    """What PIL can't write. `rows`: the filtered data, before compression."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def rows_of(pixels):
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def interlaced(pixels):
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    return b"".join(rows_of(pixels[y::dy, x::dx]) for y, x, dy, dx in passes if pixels[y::dy, x::dx].size)


KINDS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}


def exif(tag, prefix=b"", endian="<"):
    """A TIFF directory with some other tag first, then the orientation."""
    header = (b"II" if endian == "<" else b"MM") + struct.pack(endian + "HI", 42, 8)
    make = struct.pack(endian + "HHII", 0x010F, 2, 4, int.from_bytes(b"abc\0", "little"))
    orientation = struct.pack(endian + "HHIHH", 0x0112, 3, 1, tag, 0)
    return prefix + header + struct.pack(endian + "H", 2) + make + orientation + struct.pack(endian + "I", 0)


def ycck(picture):
    """Of what PIL writes as CMYK, the Adobe marker's last byte makes YCCK: luma, chroma and black."""
    y, cb, cr = picture.convert("YCbCr").split()
    black = Image.fromarray(np.asarray(picture)[:, :, 1] // 3)
    # PIL stores CMYK inverted.
    stored = Image.merge("CMYK", [plane.point(lambda v: 255 - v) for plane in (y, cb, cr, black)])
    data = encoded(stored, "JPEG", quality=95)
    marker = data.index(b"\xff\xee\x00\x0eAdobe")
    return data[:marker + 15] + b"\x02" + data[marker + 16:]


class Cases:
    def __init__(self, folder):
        self.folder = folder
        self.lines = []

    def add(self, name, data, tolerance, sizes, reference=None):
        (self.folder / name).write_bytes(data)
        image = reference or ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        for size in sizes:
            for channels, mode in ((1, "L"), (3, "RGB")):
                expected = planes(evaluation(image.convert(mode), size))
                expected.tofile(self.folder / f"{name}.{size}.{channels}.f32")
                self.lines.append(f"{name} {size} {channels} {tolerance}")

    def encode(self, name, image, tolerance, sizes, **options):
        data = io.BytesIO()
        image.save(data, KINDS[Path(name).suffix], **options)
        self.add(name, data.getvalue(), tolerance, sizes)
        return data.getvalue()


def good(folder):
    cases = Cases(folder)
    picture = photo(333, 250)
    for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
        cases.encode(f"{name}.jpg", picture, JPEG, [224], quality=92, subsampling=subsampling)
    cases.encode("tall.jpg", photo(180, 400), JPEG, [128], quality=90)
    cases.encode("progressive.jpg", picture, JPEG, [224], quality=90, progressive=True)
    cases.encode("grey.jpg", picture.convert("L"), JPEG, [224], quality=90)
    cases.encode("cmyk.jpg", picture.convert("CMYK"), JPEG, [224], quality=92)
    cases.add("ycck.jpg", ycck(picture), JPEG, [64, 224])
    cases.encode("tiny.jpg", photo(28, 28), JPEG, [28, 32], quality=95)
    cases.encode("half.jpg", photo(640, 480), REDUCED, [160], quality=92)
    cases.encode("eighth.jpg", photo(1100, 900), REDUCED, [64, 128, 224], quality=92)
    cases.encode("reduced_progressive.jpg", photo(1000, 700), REDUCED, [128], quality=92, progressive=True)

    alpha = picture.copy()
    alpha.putalpha(Image.fromarray(np.arange(333 * 250, dtype=np.uint32).astype(np.uint8).reshape(250, 333)))
    cases.encode("rgb.png", picture, EXACT, [64, 224])
    cases.encode("grey.png", picture.convert("L"), EXACT, [48, 224])
    cases.encode("tiny.png", photo(28, 28).convert("L"), EXACT, [28, 20])
    cases.encode("one_bit.png", picture.convert("1"), EXACT, [64])
    cases.add("alpha.png", encoded(alpha), EXACT, [64], reference=picture)
    cases.encode("grey_alpha.png", alpha.convert("LA"), EXACT, [64])
    for bits in (1, 2, 4, 8):
        palette = picture.quantize(1 << bits, Image.Quantize.FASTOCTREE)
        cases.add(f"palette{bits}.png", encoded(palette, bits=bits), EXACT, [64], reference=palette.convert("RGB"))
    cases.add("palette_alpha.png", encoded(palette, transparency=3), EXACT, [64], reference=palette.convert("RGB"))

    pixels = np.asarray(picture)
    deep = pixels.astype(">u2") * 257
    cases.add("rgb16.png", png(333, 250, 16, 2, rows_of(deep)), EXACT, [64], reference=picture)
    cases.add("grey16.png", png(333, 250, 16, 0, rows_of(deep[:, :, 0])), EXACT, [64],
              reference=Image.fromarray(pixels[:, :, 0]))
    cases.add("interlaced.png", png(333, 250, 8, 2, interlaced(pixels), interlaced=True), EXACT, [64])
    webp(cases, picture, alpha)
    turned(cases)
    (folder / "cases.txt").write_text("\n".join(cases.lines) + "\n")


def webp(cases, picture, alpha):
    cases.encode("lossy.webp", picture, WEBP, [64, 224], quality=90)
    cases.encode("lossless.webp", picture, EXACT, [64, 224], lossless=True)
    cases.encode("grey.webp", picture.convert("L"), WEBP, [224], quality=90)
    cases.encode("tiny.webp", photo(28, 28), EXACT, [28], lossless=True)
    cases.add("alpha.webp", encoded(alpha, "WEBP", lossless=True, exact=True), EXACT, [64], reference=picture)
    cases.encode("animated.webp", picture, EXACT, [64], lossless=True, save_all=True, append_images=[photo(333, 250, 1)])


def turned(cases):
    """A picture of another height than width, in each of EXIF's orientations."""
    for tag in range(1, 9):
        cases.encode(f"turned{tag}.jpg", photo(333, 250), JPEG, [32, 224], quality=92, exif=exif(tag, b"Exif\0\0"))
        cases.encode(f"turned{tag}.png", photo(91, 160), EXACT, [32, 64], exif=exif(tag, endian=">"))
        cases.encode(f"turned{tag}.webp", photo(160, 91), EXACT, [64], lossless=True, exif=exif(tag))
    # Neither width nor height a multiple of what it is reduced by.
    for tag in (3, 6, 8):
        cases.encode(f"turned_half{tag}.jpg", photo(901, 663), REDUCED, [128], quality=92, exif=exif(tag, b"Exif\0\0"))
    cases.encode("turned_nonsense.jpg", photo(91, 160), JPEG, [64], quality=92, exif=exif(77, b"Exif\0\0"))
    cases.encode("turned_cut_off.jpg", photo(91, 160), JPEG, [64], quality=92, exif=exif(6, b"Exif\0\0")[:20])


def encoded(image, kind="PNG", **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def broken(folder):
    folder.mkdir()

    def put(name, data):
        (folder / name).write_bytes(data)

    for name, options in (("baseline", {}), ("progressive", {"progressive": True}), ("cmyk", {})):
        picture = photo(333, 250).convert("CMYK" if name == "cmyk" else "RGB")
        jpeg = encoded(picture, "JPEG", quality=90, **options)
        for left_out in (1, 2, 20, len(jpeg) // 2, len(jpeg) - 150, len(jpeg) - 3):
            put(f"{name}_without_last_{left_out}.jpg", jpeg[:-left_out])
        if name != "progressive":
            middle = len(jpeg) // 2
            put(f"{name}_hole.jpg", jpeg[:middle] + bytes(range(256)) + jpeg[middle + 256:])
    large = encoded(photo(1100, 900), "JPEG", quality=90)
    put("large_without_last_2.jpg", large[:-2])
    put("large_without_last_fifth.jpg", large[:-len(large) // 5])
    frame = jpeg.index(b"\xff\xc0")
    put("claims_65500.jpg", jpeg[:frame + 5] + struct.pack(">HH", 65500, 65500) + jpeg[frame + 9:])

    plain = encoded(photo(333, 250))
    for left_out in (1, 12, 20, len(plain) // 2, len(plain) - 40, len(plain) - 8):
        put(f"without_last_{left_out}.png", plain[:-left_out])
    middle = len(plain) // 2
    put("flipped.png", plain[:middle] + bytes([plain[middle] ^ 255]) + plain[middle + 1:])
    put("claims_60000.png", png(60000, 60000, 8, 2, b"\0" * 1000))
    put("short_data.png", png(100, 100, 8, 2, b"\0" * 1000))
    put("zero_width.png", png(0, 10, 8, 2, b""))

    put("empty.jpg", b"")
    put("two_bytes.jpg", b"\xff\xd8")
    put("text.jpg", b"<html>not found</html>")
    put("noise.png", np.random.default_rng(1).bytes(5000))

    for name, options in (("lossy", {"quality": 80}), ("lossless", {"lossless": True})):
        whole = encoded(photo(333, 250), "WEBP", **options)
        for left_out in (1, 2, 20, len(whole) // 2, len(whole) - 150, len(whole) - 13):
            put(f"{name}_without_last_{left_out}.webp", whole[:-left_out])
    put("lossless_zeros.webp", whole[:40] + bytes(len(whole) - 40))
    animated = encoded(photo(64, 64), "WEBP", save_all=True, append_images=[photo(64, 64, 1)])
    put("animated_without_last_100.webp", animated[:-100])
    put("no_frame.webp", b"RIFF\x0c\0\0\0WEBPEXIF\0\0\0\0")


def views(folder):
    for line in (folder / "views.txt").read_text().splitlines():
        name, file, *numbers = line.split()
        planes(view(ImageOps.exif_transpose(Image.open(folder / file)).convert("RGB"), *map(int, numbers))).tofile(folder / f"{name}.f32")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    good(target)
    broken(target / "broken")
    views(target)
