"""A folder whose content is replaced as a whole, or not at all.

New content is made in a hidden folder beside the old, synced to the disk, and then moved into
place. If anything fails before that, the old content stays as it was; what a killed process left
behind is removed by the next one. During the moves, a few microseconds, the record in the folder
says that it is unfinished; old and new content are never mixed.
"""

import errno
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import lmdb

from caffe_ext.errors import DataError
from caffe_ext.storage.lock import lock_folder

_PREFIX = ".making-"
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def lock_for_making(folder: Path) -> AbstractContextManager[int]:
    """Create the folder if necessary, and be the only process that fills it, or raise DataError."""
    busy = f"another process is making {folder}; wait for it, or end it, and try again"
    return lock_folder(folder, DataError(busy))


def is_of_full_disk(sentence: str) -> bool:
    """Tell whether a sentence on what failed, also of another program, says that a disk is full."""
    return any(os.strerror(number) in sentence for number in _FULL_DISK)


@contextmanager
def explain_full_disk(folder: Path) -> Iterator[None]:
    """Turn a full disk, which LMDB and files report in different ways, into a DataError."""
    try:
        yield
    except (lmdb.Error, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _FULL_DISK:
            raise
        # LMDB calls it an input/output error if the last page fits in part.
        raise DataError(
            f"cannot write {folder}, most likely because the disk is full "
            f"({getattr(error, 'strerror', None) or error}); what was there before is unchanged"
        ) from error


@contextmanager
def stage_content(
    folder: Path, names: Sequence[str], record: str, unfinished: bytes
) -> Iterator[Path]:
    """Yield an empty folder for new content; at the end it replaces the old. Needs the lock.

    names       every entry that is replaced; one that was not made anew is removed
    record      the entry that goes in last, a file
    unfinished  content of the record while the others are exchanged
    """
    for stale in folder.glob(f"{_PREFIX}*"):
        shutil.rmtree(stale)
    making = folder / f"{_PREFIX}{os.getpid()}"
    making.mkdir()
    try:
        yield making
        _sync_tree(making)
        with _defer_interrupt():
            _exchange(making, folder, names, record, unfinished)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _exchange(
    making: Path, folder: Path, names: Sequence[str], record: str, unfinished: bytes
) -> None:
    old = making / "old"
    old.mkdir()
    announcement = making / "unfinished"
    announcement.write_bytes(unfinished)
    _sync(announcement)
    announcement.replace(folder / record)
    _sync(folder)
    for name in names:
        if (folder / name).exists():
            (folder / name).rename(old / name)
    for name in names:
        if (making / name).exists():
            (making / name).rename(folder / name)
    _sync(folder)
    (making / record).replace(folder / record)
    _sync(folder)


@contextmanager
def _defer_interrupt() -> Iterator[None]:
    """Defer Ctrl-C until the end.

    A signal mask would not do: it holds for one thread, and libraries start others. Outside the
    main thread there is nothing to do, since Python raises KeyboardInterrupt only there.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def _sync_tree(root: Path) -> None:
    for path in (*root.rglob("*"), root):
        _sync(path)


def _sync(path: Path) -> None:
    """Sync a file or a folder's list of entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
