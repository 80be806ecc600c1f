"""Messages about a text that names no attack: what it lacks, or what was probably meant."""

import re
from collections.abc import Callable, Sequence
from textwrap import fill

from caffe_ext.reporting import suggest

_NAMES = ("fgs", "fgv", "margin", "hc1", "hc2", "hot:CLASS")
_NEED_RADIUS = ("bim", "bim-l2", "pgd", "pgd-l2")
_FORMS = (
    "hc1-s (sign), hc1@BLOB (through an inner blob), hc1*1.05 (hard positive), fgs=8 (fixed "
    "epsilon), bim=8, pgd=8, pgd-l2=400, pgd=8/2x40+margin"
)
_WIDTH = 96


def describe_missing_radius(name: str) -> str:
    """Return the sentence about an attack within a budget whose text has no radius."""
    example = "400" if name.endswith("-l2") else "8"
    return f"{name} needs a radius, e.g. {name}={example} or {name}={example}/255"


def _find_attack(text: str, is_attack: Callable[[str], bool]) -> str:
    """Return the longest beginning of a text that is an attack, up to a sign; "" if none is."""
    ends = [found.start() for found in re.finditer(r"[=(/@*+]", text)]
    return next((text[:end] for end in reversed(ends) if is_attack(text[:end])), "")


def describe_unknown_attack(
    text: str, registered: Sequence[str], is_attack: Callable[[str], bool]
) -> str:
    """Return what is wrong with a text that no family accepts, and which attacks there are.

    registered  the names that NAME(KEY=VALUE, ...) takes
    is_attack   tells whether a text is one
    """
    name = text.lower()
    if name in _NEED_RADIUS:
        return describe_missing_radius(name)
    given = re.split(r"[=(/@*+]", name)[0]
    names = (*_NAMES, *_NEED_RADIUS, *registered)
    begins = _find_attack(text, is_attack) or (given if given in names else "")
    meant = suggest(given, names)
    if begins:
        meant = f"{begins} is known, {text[len(begins) :]!r} is not"
    known = ", ".join((*_NAMES, *(f"{one}(...)" for one in registered)))
    listed = fill(
        f"{known}; also {_FORMS}",
        _WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
        break_on_hyphens=False,
    )
    asked = f" ({meant})" if meant else ""
    return f"unknown attack {text!r}{asked}; known attacks:\n{listed}"
