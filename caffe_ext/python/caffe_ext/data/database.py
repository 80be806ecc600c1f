"""LMDBs for Caffe's Data layers, identical record for record to those of Caffe's own converters.

Record number i has the key i, zero-padded ("%08d" for MNIST, "%05d" for CIFAR-10: the order of the
keys is the order of the images) and as value a serialized Datum: channels, height, width, data
(C, H, W), label.
"""

import math
import mmap
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from caffe_ext.data.image_files import decode_image
from caffe_ext.data.image_set import ImageSet
from caffe_ext.errors import DataError
from caffe_ext.reporting import Reporter, SilentReporter, is_utf8
from caffe_ext.runtime.forked import find_fatal_signal

_PAGE = mmap.PAGESIZE
_META_PAGES = 2
# What a record costs beyond its pixels: the Datum's other fields, the key, LMDB's node header.
_RECORD_OVERHEAD = 64
_PER_TRANSACTION = 5_000
_STRIDE = 256
# Records that another process reads at a time, before this one does.
_BLOCK = 1_000


def compute_map_size(count: int, shape: tuple[int, ...]) -> int:
    """Return a size in bytes, not much too large, that an LMDB of images (C, H, W) cannot exceed.

    LMDB packs several records into a page, but a record of more than half a page gets pages of its
    own. A quarter is added for the inner nodes and the pages that a transaction replaces.
    """
    record = math.prod(shape) + _RECORD_OVERHEAD
    if record > _PAGE // 2:
        each = -(-record // _PAGE) * _PAGE + _RECORD_OVERHEAD
    else:
        each = _PAGE // (_PAGE // record - 1 or 1)
    return (count * each * 5 // 4 // _PAGE + 256) * _PAGE


def write_database(
    folder: Path, images: ImageSet, key_digits: int, reporter: Reporter | None = None
) -> None:
    """Write the images in their order into a new LMDB in `folder`, synced to the disk.

    Nothing here is atomic: see staging.py. Raises lmdb.Error (a full disk is lmdb.DiskError), and
    DataError for a folder whose name is not UTF-8.
    """
    starts = range(0, len(images), _PER_TRANSACTION)
    parts = (images[start : start + _PER_TRANSACTION] for start in starts)
    shape = images.images.shape[1:]
    write_parts(folder, parts, len(images), shape, key_digits=key_digits, reporter=reporter)


def write_parts(  # noqa: PLR0913  they are independent of each other
    folder: Path,
    parts: Iterable[ImageSet],
    count: int,
    shape: tuple[int, ...],
    *,
    key_digits: int = 8,
    reporter: Reporter | None = None,
) -> None:
    """Write `count` images (C, H, W) that come in parts, one of which is in memory at a time.

    Each part is a transaction. Otherwise like write_database(). Raises DataError for a folder whose
    name is not UTF-8.
    """
    channels, height, width = shape
    if not is_utf8(f"{folder}"):
        raise DataError(
            f"{str(folder)!a} is not UTF-8: Caffe cannot read a database there; choose another "
            "folder"
        )
    folder.mkdir()
    progress = (reporter or SilentReporter()).show_progress(
        f"writing {folder.name}", count, "image"
    )
    # No lock file: the writer is alone here, and the first reader creates one.
    with (
        lmdb.open(
            str(folder), map_size=compute_map_size(count, shape), lock=False, sync=False
        ) as env,
        progress as step,
    ):
        number = 0
        for part in parts:
            with env.begin(write=True) as transaction:
                for image, label in zip(part.images, part.labels, strict=True):
                    datum = caffe_pb2.Datum(
                        channels=channels,
                        height=height,
                        width=width,
                        data=image.tobytes(),
                        label=int(label),
                    )
                    key = str(number).zfill(key_digits).encode()
                    transaction.put(key, datum.SerializeToString(), append=True)
                    number += 1
            step(len(part))
        env.sync(True)


class Records:
    """The records of an LMDB by their position, in the order of the keys; read on demand.

    The LMDB is open only while it is read, so that other code in this process can open it as well.
    Raises DataError if there is no LMDB, it is empty or damaged, or a record is no Datum.
    """

    def __init__(self, folder: Path) -> None:
        """Count the records."""
        self.folder = folder
        # Keys at every _STRIDE-th position, as far as reading has got: LMDB knows no positions.
        self._marks: list[bytes] = []
        self._readable: set[int] = set()
        with self._convert_errors(), _open(folder) as env:
            self._count = int(env.stat()["entries"])
        if not self._count:
            raise DataError(f"{folder} is empty")

    def __len__(self) -> int:
        """Count the records, as they were when this object was made."""
        return self._count

    def read(self, rows: slice) -> list[tuple[bytes, caffe_pb2.Datum]]:
        """Return keys and Datums of a part of the records."""
        start, stop, _ = rows.indices(self._count)
        stop = max(start, stop)
        self._check_readable(start, stop)
        with self._convert_errors():
            found = [
                (key, caffe_pb2.Datum.FromString(value)) for key, value in self._walk(start, stop)
            ]
        if len(found) != stop - start:
            raise DataError(
                f"{self.folder} has lost some of its {self._count:,} records since it was opened"
            )
        return found

    def _walk(self, start: int, stop: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values of a part of the records."""
        mark = min(start // _STRIDE, len(self._marks) - 1)
        with (
            _open(self.folder) as env,
            env.begin(buffers=True) as transaction,
            transaction.cursor() as cursor,
        ):
            if mark >= 0:
                cursor.set_range(self._marks[mark])
            keys = cursor.iternext(values=False)
            for position, key in enumerate(keys, max(mark, 0) * _STRIDE):
                if position == stop:
                    break
                if position == len(self._marks) * _STRIDE:
                    self._marks.append(bytes(key))
                if position >= start:
                    yield bytes(key), bytes(cursor.value())

    def _check_readable(self, start: int, stop: int) -> None:
        """Raise DataError if reading these records would crash, as with pages beyond the file.

        LMDB trusts what a page says about others, so each block is first read in another process.
        """
        for block in range(start // _BLOCK, -(-stop // _BLOCK)):
            if block in self._readable:
                continue
            first, last = block * _BLOCK, min((block + 1) * _BLOCK, self._count)
            number = find_fatal_signal(lambda: deque(self._walk(first, last), maxlen=0))  # noqa: B023
            if number is not None:
                raise DataError(
                    f"{self.folder} is damaged: reading its records {first:,} to {last - 1:,} ends "
                    f"in {number.name}; make it again"
                )
            self._readable.add(block)

    def read_image(
        self, key: bytes, datum: caffe_pb2.Datum, channel_order: str = "RGB"
    ) -> NDArray[np.uint8]:
        """Return a record's image, uint8 (C, H, W), colours in RGB order.

        channel_order  of plain records: "RGB", or "BGR" as Caffe's convert_imageset writes them;
                       encoded ones (JPEG, PNG) define their own

        Raises DataError naming the record if it holds floats or anything but the image.
        """
        where = f"{self.folder}: record {key!r}"
        if datum.encoded:
            return decode_image(datum.data, where)
        shape = (datum.channels, datum.height, datum.width)
        if datum.float_data:
            raise DataError(
                f"{where} holds floats (float_data); images are bytes, 0..255: write them with "
                "data=np.rint(pixels).astype(np.uint8).tobytes(), after multiplying by 255 if they "
                "are 0..1"
            )
        if min(shape) < 1 or len(datum.data) != math.prod(shape):
            raise DataError(f"{where} is not an uncompressed image of {shape}")
        image = np.frombuffer(datum.data, np.uint8).reshape(shape)
        return image[::-1] if channel_order == "BGR" else image

    @contextmanager
    def _convert_errors(self) -> Iterator[None]:
        """Convert errors of LMDB and protobuf to DataError."""
        try:
            yield
        except (lmdb.Error, DecodeError) as error:
            raise DataError(
                f"{self.folder} cannot be read as an LMDB of images: {error}"
            ) from error


def read_database(folder: Path) -> ImageSet:
    """Return all images of an LMDB of uint8 Datums, plain or encoded, in the order of the keys.

    Raises DataError as Records does, and if the images have different shapes.
    """
    records = Records(folder)
    shape = records.read_image(*records.read(slice(1))[0]).shape
    images = np.empty((len(records), *shape), np.uint8)
    labels = np.empty(len(records), np.int64)
    for start in range(0, len(records), _PER_TRANSACTION):
        part = records.read(slice(start, start + _PER_TRANSACTION))
        for number, (key, datum) in enumerate(part, start):
            image = records.read_image(key, datum)
            if image.shape != shape:
                raise DataError(
                    f"{folder}: record {key!r} has the shape {image.shape}, the first record "
                    f"{shape}"
                )
            images[number], labels[number] = image, datum.label
    return ImageSet(images, labels, str(folder))


def count_records(folder: Path) -> int | None:
    """Return the number of records, or None if there is no readable LMDB."""
    try:
        with _open(folder) as env:
            return int(env.stat()["entries"])
    except (lmdb.Error, DataError):
        return None


def _open(folder: Path) -> lmdb.Environment:
    """Open an LMDB for reading; DataError if its file is truncated: reading it would crash.

    DataError, too, for a pipe, for which LMDB would wait, and for a device.

    The file need not reach the last page number: LMDB does not write pages that a transaction
    allocates and frees again. So the pages in use are counted.
    """
    content = folder / "data.mdb"
    if content.exists() and not content.is_file():
        raise DataError(f"{content} is not a file")
    env = lmdb.open(str(folder), readonly=True, lock=False, create=False, readahead=True)
    pages = env.stat()
    used = _META_PAGES + pages["branch_pages"] + pages["leaf_pages"] + pages["overflow_pages"]
    size, least = content.stat().st_size, used * pages["psize"]
    if size < least:
        env.close()
        raise DataError(
            f"{folder} is truncated: it has {size:,} bytes and needs at least {least:,}"
        )
    return env
