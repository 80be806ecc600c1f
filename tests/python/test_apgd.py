"""attacks/apgd.py: against the paper's algorithm on single images, and both readings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import attack_references as reference
from attack_samples import bent_net, labels, linear, random_rows, rows, two_layers
from caffe_ext.attacks import parse_attack, shrink
from caffe_ext.attacks.apgd import AutoProjectedGradient, compute_checkpoints
from caffe_ext.attacks.ball import Ball, draw_unit_vector
from caffe_ext.attacks.criteria import Misclassification, TargetedMisclassification
from caffe_ext.attacks.losses import make_objective
from caffe_ext.attacks.queries import Queries
from caffe_ext.models.base import NO_CLASS
from caffe_ext.models.classifier import Classifier

pytestmark = pytest.mark.any_device
NORMS = ("linf", "l2")


@pytest.fixture(scope="module")
def bent(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """Return a net whose gradient changes from place to place; five classes."""
    return bent_net(tmp_path_factory.mktemp("bent"), (6, 16, 5), batch_size=4)


def size(differences: Any, norm: str) -> NDArray[np.float64]:
    flat = np.asarray(differences, np.float64).reshape(len(differences), -1)
    largest = np.abs(flat).max(axis=1, initial=0)
    return np.asarray(largest if norm == "linf" else np.sqrt((flat**2).sum(axis=1)))


def test_checkpoints_are_the_paper_s() -> None:
    assert sorted(compute_checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sorted(compute_checkpoints(10)) == [3, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("loss", ["ce", "margin", "dlr", "dlr-t"])
def test_losses_and_their_derivatives(loss: Any) -> None:
    random = np.random.default_rng(1)
    logits = random.normal(scale=3, size=(40, 6)).astype(np.float32)
    which = random.integers(0, 6, 40)
    targets = (which + random.integers(1, 6, 40)) % 6
    objective = make_objective(loss, Misclassification(which), targets)
    values, derivatives = objective(logits, np.arange(40))
    for row, (label, target) in enumerate(zip(which, targets, strict=True)):
        expected = reference.loss_value(loss, logits[row], label, target)
        assert values[row] == pytest.approx(expected, rel=1e-9)
        slope = reference.loss_derivative(loss, logits[row], label, target)
        if np.abs(slope).max() < 1e-6:  # DLR where the label comes third
            assert not derivatives[row].any()
            continue
        slope /= np.abs(slope).max()
        scaled = derivatives[row] / np.abs(derivatives[row]).max()
        np.testing.assert_allclose(scaled, slope, atol=1e-5)


def test_the_cross_entropy_has_a_gradient_where_the_softmax_is_1() -> None:
    logits = np.array([[900, 3, 2.5, -400]], np.float32)
    values, derivatives = make_objective("ce", Misclassification(labels(0)))(logits, labels(0))
    assert values[0] == pytest.approx(3 + np.log1p(np.exp(-0.5)) - 900)
    np.testing.assert_allclose(derivatives, [[-1, 0.622459, 0.377541, 0]], atol=1e-6)
    targeted = TargetedMisclassification(labels(0), labels(2))
    values, derivatives = make_objective("ce", targeted)(logits, labels(0))
    assert values[0] == pytest.approx(2.5 - 900)
    np.testing.assert_allclose(derivatives, [[-1, 0, 1, 0]], atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", ["ce", "margin", "dlr", "dlr-t"])
def test_batched_climbs_are_those_of_single_images(bent: Classifier, norm: Any, loss: Any) -> None:
    images, epsilon, iterations = random_rows(20), 60.0, 30
    which = bent.predict(images)
    indices = 7 + np.arange(20)
    attack = AutoProjectedGradient(epsilon, norm, iterations, seed=4, loss=loss, targets=1)
    found = attack.search(Queries(bent), images, Misclassification(which), indices)
    assert 0 < found.found.sum() < 20
    second = np.argsort(-bent.logits(images), axis=1)[:, 1]
    for row, (image, label) in enumerate(zip(images, which, strict=True)):
        target = int(second[row])
        objective = make_objective(
            loss, Misclassification(which[row : row + 1]), second[row : row + 1]
        )

        def gradient(point: Any, objective: Any = objective) -> Any:
            given = point[None].astype(np.float32)
            diff = objective(bent.logits(given), labels(0))[1]
            return bent.gradient(given, diff)[0].astype(np.float64)

        def value(point: Any, label: int = label, target: int = target) -> float:
            scores = bent.logits(point[None].astype(np.float32))[0]
            return reference.loss_value(loss, scores, label, target)

        def wrong(point: Any, label: int = label) -> bool:
            return bool(bent.predict(point[None].astype(np.float32))[0] != label)

        middle = image.astype(np.float64)
        start = middle + epsilon * draw_unit_vector([4, 7 + row, 0, 0], image.shape, norm)
        start = reference.project(start, middle, epsilon, norm)
        expected, _ = reference.apgd(
            value, gradient, wrong, middle, start, epsilon, norm, iterations
        )
        assert found.found[row] == (expected is not None)
        if expected is not None:
            np.testing.assert_allclose(found.points[row], expected, atol=1e-2)


@pytest.mark.parametrize("norm", NORMS)
def test_both_readings_hold_what_they_say(bent: Classifier, norm: Any) -> None:
    images = random_rows(60, seed=5)
    which = bent.predict(images)
    for epsilon in (20.5, 60.5):
        attack = AutoProjectedGradient(epsilon, norm, 20, seed=1)
        result = attack.run(bent, images, Misclassification(which), np.arange(60))
        real = result.real
        assert real is not None
        assert 0 < result.found.sum() <= real.found.sum() < 60
        assert (real.found >= result.found).all()
        apart = size(real.adversarials - images.astype(np.float32), norm)
        assert (apart <= epsilon * (1 + 1e-5)).all()
        whole = size(result.adversarials.astype(float) - images, norm)
        assert (whole <= (np.floor(epsilon) if norm == "linf" else epsilon)).all()
        assert (bent.predict(real.adversarials) != which)[real.found].all()
        assert np.array_equal(bent.predict(result.adversarials) != which, result.found)
        assert np.array_equal(
            result.classes[result.found], bent.predict(result.adversarials)[result.found]
        )
        assert np.isnan(result.step_lengths[~result.found]).all()


def test_an_image_s_result_does_not_depend_on_the_others(bent: Classifier) -> None:
    images = random_rows(12, seed=2)
    criterion = Misclassification(bent.predict(images))
    attack = AutoProjectedGradient(40, "linf", 15, restarts=2, seed=3, loss="dlr")
    whole = attack.run(bent, images, criterion, np.arange(12))
    part = np.array([7, 3, 9])
    alone = attack.run(bent, images[part], criterion.select(part), part)
    assert np.array_equal(alone.found, whole.found[part])
    assert np.array_equal(alone.adversarials, whole.adversarials[part])
    assert whole.found.any()
    one, other = (draw_unit_vector([3, index, 0, 0], (1, 1, 6), "linf") for index in (0, 1))
    assert not np.array_equal(one, other)


def test_the_smallest_change_is_reported_and_not_the_radius(tmp_path: Path) -> None:
    # Class 1 above x0 = 120.5, so that 20.5 grey levels are needed of the radius 50.
    classifier = linear(tmp_path, [[0], [1]], [120.5, 0])
    for text in ("apgd=50x10", "pgd=50", "bim=50/12x9"):
        result = parse_attack(text).run(
            classifier, rows([100]), Misclassification(labels(0)), labels(0)
        )
        assert result.step_lengths.tolist() == [21]
        assert result.adversarials[0, 0, 0, 0] == 121
        assert result.classes.tolist() == [1]
        if result.real is not None:
            assert 120.5 < result.real.adversarials[0, 0, 0, 0] <= 120.7


@pytest.mark.parametrize(("text", "whole"), [("apgd=50x10", 150), ("bim=50/12x9", 124)])
@pytest.mark.parametrize("later", [121.5, 255.5])
def test_answers_that_change_between_the_batches(
    tmp_path: Path, text: str, whole: int, later: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Class 1 above x0 = 120.5, and above `later` once the smallest adversarial, 121, is found.
    classifier = linear(tmp_path, [[0], [1]], [120.5, 0])
    changed = linear(tmp_path / "changed", [[0], [1]], [later, 0])
    search = shrink.shrink

    def search_and_change(*given: Any) -> Any:
        found = search(*given)
        assert found.ravel().tolist() == [121]
        monkeypatch.setattr(classifier, "logits", changed.logits)
        return found

    monkeypatch.setattr(shrink, "shrink", search_and_change)
    result = parse_attack(text).run(
        classifier, rows([100]), Misclassification(labels(0)), labels(0)
    )
    if later < whole:
        assert result.found.all()
        assert result.adversarials.ravel().tolist() == [whole]
        assert result.step_lengths.tolist() == [whole - 100]
        assert result.classes.tolist() == [1]
    else:
        assert not result.found.any()
        assert result.adversarials.ravel().tolist() == [100]
        assert np.isnan(result.step_lengths).all()
        assert result.classes.tolist() == [NO_CLASS]


def test_rounding_that_loses_an_adversarial_is_counted_in_one_reading(tmp_path: Path) -> None:
    # Class 1 only between x0 = 100.3 and 100.7, which no whole grey level is.
    classifier = two_layers(
        tmp_path, [[1, 0], [1, 0]], [[0, 0], [10, -20]], [-100.3, -100.5], batch_size=1
    )
    one = np.array([[[[100.45, 0]]]], np.float32)
    assert classifier.predict(one).tolist() == [1]
    found = parse_attack("apgd=1.5x100r20+margin").run(
        classifier, rows([100, 0]), Misclassification(labels(0)), labels(0)
    )
    assert found.real is not None
    assert found.real.found.all()
    assert not found.found.any()


def test_images_that_are_done_leave(bent: Classifier) -> None:
    images = random_rows(30, seed=5)
    which = bent.predict(images)
    asked = Queries(bent)
    attack = AutoProjectedGradient(60, "linf", 40)
    found = attack.search(asked, images, Misclassification(which), np.arange(30))
    unbroken = int((~found.found).sum())
    assert 41 * unbroken <= asked.gradients < 41 * unbroken + 20 * int(found.found.sum())
    assert asked.queries == asked.gradients


def test_a_ball_in_l2_is_kept_by_the_projection() -> None:
    images = np.full((50, 1, 2, 3), 128, np.uint8)
    images[:, 0, 0, 0] = 250
    budget = parse_attack("apgd-l2=90").budget  # type: ignore[attr-defined]
    ball = Ball.from_images(images, budget, whole=False)
    points = np.random.default_rng(0).normal(128, 200, (50, 1, 2, 3)).astype(np.float32)
    found = ball.project(points.copy())
    assert (size(found - ball.images, "l2") <= 90 * (1 + 1e-6)).all()
    assert found.min() >= 0
    assert found.max() <= 255
    again = ball.project(found.copy())
    np.testing.assert_allclose(again, found, atol=1e-3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("apgd=0.3", r"did you mean 76\.5"),
        ("apgd=8x0", "iterations must be a whole number, 1 or more, not 0"),
        ("apgd(epsilon=8, iterations=2.5)", r"iterations must be a whole number, .* not 2\.5"),
        ("apgd=8r0", "restarts must be a whole number, 1 or more, not 0"),
        (
            "apgd(epsilon=8, loss='hinge')",
            "the loss must be one of ce, margin, dlr, dlr-t, not 'hinge'",
        ),
        ("apgd(epsilon=8, norm='l1')", "the norm must be one of linf, l2, not 'l1'"),
        ("apgd(epsilon=8, targets=0)", "targets must be a whole number, 1 or more, not 0"),
        ("apgd(loss='dlr')", r"apgd needs epsilon=\.\.\., which has no default"),
        ("apgd=8+hinge", r"unknown attack 'apgd=8\+hinge' \(apgd=8 is known, '\+hinge' is not\)"),
    ],
)
def test_settings_that_make_no_sense(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_attack(text)


def test_texts_and_back() -> None:
    for text, attack in (
        ("apgd=8", AutoProjectedGradient(8.0, seed=5)),
        ("apgd=8/255x20r3+dlr", AutoProjectedGradient(8.0, "linf", 20, 3, 5, "dlr")),
        ("apgd-l2=0.5of1+dlr-t", AutoProjectedGradient(127.5, "l2", seed=5, loss="dlr-t")),
        (
            "apgd(epsilon=8, loss='dlr-t', targets=3)",
            AutoProjectedGradient(8, seed=5, loss="dlr-t", targets=3),
        ),
    ):
        assert parse_attack(text, seed=5) == attack
        assert parse_attack(attack.text, seed=5) == attack
    assert parse_attack("apgd=8").text == "apgd=8.0x100"


def test_too_few_classes_are_refused_in_a_sentence(tmp_path: Path) -> None:
    three = linear(tmp_path, [[1, 0], [0, 1], [1, 1]])
    parse_attack("apgd=8+dlr").check(three)
    with pytest.raises(
        ValueError, match=r"the targeted DLR loss .* needs 4 classes or more.* has 3"
    ):
        parse_attack("apgd=8+dlr-t").check(three)
    two = linear(tmp_path / "two", [[1, 0], [0, 1]])
    parse_attack("apgd=8").check(two)
    with pytest.raises(ValueError, match=r"the DLR loss .* needs 3 classes or more.* has 2"):
        parse_attack("apgd=8+dlr").check(two)


def test_a_radius_between_grey_levels_is_remarked() -> None:
    assert "differ by 25 at most" in parse_attack("apgd=25.5").remarks[0]
    assert parse_attack("apgd=25").remarks == parse_attack("apgd-l2=25.5").remarks == ()
    assert replace(parse_attack("apgd=8"), epsilon=8.5).remarks  # type: ignore[type-var]
