"""storage/json_file.py: what is read has its type, and what does not is refused in one sentence."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from caffe_ext.errors import DataError, RecordError
from caffe_ext.storage.json_file import (
    Count,
    Md5,
    Object,
    PlainName,
    Sha256,
    parse_json,
    read_json,
)


@dataclass(frozen=True)
class Inner:
    name: PlainName
    digest: Md5 = "0" * 32


@dataclass(frozen=True)
class Record:
    count: Count
    sha256: Sha256
    inner: tuple[Inner, ...] = ()
    seconds: float = 0.0
    rest: Object | None = None

    def __post_init__(self) -> None:
        if self.count == 7:
            raise ValueError("seven is too many")


GOOD = f'{{"count": 3, "sha256": "{"a" * 64}", "unknown": [1], %s}}'


def test_what_fits_is_returned() -> None:
    text = GOOD % '"seconds": 2, "inner": [{"name": "a.h5"}], "rest": {"x": "\\udcff"}'
    expected = Record(3, "a" * 64, (Inner("a.h5"),), 2.0, {"x": "\udcff"})
    assert parse_json(text, Record) == parse_json(text.encode(), Record) == expected
    assert isinstance(parse_json(text, Record).seconds, float)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting"),
        (b"null", "Expected `object`, got `null`"),
        (b"5", "Expected `object`, got `int`"),
        (b'"x"', "Expected `object`, got `str`"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `count`"),
        (b"\xff\xfe", "codec can't decode"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"count": "3"', "Expecting"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"9" * 10_000, "integer string conversion"),
        (b'{"count": 3, "seconds": 1, "count": 4}', "the key 'count' is given twice"),
        (b'{"inner": [{"name\\n": 1, "name\\n": 1}]}', r"the key 'name\n' is given twice"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    refused(tmp_path, content, reason)


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ('"count": "3"', "Expected `int`, got `str` - at `$.count`"),
        ('"count": 3.5', "Expected `int`"),
        ('"count": true', "Expected `int`"),
        ('"count": -1', ">= 0"),
        (f'"count": {10**30}', "<= "),
        ('"count": 7', "seven is too many"),
        ('"count": NaN', "NaN is not valid JSON"),
        ('"seconds": Infinity', "Infinity is not valid JSON"),
        ('"seconds": 1e999', "1e999 is out of range"),
        (f'"seconds": {10**400}', "out of range"),
        ('"seconds": null', "Expected `float`, got `null`"),
        ('"sha256": "brkPWNED"', "at `$.sha256`"),
        (f'"sha256": "{"a" * 64}\\n"', "at `$.sha256`"),
        (f'"sha256": "{"A" * 64}"', "at `$.sha256`"),
        ('"inner": {}', "Expected `array`"),
        ('"inner": [[]]', "at `$.inner[0]`"),
        ('"inner": [{"name": "a", "digest": "x"}]', "at `$.inner[0].digest`"),
        *(
            (f'"inner": [{{"name": "{name}"}}]', "at `$.inner[0].name`")
            for name in (
                "",
                "..",
                ".",
                ".x",
                "../x",
                "/etc/passwd",
                "a/b",
                "a\\n",
                "a\\u0000",
                "a b",
            )
        ),
        ('"rest": []', "Expected `object | null`"),
    ],
)
def test_fields_of_another_type_are_refused(tmp_path: Path, field: str, reason: str) -> None:
    # Without the good value of the same field: none may be given twice.
    good = re.sub(rf"{field.split(':', maxsplit=1)[0]}: [^,]*, ", "", GOOD)
    refused(tmp_path, (good % field).encode(), reason)


def refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    kinds: tuple[Any, ...] = (RecordError, DataError)
    for kind in kinds:
        with pytest.raises(kind) as caught:
            read_json(path, Record, "delete it", kind)
        says = f"{caught.value}"
        assert says.startswith(f"{path} is damaged: delete it (")
        assert reason in says
        assert "\n" not in says


def test_what_cannot_be_read_is_no_damage(tmp_path: Path) -> None:
    for path, kind in ((tmp_path / "x", FileNotFoundError), (tmp_path, IsADirectoryError)):
        with pytest.raises(kind):
            read_json(path, Record, "delete it")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match=f"not a regular file: '{path}'"):
            read_json(path, Record, "delete it")
