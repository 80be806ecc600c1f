"""HDF5 files: a new one appears complete or not at all, and only data in the file itself are read.

HDF5 does not survive a full disk: it retries failed writes when the file is closed and when the
process ends, and crashes there. So such errors are hidden from it, and raised after it has closed
the file. It would also swallow an exception of a signal handler half-way, and the file would look
finished but lack images: so signals wait.
"""

import io
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

import h5py

from caffe_ext.storage.atomic import replace_file

# What h5py raises for a file that is damaged, besides OSError.
_DAMAGES = (KeyError, ValueError, TypeError, RuntimeError, OverflowError, MemoryError)


@contextmanager
def open_hdf5(path: Path, error: type[Exception]) -> Iterator[h5py.File]:
    """Yield an HDF5 file for reading, whose data are all in the file itself.

    Links to other files, data stored in other files, and virtual datasets are refused: otherwise
    the content of any file could pass for an image or a weight.

    Raises `error` with a sentence that names the file if it is damaged (also if that shows only in
    the body of the `with`) or has such links; OSError if it cannot be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{path} is not a file")
    with path.open("rb"):  # what the system says about it is clearer than what HDF5 makes of that
        pass
    try:
        _refuse_foreign_data(path, status.st_ino, status.st_size, status.st_mtime_ns)
        # Without HDF5's locks: they fail on some network drives, and what writes here replaces.
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, *_DAMAGES) as reason:
        if isinstance(reason, OSError) and reason.filename not in (None, str(path)):
            raise  # of another file
        what = " ".join(f"{reason}".split()) or type(reason).__name__
        raise error(f"{path} is damaged: {what}") from reason


@lru_cache(maxsize=64)
def _refuse_foreign_data(path: Path, *_: int) -> None:
    """Raise ValueError naming the first item that is, or may be, stored in another file.

    The cache is of the file as it is now: its other arguments are its number, size and time.
    """
    with h5py.File(path, "r", locking=False) as file:
        seen, left = set(), [("", file.id)]
        while left:
            place, group = left.pop()
            for raw in group:
                name = f"{place}/{os.fsdecode(raw)}".lstrip("/")
                kind = group.links.get_info(raw).type
                if kind == h5py.h5l.TYPE_SOFT:
                    continue  # whatever it leads to is in this file, and seen there
                if kind != h5py.h5l.TYPE_HARD:
                    raise ValueError(f"'{name}' is a link to another file")
                item = h5py.h5o.open(group, raw)
                address = h5py.h5o.get_info(item).addr
                if address in seen:
                    continue
                seen.add(address)
                if isinstance(item, h5py.h5g.GroupID):
                    left.append((name, item))
                elif isinstance(item, h5py.h5d.DatasetID):
                    _refuse_foreign_storage(name, item)


def _refuse_foreign_storage(name: str, dataset: h5py.h5d.DatasetID) -> None:
    """Raise ValueError if the values of a dataset are stored elsewhere."""
    settings = dataset.get_create_plist()
    if settings.get_layout() == h5py.h5d.VIRTUAL:
        raise ValueError(f"'{name}' is a virtual dataset, whose values are stored elsewhere")
    if settings.get_external_count():
        raise ValueError(f"the values of '{name}' are stored in another file")


@contextmanager
def create_hdf5(path: Path) -> Iterator[h5py.File]:
    """Yield an empty HDF5 file for writing, which gets its name when everything is on the disk.

    Ctrl-C and SIGTERM wait until the file is closed. Raises OSError with the file's name; an
    existing file of that name is then kept.
    """
    with _defer_signal(signal.SIGTERM), _defer_signal(signal.SIGINT), _create_hdf5(path) as file:
        yield file


@contextmanager
def _defer_signal(number: signal.Signals) -> Iterator[None]:
    """Defer the handler of a signal, if it has one, until the end."""
    before = signal.getsignal(number)
    # Only the main thread runs handlers; None is one that is not Python's.
    main = threading.current_thread() is threading.main_thread()
    if not main or before is None or before == signal.SIG_IGN:
        yield
        return
    frames: list[FrameType | None] = []
    signal.signal(number, lambda _, frame: frames.append(frame))
    try:
        yield
    finally:
        signal.signal(number, before)
        if frames and callable(before):
            before(number, frames[0])
        elif frames:
            signal.raise_signal(number)


@contextmanager
def _create_hdf5(path: Path) -> Iterator[h5py.File]:
    with replace_file(path) as beside:
        target = _Target(beside.fileno())
        try:
            with h5py.File(target, "w") as file:
                yield file
        finally:
            target.finish()


class _Target(io.RawIOBase):
    """A file object for h5py that hides errors from it; finish() raises them."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._place = self._end = 0
        self._error: BaseException | None = None

    def finish(self) -> None:
        """Raise the first error."""
        self._attempt(lambda: os.fsync(self._descriptor))
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._end}
        self._place = bases[whence] + offset
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def write(self, data: Any) -> int:
        """Write bytes."""
        rest = memoryview(data).cast("B")
        place, size = self._place, len(rest)

        def write_all() -> None:
            nonlocal rest, place
            while len(rest):
                written = os.pwrite(self._descriptor, rest, place)
                rest, place = rest[written:], place + written

        self._attempt(write_all)
        self._place += size
        self._end = max(self._end, self._place)
        return size

    def readinto(self, buffer: Any) -> int:
        """Read bytes."""
        wanted = memoryview(buffer).cast("B")
        self._attempt(lambda: os.preadv(self._descriptor, [wanted], self._place))
        self._place += len(wanted)
        return len(wanted)

    def truncate(self, size: int | None = None) -> int:
        """Set the size."""
        size = self._place if size is None else size
        self._attempt(lambda: os.ftruncate(self._descriptor, size))
        self._end = size
        return size

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def _attempt(self, action: Callable[[], object]) -> None:
        """Do something unless there was an error already; keep its error."""
        if self._error is None:
            try:
                action()
            except BaseException as error:  # nor are other signals' exceptions HDF5's business
                self._error = error
