"""Keep the log of Caffe, a hundred lines for every net, and what other libraries print out of a
program's own output.
"""

import ctypes
import os
import sys
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


@contextmanager
def silence_stdout() -> Iterator[None]:
    """Drop what libraries print on standard output for a while; Python's own output is flushed.

    Without a standard output, nothing is done.
    """
    sys.stdout.flush()
    library = ctypes.CDLL(None)
    library.fflush(None)
    try:
        kept = os.dup(1)
    except OSError:
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
    try:
        yield
    finally:
        library.fflush(None)  # what C's library has buffered would be printed later
        os.dup2(kept, 1)
        os.close(kept)


def find_log_level() -> ctypes.c_int | None:
    """Return glog's own setting, the least severity that is shown; None if it is not found."""
    try:
        library = ctypes.CDLL(caffe._caffe.__file__)
        return ctypes.c_int.in_dll(library, "_ZN3fLI17FLAGS_minloglevelE")
    except (OSError, ValueError):
        return None
