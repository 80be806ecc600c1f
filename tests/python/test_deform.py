"""attacks/deform.py: deformations that are known, and what is adversarial among them."""

from pathlib import Path

import numpy as np
import pytest

from attack_samples import labels, linear
from caffe_ext.attacks.criteria import Misclassification
from caffe_ext.attacks.deform import Deformation
from caffe_ext.attacks.registry import parse_attack

pytestmark = pytest.mark.any_device
STILL = {"degrees": 0.0, "stretch": 0.0, "shift": 0.0, "bend": 0.0}


def image() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (2, 9, 7), dtype=np.uint8)


def test_no_deformation_changes_nothing() -> None:
    still = Deformation(**STILL)  # type: ignore[arg-type]
    assert np.array_equal(still.deform(image(), np.random.default_rng(0)), image())


def test_rotation_shift_and_bend_move_what_they_should() -> None:
    def apart(**given: float) -> float:
        drawn = [
            Deformation(**STILL | given).deform(spot, np.random.default_rng(seed))  # type: ignore[arg-type]
            for seed in range(30)
        ]
        centres = [
            (np.indices((21, 21)).reshape(2, -1) * one.ravel()).sum(axis=1) / one.sum()
            for one in drawn
        ]
        return float(np.abs(np.array(centres) - [centre]).max())

    spot = np.zeros((1, 21, 21), np.uint8)
    spot[0, 9:12, 9:12] = 200
    centre = [10, 10]
    assert apart(degrees=40.0) < 0.1  # about the centre
    assert apart(stretch=0.2) < 0.1
    assert 1.5 < apart(shift=2.0) <= 2.05
    assert apart(bend=1.0) > 0.5
    spot[:] = 0
    spot[0, 9:12, 15:18] = 200
    centre = [10, 16]
    # 6 pixels from the centre: 6 sin(40 degrees) = 3.9
    assert 3.0 < apart(degrees=40.0) < 4.1
    assert 0.8 < apart(stretch=0.2) < 1.7


def test_the_nearest_that_is_misclassified(tmp_path: Path) -> None:
    # Class 1 where the left column is darker than 60 on average: after a shift to the right, say.
    weights = np.zeros((2, 5, 5))
    weights[1, :, 0] = -1 / 5
    model = linear(tmp_path, weights.reshape(2, 25), [0, 60], shape=(1, 5, 5))
    given = np.full((4, 1, 5, 5), 100, np.uint8)
    which = labels(0, 0, 0, 0)
    attack = parse_attack("deform(tries=30)", seed=3)
    found = attack.run(model, given, Misclassification(which), np.array([0, 1, 2, 1]))
    assert found.found.all()
    assert model.predict(found.adversarials).tolist() == [1, 1, 1, 1]
    assert np.array_equal(found.adversarials[1], found.adversarials[3])
    assert not np.array_equal(found.adversarials[0], found.adversarials[1])
    assert (found.queries, found.gradients) == (4 * 31, 0)
    fewer = parse_attack("deform(tries=5)", seed=3)
    less = fewer.run(model, given, Misclassification(which), np.array([0, 1, 2, 1]))
    apart, before = (
        np.sqrt(((one.adversarials.astype(float) - given) ** 2).sum(axis=(1, 2, 3)))
        for one in (found, less)
    )
    assert (apart <= before)[less.found].all()


def test_settings_that_make_no_sense() -> None:
    for text, message in (
        ("tries=0", "tries must be a whole number, 1 or more, not 0"),
        ("shift=-1", "shift must be 0 or more, not -1"),
        ("stretch=1", "stretch must be below 1, not 1"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_attack(f"deform({text})")
