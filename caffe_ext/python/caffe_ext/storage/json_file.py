"""JSON files by which an interrupted run knows what it has done."""

import json
from pathlib import Path
from typing import Any

from caffe_ext.errors import RecordError


def read_json(path: Path, advice: str, *keys: str) -> dict[str, Any]:
    """Return the object in a file, which has these keys.

    Raises RecordError, with the advice, if it is damaged, OSError if it cannot be read.
    """
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise RecordError(f"{path} is damaged: {advice} ({error})") from error
    for key in keys:
        if key not in found:
            raise RecordError(f"{path} is damaged: {advice} (it has no {key!r})")
    return found
