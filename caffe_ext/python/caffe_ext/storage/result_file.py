"""Results in a file each, with what they depend on: what is in its file is not computed again."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.json_file import Object, read_json

Found = TypeVar("Found")


@dataclass(frozen=True)
class StoredResult(Generic[Found]):
    """A result, a dataclass or None, and what it depends on, as in its file."""

    depends: Object
    found: Found


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
    advice   what to do about a damaged file, for which RecordError is raised
    again    compute it even if the file is there
    """
    if path.exists() and not again:
        return read_json(path, kind, advice).found
    found = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(StoredResult(dict(depends), found)))
    return found
