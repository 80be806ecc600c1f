"""Attack runs on a small network, for the tests of attack runs.

conftest.py makes the fixtures known.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from attack_samples import ArraySource, Batch, linear
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.models.classifier import Classifier
from caffe_ext.runs import runner as attack_run
from caffe_ext.runs.records import (
    COLUMNS,
    AttackRecords,
)
from caffe_ext.runs.runner import AttackRun

SHAPE = (1, 12, 12)
RANDOM = np.random.default_rng(5)
WEIGHTS = RANDOM.integers(-3, 4, (4, 144))
IMAGES = RANDOM.integers(0, 256, (23, *SHAPE), dtype=np.uint8)
IDENTITY = {"model": {"weights_sha256": "ab", "scale": 1.0}, "images_sha256": "cd"}


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    return linear(tmp_path / "net", WEIGHTS, shape=SHAPE, batch_size=4)


@pytest.fixture
def source(classifier: Classifier) -> ArraySource:
    """Return images, three of which are not classified as their labels."""
    which = classifier.predict(IMAGES)
    which[[2, 11, 22]] = (which[[2, 11, 22]] + 1) % 4
    return ArraySource(IMAGES, which)


@pytest.fixture
def pieces_of_5(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_run, "_VALUES", 5 * 144)


def run_of(folder: Path, text: str = "hc1", **options: Any) -> AttackRun:
    return AttackRun(parse_attack(text, seed=1), IDENTITY, folder, **options)


def equal(one: AttackRecords, other: AttackRecords, but: tuple[str, ...] = ()) -> None:
    for name in COLUMNS:
        if name not in but:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def content(path: Path) -> dict[str, Any]:
    """Return all that is in a file of records."""
    with h5py.File(path) as file:
        return {name: file[name][...].tobytes() for name in file} | dict(file.attrs)


class Stopping(ArraySource):
    """A source that is interrupted as it is asked for the images from one on."""

    at = 0
    error: type[BaseException] = KeyboardInterrupt

    def read(self, rows: slice) -> Batch:
        if rows.start >= self.at:
            raise self.error
        return super().read(rows)
