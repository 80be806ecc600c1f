"""The live table of a sweep on a terminal: what is running, done, failed and left."""

import os
import sys
import time
from typing import TYPE_CHECKING

from caffe_ext.cli.console import Console
from caffe_ext.reporting import escape_text

if TYPE_CHECKING:
    from caffe_ext.sweeps.progress import SweepProgress

_MOST_POINTS, _WIDTH = 8, 100
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"


class SweepDisplay(Console):
    """Shows sentences as other programs do, and the progress as lines that are replaced.

    Without a terminal there are only sentences.
    """

    def __init__(self) -> None:
        """Begin."""
        self._live = sys.stderr.isatty()
        self._lines = 0
        self._shown = 0.0

    def note(self, text: str) -> None:
        """Show a sentence above the table."""
        self.clear()
        super().note(text)

    def warn(self, text: str) -> None:
        """Show a sentence above the table; the log of a failed point has several lines."""
        self.clear()
        print(f"WARNING: {escape_text(text, keep=chr(10))}", file=sys.stderr)

    def show(self, progress: "SweepProgress") -> None:
        """Replace the table."""
        if not self._live or time.monotonic() - self._shown < 0.4:
            return
        columns, rows = measure_terminal()
        lines = [escape_text(line)[: min(columns, _WIDTH)] for line in format_progress(progress)]
        lines = lines[: max(rows - 1, 1)]
        self.clear()
        # Lines are cut rather than wrapped, also where signs are two columns wide.
        text = "".join(f"{line}\n" for line in lines)
        sys.stderr.write(f"{_NO_WRAP}{text}{_WRAP}")
        sys.stderr.flush()
        self._lines, self._shown = len(lines), time.monotonic()

    def clear(self) -> None:
        """Remove the table."""
        if self._lines:
            sys.stderr.write(f"\x1b[{self._lines}A\x1b[J")
            sys.stderr.flush()
        self._lines = 0


def measure_terminal() -> tuple[int, int]:
    """Return the columns and rows of the terminal on stderr; 80 and 24 if it does not tell."""
    try:
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        columns, rows = 0, 0
    return columns or 80, rows or 24


def format_progress(progress: "SweepProgress") -> list[str]:
    """Return the lines of the table."""
    left = "" if progress.seconds_left is None else f", {format_clock(progress.seconds_left)} left"
    waiting = progress.left - len(progress.running)
    lines = [
        f"{progress.done:,} of {progress.total:,} points done, {progress.failed:,} failed, "
        f"{len(progress.running):,} running, {waiting:,} waiting{left}",
        f"{progress.workers:,} workers   {progress.dashboard}",
    ]
    longest = sorted(progress.running, key=lambda one: -one[2])
    lines += [
        f"  {format_clock(seconds):>8}  {title}" for title, _, seconds in longest[:_MOST_POINTS]
    ]
    if len(longest) > _MOST_POINTS:
        lines.append(f"  and {len(longest) - _MOST_POINTS:,} more")
    return lines


def format_clock(seconds: float) -> str:
    """Return "12 s", "3:05" or "2:03:05"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"
