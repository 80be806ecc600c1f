"""Hypothesis strategies for damage: of bytes, of lines of text, and of the values in JSON."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Damage = Callable[[bytes], bytes]

_SIZES = (1, 2, 4, 8)
_EXTREMES = (0, 1, -1, 2**7, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_WORDS = (
    *(
        b"-1",
        b"0",
        b"99999999999999999999",
        b"nan",
        b"-inf",
        b"1e999",
        b"''",
        b"{",
        b"}",
        b"[" * 2000,
    ),
    *(
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\0",
        b"\n",
        b": ",
        b"&a *a",
        b"../../x",
        b"/dev/zero",
        b"true",
    ),
)


def _place(content: bytes, share: float) -> int:
    return int(share * len(content))


def _replaced(share: float, new: bytes) -> Damage:
    """Put bytes in the place of as many."""

    def damage(content: bytes) -> bytes:
        at = _place(content, share)
        return content[:at] + new + content[at + len(new) :]

    return damage


def _inserted(share: float, new: bytes) -> Damage:
    def damage(content: bytes) -> bytes:
        at = _place(content, share)
        return content[:at] + new + content[at:]

    return damage


def _cut(first: float, length: int) -> Damage:
    def damage(content: bytes) -> bytes:
        at = _place(content, first)
        return content[:at] + content[at + length :]

    return damage


def _ended(share: float) -> Damage:
    return lambda content: content[: _place(content, share)]


def _repeated(share: float, length: int, to: float) -> Damage:
    """Copy a part to another place."""

    def damage(content: bytes) -> bytes:
        at, target = _place(content, share), _place(content, to)
        return content[:target] + content[at : at + length] + content[target:]

    return damage


def _extreme(share: float, value: int, size: int, order: Any) -> Damage:
    return _replaced(share, (value % (1 << 8 * size)).to_bytes(size, order))


_shares = st.floats(0, 1, exclude_max=True)
_lengths = st.integers(1, 64) | st.sampled_from([512, 4096])
_of_bytes = st.one_of(
    st.builds(_replaced, _shares, st.binary(min_size=1, max_size=4)),
    st.builds(_inserted, _shares, st.binary(min_size=1, max_size=8)),
    st.builds(_replaced, _shares, st.sampled_from(_WORDS)),
    st.builds(_inserted, _shares, st.sampled_from(_WORDS)),
    st.builds(
        _extreme,
        _shares,
        st.sampled_from(_EXTREMES),
        st.sampled_from(_SIZES),
        st.sampled_from(["little", "big"]),
    ),
    st.builds(_cut, _shares, _lengths),
    st.builds(_repeated, _shares, _lengths, _shares),
    st.builds(_ended, _shares),
)


def _lines(rows: list[tuple[float, float, str]]) -> Damage:
    """Move, double or drop lines, and words between them."""

    def damage(content: bytes) -> bytes:
        words = content.replace(b"\n", b" \n ").split(b" ")
        for one, other, how in rows:
            a, b = int(one * len(words)), int(other * len(words))
            if how == "swap":
                words[a], words[b] = words[b], words[a]
            elif how == "double":
                words.insert(b, words[a])
            elif len(words) > 1:
                del words[a]
        return b" ".join(words)

    return damage


of_text = st.builds(
    _lines,
    st.lists(
        st.tuples(_shares, _shares, st.sampled_from(["swap", "double", "drop"])),
        min_size=1,
        max_size=4,
    ),
)

_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53, 2**63, 10**30, -1, 10**400, 1e300, 5e-324, -0.0])
    | st.floats(allow_nan=True)
    | st.text(max_size=5)
    | st.sampled_from(["../x", "/etc/passwd", "\udcff", "", "a\nb"])
)
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def _in_json(share: float, value: Any, drop: bool) -> Damage:
    """Put another value into a place of a JSON file, or take the place away."""

    def damage(content: bytes) -> bytes:
        try:
            root = [json.loads(content)]
        except (ValueError, RecursionError):
            return content  # damaged already
        places = list(_places(root))
        holder, key = places[int(share * len(places))]
        if drop and holder is not root:
            del holder[key]
        else:
            holder[key] = value
        return json.dumps(root[0]).encode()

    return damage


def _places(holder: Any) -> Any:
    for key in range(len(holder)) if isinstance(holder, list) else list(holder):
        yield holder, key
        if isinstance(holder[key], list | dict):
            yield from _places(holder[key])


of_json = st.builds(_in_json, _shares, _values, st.booleans())


def damages(kind: str) -> st.SearchStrategy[list[Damage]]:
    """Return lists of damages for a file: "json", "text" or "binary"."""
    one = {"json": of_json | _of_bytes, "text": of_text | _of_bytes, "binary": _of_bytes}[kind]
    return st.lists(one, min_size=1, max_size=5)
