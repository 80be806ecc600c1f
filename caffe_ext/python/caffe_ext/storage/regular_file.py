"""Files that can be read to their end: a FIFO would block, and a device never ends."""

import errno
from pathlib import Path


def require_regular_file(path: Path) -> None:
    """Raise OSError naming the path if there is something else than a regular file."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
