"""Checks of values that were read from a sweep's YAML file; each ValueError is a sentence."""

from collections.abc import Sequence
from typing import Any

from caffe_ext.reporting import suggest


def check_mapping(where: str, given: Any, keys: Sequence[str]) -> dict[str, Any]:
    """Return a mapping of YAML; ValueError if it is something else or has an unknown key."""
    if not isinstance(given, dict):
        raise ValueError(
            f"{where} must have lines of the form `key: value`; keys: {', '.join(keys)}"
        )
    for key in given:
        if key not in keys:
            meant = suggest(str(key), keys)
            question = f" ({meant})" if meant else ""
            raise ValueError(f"unknown key {key!r} in {where}{question}; keys: {', '.join(keys)}")
    return given


def read_text_list(where: str, given: Any) -> tuple[str, ...]:
    """Return a list of texts; a single one, or a number, is a list of one."""
    items = given if isinstance(given, list) else [given]
    for item in items:
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise ValueError(f"{where} must be a list of texts, not {given!r}")
    return tuple(str(item) for item in items)
