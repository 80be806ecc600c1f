"""Paths as messages and records show them."""

from pathlib import Path

import pytest

from caffe_ext.runtime import checkout
from caffe_ext.runtime.checkout import shorten_path


def test_paths_are_relative_to_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    assert (
        shorten_path(tmp_path / "solvers" / "sweeps" / ".." / "a.prototxt") == "solvers/a.prototxt"
    )
    assert shorten_path(tmp_path / ".." / "b") == f"{tmp_path.parent / 'b'}"


def test_dots_after_a_link_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`link/..` is where the link leads to, not where it lies."""
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/away")
    assert shorten_path(tmp_path / "link" / ".." / "c") == "link/../c"
