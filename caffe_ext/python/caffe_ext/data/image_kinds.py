"""What images can lie in: each kind of file and folder, and how to know it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from caffe_ext.data import idx
from caffe_ext.data.database import Records
from caffe_ext.data.image_arrays import (
    Pulled,
    Reading,
    Stored,
    in_cifar,
    in_hdf5,
    in_idx,
    in_numpy,
)
from caffe_ext.data.image_files import SUFFIXES, find_images, read_image
from caffe_ext.data.image_labels import Labels, folder_labels, listed_labels, read_listing
from caffe_ext.errors import DataError

DATA_SETS = ("mnist", "cifar10", "digits")


def in_folder(folder: Path, reading: Reading) -> Stored:
    """Return image files, labelled by the listing, or by folders called after classes."""
    paths = find_images(folder)
    origin, names = f"image files in {folder}", [path.as_posix() for path in paths]
    if reading.labels:
        found: Labels | None = listed_labels(reading.labels, names, reading.classes)
    else:
        found = folder_labels(folder, paths, reading.classes)
    return _stored_files(origin, [folder / path for path in paths], names, found, reading.grey)


def in_image_file(path: Path, reading: Reading) -> Stored:
    """Return one image file, labelled by the listing if there is one."""
    found = listed_labels(reading.labels, [path.name], reading.classes) if reading.labels else None
    return _stored_files(f"image file {path}", [path], [path.name], found, reading.grey)


def in_listing(path: Path, reading: Reading) -> Stored:
    """Return the image files in a listing of Caffe's ImageData layer, relative to its folder."""
    names, labels = zip(*read_listing(path, reading.classes), strict=True)
    paths = [path.parent / name for name in names]
    found, origin = np.array(labels, np.int64), f"image files in listing {path}"
    return _stored_files(origin, paths, names, found, reading.grey)


def in_database(folder: Path, reading: Reading) -> Stored:
    """Return the images of an LMDB; they have labels where the first one has."""
    records = Records(folder)
    labelled = records.read(slice(1))[0][1].HasField("label")

    def pull(start: int, stop: int) -> Pulled:
        rows = records.read(slice(start, stop))
        for key, datum in rows:
            if datum.HasField("label") != labelled or datum.label < 0:
                what = f"the label {datum.label}" if datum.HasField("label") else "no label"
                raise DataError(
                    f"{folder}: record {key!r} has {what}, and the first one has "
                    f"{'a' if labelled else 'no'} label; labels are 0 or above, for all or none"
                )
        return Pulled(
            (records.image(key, datum, reading.channel_order) for key, datum in rows),
            np.array([datum.label for _, datum in rows], np.int64) if labelled else None,
            [key.decode("utf-8", "backslashreplace") for key, _ in rows],
        )

    return Stored(f"LMDB {folder}", len(records), pull, labelled)


def _stored_files(
    origin: str,
    paths: Sequence[Path],
    names: Sequence[str],
    labels: Labels | None,
    grey: bool | None,
) -> Stored:
    def pull(start: int, stop: int) -> Pulled:
        return Pulled(
            (read_image(path, grey) for path in paths[start:stop]),
            None if labels is None else labels[start:stop],
            names[start:stop],
        )

    def part(rows: Sequence[int]) -> Stored:
        some = None if labels is None else labels[rows]
        return _stored_files(origin, [paths[r] for r in rows], [names[r] for r in rows], some, grey)

    return Stored(origin, len(paths), pull, labels is not None, part)


Opener = Callable[[Path, Reading], Stored]


@dataclass(frozen=True)
class Kind:
    """Something that images lie in.

    title         what a sentence calls it
    fits          whether a path is one
    opener        (path, reading) -> Stored
    takes_labels  whether labels may come from another file
    takes_order   whether the file leaves open what its channels are
    """

    title: str
    fits: Callable[[Path], bool]
    opener: Opener
    takes_labels: bool = False
    takes_order: bool = False


def _ends_with(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.suffix.lower() in suffixes and path.is_file()


KINDS = (
    Kind(
        "an LMDB of Caffe (a folder with data.mdb)",
        lambda path: (path / "data.mdb").is_file(),
        in_database,
        takes_order=True,
    ),
    Kind("a folder of image files", Path.is_dir, in_folder, takes_labels=True),
    Kind("an image file", _ends_with(*SUFFIXES), in_image_file, takes_labels=True),
    Kind(
        'a listing of image files (.txt with lines "path label")',
        _ends_with(".txt"),
        in_listing,
    ),
    Kind("a batch of CIFAR-10 (.bin)", _ends_with(".bin"), in_cifar),
    Kind(
        "a NumPy file",
        _ends_with(".npy", ".npz"),
        in_numpy,
        takes_labels=True,
        takes_order=True,
    ),
    Kind(
        "an HDF5 file",
        lambda path: _ends_with(".h5", ".hdf5")(path) or bool(h5py.is_hdf5(path)),
        in_hdf5,
        takes_labels=True,
        takes_order=True,
    ),
    Kind(
        "an IDX file of images",
        lambda path: path.is_file() and ("idx" in path.name or idx.looks_like_idx(path)),
        in_idx,
        takes_labels=True,
    ),
)


def kind_of(path: Path) -> Kind:
    """Return what a path is; DataError if it is nothing known."""
    for kind in KINDS:
        if kind.fits(path):
            return kind
    trouble = "is none of the kinds that are known" if path.exists() else "does not exist"
    raise DataError(
        f"{path} {trouble}; images are read from a data set ({', '.join(DATA_SETS)}, with :train "
        f"or :test), {', '.join(kind.title for kind in KINDS)}"
    )
