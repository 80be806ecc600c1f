"""Labels of images, int64 (N,), 0 or above: from folders' names, listings and arrays."""

import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_ext.data import idx
from caffe_ext.errors import DataError

Labels = NDArray[np.int64]
_LIMIT = 2**63


def folder_labels(folder: Path, paths: Sequence[Path]) -> Labels | None:
    """Return the integers that the files' folders are called, or None where none is one."""
    found: dict[bool, Path] = {}
    labels = []
    for path in paths:
        name = path.parent.name
        labelled = name.removeprefix("-").isdecimal() and name.isascii()
        found[labelled] = path
        labels.append(_label_of(name, str(folder / path.parent)) if labelled else 0)
    if len(found) == 2:
        raise DataError(
            f"{folder}: {found[True]} has a label, its folder's name, and {found[False]} has none; "
            "give the labels in a file (--labels; in Python labels=)"
        )
    return np.array(labels, np.int64) if True in found else None


def listed_labels(listing: Path, names: Sequence[str]) -> Labels:
    """Return the images' labels in a listing, which may have more names than these."""
    labels: dict[str, int] = {}
    for name, label in read_listing(listing):
        if labels.setdefault(name, label) != label:
            raise DataError(f"{listing}: {name} has two labels, {labels[name]} and {label}")
    missing = [name for name in names if name not in labels]
    if missing:
        raise DataError(f"{listing} has no label for {missing[0]} ({len(missing):,} such images)")
    return np.array([labels[name] for name in names], np.int64)


def read_listing(path: Path) -> list[tuple[str, int]]:
    """Return names and labels in a text file, as Caffe's ImageData layer reads it.

    A line is a name, white space, and an integer, 0 or above; names may have blanks in them.
    Raises DataError naming file and line for anything else.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f'{path} is no text file with lines "name label": {error}') from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = re.fullmatch(r"(.*\S)\s+([+-]?[0-9]+)\s*", line)
        if match is None:
            raise DataError(f'{path}, line {number}: {line!r} is not "name label"')
        rows.append((match[1], _label_of(match[2], f"{path}, line {number}")))
    if not rows:
        raise DataError(f'{path} has no lines "name label"')
    return rows


def labels_beside(path: Path) -> Path | None:
    """Return the file of labels that MNIST's naming has for a file of images, if it is there."""
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    plain = name.removesuffix(".gz")
    places = (path.with_name(other) for other in (name, plain, plain + ".gz") if name != path.name)
    return next((place for place in places if place.is_file()), None)


def read_labels(path: Path, count: int) -> Labels:
    """Return the labels of `count` images in an IDX or a .npy file."""
    if path.suffix == ".npy":
        with readable(path):
            return as_labels(np.load(path, allow_pickle=False), count, path)
    return as_labels(idx.read_labels(path, classes=256).values, count, path)


def as_labels(values: NDArray[Any], count: int, where: object) -> Labels:
    """Return labels of `count` images, one each whatever their axes, as int64 (count,).

    Whole numbers of any type will do: Caffe's HDF5 files have float32. Raises DataError naming
    `where` for others, for negative ones, and for those beyond int64.
    """
    values = np.asarray(values)
    if values.shape[:1] != (count,) or values.size != count or values.dtype.kind not in "iuf":
        raise DataError(
            f"{where} holds labels {values.dtype} {values.shape} for {count:,} images; one "
            "integer each is needed"
        )
    values = values.reshape(count)
    good = (values >= 0) & (values < _LIMIT) & (values == np.floor(values))
    if not good.all():
        first = int(np.argmin(good))
        raise DataError(
            f"{where}: label number {first:,} is {values[first]}; labels are integers, 0 to 2^63-1"
        )
    return values.astype(np.int64)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what h5py and NumPy raise for a damaged file into DataError."""
    try:
        yield
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _label_of(text: str, where: str) -> int:
    """Return an integer in decimal digits as a label; DataError unless it is 0..2^63 - 1."""
    if text.startswith("-") or len(text) > 30 or int(text) >= _LIMIT:
        raise DataError(f"{where}: {text} is no label; labels are 0 to 2^63 - 1")
    return int(text)
