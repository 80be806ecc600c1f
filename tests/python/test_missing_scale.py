"""runs/compatibility.py: a warning where `scale:` and `mean:` are likely to be missing."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from caffe_ext.attacks import parse_attack
from caffe_ext.data import open_images
from caffe_ext.evaluation.assessment import Assessment
from caffe_ext.evaluation.result import Settings
from caffe_ext.models.description import ModelDescription, read_model
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.reporting import SilentReporter
from caffe_ext.runs.campaign import AttackCampaign
from caffe_ext.runs.compatibility import warn_of_missing_scale
from caffe_ext.runs.records import AttackRecords, make_empty_columns
from hotcold_samples import write_yaml

BALANCED = np.arange(200) % 10


class Warned(SilentReporter):
    """A reporter that remembers its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def unscaled(tmp_path: Path) -> ModelDescription:
    return replace(read_model(write_yaml(tmp_path / "model")), pixel_space=PixelSpace())


def records_of(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> AttackRecords:
    columns = make_empty_columns(len(labels))
    columns["labels"][:], columns["predicted"][:] = labels, predicted
    columns["attempted"][:] = labels == predicted
    return AttackRecords(**columns)


def warnings_of(
    model: ModelDescription, records: AttackRecords, *, labelled: bool = True, saturated: float = 0
) -> list[str]:
    """Return the warnings for images of which a share saturates the softmax; the others are
    black.
    """
    count = len(records)
    pixels = np.zeros((max(count, 1), 1, 12, 12), np.uint8)
    bright = round(saturated * count)
    if bright:
        bare = replace(model, pixel_space=PixelSpace())
        tried = np.random.default_rng(1).integers(90, 160, (30, 1, 12, 12), np.uint8)
        pixels[:bright] = tried[bare.load().probabilities(tried).max(axis=1) == 1][0]
    path = model.weights.parent / "images.npz"
    if labelled:
        np.savez(path, images=pixels, labels=np.zeros(len(pixels), int))
    else:
        np.savez(path, images=pixels)
    warned = Warned()
    warn_of_missing_scale(model, records, open_images(path), warned)
    return warned.warnings


def test_accuracy_at_chance(unscaled: ModelDescription) -> None:
    random = np.random.default_rng(0).permutation(BALANCED)
    for predicted in (np.full(200, 3), random):
        (sentence,) = warnings_of(unscaled, records_of(BALANCED, predicted))
        assert "no better than chance" in sentence
        assert "`scale: 0.00390625`, `mean:`" in sentence
    worse = np.where(np.arange(200) < 60, BALANCED, (BALANCED + 1) % 10)  # 30%
    assert not warnings_of(unscaled, records_of(BALANCED, worse))
    one_class = np.zeros(200, np.int64)
    assert not warnings_of(unscaled, records_of(one_class, one_class))
    assert not warnings_of(unscaled, records_of(BALANCED, random), labelled=False)
    assert not warnings_of(unscaled, records_of(BALANCED[:10], random[:10]))
    assert not warnings_of(unscaled, records_of(BALANCED[:0], random[:0]))


def test_saturated_softmax(unscaled: ModelDescription) -> None:
    right = records_of(BALANCED[:100], BALANCED[:100])
    (sentence,) = warnings_of(unscaled, right, labelled=False, saturated=0.6)
    assert "saturated for 60% of the images" in sentence
    assert not warnings_of(unscaled, right, saturated=0.4)
    few = records_of(BALANCED[:19], BALANCED[:19])
    assert not warnings_of(unscaled, few, saturated=1)


def test_saturation_of_images_that_are_misclassified(unscaled: ModelDescription) -> None:
    wrong = (BALANCED[:100] + 1) % 10
    mostly_wrong = records_of(BALANCED[:100], np.where(np.arange(100) < 15, BALANCED[:100], wrong))
    assert not warnings_of(unscaled, mostly_wrong, labelled=False)
    (sentence,) = warnings_of(unscaled, mostly_wrong, labelled=False, saturated=1)
    assert "saturated for 100% of the images" in sentence


@pytest.mark.parametrize("space", [PixelSpace(1 / 256), PixelSpace(mean=[100]), PixelSpace((1, 2))])
def test_models_with_scale_or_mean(unscaled: ModelDescription, space: PixelSpace) -> None:
    right = records_of(BALANCED, BALANCED)
    assert warnings_of(unscaled, right, saturated=1)
    assert not warnings_of(replace(unscaled, pixel_space=space), right, saturated=1)


def test_campaigns_and_evaluations_warn(unscaled: ModelDescription, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(90, 160, (30, 1, 12, 12), np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    warned = Warned()
    source = open_images(tmp_path / "images.npy")
    AttackCampaign([unscaled], [parse_attack("hc1")], source, tmp_path / "attack").run(warned)
    assert "softmax is saturated" in warned.warnings[-1]
    warned = Warned()
    Assessment(
        [unscaled],
        partial(open_images, str(tmp_path / "images.npy")),
        Settings(ranks=(1,), probe=0, noise=None),
        tmp_path / "evaluate",
    ).run(warned)
    assert "softmax is saturated" in warned.warnings[-1]
