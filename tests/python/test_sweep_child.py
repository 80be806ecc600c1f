"""What a point's own process records, and refuses (child.py)."""

from pathlib import Path

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
