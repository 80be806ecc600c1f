"""ExclusiveLock: one call at a time for an object that has a state, from any thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, get_ident


class ExclusiveLock:
    """A lock that other threads wait for, and that the thread that holds it cannot take again.

    what  what is locked, for the error message
    """

    def __init__(self, what: str) -> None:
        """Start unlocked."""
        self._what, self._lock = what, Lock()
        self._owner: int | None = None

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock inside a `with`; RuntimeError if this thread already holds it."""
        if self._owner == get_ident():
            raise RuntimeError(
                f"{self._what} was called from inside one of its own calls, which would find its "
                "state changed; call it before or after, or use a second one"
            )
        with self._lock:
            self._owner = get_ident()
            try:
                yield
            finally:
                self._owner = None
