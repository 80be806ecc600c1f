"""A sweep's data sets on this machine: found or prepared, and identified by their content."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from caffe_ext.data import Request, SourceRecord, open_images, prepare
from caffe_ext.data.preparation import read_intact_record
from caffe_ext.errors import DataError, RecordError
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runtime.checkout import DATA
from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.json_file import Sha256, read_json
from caffe_ext.storage.lock import lock_folder
from caffe_ext.storage.provenance import hash_file
from caffe_ext.sweeps.choices import DataChoice

_DIGEST = "digest.json"
FOLDER_VARIABLE = "CAFFE_EXT_SWEEP_DATA"
"""The environment variable of a worker that names the folder for databases."""


@dataclass(frozen=True)
class SweepData:
    """A data set's databases.

    files   absolute paths of what networks can read, by name: train_lmdb, test_lmdb ...
    digest  SHA-256 of all images, their order and labels, and of the mean image
    origin  what it is and where it is from
    """

    files: Mapping[str, Path]
    digest: str
    origin: str


@dataclass(frozen=True)
class _SavedDigest:
    """Content of digest.json: the digest, and sizes and times of the files that it is of."""

    stamps: dict[str, list[int]]
    sha256: Sha256


def prepare_data(choice: DataChoice, home: Path, reporter: Reporter | None = None) -> SweepData:
    """Find or prepare a data set in a folder of `home`; waits for another process that does so.

    Raises DataError and OSError.
    """
    reporter = reporter or SilentReporter()
    output = home.absolute() / f"{choice}"
    homes = (DATA, Path("data").absolute())
    request = Request(choice.name, output, homes=homes, validation=choice.validation)
    with lock_folder(output, None):
        prepared = prepare(request, reporter)
        if prepared.record.embedded and choice.name != "digits":
            raise DataError(
                f"{choice} is not on this machine, and no mirror could be reached: name the folder "
                f"with its files in CAFFE_EXT_DATA, or write `data: digits`"
            )
        stamps = _collect_stamps(prepared.folder, prepared.record)
        digest = _read_digest(output, stamps)
        if digest is None:
            digest = _compute_digest(prepared.folder, prepared.record, reporter)
            write_json(output / _DIGEST, {"stamps": stamps, "sha256": digest})
    return _describe(prepared.folder, prepared.record, digest)


def find_prepared(choice: DataChoice, home: Path, digest: str) -> SweepData | None:
    """Return a data set that prepare_data() has left, if it is whole and has this digest.

    Reads neither raw files nor images: their sizes and times are what they were.
    """
    output = home.absolute() / f"{choice}"
    record = read_intact_record(output / choice.name)
    if record is None or record.validation != choice.validation:
        return None
    if _read_digest(output, _collect_stamps(output / choice.name, record)) != digest:
        return None
    return _describe(output / choice.name, record, digest)


def _describe(folder: Path, record: SourceRecord, digest: str) -> SweepData:
    names = (*record.images, *record.extras)
    return SweepData(
        {name: folder / name for name in names}, digest, f"{record.content}, {record.origin}"
    )


def _collect_stamps(folder: Path, record: SourceRecord) -> dict[str, list[int]]:
    """Return sizes and times of the files with the data."""
    candidates = [folder / name / "data.mdb" for name in record.images]
    candidates += [folder / name for name in record.extras]
    return {
        str(path.relative_to(folder)): [path.stat().st_size, path.stat().st_mtime_ns]
        for path in candidates
        if path.is_file()
    }


def _read_digest(output: Path, stamps: dict[str, list[int]]) -> str | None:
    """Return the digest of files with these sizes and times, if it is known."""
    try:
        saved = read_json(output / _DIGEST, _SavedDigest, "")
    except (FileNotFoundError, RecordError):
        return None
    return saved.sha256 if saved.stamps == stamps else None


def _compute_digest(folder: Path, record: SourceRecord, reporter: Reporter) -> str:
    parts = [open_images(folder / name).compute_digest(reporter) for name in record.images]
    parts += [hash_file(folder / name) for name in record.extras if (folder / name).is_file()]
    return sha256(" ".join(parts).encode()).hexdigest()


def find_data_home(default: Path) -> Path:
    """Return the folder for databases: that of FOLDER_VARIABLE, if it is set."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else default
