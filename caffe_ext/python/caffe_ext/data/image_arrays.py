"""Images in arrays (N, C, H, W): in memory, in IDX, CIFAR-10, HDF5 and NumPy files."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from caffe_ext.data import cifar, idx
from caffe_ext.data.image_files import Image
from caffe_ext.data.image_labels import (
    ClassNumbers,
    Labels,
    as_labels,
    find_labels_beside,
    read_labels,
)
from caffe_ext.data.image_set import ImageSet
from caffe_ext.errors import DataError
from caffe_ext.reporting import list_names
from caffe_ext.storage.hdf5_file import open_hdf5
from caffe_ext.storage.numpy_file import read_member
from caffe_ext.storage.read_errors import convert_read_errors

ChannelOrder = Literal["RGB", "BGR"]
_IMAGES = ("images", "data")
_LABELS = ("labels", "label")
_MOST_VALUES = 1 << 24


@dataclass(frozen=True)
class Reading:
    """How images are to be read.

    labels         file of labels that replace those that come with the images
    channel_order  of arrays, for formats that do not define it
    grey           True: as grey images; False: as RGB; None: as they are
    classes        of the models, for labels given by the names of classes
    """

    labels: Path | None = None
    channel_order: ChannelOrder = "RGB"
    grey: bool | None = None
    classes: ClassNumbers = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RawImages:
    """Some of the images: uint8 (C, H, W) of any size, labels (n,) if there are any, and names."""

    images: Iterable[Image]
    labels: Labels | None
    names: Sequence[str]


@dataclass(frozen=True, eq=False)
class StoredImages:
    """Images in their place of storage.

    origin    what and where that is, in words
    count     how many there are; 1 or more
    pull      (start, stop) -> RawImages: reads just these
    labelled  whether they have labels
    part      (numbers, ascending) -> just these images; None if parts of these
              images are always the first ones
    """

    origin: str
    count: int
    pull: Callable[[int, int], RawImages]
    labelled: bool
    part: "Callable[[Sequence[int]], StoredImages] | None" = None


def choose_rows(stored: StoredImages, rows: Sequence[int]) -> StoredImages:
    """Return just the images in these rows."""
    if stored.part is not None:
        return stored.part(rows)

    def pull(start: int, stop: int) -> RawImages:
        pulled = [stored.pull(row, row + 1) for row in rows[start:stop]]
        labels = [one.labels for one in pulled if one.labels is not None]
        return RawImages(
            (image for one in pulled for image in one.images),
            np.concatenate([np.empty(0, np.int64), *labels]) if stored.labelled else None,
            [name for one in pulled for name in one.names],
        )

    return StoredImages(stored.origin, len(rows), pull, stored.labelled)


def open_image_set(images: ImageSet, origin: str) -> StoredImages:
    """Return images that are in memory, or memory-mapped."""
    return _make_stored_images(
        origin, len(images), images.labels, lambda start, stop: images.images[start:stop]
    )


def open_idx_images(path: Path, reading: Reading) -> StoredImages:
    """Return the images of an IDX file, labelled by the file beside it if named as MNIST's are."""
    images = idx.read_images(path).values[:, np.newaxis]
    beside = reading.labels or find_labels_beside(path)
    found = read_labels(beside, len(images)) if beside else None
    return _make_stored_images(f"IDX file {path}", len(images), found, lambda a, b: images[a:b])


def open_cifar_images(path: Path, _: Reading) -> StoredImages:
    """Return the images in one of CIFAR-10's files."""
    return open_image_set(cifar.read_batch(path), f"CIFAR-10 batch {path}")


def open_hdf5_images(path: Path, reading: Reading) -> StoredImages:
    """Return the images of an HDF5 file; it is open only while it is read."""
    with open_hdf5(path, DataError) as file:
        name, labels_name = _choose_names(path, file)
        for dataset in filter(None, (name, labels_name)):
            if not isinstance(file[dataset], h5py.Dataset):
                raise DataError(f"{path}: '{dataset}' is not a dataset")
        _check_images(f"{path}: '{name}'", file[name])
        count = len(file[name])
        own = _read_hdf5_labels(file[labels_name], count) if labels_name else None

    def read_part(start: int, stop: int) -> Image:
        with open_hdf5(path, DataError) as file:
            return np.asarray(file[name][start:stop])

    found = _choose_labels(path, own, reading.labels, count)
    return _make_stored_images(
        f"HDF5 file {path}", count, found, _convert_to_rgb(read_part, reading.channel_order)
    )


