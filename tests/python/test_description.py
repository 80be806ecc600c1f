"""storage/description.py: what differs between what is asked for and what a file is of."""

from typing import Any

import pytest

from caffe_ext.errors import RecordError
from caffe_ext.storage.description import check_same, list_differences


@pytest.mark.parametrize(
    ("mine", "found", "keys"),
    [
        ({}, {}, []),
        ({"a": (1, 2.0), "b": {"c": None}}, {"b": {"c": None}, "a": [1, 2]}, []),
        ({"a": 1}, {"a": 2, "b": 3}, ["a", "b"]),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 1}}}, ["a.b.d"]),
        ({"a": {"b": 1}}, {"a": [1]}, ["a"]),
        ({"a": {"b": 1}}, {"a": {}}, ["a.b"]),
        ({"a": None}, {"b": None}, []),
        ({"a": {3: "x"}}, {"a": {"3": "x"}}, []),
    ],
)
def test_differences(mine: dict[Any, Any], found: dict[str, Any], keys: list[str]) -> None:
    assert list_differences(mine, found) == keys
    if not keys:
        check_same(mine, found, "x holds y", "go away")
        return
    with pytest.raises(RecordError) as refused:
        check_same(mine, found, "x holds y", "go away")
    assert f"{refused.value}" == f"x holds y (it differs in: {', '.join(keys)}); go away"
