"""Labels of images, int64 (N,), 0 or above: from folders' names, listings and arrays.

In folders' names and in listings, a label is a number or the name of a class. The model defines
the number of each name (ClassNumbers): it cannot be known from the names alone.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_ext.data import idx
from caffe_ext.errors import DataError
from caffe_ext.storage.numpy_file import load_array
from caffe_ext.storage.read_errors import convert_read_errors
from caffe_ext.storage.regular_file import require_regular_file

Labels = NDArray[np.int64]
ClassNumbers = Mapping[str, int]
"""The number of each class by its name; AMBIGUOUS for a name with several numbers."""
AMBIGUOUS = -1
_LIMIT = 2**63


def find_folder_labels(
    folder: Path, paths: Sequence[Path], classes: ClassNumbers | None = None
) -> Labels | None:
    """Return the labels given by the names of the files' folders; None if no name is a label.

    Either all files are in folders named after classes, directly or deeper (as in ImageFolder), or
    all are directly in folders named after numbers. Raises DataError if only some are.
    """
    classes = classes or {}
    nearest = [path.parent.name for path in paths]
    topmost = [path.parts[0] if len(path.parts) > 1 else "" for path in paths]
    for names in (nearest, topmost):
        if all(name in classes for name in names):
            for name in set(names):
                if _is_number(name) and classes[name] != int(name):
                    raise DataError(
                        f"{folder}: '{name}' is the number of one class and the name of another; "
                        "give the labels in a file (--labels; in Python labels=)"
                    )
            return np.array([_find_label(name, classes, str(folder)) for name in names], np.int64)
    numbers = list(map(_is_number, nearest))
    if all(numbers):
        places = (str(folder / path.parent) for path in paths)
        return np.array(list(map(_parse_label, nearest, places)), np.int64)
    known = ([name in classes for name in names] for names in (nearest, topmost))
    labelled = max(numbers, *known, key=sum)
    if any(labelled):
        good, bad = paths[labelled.index(True)], paths[labelled.index(False)]
        named = classes and bad.parent.name and not any(part in classes for part in bad.parts)
        why = f": '{bad.parent}' is not among the model's classes" if named else ""
        raise DataError(
            f"{folder}: {good} has a label (its folder's name) but {bad} has none{why}; give the "
            "labels in a file (--labels; in Python labels=)"
        )
    return None


def look_up_labels(
    listing: Path, names: Sequence[str], classes: ClassNumbers | None = None
) -> Labels:
    """Return the images' labels from a listing, which may list more images."""
    labels: dict[str, int] = {}
    for name, label in read_listing(listing, classes):
        if labels.setdefault(name, label) != label:
            raise DataError(f"{listing}: {name} has two labels, {labels[name]} and {label}")
    missing = [name for name in names if name not in labels]
    if missing:
        raise DataError(f"{listing} has no label for {missing[0]} ({len(missing):,} such images)")
    return np.array([labels[name] for name in names], np.int64)


def read_listing(path: Path, classes: ClassNumbers | None = None) -> list[tuple[str, int]]:
    """Return the names and labels in a text file, read as by Caffe's ImageData layer.

    A line has a name, white space, and an integer, 0 or above, or the name of a class; both names
    may contain blanks. Raises DataError naming file and line for anything else.
    """
    require_regular_file(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f'{path} is not a text file with lines "name label": {error}') from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        if "\0" in line:
            raise DataError(f"{where}: a name cannot contain a NUL character")
        name, label = _split_line(line.strip(), classes or {})
        if not name:
            hint = "" if classes else "; names of classes need `classes:` in the model's YAML file"
            raise DataError(f'{where}: {line!r} is not "name label"{hint}')
        rows.append((name, _find_label(label, classes or {}, where)))
    if not rows:
        raise DataError(f'{path} has no lines "name label"')
    return rows


def _split_line(line: str, classes: ClassNumbers) -> tuple[str, str]:
    """Return the name and the label in a line; no name if the line does not end with a label."""
    # From the left: of "a.png Boeing 747" the label is not 747, if there is such a class.
    for space in re.finditer(r"\s+", line):
        name, label = line[: space.start()], line[space.end() :]
        if label in classes or _is_number(label):
            return name, label
    return "", ""


def find_labels_beside(path: Path) -> Path | None:
    """Return the file of labels that goes with a file of images by MNIST's naming, if any."""
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    plain = name.removesuffix(".gz")
    places = (path.with_name(other) for other in (name, plain, plain + ".gz") if name != path.name)
    return next((place for place in places if place.is_file()), None)


def read_labels(path: Path, count: int) -> Labels:
    """Return the labels of `count` images from an IDX or .npy file."""
    require_regular_file(path)
    if path.suffix == ".npy":
        with convert_read_errors(path):
            return as_labels(load_array(path), count, path)
    return as_labels(idx.read_labels(path, classes=256).values, count, path)


def as_labels(values: NDArray[Any], count: int, where: object) -> Labels:
    """Return labels of `count` images, of any shape with one for each, as int64 (count,).

    Whole numbers of any type are accepted: Caffe's HDF5 files have float32. Raises DataError naming
    `where` for other values, negative ones, and those beyond int64.
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


def _is_number(text: str) -> bool:
    """Tell whether a text is an integer in decimal digits."""
    return re.fullmatch("[+-]?[0-9]+", text) is not None


def _find_label(text: str, classes: ClassNumbers, where: str) -> int:
    """Return the label of a text: a class's name or an integer."""
    if _is_number(text):
        return _parse_label(text, where)
    if classes[text] == AMBIGUOUS:
        raise DataError(
            f"{where}: '{text}' is ambiguous: it names several classes, or different classes in "
            "different models; use their numbers"
        )
    return classes[text]


def _parse_label(text: str, where: str) -> int:
    """Return an integer in decimal digits as a label; DataError unless it is 0..2^63 - 1."""
    if text.startswith("-") or len(text) > 30 or int(text) >= _LIMIT:
        raise DataError(f"{where}: {text} is not a label; labels are 0 to 2^63 - 1")
    return int(text)
