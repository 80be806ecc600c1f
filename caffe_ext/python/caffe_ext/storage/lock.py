"""A lock on a folder, so that only one process at a time works in it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def lock_folder(folder: Path, busy: Exception | None) -> Iterator[int]:
    """Create the folder if necessary, and be the only process that works in it.

    busy  raised if another process has the lock; None: wait for it

    Yields the descriptor that holds the lock. The lock is released when the process ends in any
    way; a process that inherits the descriptor keeps it as long as it lives. The holder of the lock
    may remove the folder. Raises OSError if the folder cannot be created or opened.
    """
    try:
        descriptor = _lock(folder, wait=busy is None)
    except BlockingIOError as error:
        if busy is None:
            raise
        raise busy from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(folder: Path, *, wait: bool) -> int:
    """Return the descriptor of a folder that is locked and still exists."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            what = "is a link to nothing" if folder.is_symlink() else "is not a folder"
            raise FileExistsError(
                error.errno, f"{what}; choose another folder", f"{folder}"
            ) from error
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # whoever had the lock has removed it
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
