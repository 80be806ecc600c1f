"""evaluation/attackability.py: what makes the figures of attacks doubtful is measured."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attack_samples import linear
from caffe_ext.evaluation.attackability import Attackability, measure_attackability
from caffe_ext.evaluation.masking import Evidence, find_warnings
from caffe_ext.models.base import Floats, Model, softmax
from caffe_ext.models.classifier import Classifier

IMAGES = np.random.default_rng(0).integers(0, 256, (100, 1, 1, 4), dtype=np.uint8)
WEIGHTS = np.random.default_rng(1).normal(size=(4, 4)) / 50


class Changed(Model):
    """A model whose logits are changed."""

    def __init__(self, model: Classifier, change: Any) -> None:
        self._model, self._change = model, change
        self.batch_size, self.classes, self.device = model.batch_size, model.classes, model.device
        self.input_shape, self.pixel_space = model.input_shape, model.pixel_space

    def logits(self, images: Any) -> Floats:
        return np.asarray(self._change(self._model.logits(images)), np.float32)

    def gradient(self, images: Any, diff: Any, *, through: str | None = None) -> Floats:
        return self._model.gradient(images, diff)


def measured(tmp_path: Path, change: Any) -> Attackability:
    return measure_attackability(Changed(linear(tmp_path, WEIGHTS), change), IMAGES)


def signs(found: Attackability) -> list[str]:
    evidence = Evidence(100, None, None, None, None, None, None, attackability=found)
    return [one.sign for one in find_warnings(evidence)]


def test_a_sound_model(tmp_path: Path) -> None:
    found = measured(tmp_path, lambda logits: logits)
    assert found == Attackability(
        100, 0.0, 0.0, probabilities=False, zero_gradient=0.0, wrong_gradient=0.0
    )
    assert signs(found) == []


def test_a_randomised_model(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    found = measured(tmp_path, lambda logits: logits + random.normal(size=logits.shape))
    assert found.randomised > 0.05
    assert signs(found) == ["randomised"]


def test_scores_that_depend_on_the_batch(tmp_path: Path) -> None:
    found = measured(tmp_path, lambda logits: logits - logits.mean())
    assert found.randomised == 0
    assert found.depends_on_batch > 0.01
    assert signs(found) == ["depends-on-batch"]


def test_probabilities_in_place_of_scores(tmp_path: Path) -> None:
    found = measured(tmp_path, softmax)
    assert found.probabilities
    # The gradient is that of the scores before the softmax: wrong, too.
    assert signs(found) == ["softmax-already-in", "wrong-gradient"]
    few: NDArray[np.uint8] = IMAGES[:0]
    assert measure_attackability(linear(tmp_path / "none", WEIGHTS), few).images == 0


def test_gradients_that_are_zero(tmp_path: Path) -> None:
    flat = linear(tmp_path, np.zeros((4, 4)), [2, 0, 0, 0])
    found = measure_attackability(flat, IMAGES)
    assert found.zero_gradient == 1
    assert signs(found) == ["zero-gradient-of-scores"]


def test_scores_that_do_not_follow_their_gradient(tmp_path: Path) -> None:
    for change in (np.negative, lambda logits: 3 * logits, lambda logits: np.round(logits, -1)):
        found = measured(tmp_path / str(id(change)), change)
        assert found.wrong_gradient > 0.9
        assert signs(found) == ["wrong-gradient"]
    # Steep scores are no cause for doubt.
    steep = measure_attackability(linear(tmp_path / "steep", WEIGHTS * 1e6), IMAGES)
    assert steep.wrong_gradient == 0
