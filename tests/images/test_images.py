"""Caffe, which has OpenCV in it, reads and writes pictures as the system's OpenCV does."""

import io
import os
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

COMPARE = os.environ["CAFFE_EXT_COMPARE_IMAGES"]
MODES = {
    "bmp": ("1", "L", "P", "RGB"),
    "jpg": ("L", "RGB", "CMYK"),
    "jp2": ("L", "RGB", "RGBA"),
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "ppm": ("1", "L", "RGB"),
    "tiff": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"),
    "webp": ("RGB", "RGBA"),
}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "jpg": [
        {"quality": 30, "progressive": True},
        {"quality": 95, "subsampling": 0},
    ],
    "tiff": [{"compression": name} for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits")],
    "webp": [{"lossless": True}, {"quality": 40}],
}
PIXELS = np.random.default_rng(3).integers(0, 256, (31, 46, 4), np.uint8)


def picture(mode: str) -> Image.Image:
    """Return an image with smooth and rough parts."""
    smooth = np.linspace(0, 255, PIXELS[:, 20:].size).astype(np.uint8)
    pixels = PIXELS.copy()
    pixels[:, 20:] = smooth.reshape(pixels[:, 20:].shape)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257 + pixels[..., 1])
    return Image.fromarray(pixels).convert("RGB" if mode == "CMYK" else mode).convert(mode)


def oriented(orientation: int) -> bytes:
    """Return a JPEG that is to be shown turned or mirrored, as its EXIF data says."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    picture("RGB").save(file, "jpeg", exif=exif)
    return file.getvalue()


def interlaced() -> bytes:
    """Return a PNG in Adam7's order, of one colour: Pillow writes none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    passes = [(1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4)]  # of 8 x 8 pixels
    rows = b"".join(
        b"\0" + bytes((37 * number + 11 * row + column) % 256 for column in range(width))
        for number, (width, height) in enumerate(passes)
        for row in range(height)
    )
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


def files(folder: Path) -> Iterator[Path]:
    """Write images of all formats and modes."""
    for suffix, modes in MODES.items():
        for mode in modes:
            options: list[dict[str, Any]] = [{}, *OPTIONS.get(suffix, [])] if mode != "1" else [{}]
            for number, option in enumerate(options):
                path = folder / f"{mode.replace(';', '')}_{number}.{suffix}"
                picture(mode).save(path, **option)
                yield path
    for orientation in range(1, 9):
        path = folder / f"orientation_{orientation}.jpg"
        path.write_bytes(oriented(orientation))
        yield path
    path = folder / "interlaced.png"
    path.write_bytes(interlaced())
    yield path


def compare(*paths: Path) -> list[str]:
    """Return what compare_images says of each."""
    # OpenCV returns pixels of some damaged files that nothing was written into: the same ones.
    environment = os.environ | {"MALLOC_PERTURB_": "7"}
    done = subprocess.run(
        [COMPARE, *paths], env=environment, check=True, capture_output=True, text=True
    )
    return [line for line in done.stdout.splitlines() if line.startswith(("equal", "no ", "diff"))]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(files(tmp_path_factory.mktemp("pictures")))


def test_all_formats_and_modes(pictures: list[Path]) -> None:
    told = dict(zip((path.name for path in pictures), compare(*pictures), strict=True))
    assert {name: answer for name, answer in told.items() if answer != "equal"} == {}


def test_damaged_files(pictures: list[Path], tmp_path: Path) -> None:
    damaged = []
    for path in pictures:
        whole = path.read_bytes()
        middle = len(whole) // 2
        for number, content in enumerate(
            (whole[:middle], whole[:-3], whole[:middle] + b"\xff\0\xa5" + whole[middle + 3 :])
        ):
            damaged.append(tmp_path / f"{number}_{path.name}")
            damaged[-1].write_bytes(content)
    told = dict(zip((path.name for path in damaged), compare(*damaged), strict=True))
    assert {name: answer for name, answer in told.items() if answer.startswith("diff")} == {}
    assert {"equal", "no image"} == set(told.values())


def test_formats_that_are_left_out_are_no_images(tmp_path: Path) -> None:
    contents = {
        "x.dcm": bytes(128) + b"DICM" + bytes(400),
        "x.ntf": b"NITF02.10" + bytes(400),
        "x.exr": b"\x76\x2f\x31\x01\x02\0\0\0" + bytes(400),
        "x.txt": b"no image\n" * 30,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert compare(*(tmp_path / name for name in contents)) == ["no image"] * len(contents)
