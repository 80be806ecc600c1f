"""Descriptions of what results depend on: results are reused only if these are equal."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from caffe_ext.errors import RecordError

_MOST_KEYS = 12
"""In an error message."""


def hash_description(description: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits of a description, for the name of the file of its results."""
    return sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:12]


def list_differences(mine: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return the keys of what differs, sorted; nested ones as `model.weights_sha256`.

    mine   what is asked for, of any types that JSON takes
    found  what was read from a file

    A missing key is equal to one that is null, so that files stay valid when settings are added
    later.
    """
    return _list_differences(json.loads(json.dumps(mine)), found)


def check_same(mine: Mapping[str, Any], found: Mapping[str, Any], what: str, advice: str) -> None:
    """Raise RecordError if the two differ.

    what    the subject of the sentence: "x.h5 holds results of another run"
    advice  its end: what to do
    """
    keys = list_differences(mine, found)
    if keys:
        # They are read from a file: they may contain anything, and be any number.
        shown = [key if key.isprintable() else f"{key!a}" for key in keys[:_MOST_KEYS]]
        more = [f"{len(keys) - _MOST_KEYS} more"] if len(keys) > _MOST_KEYS else []
        raise RecordError(f"{what} (it differs in: {', '.join(shown + more)}); {advice}")


def _list_differences(mine: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    keys = []
    for key in sorted({*mine, *found}):
        one, other = mine.get(key), found.get(key)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            keys += [f"{key}.{name}" for name in _list_differences(one, other)]
        else:
            keys.append(key)
    return keys
