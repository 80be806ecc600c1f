"""source.json: what the databases beside it were made from, so that work is not repeated."""

import platform
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

import lmdb
import numpy as np
from google import protobuf

from caffe_ext.data.digest import RawFile
from caffe_ext.errors import RecordError
from caffe_ext.storage.atomic import encode_json
from caffe_ext.storage.json_file import Count, PlainName, read_json

FILE_NAME = "source.json"
# Increased whenever the same raw files and arguments give other databases.
FORMAT = 1


def list_software_versions() -> dict[str, str]:
    """Return the versions of the software that writes the databases."""
    return {
        "python": platform.python_version(),
        "lmdb": lmdb.__version__,
        "numpy": np.__version__,
        "protobuf": protobuf.__version__,
    }


@dataclass(frozen=True)
class SourceRecord:
    """What a folder of databases holds and where it came from.

    data_set    the name of the folder's data set: mnist, cifar10, digits
    holds       what is actually in it; differs from data_set after a fallback
    origin      how the raw files were found
    published   whether the images are those that the data set's authors published
    remark      anything else to know about the content
    embedded    whether the images came with the software
    files       the raw files, with digests
    validation  how many of the last training images were held out
    images      the number of images by database
    extras      what else was written: the mean image, IDX files
    versions    of the software that wrote it
    finished    False only while the content is being exchanged, or if that was interrupted
    """

    data_set: PlainName
    holds: str
    origin: str
    published: bool
    remark: str
    embedded: bool
    files: tuple[RawFile, ...]
    validation: Count
    images: dict[PlainName, Count]
    extras: tuple[PlainName, ...]
    versions: dict[str, str] = field(default_factory=list_software_versions)
    finished: bool = True

    @property
    def fingerprint(self) -> tuple[str, ...]:
        """Return the digests of the raw files."""
        return tuple(file.md5 for file in self.files)

    @property
    def content(self) -> str:
        """Describe what the databases hold."""
        if self.remark:
            return f"{self.holds} ({self.remark})"
        return f"{self.holds} as published" if self.published else self.holds

    def to_bytes(self) -> bytes:
        """Return the text of source.json."""
        return encode_json({"format": FORMAT} | asdict(self))


@dataclass(frozen=True, kw_only=True)
class _SavedRecord(SourceRecord):
    """The content of source.json in a finished folder."""

    format: Literal[1]
    finished: Literal[True]

    @property
    def record(self) -> SourceRecord:
        """Return it without the format."""
        return SourceRecord(**{one.name: getattr(self, one.name) for one in fields(SourceRecord)})


UNFINISHED = encode_json({"format": FORMAT, "finished": False})


def read_record(folder: Path) -> SourceRecord | None:
    """Return the record of a finished folder; None if it has none, or one that is damaged."""
    try:
        return read_json(folder / FILE_NAME, _SavedRecord, "").record
    except (FileNotFoundError, NotADirectoryError, RecordError):
        return None
