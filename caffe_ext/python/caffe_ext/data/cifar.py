"""CIFAR-10 in its binary version: 50,000 training and 10,000 test images of 32x32 RGB pixels.

Five training batches and one test batch hold 10,000 records each; a record is one byte of label,
then 1,024 bytes each of red, green and blue, row by row. The batches may be in a folder, or in
the published archive (compressed with gzip or xz, or not), which is read without unpacking it.
"""

import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from caffe_ext.data.collection import Collection, RemoteFile
from caffe_ext.data.digest import compute_md5
from caffe_ext.data.idx import check_labels
from caffe_ext.data.image_set import DataSet, ImageSet
from caffe_ext.errors import DataError
from caffe_ext.reporting import Reporter

SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
RECORDS = 10_000
BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")

# MD5 of the published training batches. Some copies of the test batch have the published images in
# another order, which changes no accuracy: it is recognised by the MD5 of its records' sorted MD5s.
PUBLISHED_TRAINING = (
    "5dd7e06a14cb22eb9f671a540d1b7c25",
    "5ea93a67294ea407fff1d09f752e9692",
    "942cd6a4bcdd0dd3c604fbe906cb4421",
    "ae636b3ba5c66a11e91e8cb52e771fcb",
    "53f37980c15c3d472c316c40844f3f0d",
)
PUBLISHED_TEST_RECORDS = "26e78fa3f31960d112fc953ecc52025b"

_ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    170498071,
    "c32a1d4ab5d03f1284b67883e8d87530",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)


_LARGEST = 512 << 20
_PACKERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\0": lzma.open}


def hash_records(batch: bytes) -> str:
    """Return a digest of a batch's records that does not depend on their order."""
    records = (batch[start : start + RECORD] for start in range(0, len(batch), RECORD))
    return compute_md5("".join(sorted(map(compute_md5, records))).encode())


def read_cifar10(files: tuple[Path, ...], reporter: Reporter) -> DataSet:
    """Read the six batches in the order of BATCHES, or the one archive that holds them.

    Raises DataError naming the file that is damaged, truncated or incomplete.
    """
    origin = files[0] if len(files) == 1 else files[0].parent
    contents = _read_archive(files[0]) if len(files) == 1 else _read_files(files)
    batches: dict[str, bytes] = {}
    with reporter.show_progress("reading", len(BATCHES), "batch") as step:
        for name, content in contents:
            batches[name] = content
            step(1)
    missing = [name for name in BATCHES if name not in batches]
    if missing:
        raise DataError(f"{origin} lacks {', '.join(missing)}; download it again")
    parsed = [_parse(batches[name], origin / name) for name in BATCHES]

    def gather(part: list[NDArray[np.uint8]]) -> ImageSet:
        return _make_image_set(np.concatenate(part), origin)

    remark = _compare_with_published(batches)
    return DataSet(gather(parsed[:5]), gather(parsed[5:]), published=not remark, remark=remark)


def read_batch(path: Path) -> ImageSet:
    """Return the images of a file with any number of records; they are memory-mapped.

    Raises DataError naming a file that is empty, truncated or has labels beyond 9.
    """
    size = path.stat().st_size
    if size == 0 or size % RECORD:
        raise DataError(
            f"{path} is truncated, or not a batch of CIFAR-10: it holds {size:,} bytes, not a "
            f"multiple of {RECORD:,}"
        )
    records = np.asarray(np.memmap(path, np.uint8, "r")).reshape(-1, RECORD)
    check_labels(records[:, 0], path)
    return _make_image_set(records, path)


def _make_image_set(records: NDArray[np.uint8], origin: Path) -> ImageSet:
    """Return records (N, bytes of a record) as images and labels; the pixels are not copied."""
    labels = records[:, 0].astype(np.int64)
    return ImageSet(records[:, 1:].reshape(-1, *SHAPE), labels, str(origin))


