"""The many exceptions of h5py and NumPy for damaged files, as one."""

import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from caffe_ext.errors import DataError


@contextmanager
def convert_read_errors(path: Path, kind: type[Exception] = DataError) -> Iterator[None]:
    """Convert what h5py and NumPy raise for a damaged file to an exception of this kind."""
    try:
        yield
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,  # RecursionError, and NotImplementedError of zipfile
        OverflowError,
        MemoryError,
        SyntaxError,  # of NumPy's headers, which are Python
        tokenize.TokenError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
    ) as error:
        raise kind(f"{path} cannot be read: {' '.join(f'{error}'.split())}") from error
