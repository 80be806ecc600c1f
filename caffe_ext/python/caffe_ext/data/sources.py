"""Where the raw files of a data set are searched for, and in which order.

1. the folder that was named with --data-dir      it is an error if they are not there
2. the folder in the variable CAFFE_EXT_DATA      a note if they are not there
3. data/ in the checkout, and the output folder   where downloads are kept as well
4. the data set's public sites                    see download.py
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from caffe_ext.data import digits
from caffe_ext.data.collection import Collection
from caffe_ext.data.digest import RawFile, compute_md5, describe_file
from caffe_ext.data.download import download
from caffe_ext.data.image_set import DataSet
from caffe_ext.errors import DataError
from caffe_ext.reporting import Reporter

VARIABLE = "CAFFE_EXT_DATA"


@dataclass(frozen=True)
class Source:
    """Raw files that were found; their digests are known, but they have not been read.

    holds     what they are: the data set's title, or that of its replacement
    origin    how they were found, in words
    files     the files, in the order in which they are read
    embedded  whether they come with the software instead of the data set's site
    load      reads them
    """

    holds: str
    origin: str
    files: tuple[RawFile, ...]
    embedded: bool
    load: Callable[[Reporter], DataSet]

    @property
    def fingerprint(self) -> tuple[str, ...]:
        """Return the digests, which tell whether another source has the same files."""
        return tuple(file.md5 for file in self.files)


def find_local_source(
    collection: Collection, data_dir: Path | None, homes: Sequence[Path], reporter: Reporter
) -> Source | None:
    """Return the first source on this machine, in the order above, or None.

    Raises DataError if `data_dir` was given and does not hold the data set, and if CAFFE_EXT_DATA
    names no folder.
    """
    if data_dir is not None:
        return _find_source_in(collection, _resolve_folder(data_dir, "--data-dir"), "--data-dir")
    variable = os.environ.get(VARIABLE)
    if variable:
        try:
            return _find_source_in(collection, _resolve_folder(Path(variable), VARIABLE), VARIABLE)
        except _IncompleteError as error:
            reporter.note(f"{VARIABLE}: {error}; looking elsewhere")
    for home in homes:
        files = collection.find(home)
        if files:
            return _make_source(collection, files, f"found in {files[0].parent}")
    return None


def download_source(collection: Collection, folder: Path, reporter: Reporter) -> Source:
    """Download what is missing in the folder, and return it as a source.

    Raises the same as download().
    """
    files = tuple(download(remote, folder, reporter) for remote in collection.remotes)
    return _make_source(collection, files, f"downloaded to {folder}")


def make_digits_source() -> Source:
    """Return scikit-learn's digits as a source; its files are the IDX files made of them."""
    made = digits.make_digits()
    files = tuple(
        RawFile(name, len(content), compute_md5(content))
        for name, content in digits.make_idx_files(made).items()
    )
    return Source(digits.TITLE, "embedded in scikit-learn", files, True, lambda _: made)


class _IncompleteError(DataError):
    """A folder exists but does not hold the data set."""


def _resolve_folder(path: Path, named_by: str) -> Path:
    if not path.is_dir():
        raise DataError(f"{named_by} names {path}, which is not a folder")
    return path


def _find_source_in(collection: Collection, folder: Path, named_by: str) -> Source:
    files = collection.find(folder)
    if files is None:
        raise _IncompleteError(collection.describe_missing(folder))
    return _make_source(collection, files, f"found in {files[0].parent} ({named_by})")


def _make_source(collection: Collection, files: tuple[Path, ...], origin: str) -> Source:
    return Source(
        collection.title,
        origin,
        tuple(map(describe_file, files)),
        False,
        lambda reporter: collection.load(files, reporter),
    )
