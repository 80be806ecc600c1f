"""Hand-written text files: UTF-8, with or without a byte order mark, comments in any encoding.

Caffe reads bytes: a comment in GBK or Latin-1 does not matter to it.
"""

from pathlib import Path
from typing import Any

from caffe_ext.storage.regular_file import require_regular_file

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def read_text(path: Path) -> str:
    """Return a file's text without a byte order mark, with REPLACEMENT for what is not UTF-8.

    Raises OSError, also for anything but a regular file.
    """
    require_regular_file(path)
    return path.read_bytes().decode("utf-8-sig", "replace")


def check_utf8(path: Path, value: Any) -> None:
    """Raise ValueError if a text in a value read from a file, nested or not, was not UTF-8."""
    if isinstance(value, str):
        if REPLACEMENT in value:
            raise ValueError(
                f"{path}: {value!r} is not UTF-8; only comments may be in another encoding"
            )
    elif isinstance(value, dict):
        check_utf8(path, [*value.keys(), *value.values()])
    elif isinstance(value, list):
        for item in value:
            check_utf8(path, item)
