"""LMDBs as Caffe's Data layers read them, record for record those of Caffe's own converters.

Record number i has the key i, zero-padded ("%08d" for MNIST, "%05d" for CIFAR-10: the order of the
keys is the order of the images) and as value a serialized Datum: channels, height, width, data
(C, H, W), label.
"""

import mmap
from pathlib import Path

import lmdb
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from caffe_ext.data.errors import DataError
from caffe_ext.data.image_set import ImageSet
from caffe_ext.data.reporter import Reporter, Silent

_PAGE = mmap.PAGESIZE
# What a record costs beyond its pixels: the Datum's other fields, the key, LMDB's node header.
_RECORD_OVERHEAD = 64
_PER_TRANSACTION = 5_000


def map_size(images: NDArray[np.uint8]) -> int:
    """Return bytes that the LMDB of images (N, C, H, W) cannot outgrow, and hardly exceed it.

    LMDB packs several records into a page, but a record of more than half a page gets pages of its
    own. A quarter is added for the inner nodes and the pages that a transaction replaces.
    """
    record = int(np.prod(images.shape[1:])) + _RECORD_OVERHEAD
    if record > _PAGE // 2:
        each = -(-record // _PAGE) * _PAGE + _RECORD_OVERHEAD
    else:
        each = _PAGE // (_PAGE // record - 1 or 1)
    return (len(images) * each * 5 // 4 // _PAGE + 256) * _PAGE


def write_database(
    folder: Path, images: ImageSet, key_digits: int, reporter: Reporter | None = None
) -> None:
    """Write the images in their order into a new LMDB in `folder`, and through to the disk.

    Nothing here is atomic: see staging.py. Raises lmdb.Error (a full disk is lmdb.DiskError).
    """
    channels, height, width = images.images.shape[1:]
    folder.mkdir()
    progress = (reporter or Silent()).progress(f"writing {folder.name}", len(images), "image")
    # No lock file: the writer is alone here, and the first reader makes one.
    with (
        lmdb.open(str(folder), map_size=map_size(images.images), lock=False, sync=False) as env,
        progress as step,
    ):
        for start in range(0, len(images), _PER_TRANSACTION):
            part = images[start : start + _PER_TRANSACTION]
            with env.begin(write=True) as transaction:
                for number, (image, label) in enumerate(
                    zip(part.images, part.labels, strict=True), start
                ):
                    datum = caffe_pb2.Datum(
                        channels=channels,
                        height=height,
                        width=width,
                        data=image.tobytes(),
                        label=int(label),
                    )
                    key = str(number).zfill(key_digits).encode()
                    transaction.put(key, datum.SerializeToString(), append=True)
            step(len(part))
        env.sync(True)


def read_database(folder: Path) -> ImageSet:
    """Return all images of an LMDB of uint8 Datums, in the order of the keys.

    Raises DataError if there is no LMDB, it is empty or damaged, or its records are encoded (PNG,
    JPEG), hold floats or differ in shape.
    """
    pixels, labels, shape = [], [], None
    try:
        with _open(folder) as env, env.begin(buffers=True) as transaction:
            for key, value in transaction.cursor():
                datum = caffe_pb2.Datum.FromString(bytes(value))
                if shape is None:
                    shape = (datum.channels, datum.height, datum.width)
                if (datum.channels, datum.height, datum.width) != shape or (
                    datum.encoded or len(datum.data) != np.prod(shape)
                ):
                    raise DataError(
                        f"{folder}: record {bytes(key)!r} is no image of {shape} plain bytes"
                    )
                pixels.append(np.frombuffer(datum.data, np.uint8))
                labels.append(datum.label)
    except (lmdb.Error, DecodeError) as error:
        raise DataError(f"{folder} is no readable LMDB of images: {error}") from error
    if shape is None:
        raise DataError(f"{folder} is empty")
    return ImageSet(np.stack(pixels).reshape(-1, *shape), np.array(labels, np.int64), str(folder))


def count_records(folder: Path) -> int | None:
    """Return the number of records, or None where there is no readable LMDB."""
    try:
        with _open(folder) as env:
            return int(env.stat()["entries"])
    except lmdb.Error:
        return None


def _open(folder: Path) -> lmdb.Environment:
    return lmdb.open(str(folder), readonly=True, lock=False, create=False, readahead=True)
