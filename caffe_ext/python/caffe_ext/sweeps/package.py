"""A digest of this package's Python source: with that of the libraries' sources
(runtime/native.py), it tells whether two machines compute the same.
"""

from functools import cache
from hashlib import sha256
from pathlib import Path

import caffe_ext


@cache
def hash_package() -> str:
    """Return the SHA-256, in hexadecimal, of all Python files of the package and their names."""
    folder = Path(caffe_ext.__file__).parent
    digest = sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
