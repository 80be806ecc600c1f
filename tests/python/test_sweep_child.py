"""What a point's own process records, and refuses (child.py)."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from caffe_ext.sweeps import child
from caffe_ext.sweeps.compute import ComputedPoint
from caffe_ext.sweeps.package import list_installed_files


def test_what_is_built_again_during_a_point_computes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`caffe train` may have been of one build, and the evaluation of another."""
    installed = list_installed_files()
    assert any(name.endswith("libcaffe_ext.so") for name, *_ in installed)
    assert any(name.endswith("sweeps/child.py") for name, *_ in installed)
    monkeypatch.setattr(child, "_compute", lambda *_: {"kind": "done"})
    assert child.compute_outcome({}, tmp_path, {}, installed) == {"kind": "done"}
    (name, inode, changed), *others = installed
    for before in (others, [(name, inode, changed - 1), *others], [(name, 0, changed), *others]):
        outcome = child.compute_outcome({}, tmp_path, {}, before)
        assert outcome == {"kind": "refused", "sentence": child.CHANGED}


def test_the_device_of_a_point_is_that_of_its_own_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = ComputedPoint({}, tmp_path / "weights", {"training": 1.0})
    monkeypatch.setattr("caffe_ext.sweeps.compute.compute_point", lambda *_: done)
    task = {"description": {}, "data_folder": "", "gpu": 1}
    outcome = child.compute_outcome(task, tmp_path, {"commit": "c"}, list_installed_files())
    assert outcome["measured"]["device"].startswith("GPU 1: ")


def test_a_disk_that_fills_up_while_the_outcome_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is on the same disk: the exit status says it."""

    def write(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{path}")

    (tmp_path / child.TASK).write_text("{}")
    monkeypatch.setattr(child, "compute_outcome", lambda *_: {"kind": "done"})
    monkeypatch.setattr("caffe_ext.storage.atomic.write_text", write)
    point = os.fork()
    if not point:
        child._run_point(tmp_path, {}, [])
    _, status = os.waitpid(point, 0)
    assert os.waitstatus_to_exitcode(status) == child.FULL_DISK
    assert not (tmp_path / child.OUTCOME).exists()
