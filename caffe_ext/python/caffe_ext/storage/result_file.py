"""Results in a file each, with what they depend on: what is in its file is not computed again."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.description import check_same
from caffe_ext.storage.json_file import Object, read_json

Found = TypeVar("Found")


@dataclass(frozen=True)
class StoredResult(Generic[Found]):
    """A result, a dataclass or None, and what it depends on, as in its file."""

    depends: Object
    found: Found


def read_result(
    path: Path, kind: type[StoredResult[Found]], depends: Mapping[str, Any], advice: str
) -> Found:
    """Return the result in a file whose name has a digest of what it depends on.

    A file that was renamed, copied or edited by hand is not taken for another one.

    kind, depends, advice  as of restore_result()

    Raises RecordError for a file that is damaged or depends on something else.
    """
    stored = read_json(path, kind, advice)
    check_same(depends, stored.depends, f"{path} holds other results", advice)
    return stored.found


def write_result(path: Path, depends: Mapping[str, Any], found: object) -> None:
    """Write a result, a dataclass or None, for read_result(); depends as there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(StoredResult(dict(depends), found)))


def restore_result(  # noqa: PLR0913  they are independent of each other
    path: Path,
    kind: type[StoredResult[Found]],
    depends: Mapping[str, Any],
    compute: Callable[[], Found],
    advice: str,
    *,
    again: bool = False,
) -> Found:
    """Return the result in a file; without a file, compute and write it.

    path     has hash_description() of what the result depends on in its name
    kind     StoredResult[X], X the type of the result
    depends  what the result depends on, for JSON
    advice   what to do about a file that is damaged or holds another result
    again    compute it even if the file is there

    Raises RecordError for such a file.
    """
    if path.exists() and not again:
        return read_result(path, kind, depends, advice)
    found = compute()
    write_result(path, depends, found)
    return found
