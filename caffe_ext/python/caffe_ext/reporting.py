"""How work reports to its caller (the package itself never prints), and the wording of messages."""

import csv
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from difflib import SequenceMatcher, get_close_matches
from io import StringIO
from math import log
from typing import Protocol

_EMBEDDINGS = {"LRE", "RLE", "LRO", "RLO", "LRI", "RLI", "FSI"}
"""Bidirectional classes of the signs that change the direction of the text behind them."""

_MOST_NAMES, _MOST_SIGNS = 20, 100
_MARKDOWN = re.compile(r"[\\`*<|\[$&]|(?<![^\W_])_|_(?![^\W_])")

Step = Callable[[int], object]


class Reporter(Protocol):
    """Receives messages and progress; each program has its own, which decides what to show."""

    def note(self, text: str) -> None:
        """Receive a sentence about a choice that was made, such as which files are used."""

    def warn(self, text: str) -> None:
        """Receive a sentence that the user must not miss."""

    def show_progress(
        self, what: str, total: int, unit: str, done: int = 0
    ) -> AbstractContextManager[Step]:
        """Open a progress bar over `total` units, `done` of which are finished already.

        unit  its name in the singular; "" for units that mean nothing to the user

        Inside the context, call the returned function with each number of further units.
        """


class SilentReporter:
    """A reporter that shows nothing."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def warn(self, text: str) -> None:
        """Ignore it."""

    def show_progress(
        self, what: str, total: int, unit: str, done: int = 0
    ) -> AbstractContextManager[Step]:
        """Return a function that ignores every step."""
        return nullcontext(lambda _: None)


class StepCounter:
    """A reporter that passes everything on to another one, and counts the steps of all progress.

    steps  so far; may be set back
    """

    def __init__(self, reporter: Reporter) -> None:
        """Begin at 0."""
        self.steps = 0
        self.note, self.warn = reporter.note, reporter.warn
        self._reporter = reporter

    @contextmanager
    def show_progress(self, what: str, total: int, unit: str, done: int = 0) -> Iterator[Step]:
        """Open a progress bar, and count."""
        with self._reporter.show_progress(what, total, unit, done) as step:

            def report_count(number: int) -> None:
                self.steps += number
                step(number)

            yield report_count


def format_os_error(error: OSError) -> str:
    """Return "FILE: reason" without a number; the error's own text if it names no file."""
    return f"{error.filename}: {error.strerror}" if error.filename else f"{error}"


def pluralize(number: int, singular: str, plural: str | None = None) -> str:
    """Return "1 image" or "1,000 images"; plural: for words that take more than an s."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def suggest(given: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """Return "did you mean fgs or fgv?" for a misspelt name; "" if no name is like it.

    likeness  the least similarity of a name, 0..1; a second name may have 0.1 less than the first
    """
    close = get_close_matches(given, list(known), n=2, cutoff=likeness)
    ratios = [SequenceMatcher(None, one, given).ratio() for one in close]
    names = [one for one, ratio in zip(close, ratios, strict=True) if ratio > ratios[0] - 0.1]
    return f"did you mean {' or '.join(names)}?" if names else ""


def is_showable(text: str) -> bool:
    """Tell whether a text can be shown in terminals, pages and UTF-8 files: no control characters,
    no line breaks, nothing that reverses what follows, and no surrogates, which stand for bytes of
    file names that are not UTF-8.
    """
    return not any(
        unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(sign) in _EMBEDDINGS
        for sign in text
    )


def is_utf8(text: str) -> bool:
    """Tell whether a text, such as a path, is UTF-8: half surrogates are bytes that are not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escape_text(text: str, keep: str = "") -> str:
    """Return a text that terminals can show: the characters that is_showable() refuses, except
    those in `keep`, are written as in Python, such as \\x1b.
    """
    if is_showable(text):
        return text
    return "".join(
        sign if sign in keep or is_showable(sign) else sign.encode("unicode_escape").decode()
        for sign in text
    )


def list_names(names: Iterable[str]) -> str:
    """Return "a, b, c" for names read from a file, which may contain anything, and may be any
    number. "" for none.
    """
    names = list(names)
    shown = [escape_text(name[:_MOST_SIGNS]) + "…" * (len(name) > _MOST_SIGNS) for name in names]
    more = [f"{len(names) - _MOST_NAMES:,} more"] if len(names) > _MOST_NAMES else []
    return ", ".join([*shown[:_MOST_NAMES], *more])


def format_table(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Return a table with aligned columns; the first row is the header.

    left  the columns that are aligned to the left
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def escape_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is, also in a table."""
    return _MARKDOWN.sub(r"\\\g<0>", text)


def format_markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, all columns but the first to the right; the first row is the
    header.
    """
    head, *rest = rows
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rest))


def format_csv(rows: Iterable[Iterable[object]]) -> str:
    """Return a table as CSV; the first row is the header, None becomes an empty cell.

    Text that a spreadsheet would read as a formula, such as "=1+1", is prefixed with "'".
    """
    text = StringIO()
    lines = ([_escape_formula(cell) for cell in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _escape_formula(cell: object) -> object:
    if not (isinstance(cell, str) and cell.startswith(("=", "+", "-", "@"))):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_DURATIONS = {
    **{number: f"{number} s" for number in (1, 2, 5, 10, 20, 30)},
    _MINUTE: "a minute",
    **{number * _MINUTE: f"{number} minutes" for number in (2, 5, 10, 20, 30)},
    _HOUR: "an hour",
    **{number * _HOUR: f"{number} hours" for number in (2, 5, 10)},
    _DAY: "a day",
    **{number * _DAY: f"{number} days" for number in (2, 5, 10, 20, 50)},
}


def format_minutes(seconds: float) -> str:
    """Return "12 min  5 s", as tables have what was measured."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:2} s"


def format_duration(seconds: float) -> str:
    """Return "about a minute" or "about 10 minutes": estimates are not more accurate than that."""
    if seconds > 2 * max(_DURATIONS):
        return f"more than {max(_DURATIONS) // _DAY} days"
    nearest = min(_DURATIONS, key=lambda one: abs(log(one / max(seconds, 1))))
    return f"about {_DURATIONS[nearest]}"
