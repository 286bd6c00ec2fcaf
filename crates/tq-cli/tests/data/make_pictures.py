"""Writes pictures/*: small pictures of every kind, and pillow.txt, what Pillow makes of them.

A line of pillow.txt is `FILE CHANNELS RESIZE CROP HEIGHT WIDTH HEX`, with `-` where nothing is asked for. Resizing and
cropping are computed as torchvision does it on Pillow's pictures.
"""

import pathlib
import struct
import zlib

import numpy as np
from PIL import Image

folder = pathlib.Path(__file__).with_name("pictures")
random = np.random.default_rng(7)
H, W = 23, 37


def scene(channels):
    """Smooth areas, a hard edge and noise."""
    y, x = np.mgrid[0:H, 0:W]
    planes = [
        128 + 100 * np.sin(x / (4 + c)) * np.cos(y / (3 + 2 * c)) + 60 * ((x + y) % 29 < 9) for c in range(channels)
    ]
    noisy = np.stack(planes, -1) + random.normal(0, 12, (H, W, channels))
    return noisy.clip(0, 255).astype(np.uint8)


def png(name, bit_depth, color_type, rows):
    """What Pillow cannot write; rows are big-endian bytes."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", W, H, bit_depth, color_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + r for r in rows), 9)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    (folder / name).write_bytes(data)


folder.mkdir(exist_ok=True)
rgb = Image.fromarray(scene(3))
rgb.save(folder / "rgb.png")
rgb.convert("L").save(folder / "grey.png")
rgb.quantize(16).save(folder / "palette.png")
rgb.quantize(16).save(folder / "palette_transparent.png", transparency=3)
rgb.convert("L").point(lambda v: 255 * (v > 128)).convert("1").save(folder / "one_bit.png")
Image.fromarray(scene(4), "RGBA").save(folder / "rgba.png")
Image.fromarray(scene(2), "LA").save(folder / "grey_alpha.png")
wide = random.integers(0, 65536, (H, W, 3)).astype(">u2")
png("rgb16.png", 16, 2, [r.tobytes() for r in wide])
rgb.save(folder / "fine.jpg", quality=95, subsampling=0)
rgb.save(folder / "usual.jpg", quality=80, subsampling=2)
rgb.save(folder / "progressive.jpeg", quality=80, progressive=True, subsampling=2)
rgb.convert("L").save(folder / "grey.JPG", quality=85)
rgb.convert("CMYK").save(folder / "cmyk.jpg", quality=90)


def resized(picture, size):
    if size is None:
        return picture
    if isinstance(size, tuple):
        return picture.resize(size[::-1], Image.BILINEAR)
    w, h = picture.size
    short, long = min(w, h), max(w, h)
    long = int(size * long / short)
    return picture.resize((size, long) if w <= h else (long, size), Image.BILINEAR)


def cropped(picture, size):
    if size is None:
        return picture
    h, w = size if isinstance(size, tuple) else (size, size)
    top, left = round((picture.height - h) / 2.0), round((picture.width - w) / 2.0)
    return picture.crop((left, top, left + w, top + h))


def text(size):
    return "-" if size is None else "x".join(map(str, size)) if isinstance(size, tuple) else str(size)


lines = []
plain = [(None, None)]
shapes = [(10, None), (31, None), (None, 9), (None, (12, 20)), ((7, 5), None), ((60, 11), None), (12, 11), (14, (14, 9))]
for path in sorted(folder.iterdir()):
    if path.suffix == ".txt":
        continue
    for channels, mode in [(3, "RGB"), (1, "L")]:
        for resize, crop in plain + (shapes if path.stem in ("rgb", "usual") else []):
            picture = cropped(resized(Image.open(path).convert(mode), resize), crop)
            size = f"{picture.height} {picture.width}"
            lines.append(f"{path.name} {channels} {text(resize)} {text(crop)} {size} {picture.tobytes().hex()}")
(folder / "pillow.txt").write_text("\n".join(lines) + "\n")
