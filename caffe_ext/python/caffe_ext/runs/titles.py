"""Titles of attacks that distinguish them where several are shown together."""

from collections import Counter
from collections.abc import Sequence
from textwrap import wrap

_LINE = 20


def make_titles_distinct(named: Sequence[tuple[str, str]]) -> list[str]:
    """Return a title for each (title, text): its own, followed by the text if it is shared.

    text  of the attack, unique to it; entries with the same title and text stay equal
    """
    shared = Counter(title for title, _ in set(named))
    return [f"{title} [{text}]" if shared[title] > 1 else title for title, text in named]


def split_title(title: str, width: int = _LINE) -> list[str]:
    """Return a title as lines of at most so many characters, for the margin of a plot.

    "PGD Linf 25.5, 40 x 2 (margin)" is broken after its comma; words that are longer than a line
    are broken, too.
    """
    parts = title.split(", ")
    ended = [f"{part}," for part in parts[:-1]] + parts[-1:]
    lines: list[str] = []
    for part in ended:
        if lines and len(lines[-1]) + 1 + len(part) <= width:
            lines[-1] += f" {part}"
        else:
            lines += wrap(part, width) or [""]
    return lines