def _read_hdf5_labels(values: h5py.Dataset, count: int) -> NDArray[Any]:
    """Read labels if there is one for each image: the file may announce any number of values."""
    if values.shape is None or values.shape[:1] != (count,) or values.size != count:
        raise DataError(
            f"{values.file.filename} holds labels {values.dtype} {values.shape} for {count:,} "
            "images; one integer each is needed"
        )
    return np.asarray(values[()])


def open_numpy_images(path: Path, reading: Reading) -> StoredImages:
    """Return the images of a .npy file, memory-mapped, or of a .npz file, read into memory."""
    where, own = str(path), None
    with convert_read_errors(path):
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(images, np.ndarray):
            with images as content:
                name, labels_name = _choose_names(path, content)
                where, images = f"{path}: '{name}'", read_member(content, name)
                own = read_member(content, labels_name) if labels_name else None
    _check_images(where, images)
    part = _convert_to_rgb(lambda start, stop: images[start:stop], reading.channel_order)
    found = _choose_labels(path, own, reading.labels, len(images))
    return _make_stored_images(f"NumPy file {path}", len(images), found, part)


def _make_stored_images(
    origin: str, count: int, labels: Labels | None, part: Callable[[int, int], Image]
) -> StoredImages:
    """Return images of an array (N, C, H, W), whose names are their numbers."""

    def pull(start: int, stop: int) -> RawImages:
        names = [str(number) for number in range(start, stop)]
        return RawImages(part(start, stop), None if labels is None else labels[start:stop], names)

    return StoredImages(origin, count, pull, labels is not None)


def _choose_labels(
    path: Path, own: NDArray[Any] | None, labels: Path | None, count: int
) -> Labels | None:
    """Return the labels of `count` images from a file of labels, or else their own, if any."""
    if labels is not None:
        return read_labels(labels, count)
    return None if own is None else as_labels(own, count, path)


def _check_images(where: str, images: Any) -> None:
    """Raise DataError unless something with dtype and shape is uint8 (N, C, H, W), N above 0."""
    shape: tuple[int, ...] = images.shape or ()  # None: of a dataset without values
    if images.dtype == np.uint8 and len(shape) == 4 and shape[0] == 0:
        raise DataError(f"{where} holds no images: its shape is {shape}")
    if images.dtype != np.uint8 or len(shape) != 4 or 0 in shape:
        raise DataError(
            f"{where} holds {images.dtype} {images.shape}; images are uint8 (N, C, H, W)"
            f"{_suggest_conversion(images, shape) or _suggest_axis(shape)}"
        )


def _suggest_conversion(images: Any, shape: Sequence[int]) -> str:
    """Return how to convert floats, judged by the first image; "" for other types."""
    if images.dtype.kind != "f" or not shape or not 0 < np.prod(shape[1:]) <= _MOST_VALUES:
        return ""
    first = np.asarray(images[:1], np.float64)
    low, high = first.min(initial=np.inf), first.max(initial=-np.inf)
    if not (low >= 0 and high <= 255):
        return (
            f", 0..255. The first values are from {low:.3g} to {high:.3g}: save the images before "
            "they are normalised; `scale:` and `mean:` in the model's YAML file normalise them"
        )
    range_, factor = ("1", "255 * ") if high <= 1 else ("255", "")
    return f". If these are 0..{range_}, save np.rint({factor}images).astype(np.uint8)"


def _suggest_axis(shape: Sequence[int]) -> str:
    """Return how to save grey images (N, H, W); "" for other shapes."""
    return ". If these are grey images (N, H, W), save images[:, None]" if len(shape) == 3 else ""


def _convert_to_rgb(
    part: Callable[[int, int], Image], channel_order: ChannelOrder
) -> Callable[[int, int], Image]:
    if channel_order == "RGB":
        return part
    return lambda start, stop: part(start, stop)[:, ::-1]


def _choose_names(path: Path, names: Collection[str]) -> tuple[str, str | None]:
    """Return which of a file's names are the images and the labels, if there are labels."""
    images, labels = ([n for n in wanted if n in names] for wanted in (_IMAGES, _LABELS))
    if len(images) != 1 or len(labels) > 1:
        raise DataError(
            f"{path} must have one of {' and '.join(_IMAGES)}, and at most one of "
            f"{' and '.join(_LABELS)}; it has {list_names(sorted(names)) or 'nothing'}"
        )
    return images[0], labels[0] if labels else None
