"""A new HDF5 file that appears whole or not at all.

HDF5 does not survive a full disk: what it could not write it tries to write again as the file is
closed and as the process ends, and crashes there. So it does not hear of such errors; they are
raised once it has closed the file. An exception of a signal's handler in one of these calls it
would swallow half-way, and the file would look finished and lack images: so signals wait.
"""

import io
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import h5py

from caffe_ext.storage.atomic import replacing


@contextmanager
def new_hdf5(path: Path) -> Iterator[h5py.File]:
    """Yield an empty HDF5 file for writing, which gets its name when all is on the disk.

    Ctrl-C, and a polite kill, wait until the file is closed. Raises OSError with the file's name;
    what was there under that name stays then.
    """
    with _deferred(signal.SIGTERM), _deferred(signal.SIGINT), _new_hdf5(path) as file:
        yield file


@contextmanager
def _deferred(number: signal.Signals) -> Iterator[None]:
    """Let the handler of a signal, if it has one, hear of it only at the end."""
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
def _new_hdf5(path: Path) -> Iterator[h5py.File]:
    with replacing(path) as beside:
        target = _Target(beside.fileno())
        try:
            with h5py.File(target, "w") as file:
                yield file
        finally:
            target.finish()


class _Target(io.RawIOBase):
    """A file as h5py takes it, that does as if all was well; finish() tells if it was not."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._place = self._end = 0
        self._error: BaseException | None = None

    def finish(self) -> None:
        """Raise what went wrong first."""
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

        def all_of_it() -> None:
            nonlocal rest, place
            while len(rest):
                written = os.pwrite(self._descriptor, rest, place)
                rest, place = rest[written:], place + written

        self._attempt(all_of_it)
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
        """Do nothing: nothing is kept back."""

    def _attempt(self, action: Callable[[], object]) -> None:
        """Do something unless something has gone wrong already; keep what goes wrong."""
        if self._error is None:
            try:
                action()
            except BaseException as error:  # nor are other signals' exceptions HDF5's business
                self._error = error
