"""AttackRecords: what an attack did to each of many images, one row per image; stored in HDF5.

The file has one data set of N rows for each field of AttackRecords, and `adversarials`, uint8
(M, C, H, W), with the adversarials in order; its attribute `description` is JSON with what the
records depend on. h5py, MATLAB, R and others can read it.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from caffe_ext.errors import RecordError
from caffe_ext.models.base import NO_CLASS, Images
from caffe_ext.storage.hdf5_file import create_hdf5, open_hdf5
from caffe_ext.storage.json_file import Object, parse_json
from caffe_ext.storage.regular_file import AnyPath

FORMAT = 3
# Columns with other names in format 1.
_NAMES_OF_1 = {"saturated": "certain", "zero_gradient": "blank", "step_lengths": "amplitudes"}
# Columns missing in formats 1 and 2, whose attacks used whole grey levels only.
_SINCE_3 = {"found_real": "found", "linf_real": "linf", "l2_real": "l2"}
_FOUND_ONLY = "adversarials"
_CLASSES = ("labels", "predicted", "targets", "classes")
_MOST_CLASSES = 1 << 24
"""More classes than any network has: counts of each class are arrays of as many."""
# The most space HDF5 needs in addition: for itself, and for its index of the images.
_OVERHEAD, _OVERHEAD_OF_IMAGE = 1 << 18, 128


@dataclass(frozen=True, eq=False)
class AttackRecords:
    """N images under one attack; if nothing was found, distances are NaN and classes -1.

    indices               int64    the image's number in its source
    labels                int64    for images without labels (`labelled` of `images` is false in
                                   the description), what the image itself is classified as
    predicted             int64    what the image itself is classified as
    attempted             bool     whether it was attacked: it was classified correctly
    found                 bool     whether there is an adversarial
    verified              bool     it is still adversarial after it was read back from the file
    targets               int64    class that the direction points to, -1 if to none
    classes               int64    what the adversarial is classified as
    saturated             bool     float32 softmax of the label exactly 1: the loss is exactly 0
    zero_gradient         bool     the gradient is 0 in all pixels
    step_lengths          float64  how far it lies along the attack's direction, in grey levels
    l0, l1, l2, l2_per_pixel, linf, mean_absolute
                          float64  distances from the original (metrics/distances.py), of what the
                                   model sees: without the border that a crop cuts off
    pass_scores           float64  PASS, standard protocol (pass_score.py)
    pass_published        float64  PASS, as in the BANG paper's tables
    ecc_failed, ecc_failed_published
                          bool     no alignment was found, so that the score is the SSIM
    found_real            bool     whether there is one with real-valued pixels, 0..255
    linf_real, l2_real    float64  its distances
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    attempted: NDArray[np.bool_]
    found: NDArray[np.bool_]
    verified: NDArray[np.bool_]
    targets: NDArray[np.int64]
    classes: NDArray[np.int64]
    saturated: NDArray[np.bool_]
    zero_gradient: NDArray[np.bool_]
    step_lengths: NDArray[np.float64]
    l0: NDArray[np.float64]
    l1: NDArray[np.float64]
    l2: NDArray[np.float64]
    l2_per_pixel: NDArray[np.float64]
    linf: NDArray[np.float64]
    mean_absolute: NDArray[np.float64]
    pass_scores: NDArray[np.float64]
    pass_published: NDArray[np.float64]
    ecc_failed: NDArray[np.bool_]
    ecc_failed_published: NDArray[np.bool_]
    found_real: NDArray[np.bool_]
    linf_real: NDArray[np.float64]
    l2_real: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Raise ValueError for columns of different lengths; make them read-only views."""
        for field in fields(self):
            column = getattr(self, field.name)
            if column.shape != self.indices.shape or column.ndim != 1:
                raise ValueError(
                    f"{field.name} {column.shape} and indices {self.indices.shape} must have one "
                    "row per image"
                )
            view = column.view()
            view.flags.writeable = False
            object.__setattr__(self, field.name, view)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.indices)


COLUMNS = tuple(field.name for field in fields(AttackRecords))


def make_empty_columns(count: int) -> dict[str, NDArray[Any]]:
    """Return a column for each field of AttackRecords in which nothing was found."""
    kinds = {field.name: field.type for field in fields(AttackRecords)}
    fillers: dict[str, tuple[Any, Any]] = {
        str(NDArray[np.bool_]): (np.bool_, False),
        str(NDArray[np.int64]): (np.int64, -1),
        str(NDArray[np.float64]): (np.float64, np.nan),
    }
    columns = {}
    for name, kind in kinds.items():
        dtype, filler = fillers[str(kind)]
        columns[name] = np.full(count, filler, dtype)
    return columns


def concatenate(parts: Sequence[AttackRecords]) -> AttackRecords:
    """Return the concatenation of records."""
    nothing = make_empty_columns(0)
    return AttackRecords(
        **{
            name: np.concatenate([nothing[name], *(getattr(part, name) for part in parts)])
            for name in COLUMNS
        }
    )


def save_records(
    path: Path, records: AttackRecords, adversarials: Iterable[Images], description: dict[str, Any]
) -> None:
    """Write a file of records, complete or not at all.

    adversarials  uint8 (m, C, H, W) each, together all adversarials
    Raises OSError with the file's name.
    """
    parts = iter(adversarials)
    first = next(parts, None)
    _check_space(path, records, first)
    with create_hdf5(path) as file:
        file.attrs["format"] = FORMAT
        file.attrs["description"] = json.dumps(description, sort_keys=True)
        for name in COLUMNS:
            file[name] = getattr(records, name)
        _write_images(
            file, int(records.found.sum()), chain(() if first is None else (first,), parts)
        )


def set_verified(path: Path, verified: NDArray[np.bool_]) -> None:
    """Fill in a file's column `verified`."""
    with h5py.File(path, "r+") as file:
        file["verified"][...] = verified


