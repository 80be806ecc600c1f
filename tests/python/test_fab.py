"""attacks/fab.py: projections against bisection, and the iteration against single images."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attack_references as reference
from attack_samples import bent_net, random_rows
from caffe_ext.attacks import parse_attack
from caffe_ext.attacks.criteria import Misclassification, TargetedMisclassification
from caffe_ext.attacks.fab import FastAdaptiveBoundary, find_shortest_step
from caffe_ext.attacks.queries import Queries
from caffe_ext.models.classifier import Classifier

NORMS = ("linf", "l2")


@pytest.fixture(scope="module")
def bent(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """Return a net whose gradient changes from place to place; five classes."""
    return bent_net(tmp_path_factory.mktemp("bent"), (6, 16, 5), batch_size=4)


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32 - 1), st.sampled_from(NORMS), st.floats(-900, 900))
def test_the_shortest_step_onto_a_hyperplane(seed: int, norm: Any, rise: float) -> None:
    random = np.random.default_rng(seed)
    points = random.choice([0, 3, 100, 250.5, 255], (4, 7)) + 0.0
    w = random.choice([0, -2, 1, 0.5, -0.1], (4, 7)) + 0.0
    found = find_shortest_step(points, w, np.full(4, rise), norm)
    assert ((points + found >= 0) & (points + found <= 255)).all()
    for row in range(4):
        expected = reference.shortest_step(points[row], w[row], rise, norm)
        length = reference.size(expected, norm)
        assert reference.size(found[row], norm) == pytest.approx(length, abs=1e-6)
        reached = float(np.dot(w[row], found[row]))
        assert reached == pytest.approx(float(np.dot(w[row], expected)), abs=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_batches_go_as_single_images(bent: Classifier, norm: Any) -> None:
    images, epsilon, iterations = random_rows(20), 60.0, 25
    which = bent.predict(images)
    attack = FastAdaptiveBoundary(epsilon, norm, iterations, targets=1)
    found = attack.search(Queries(bent), images, Misclassification(which), np.arange(20))
    assert 0 < found.found.sum() < 20
    second = np.argsort(-bent.logits(images), axis=1)[:, 1]
    for row, (image, label) in enumerate(zip(images, which, strict=True)):

        def asked(point: Any) -> Any:
            return point.reshape(1, 1, 1, 6).astype(np.float32)

        def value(point: Any, label: int = label, target: int = int(second[row])) -> float:
            logits = bent.logits(asked(point))[0].astype(np.float64)
            return float(logits[target] - logits[label])

        def gradient(point: Any, label: int = label, target: int = int(second[row])) -> Any:
            diff = np.zeros((1, 5), np.float32)
            diff[0, target], diff[0, label] = 1, -1
            return bent.gradient(asked(point), diff).ravel().astype(np.float64)

        def wrong(point: Any, label: int = label) -> bool:
            return bool(bent.predict(asked(point))[0] != label)

        expected = reference.fab(
            value, gradient, wrong, image.ravel() + 0.0, epsilon, norm, iterations
        )
        assert found.found[row] == (expected is not None)
        if expected is not None:
            np.testing.assert_allclose(found.points[row].ravel(), expected, atol=0.05)


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_found_lies_in_the_ball(bent: Classifier, norm: Any) -> None:
    images = random_rows(40, seed=5)
    which = bent.predict(images)
    attack = FastAdaptiveBoundary(40.0, norm, 15, 2, seed=1)
    result = attack.run(bent, images, Misclassification(which), np.arange(40))
    assert result.real is not None
    assert 0 < result.found.sum() <= result.real.found.sum() < 40
    for reading in (result.adversarials, result.real.adversarials):
        apart = reading.astype(np.float64) - images
        assert max(reference.size(one.ravel(), norm) for one in apart) <= 40 * (1 + 1e-6)
    assert np.array_equal(bent.predict(result.adversarials) != which, result.found)
    part = np.array([30, 4])
    alone = attack.run(bent, images[part], Misclassification(which[part]), part)
    assert np.array_equal(alone.adversarials, result.adversarials[part])


def test_a_criterion_with_targets_has_its_own(bent: Classifier) -> None:
    images = random_rows(20, seed=1)
    which = bent.predict(images)
    target = (which + 1) % 5
    result = FastAdaptiveBoundary(90.0, "linf", 20).run(
        bent, images, TargetedMisclassification(which, target), np.arange(20)
    )
    assert result.found.sum() > 0
    assert np.array_equal(bent.predict(result.adversarials) == target, result.found)


def test_texts_and_names() -> None:
    attack = parse_attack("fab=8/255x20")
    assert attack == FastAdaptiveBoundary(8.0, "linf", 20)
    assert attack.text == "fab=8.0x20"
    assert attack.name == "FAB-T, 9 targets Linf 8, 20"
    assert replace(attack, targets=1).name == "FAB-T, 1 target Linf 8, 20"
    with pytest.raises(ValueError, match="targets must be a whole number, 1 or more, not 0"):
        parse_attack("fab(epsilon=8, targets=0)")
