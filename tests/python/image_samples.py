"""Images in files and folders of every kind, and checks common to all, for test_image_*.py."""

from pathlib import Path

import h5py
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from numpy.typing import NDArray

from caffe_ext.data import DataError, ImageSet, ImageSource, open_images, write_png
from data_samples import image_set

Array = NDArray[np.uint8]
COLOUR = image_set(7, (3, 5, 6))
GREY = image_set(7, (1, 28, 28))


def write_images(folder: Path, images: ImageSet) -> Path:
    """Write PNGs into folders that are called by their labels."""
    for number, (image, label) in enumerate(zip(images.images, images.labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        write_png(folder / str(label) / f"{number}.png", image)
    return folder


def write_hdf5(path: Path, **arrays: NDArray[np.generic]) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


def put(folder: Path, *datums: caffe_pb2.Datum) -> Path:
    with lmdb.open(str(folder)) as env, env.begin(write=True) as transaction:
        for number, datum in enumerate(datums):
            transaction.put(f"{number:04}".encode(), datum.SerializeToString())
    return folder


def check(source: ImageSource, images: Array, labels: NDArray[np.integer] | None) -> None:
    """See that a source has these images, however it is cut."""
    count = len(images)
    assert len(source) == count
    assert source.image_shape == images.shape[1:]
    for rows in (slice(None), slice(0, 2), slice(2, 5), slice(-3, None), slice(4, 2), slice(9**9)):
        batch = source.read(rows)
        assert batch.images.dtype == np.uint8
        assert np.array_equal(batch.images, images[rows])
        assert len(batch.names) == len(batch.images)
        assert (batch.labels is None) == (labels is None)
        if batch.labels is not None and labels is not None:
            assert batch.labels.dtype == np.int64
            assert np.array_equal(batch.labels, labels[rows])
            batch.labels[...] = 0
        batch.images[...] = 0  # a batch is the caller's own
    assert source.read(slice(1, 2)).names == source.read(slice(None)).names[1:2]


def refused(message: str, *arguments: object, **settings: object) -> None:
    """See that the images are not opened, or at the latest not all read."""
    with pytest.raises(DataError, match=message):
        open_images(*arguments, **settings).compute_digest()  # type: ignore[arg-type]
