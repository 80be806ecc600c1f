"""Results that grow: saved every few seconds, and at the end of the work, even if it fails."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

_SECONDS = 10.0
_MOST_SHARE = 0.05


@contextmanager
def save_periodically(
    save: Callable[[], None], clock: Callable[[], float] = monotonic
) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each change of the results.

    save  writes all results; they must be complete whenever an interruption may come

    It saves if the last time was 10 seconds ago, and later where saving takes more than a twentieth
    of the time: a file that is written as a whole after each of many changes takes a time that
    grows with their square. At the end, even by an exception, whatever has changed is saved.
    """
    pause, saved, changed = _SECONDS, clock(), False

    def note_change() -> None:
        nonlocal pause, saved, changed
        changed = True
        begin = clock()
        if begin - saved >= pause:
            save()
            saved, changed = clock(), False
            pause = max(_SECONDS, (saved - begin) / _MOST_SHARE)

    try:
        yield note_change
    finally:
        if changed:
            save()