def _read_files(files: tuple[Path, ...]) -> Iterator[tuple[str, bytes]]:
    for name, path in zip(BATCHES, files, strict=True):
        yield name, path.read_bytes()


class _ArchiveContent:
    """An archive's content, as tarfile reads it: a few packed bytes may stand for any number, of
    which tarfile takes what the headers say into memory.
    """

    def __init__(self, content: IO[bytes], path: Path) -> None:
        self._content, self._path = content, path
        self.tell = content.tell

    def seek(self, place: int) -> int:
        """Go to a place from the beginning; DataError for one behind any batch's."""
        self._check(place)
        return self._content.seek(place)

    def read(self, size: int) -> bytes:
        """Return the next bytes; DataError where that is more than the published archive has."""
        self._check(self.tell() + size)
        return self._content.read(size)

    def _check(self, end: int) -> None:
        if end > _LARGEST:
            raise DataError(
                f"{self._path} is damaged: it unpacks to more than {_LARGEST >> 20} MiB, the "
                "published archive to 176; download it again"
            )


def _read_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as raw:
        start = raw.read(6)
    unpack = next((opener for magic, opener in _PACKERS.items() if start.startswith(magic)), open)
    try:
        with (
            unpack(path, "rb") as content,
            tarfile.open(fileobj=_ArchiveContent(content, path), mode="r:") as archive,  # type: ignore[call-overload]  # what tarfile calls is there
        ):
            for member in archive:
                name = PurePosixPath(member.name).name
                file = archive.extractfile(member) if name in BATCHES else None
                if file is not None:
                    # One byte too many is damage enough.
                    yield name, file.read(RECORDS * RECORD + 1)
    except (
        tarfile.TarError,
        gzip.BadGzipFile,
        lzma.LZMAError,
        zlib.error,
        EOFError,
        KeyError,  # a link to what is not there
        RecursionError,  # a link to itself
    ) as error:
        # tarfile tells of every packer that it tried, a line each.
        reason = str(error).splitlines()[0].rstrip(":")
        raise DataError(f"{path} is truncated or damaged ({reason}); download it again") from error


def _parse(batch: bytes, path: Path) -> NDArray[np.uint8]:
    """Return the batch as (records, bytes of a record)."""
    if len(batch) != RECORDS * RECORD:
        short = len(batch) < RECORDS * RECORD
        held = f"truncated: it holds {len(batch):,}" if short else "damaged: it holds more"
        raise DataError(
            f"{path} is {held} bytes, but a CIFAR-10 batch has {RECORDS:,} records of {RECORD:,}, "
            f"{RECORDS * RECORD:,} bytes; download it again"
        )
    records = np.frombuffer(batch, np.uint8).reshape(RECORDS, RECORD)
    check_labels(records[:, 0], path)
    return records


def _compare_with_published(batches: dict[str, bytes]) -> str:
    """Return which batches differ from the published ones; "" if none does."""
    digests = map(compute_md5, (batches[name] for name in BATCHES[:5]))
    differing = [
        name
        for name, digest, published in zip(BATCHES[:5], digests, PUBLISHED_TRAINING, strict=True)
        if digest != published
    ]
    if hash_records(batches[BATCHES[5]]) != PUBLISHED_TEST_RECORDS:
        differing.append(BATCHES[5])
    return f"not the published CIFAR-10: {', '.join(differing)}" if differing else ""


CIFAR10 = Collection(
    name="cifar10",
    title="CIFAR-10",
    subfolders=(
        "",
        "cifar-10-batches-bin",
        "cifar10",
        "cifar10/cifar-10-batches-bin",
        "cifar10/raw",
        "raw",
    ),
    layouts=(
        tuple((name,) for name in BATCHES),
        (("cifar-10-binary.tar.gz", "cifar-10-binary.tar.xz", "cifar-10-binary.tar"),),
    ),
    remotes=(_ARCHIVE,),
    load=read_cifar10,
    key_digits=5,
    writes_mean=True,
)
