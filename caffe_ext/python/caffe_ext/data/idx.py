"""IDX, the file format of MNIST: a big-endian header, then unsigned bytes.

    bytes 0-1   0
    byte  2     0x08, unsigned byte (the only type read or written here)
    byte  3     number of dimensions D
    4*D bytes   the size of each dimension, uint32
    the rest    the elements, the last dimension varying fastest

So images (N, H, W) start with the number 2051 and labels (N,) with 2049. A file may be compressed
with gzip, whatever its name.
"""

import gzip
import io
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from caffe_ext.data.digest import compute_md5
from caffe_ext.data.image_set import CLASSES
from caffe_ext.errors import DataError

_UNSIGNED_BYTE = 0x08
_OTHER_TYPES = {
    0x09: "signed bytes",
    0x0B: "16-bit integers",
    0x0C: "32-bit integers",
    0x0D: "32-bit floats",
    0x0E: "64-bit floats",
}
_GZIP_MAGIC = b"\x1f\x8b"
_PART = 1 << 20


@dataclass(frozen=True, eq=False)
class IdxFile:
    """The content of a file: the array (uint8, read-only) and the MD5 of the uncompressed bytes."""

    values: NDArray[np.uint8]
    md5: str


def encode(values: NDArray[np.uint8]) -> bytes:
    """Return the uncompressed IDX file of an array of unsigned bytes with 1 to 255 dimensions."""
    if values.dtype != np.uint8 or not 1 <= values.ndim <= 255:
        raise ValueError(f"IDX needs uint8 with dimensions, not {values.dtype} {values.shape}")
    header = bytes([0, 0, _UNSIGNED_BYTE, values.ndim])
    return header + np.array(values.shape, dtype=">u4").tobytes() + values.tobytes()


def decode(content: bytes, name: str) -> NDArray[np.uint8]:
    """Return the array in an uncompressed IDX file, read-only; `name` is for error messages.

    Raises DataError unless the header fits the number of bytes exactly.
    """
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(
            f"{name} is not an IDX file: it starts with {content[:4].hex(' ') or 'nothing'}"
        )
    kind, dimensions = content[2], content[3]
    if kind in _OTHER_TYPES:
        raise DataError(
            f"{name} is an IDX file of {_OTHER_TYPES[kind]}; only unsigned bytes are read, pixels "
            "as grey levels 0..255 and labels as numbers"
        )
    start = 4 + 4 * dimensions
    if kind != _UNSIGNED_BYTE or dimensions == 0 or len(content) < start:
        raise DataError(
            f"{name} is not an IDX file of unsigned bytes: it starts with {content[:4].hex(' ')}"
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4))
    expected, actual = math.prod(shape), len(content) - start
    if actual != expected:
        trouble = "truncated" if actual < expected else "damaged"
        follow = f"{actual:,}" if actual < expected else "more"
        raise DataError(
            f"{name} is {trouble}: its header announces {' x '.join(map(str, shape))} = "
            f"{expected:,} bytes, {follow} follow; download the file again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read(path: Path) -> IdxFile:
    """Read an IDX file, compressed or not. Raises DataError naming it if it is damaged."""
    with path.open("rb") as file:
        packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        try:
            content = _read_announced(gzip.GzipFile(fileobj=file) if packed else file)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{path} is truncated or damaged ({error}); download the file again"
            ) from error
    return IdxFile(decode(content, str(path)), compute_md5(content))


def _read_announced(file: gzip.GzipFile | io.BufferedReader) -> bytes:
    """Return the content, and at most one byte more than the header announces: a few compressed
    bytes may expand to any number.
    """
    start = file.read(4)
    sizes = file.read(4 * start[3]) if len(start) == 4 else b""
    content = bytearray(start + sizes)
    if len(sizes) % 4:
        return bytes(content)
    left = math.prod(size for (size,) in struct.iter_unpack(">I", sizes)) + 1
    while left and (part := file.read(min(left, _PART))):
        content += part
        left -= len(part)
    return bytes(content)


def read_images(path: Path) -> IdxFile:
    """Read images (N, H, W). Raises DataError for anything else, and if there are none."""
    file = read(path)
    if file.values.ndim != 3 or file.values.size == 0:
        raise DataError(f"{path} holds an array {file.values.shape}, not images (N, H, W)")
    return file


def read_labels(path: Path, classes: int = CLASSES) -> IdxFile:
    """Read labels (N,). Raises DataError for another shape, and for labels beyond the classes."""
    file = read(path)
    if file.values.ndim != 1:
        raise DataError(f"{path} holds an array {file.values.shape}, not labels (N,)")
    check_labels(file.values, path, classes)
    return file


def looks_like_idx(path: Path) -> bool:
    """Tell whether a file starts like an IDX file or a gzip file."""
    with path.open("rb") as file:
        start = file.read(3)
    types = {_UNSIGNED_BYTE, *_OTHER_TYPES}
    return start in {bytes([0, 0, kind]) for kind in types} or start.startswith(_GZIP_MAGIC)


def check_labels(labels: NDArray[np.uint8], path: Path, classes: int = CLASSES) -> None:
    """Raise DataError naming the file and the first label that is not a class."""
    wrong = np.flatnonzero(labels >= classes)
    if wrong.size:
        raise DataError(
            f"{path}: label number {wrong[0]:,} is {labels[wrong[0]]}; labels are 0 to "
            f"{classes - 1}, so the file is damaged or belongs to another data set"
        )
