"""Files that can be read to their end: a FIFO would block, and a device may never end."""

import errno
from os import PathLike
from pathlib import Path

AnyPath = str | PathLike[str]
"""How callers name a file or a folder."""


def require_regular_file(path: Path) -> None:
    """Raise OSError naming the path unless it is a regular file."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_regular_file(path: Path) -> bytes:
    """Return the content of a regular file; OSError for anything else, and if it cannot be read."""
    if not path.is_dir():  # of which read_bytes() says so itself
        require_regular_file(path)
    return path.read_bytes()
