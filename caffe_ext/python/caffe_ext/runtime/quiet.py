"""Keep Caffe's log, a hundred lines for every net, out of a program's own output."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import caffe

WARNING = 1


@contextmanager
def silence_caffe(least: int = WARNING) -> Iterator[None]:
    """Hide messages of Caffe below a severity (glog: 0 INFO, 1 WARNING, 2 ERROR) for a while.

    The environment variable GLOG_minloglevel still applies if it hides more. If glog's setting
    cannot be found, nothing is hidden.
    """
    level = find_log_level()
    if level is None:
        yield
        return
    before = level.value
    level.value = max(before, least)
    try:
        yield
    finally:
        level.value = before


def find_log_level() -> ctypes.c_int | None:
    """Return glog's own setting, the least severity that is shown; None if it is not found."""
    try:
        library = ctypes.CDLL(caffe._caffe.__file__)
        return ctypes.c_int.in_dll(library, "_ZN3fLI17FLAGS_minloglevelE")
    except (OSError, ValueError):
        return None
