"""A lock on a folder, so that one process at a time works in it."""

import fcntl
import os
from pathlib import Path


def lock_folder(folder: Path) -> int:
    """Lock a folder; return the descriptor that holds the lock until it is closed.

    The lock ends with the process, however it ends; a process that inherits the descriptor keeps it
    for as long as it lives. Raises BlockingIOError if another process has the lock, and OSError if
    the folder cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