def load_records(path: AnyPath, rows: slice | None = None) -> AttackRecords:
    """Read the records of a file, without the adversarials.

    rows  the numbers of the images that they must be of; None: any

    Raises FileNotFoundError, and RecordError for a file that is damaged or not of records.
    """
    kinds = {name: column.dtype for name, column in make_empty_columns(0).items()}
    with _open_records(path) as file:
        old = _NAMES_OF_1 if file.attrs["format"] == 1 else {}
        old |= {} if file.attrs["format"] == FORMAT else _SINCE_3
        columns = {name: _find_dataset(file, old.get(name, name)) for name in COLUMNS}
        own = columns["indices"].shape or (0,)
        count = own[0] if rows is None else rows.stop - rows.start
        # Before anything is read: a file may announce any number of values.
        for name, column in columns.items():
            if column.dtype != kinds[name]:
                raise ValueError(f"{name} is {column.dtype}, not {kinds[name]}")
            if column.shape != (count,):
                raise ValueError(f"{name} has the shape {column.shape}, for {count:,} images")
        records = AttackRecords(**{name: column[...] for name, column in columns.items()})
        _check_content(records, _find_dataset(file, _FOUND_ONLY), rows)
    return records


def _find_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a data set; KeyError or ValueError if there is none of this name."""
    item = file[name]
    if not isinstance(item, h5py.Dataset):
        raise ValueError(f"{name} is not a dataset")
    return item


def _check_content(records: AttackRecords, adversarials: h5py.Dataset, rows: slice | None) -> None:
    """Raise ValueError for records that no attack can produce."""
    if rows is not None and not np.array_equal(records.indices, np.arange(rows.start, rows.stop)):
        raise ValueError(f"its images are not those from {rows.start:,} to {rows.stop - 1:,}")
    for name in _CLASSES:
        column = getattr(records, name)
        if ((column < NO_CLASS) | (column >= _MOST_CLASSES)).any():
            raise ValueError(f"{name} has values that are not classes")
    if (records.found & ~(records.attempted & np.isfinite(records.linf))).any():
        raise ValueError("there are adversarials without an attempt, or without a distance")
    found = int(records.found.sum())
    shape = adversarials.shape or ()
    if adversarials.dtype != np.uint8 or len(shape) != 4 or shape[:1] != (found,):
        raise ValueError(
            f"its adversarials are {adversarials.dtype} {shape}, for {found:,} that were found"
        )


def load_description(path: AnyPath) -> dict[str, Any]:
    """Read what the records of a file depend on; raises as load_records does."""
    with _open_records(path) as file:
        text = file.attrs["description"]
        if not isinstance(text, str):
            raise ValueError("its description is not text")
        return parse_json(text, Object)


def load_adversarials(path: AnyPath, rows: slice | NDArray[np.int64] | None = None) -> Images:
    """Read adversarials, uint8 (m, C, H, W); raises as load_records does.

    rows  which of those that were found (row 0 is the first found), ascending; None: all
    """
    with _open_records(path) as file:
        return np.asarray(file[_FOUND_ONLY][slice(None) if rows is None else rows], np.uint8)


def read_adversarial_batches(path: AnyPath, batch: int) -> Iterator[tuple[slice, Images]]:
    """Yield all adversarials of a file, `batch` at a time, with their rows."""
    with _open_records(path) as file:
        count = len(file[_FOUND_ONLY])
    for start in range(0, count, batch):
        rows = slice(start, min(start + batch, count))
        yield rows, load_adversarials(path, rows)


@contextmanager
def _open_records(path: AnyPath) -> Iterator[h5py.File]:
    """Open a file of records; errors become RecordErrors that name it."""
    with open_hdf5(Path(path), RecordError) as file:
        if not any(np.array_equal(file.attrs.get("format"), one) for one in (1, 2, FORMAT)):
            raise RecordError(f"{path} does not hold records of attacks that this version can read")
        yield file


def _check_space(path: Path, records: AttackRecords, first: Images | None) -> None:
    """Raise OSError if the disk has no room for a file."""
    of_image = 0 if first is None else int(np.prod(first.shape[1:])) + _OVERHEAD_OF_IMAGE
    images = int(records.found.sum()) * of_image
    needed = images + sum(getattr(records, name).nbytes for name in COLUMNS) + _OVERHEAD
    if shutil.disk_usage(path.parent).free < needed:
        reason = f"{os.strerror(errno.ENOSPC)}; {needed / 2**20:,.1f} MiB are needed"
        raise OSError(errno.ENOSPC, reason, str(path))


def _write_images(file: h5py.File, count: int, parts: Iterable[Images]) -> None:
    """Write `count` images that come in parts, compressed, one chunk per image."""
    start = 0
    for part in parts:
        if _FOUND_ONLY not in file:
            shape = part.shape[1:]
            packing = {"chunks": (1, *shape), "compression": "gzip", "compression_opts": 1}
            file.create_dataset(
                _FOUND_ONLY, (count, *shape), np.uint8, **(packing if count else {})
            )
        if len(part):
            file[_FOUND_ONLY][start : start + len(part)] = part
        start += len(part)
    if start != count:
        raise ValueError(f"{count} images were found, but there are {start} adversarials")
    if _FOUND_ONLY not in file:
        file.create_dataset(_FOUND_ONLY, (0, 1, 1, 1), np.uint8)
