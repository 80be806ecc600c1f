"""runtime/quiet.py: Caffe's log and others' output are hidden for a while, and only then."""

import ctypes
from pathlib import Path

import caffe
import pytest

from caffe_ext.runtime.quiet import silence_caffe, silence_stdout

NET = "layer { name: 'in' type: 'Input' top: 'x' input_param { shape { dim: 1 } } }"


def level() -> int:
    """Return the least severity that glog shows."""
    library = ctypes.CDLL(caffe._caffe.__file__)
    return ctypes.c_int.in_dll(library, "_ZN3fLI17FLAGS_minloglevelE").value


def test_the_log_is_hidden_inside_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.prototxt"
    file.write_text(NET)
    before = level()
    with silence_caffe():
        caffe.Net(str(file), caffe.TEST)
    assert capfd.readouterr().err == ""
    assert level() == before
    caffe.Net(str(file), caffe.TEST)
    assert ("Creating Layer in" in capfd.readouterr().err) == (before == 0)


def test_levels_are_restored_also_after_errors_and_never_lowered() -> None:
    before = level()
    with silence_caffe(2):
        assert level() == 2
        with silence_caffe(1):  # what hides more stays
            assert level() == 2
        with pytest.raises(ZeroDivisionError), silence_caffe(3):
            assert level() == 3
            raise ZeroDivisionError
        assert level() == 2
    assert level() == before


def test_without_glog_s_setting_nothing_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    before, entered = level(), False
    monkeypatch.setattr(caffe._caffe, "__file__", "libc.so.6")
    with silence_caffe():
        entered = True
    assert entered
    monkeypatch.setattr(caffe._caffe, "__file__", "/nowhere/lib.so")
    with silence_caffe():
        pass
    monkeypatch.undo()
    assert level() == before


def test_what_libraries_print_is_dropped_inside_only(capfd: pytest.CaptureFixture[str]) -> None:
    library = ctypes.CDLL(None)
    print("before")
    with pytest.raises(ZeroDivisionError), silence_stdout():
        library.puts(b"inside")
        raise ZeroDivisionError
    library.puts(b"after")
    library.fflush(None)
    assert capfd.readouterr().out == "before\nafter\n"
