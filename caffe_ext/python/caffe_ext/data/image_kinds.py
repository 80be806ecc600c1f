"""The kinds of files and folders that images are read from, and how to recognise them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from caffe_ext.data import idx
from caffe_ext.data.database import Records
from caffe_ext.data.image_arrays import (
    RawImages,
    Reading,
    StoredImages,
    open_cifar_images,
    open_hdf5_images,
    open_idx_images,
    open_numpy_images,
)
from caffe_ext.data.image_files import SUFFIXES, find_images, read_image
from caffe_ext.data.image_labels import Labels, find_folder_labels, look_up_labels, read_listing
from caffe_ext.errors import DataError

DATA_SETS = ("mnist", "cifar10", "digits")


def open_folder_images(folder: Path, reading: Reading) -> StoredImages:
    """Return image files, labelled by the listing, or by folders named after classes."""
    paths = find_images(folder)
    origin, names = f"image files in {folder}", [path.as_posix() for path in paths]
    if reading.labels:
        found: Labels | None = look_up_labels(reading.labels, names, reading.classes)
    else:
        found = find_folder_labels(folder, paths, reading.classes)
    return _make_stored_images(
        origin, [folder / path for path in paths], names, found, reading.grey
    )


def open_image_file(path: Path, reading: Reading) -> StoredImages:
    """Return one image file, labelled by the listing if there is one."""
    found = look_up_labels(reading.labels, [path.name], reading.classes) if reading.labels else None
    return _make_stored_images(f"image file {path}", [path], [path.name], found, reading.grey)


def open_listed_images(path: Path, reading: Reading) -> StoredImages:
    """Return the image files in a listing of Caffe's ImageData layer, relative to its folder."""
    names, labels = zip(*read_listing(path, reading.classes), strict=True)
    paths = [path.parent / name for name in names]
    found, origin = np.array(labels, np.int64), f"image files in listing {path}"
    return _make_stored_images(origin, paths, names, found, reading.grey)


def open_database_images(folder: Path, reading: Reading) -> StoredImages:
    """Return the images of an LMDB; they have labels if the first one has."""
    records = Records(folder)
    labelled = records.read(slice(1))[0][1].HasField("label")

    def pull(start: int, stop: int) -> RawImages:
        rows = records.read(slice(start, stop))
        for key, datum in rows:
            if datum.HasField("label") != labelled or datum.label < 0:
                what = f"the label {datum.label}" if datum.HasField("label") else "no label"
                raise DataError(
                    f"{folder}: record {key!r} has {what}, and the first one has "
                    f"{'a' if labelled else 'no'} label; labels are 0 or above, for all or none"
                )
        return RawImages(
            (records.read_image(key, datum, reading.channel_order) for key, datum in rows),
            np.array([datum.label for _, datum in rows], np.int64) if labelled else None,
            [key.decode("utf-8", "backslashreplace") for key, _ in rows],
        )

    return StoredImages(f"LMDB {folder}", len(records), pull, labelled)


def _make_stored_images(
    origin: str,
    paths: Sequence[Path],
    names: Sequence[str],
    labels: Labels | None,
    grey: bool | None,
) -> StoredImages:
    def pull(start: int, stop: int) -> RawImages:
        return RawImages(
            (read_image(path, grey) for path in paths[start:stop]),
            None if labels is None else labels[start:stop],
            names[start:stop],
        )

    def choose_rows(rows: Sequence[int]) -> StoredImages:
        some = None if labels is None else labels[rows]
        return _make_stored_images(
            origin, [paths[r] for r in rows], [names[r] for r in rows], some, grey
        )

    return StoredImages(origin, len(paths), pull, labels is not None, choose_rows)


Opener = Callable[[Path, Reading], StoredImages]


@dataclass(frozen=True)
class Kind:
    """A kind of file or folder with images.

    title         for use in a sentence
    fits          whether a path is one
    opener        (path, reading) -> StoredImages
    takes_labels  whether labels may come from another file
    takes_order   whether the format leaves the order of the channels open
    """

    title: str
    fits: Callable[[Path], bool]
    opener: Opener
    takes_labels: bool = False
    takes_order: bool = False


def _match_suffixes(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.suffix.lower() in suffixes and path.is_file()


KINDS = (
    Kind(
        "an LMDB of Caffe (a folder with data.mdb)",
        lambda path: (path / "data.mdb").is_file(),
        open_database_images,
        takes_order=True,
    ),
    Kind("a folder of image files", Path.is_dir, open_folder_images, takes_labels=True),
    Kind("an image file", _match_suffixes(*SUFFIXES), open_image_file, takes_labels=True),
    Kind(
        'a listing of image files (.txt with lines "path label")',
        _match_suffixes(".txt"),
        open_listed_images,
    ),
    Kind("a batch of CIFAR-10 (.bin)", _match_suffixes(".bin"), open_cifar_images),
    Kind(
        "a NumPy file",
        _match_suffixes(".npy", ".npz"),
        open_numpy_images,
        takes_labels=True,
        takes_order=True,
    ),
    Kind(
        "an HDF5 file",
        lambda path: _match_suffixes(".h5", ".hdf5")(path) or bool(h5py.is_hdf5(path)),
        open_hdf5_images,
        takes_labels=True,
        takes_order=True,
    ),
    Kind(
        "an IDX file of images",
        lambda path: path.is_file() and ("idx" in path.name or idx.looks_like_idx(path)),
        open_idx_images,
        takes_labels=True,
    ),
)


def find_kind(path: Path) -> Kind:
    """Return the kind of a path; DataError if it is unknown."""
    for kind in KINDS:
        if kind.fits(path):
            return kind
    trouble = "is not of a supported kind" if path.exists() else "does not exist"
    raise DataError(
        f"{path} {trouble}; images are read from a data set ({', '.join(DATA_SETS)}, with :train "
        f"or :test), {', '.join(kind.title for kind in KINDS)}"
    )
