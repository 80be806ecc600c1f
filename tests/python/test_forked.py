"""runtime/forked.py: what would end this process ends another one."""

import ctypes
import os
import signal

import pytest

from caffe_ext.runtime.forked import find_fatal_signal


def test_signals_are_told_apart_from_other_ends() -> None:
    assert find_fatal_signal(lambda: None) is None
    assert find_fatal_signal(lambda: 1 / 0) is None
    assert find_fatal_signal(lambda: os._exit(7)) is None
    assert find_fatal_signal(lambda: os.kill(os.getpid(), signal.SIGBUS)) is signal.SIGBUS
    assert find_fatal_signal(os.abort) is signal.SIGABRT
    assert find_fatal_signal(lambda: ctypes.string_at(8)) is signal.SIGSEGV


def test_where_nobody_is_told_how_children_end() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert find_fatal_signal(lambda: None) is None
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_without_a_further_process_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError(11, "no process can be had")

    monkeypatch.setattr(os, "fork", refused)
    assert find_fatal_signal(os.abort) is None
