"""JSON files that the programs read back: validated, so that the rest of the code can trust them.

A type is one that msgspec converts to, mostly a frozen dataclass with Annotated fields. Unknown
keys are ignored; known ones must be there, with values of the right types and ranges.
"""

import json
import math
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec
from msgspec import Meta

from caffe_ext.errors import RecordError
from caffe_ext.storage.regular_file import read_regular_file

Kind = TypeVar("Kind")

Count = Annotated[int, Meta(ge=0, le=2**53)]
"""A number of things, or of one of them."""
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Md5 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
PlainName = Annotated[str, Meta(pattern=r"\A[\w@-][\w.@-]*\Z")]
"""The name of a file in the folder of the JSON file: without a path, and not hidden."""
Object = dict[str, Any]
"""A JSON object with any content, such as a description: it is only compared."""


def read_json(
    path: Path, kind: type[Kind], advice: str, error: type[Exception] = RecordError
) -> Kind:
    """Return what is in a file, of this type.

    Raises `error`, with advice on what to do, if the file is damaged, and OSError if it cannot be
    read.
    """
    try:
        return parse_json(read_regular_file(path), kind)
    except ValueError as reason:
        raise error(f"{path} is damaged: {advice} ({reason})") from reason


def parse_json(content: bytes | str, kind: type[Kind]) -> Kind:
    """Return a JSON text's value as this type; ValueError if it is not JSON or of another type.

    NaN, infinities, text that is not UTF-8, and repeated keys are not accepted as JSON.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        # Not msgspec's own parser: it refuses half surrogates, which names of files may have.
        value = json.loads(
            text,
            object_pairs_hook=_make_object,
            parse_constant=_refuse_constant,
            parse_float=_parse_finite,
        )
        return validate(value, kind)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def validate(value: Any, kind: type[Kind]) -> Kind:
    """Return parsed JSON as this type; ValueError if it is of another type."""
    return msgspec.convert(value, kind)


def _make_object(pairs: list[tuple[str, Any]]) -> Object:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!a} is given twice")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not valid JSON")


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is out of range")
    return number
