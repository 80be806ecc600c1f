"""Image files in all formats that OpenCV reads, as uint8 (C, H, W), C 1 (grey) or 3 (RGB)."""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from caffe_ext.errors import DataError
from caffe_ext.reporting import is_showable
from caffe_ext.storage.atomic import write_bytes
from caffe_ext.storage.regular_file import AnyPath, require_regular_file

Image = NDArray[np.uint8]

_FLAGS = {None: cv2.IMREAD_ANYCOLOR, True: cv2.IMREAD_GRAYSCALE, False: cv2.IMREAD_COLOR}
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_OPAQUE_KINDS = {b"\0", b"\2", b"\3"}
"""Of the colours of a PNG, without a chunk tRNS: grey, RGB, palette."""
_SET_LOG_LEVEL: Callable[[int], int] = (
    cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
)
"""Returns the level before; its place differs between versions of OpenCV."""
_SILENT = 0
SUFFIXES = frozenset(
    {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)  # fmt: skip


def read_image(path: AnyPath, grey: bool | None = None) -> Image:
    """Return the pixels (C, H, W) of a file as Caffe's ImageData layer reads it.

    convert_imageset does the same: EXIF orientation is applied, 16-bit channels are reduced to
    their upper 8 bits, CMYK becomes RGB, and an opaque alpha channel is dropped.

    grey  True: grey, as with `is_color: false`; False: RGB; None: as the file has it

    Raises OSError for a file that cannot be opened or is not a regular file, and DataError naming a
    file that is not an image, is damaged, or partly transparent: Caffe would read the colours below
    the transparency, which no viewer shows.
    """
    path = Path(path)
    require_regular_file(path)
    content, name = path.read_bytes(), str(path)
    pixels = _decode(content, name, _FLAGS[grey])
    if content[:2] != _JPEG and _is_transparent(content):
        raise DataError(
            f"{name} is transparent in places, where Caffe reads colours that no viewer shows; "
            "save it without transparency"
        )
    if content[8:12] == b"WEBP":
        upright = _decode(content, name, _FLAGS[grey] | cv2.IMREAD_IGNORE_ORIENTATION)
        if not np.array_equal(upright, pixels):
            raise DataError(
                f"{name} has an EXIF orientation, which only some versions of OpenCV apply to "
                "WebP files; save it upright"
            )
    return _to_channels_first(pixels)


def decode_image(content: bytes, name: str) -> Image:
    """Return the pixels (C, H, W) of an encoded record, as Caffe's Data layer decodes it.

    Unlike in read_image(), no orientation is applied. `name` is for error messages.

    Raises DataError for content that is not an image, is damaged, has more than 8 bits per channel,
    or alpha.
    """
    pixels = _decode(content, name, cv2.IMREAD_UNCHANGED)
    if pixels.dtype != np.uint8:
        raise DataError(f"{name} has {8 * pixels.itemsize} bits per channel; only 8 are supported")
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 3):
        raise DataError(
            f"{name} has {pixels.shape[2]} channels; save it as grey or RGB, without transparency"
        )
    return _to_channels_first(pixels)


def write_png(path: AnyPath, image: Image, *, sync: bool = True) -> None:
    """Write an image, uint8 (C, H, W), C 1 (grey) or 3 (RGB), as a PNG that read_image() returns.

    The file is complete or absent, and replaces an existing one; `sync` as in
    atomic.replace_file().
    Raises ValueError for another array, and OSError naming the path, as on a full disk.
    """
    path = Path(path)
    if image.dtype != np.uint8 or image.ndim != 3 or len(image) not in (1, 3) or not image.size:
        raise ValueError(
            f"{path}: a PNG is made of uint8 (1, H, W) or (3, H, W), not {image.dtype} "
            f"{image.shape}"
        )
    # Not cv2.imwrite: it does not say what went wrong.
    done, content = cv2.imencode(".png", np.ascontiguousarray(image[::-1].transpose(1, 2, 0)))
    if not done:
        raise ValueError(f"{path}: OpenCV cannot make a PNG of an image {image.shape}")
    write_bytes(path, content.tobytes(), sync=sync)


def find_images(folder: AnyPath) -> list[Path]:
    """Return the image files in a folder and below, relative to it, "img2" before "img10".

    Other files, and anything hidden (".x"), are ignored; links are followed. Raises DataError for a
    folder without images, and for circular links.
    """
    folder = Path(folder)
    found = [path.relative_to(folder) for path in _walk(folder, frozenset({folder.resolve()}))]
    for path in found:
        if not is_showable(path.as_posix()):
            raise DataError(
                f"{str(folder / path)!a} has a name that is not UTF-8, or cannot be shown; "
                "rename it"
            )
    if not found:
        raise DataError(f"{folder} holds no image files ({', '.join(sorted(SUFFIXES))})")
    return sorted(found, key=_make_natural_key)


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Yield image files; `above` are the real paths of the folders that the search is in."""
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            real = entry.resolve()
            if real in above:
                raise DataError(
                    f"{entry} is a link to {real}, a folder that contains it; remove it"
                )
            yield from _walk(entry, above | {real})
        elif entry.suffix.lower() in SUFFIXES:
            yield entry


def _make_natural_key(path: Path) -> tuple[list[list[str | int]], str]:
    """Return a key that sorts numbers in names by their size; each part is text, number, text."""
    parts = [
        [int(piece) if at % 2 else piece for at, piece in enumerate(re.split("([0-9]+)", part))]
        for part in path.parts
    ]
    return parts, str(path)


def _decode(content: bytes, name: str, flags: int) -> NDArray[Any]:
    """Return a file's content as decoded by OpenCV: (H, W) or (H, W, C), BGR."""
    try:
        with _silence():
            packed = np.frombuffer(content, np.uint8)
            pixels = cv2.imdecode(packed, flags) if content else None
    except cv2.error as error:
        raise DataError(f"{name} is not an image that OpenCV can read ({error.err})") from error
    if pixels is None:
        raise DataError(f"{name} is not an image that OpenCV can read")
    return pixels


def _to_channels_first(pixels: NDArray[Any]) -> Image:
    """Return OpenCV's (H, W) or (H, W, C), BGR, as (C, H, W), RGB."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return np.ascontiguousarray(pixels[:, :, ::-1].transpose(2, 0, 1), np.uint8)


def _is_transparent(content: bytes) -> bool:
    """Tell whether any pixel of an image is not opaque.

    Pillow tells: for some files, such as grey PNGs, OpenCV does not report transparency.
    """
    if content.startswith(_PNG) and content[25:26] in _OPAQUE_KINDS and b"tRNS" not in content:
        return False  # as the most are, and Pillow takes longer than all else for a small one
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images
            image = PIL.Image.open(BytesIO(content))
            if not image.has_transparency_data:
                return False
            alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    except Exception:  # Pillow's readers raise many; OpenCV has read the file
        return False
    return bool(alpha.min(initial=255) < 255)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep OpenCV from printing messages about a damaged file: the error contains them."""
    level = _SET_LOG_LEVEL(_SILENT)
    try:
        yield
    finally:
        _SET_LOG_LEVEL(level)
