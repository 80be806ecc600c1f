"""Whether two machines compute the same, or one machine before and after an update: a digest of
this package's Python source, beside that of the libraries' sources (runtime/native.py), and the
state of the installed files.
"""

from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

import caffe_ext
from caffe_ext import PLUGIN


@cache
def hash_package() -> str:
    """Return the SHA-256, in hexadecimal, of all Python files of the package and their names."""
    folder = Path(caffe_ext.__file__).parent
    digest = sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def list_installed_files() -> list[tuple[str, int, int]]:
    """Return the libraries and this package's Python files, with their inodes and times of change.

    If they are others later, something was built or installed again. `caffe train` loads the
    libraries anew for each point; other processes keep those that they have begun with.
    """
    folder = Path(caffe_ext.__file__).parent
    found = []
    for path in sorted({*PLUGIN.parent.glob("lib*.so*"), *folder.rglob("*.py")}):
        with suppress(FileNotFoundError):  # it is being installed
            status = path.stat()
            found.append((f"{path}", status.st_ino, status.st_mtime_ns))
    return found
