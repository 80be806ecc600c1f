"""Digests of files: MD5, which is what the data sets' sites publish; it only detects damage."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from caffe_ext.storage.json_file import Count, Md5


@dataclass(frozen=True)
class RawFile:
    """A file on the disk: absolute path, number of bytes, and MD5 in hexadecimal."""

    path: str
    size: Count
    md5: Md5


def compute_md5(content: bytes) -> str:
    """Return the MD5 in hexadecimal."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def describe_file(path: Path) -> RawFile:
    """Return the file with its size and digest."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        return RawFile(str(path.absolute()), file.tell(), digest.hexdigest())
