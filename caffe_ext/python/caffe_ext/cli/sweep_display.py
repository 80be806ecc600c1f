"""The live table of a sweep on a terminal: what is running, done, failed and left."""

import sys
import time
from typing import TYPE_CHECKING

from caffe_ext.cli.console import Console
from caffe_ext.reporting import escape_text

if TYPE_CHECKING:
    from caffe_ext.sweeps.progress import SweepProgress

_MOST_POINTS, _WIDTH = 8, 100


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
        lines = format_progress(progress)
        self.clear()
        sys.stderr.write("".join(f"{escape_text(line)[:_WIDTH]}\n" for line in lines))
        sys.stderr.flush()
        self._lines, self._shown = len(lines), time.monotonic()

    def clear(self) -> None:
        """Remove the table."""
        if self._lines:
            sys.stderr.write(f"\x1b[{self._lines}A\x1b[J")
            sys.stderr.flush()
        self._lines = 0


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
