"""Finished points of other sweeps' tables, which are not computed again.

    table = read_table(Path("results/sweeps/bang_lenet_7x7/sweep.json"))
    sweep = Sweep(file, folder, reuse=(table,))

A row counts for the point that has its digest: the same training and evaluation, wherever they ran.
The weights stay where they were computed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from caffe_ext.errors import RecordError
from caffe_ext.runtime.checkout import shorten_path
from caffe_ext.storage.json_file import Count, Object, Sha256, read_json, validate
from caffe_ext.storage.provenance import hash_file
from caffe_ext.sweeps.table import COMMIT, DEVICE, DONE, WEIGHTS, Row, is_share

_ADVICE = "--reuse takes the sweep.json of a sweep"
_KEPT = ("command", "date", "version", "commit", "device", "machine", "sweep")
"""What of a table's record is kept in the record of the sweep that reuses it."""

_NOT_COPIED = ("baseline", "state", "digest", "worker", "error", "reused")


class _StoredRow(TypedDict):
    """What every row of a table has."""

    digest: Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]
    state: str
    reused: NotRequired[str | None]


class _Source(TypedDict):
    """What a table says of another that it has reused; more is kept as it is."""

    file: str
    sha256: Sha256


@dataclass(frozen=True)
class _StoredTable:
    """What of sweep.json is read."""

    sweep: str
    axes: Object
    rows: list[Object]
    reused: list[_Source] = field(default_factory=list)


class _Figures(TypedDict):
    """The columns of a finished row that are no numbers of any size."""

    images: Count
    accuracy: float | None
    weights_sha256: Sha256
    device: NotRequired[str | None]
    commit: NotRequired[str | None]


@dataclass(frozen=True)
class ReusedTable:
    """A table, as far as other sweeps can use it.

    name     of its file, as results show it
    rows     of the finished points, by their digests: what make_rows() adds to a point's values,
             with the file of the table in which each was computed
    sources  these files, and of which sweep and machine they are, for JSON: this table first
    """

    name: str
    rows: Mapping[str, Row]
    sources: Sequence[Mapping[str, Any]] = ()


def read_table(path: Path) -> ReusedTable:
    """Return the finished points of a sweep's table.

    Raises RecordError if it is damaged, or not the table of a sweep; OSError.
    """
    record = read_json(path, Object, _ADVICE)
    name = shorten_path(path)
    rows: dict[str, Row] = {}
    try:
        table = validate(record, _StoredTable)
        for row in table.rows:
            stored = validate(row, _StoredRow)
            if stored["state"] == DONE:
                figures = _read_figures(row, table.axes)
                rows[stored["digest"]] = {**figures, "reused": stored.get("reused") or name}
    except ValueError as reason:
        raise RecordError(f"{path} is damaged: {_ADVICE} ({reason})") from reason
    about = {"file": name, "sha256": hash_file(path)}
    about |= {key: record[key] for key in _KEPT if key in record}
    return ReusedTable(name, rows, (about, *record.get("reused", [])))


def find_rows(tables: Sequence[ReusedTable]) -> dict[str, Row]:
    """Return the rows of all tables by their digests; the first table that has one counts."""
    found: dict[str, Row] = {}
    for table in reversed(tables):
        found |= table.rows
    return found


def list_sources(tables: Sequence[ReusedTable], rows: Sequence[Row]) -> list[Mapping[str, Any]]:
    """Return the tables in which reused rows were computed, each version of a file once."""
    used = {row.get("reused") for row in rows}
    sources = [one for table in tables for one in table.sources if one["file"] in used]
    return list({(one["file"], one["sha256"]): one for one in sources}.values())


def _read_figures(row: Row, axes: Collection[str]) -> Row:
    """Return the columns of a finished row that do not depend on the sweep; ValueError."""
    validate(row, _Figures)
    kept = {key: row[key] for key in row if key not in axes and key not in _NOT_COPIED}
    for name, value in kept.items():
        if name in (DEVICE, COMMIT, WEIGHTS) or value is None:
            continue
        number = validate(value, float)
        if is_share(name) and not 0 <= number <= 1:
            raise ValueError(f"{name} is a share, 0 to 1, not {number:g}")
    return kept
