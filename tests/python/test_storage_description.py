"""storage/description.py: what differs between two descriptions, in a sentence."""

import pytest

from caffe_ext.errors import RecordError
from caffe_ext.storage.description import check_same, list_differences


def test_keys_are_named_with_their_places() -> None:
    mine = {"seed": 0, "model": {"scale": 1.0, "mean": None}, "limit": (1, 2)}
    found = {"seed": 1, "model": {"scale": 2}, "limit": [1, 2], "old": None}
    assert list_differences(mine, found) == ["model.scale", "seed"]
    check_same(mine, {"seed": 0, "model": {"scale": 1}, "limit": [1, 2]}, "x", "y")


@pytest.mark.parametrize("key", ["a\nb", "\x1b[31m", "\udcff", "\u2028"])
def test_keys_that_cannot_be_shown_are_escaped(key: str) -> None:
    with pytest.raises(RecordError) as raised:
        check_same({}, {key: 1}, "x.json holds another's results", "choose another folder")
    says = f"x.json holds another's results (it differs in: {key!a}); choose another folder"
    assert str(raised.value) == says
    assert str(raised.value).isprintable()


def test_of_many_keys_some_are_named() -> None:
    with pytest.raises(RecordError, match=r"key011, 288 more\); advice$"):
        check_same({}, {f"key{n:03}": n for n in range(300)}, "what", "advice")
