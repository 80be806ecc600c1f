"""attacks/square.py: against the paper's algorithm pixel by pixel, and what it may ask."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import attack_references as reference
from attack_samples import labels, linear
from caffe_ext.attacks import parse_attack, square
from caffe_ext.attacks.criteria import Misclassification
from caffe_ext.attacks.queries import Queries
from caffe_ext.attacks.square import SquareAttack, compute_side, make_bump
from caffe_ext.models.base import Floats, Pixels
from caffe_ext.models.classifier import Classifier

pytestmark = pytest.mark.any_device
SHAPE = (1, 6, 7)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """Return a linear net of three classes."""
    weights = np.random.default_rng(4).normal(size=(3, 42)) / 100
    return linear(tmp_path_factory.mktemp("square"), weights, shape=SHAPE, batch_size=8)


def some_images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


# In L2 with fewer queries: where a window meets its own opposite, the sum of both is rounding, and
# its direction that of the last bits.
@pytest.mark.parametrize(
    ("norm", "epsilon", "queries", "plain"),
    [("linf", 11.0, 300, reference.square_linf), ("l2", 100.0, 40, reference.square_l2)],
)
def test_it_is_the_paper_s_on_single_images(
    model: Classifier, norm: Any, epsilon: float, queries: int, plain: Any
) -> None:
    images = some_images(12)
    which = model.predict(images)
    indices = 5 + np.arange(12)
    attack, criterion = SquareAttack(epsilon, norm, queries, seed=6), Misclassification(which)
    asked: list[list[Floats]] = [[] for _ in images]

    class Watched(Queries):
        def logits(self, points: Floats, ball: Any) -> Floats:
            for point, centre in zip(points, ball.images, strict=True):
                (row,) = np.flatnonzero((images == centre).all(axis=(1, 2, 3)))
                asked[row].append(point.copy())
            return super().logits(points, ball)

    found = attack.search(Watched(model), images, criterion, indices)
    assert 0 < found.found.sum() < 12
    for row, image in enumerate(images):
        points: list[Any] = []

        def margin(point: Any, row: int = row, points: list[Any] = points) -> float:
            points.append(point)
            logits = model.logits(point[None].astype(np.float32))
            return float(criterion.compute_margins(logits, labels(row))[0])

        random = np.random.default_rng([6, 5 + row, 0])
        pixels, drawn = image.astype(np.float64), square._DRAWN_AT_A_TIME
        expected = plain(margin, pixels, epsilon, queries, random, drawn)
        assert found.found[row] == (expected is not None)
        np.testing.assert_allclose(asked[row], points, atol=1e-3)
        if expected is not None:
            np.testing.assert_allclose(found.points[row], expected, atol=1e-3)


def test_sides_shrink_as_the_queries_go() -> None:
    assert compute_side(1, 5000, (28, 28)) == 25  # sqrt(.8) 28
    assert compute_side(1, 5000, (5, 28)) == 5
    sides = [compute_side(query, 5000, (28, 28)) for query in range(1, 5000)]
    assert sides == sorted(sides, reverse=True)
    assert sides[-1] == 1  # sqrt(.8 / 512) 28 = 1.1


@pytest.mark.parametrize("side", [1, 3, 5, 8])
def test_the_bump_of_l2_has_two_halves_of_opposite_signs(side: int) -> None:
    eta = make_bump(side)
    assert eta.shape == (side, side)
    assert (eta[: side // 2] > 0).all()
    assert (eta[side // 2 :] < 0).all()
    assert np.square(eta).sum() == pytest.approx(1)
    if side == 8:
        # 1 + 1/4 + ... + 1/25 in the middle of a half, 4 x 8; the edge has the last alone.
        heights = [sum(1 / (k + 1) ** 2 for k in range(m, 5)) for m in range(5)]
        assert eta[2, 4] / eta[0, 0] == pytest.approx(heights[0] / heights[4])
        assert eta[2, 4] / eta[1, 4] == pytest.approx(heights[0] / heights[1])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_points_stay_in_the_ball_and_no_gradient_is_asked_for(model: Classifier, norm: Any) -> None:
    images, seen = some_images(20), []

    class Watched(Queries):
        def logits(self, points: Floats, ball: Any) -> Floats:
            apart = points - ball.images
            seen.append(max(reference.size(one.ravel(), norm) for one in apart))
            assert points.min() >= 0
            assert points.max() <= 255
            return super().logits(points, ball)

        def climb(self, *_: Any) -> Any:
            raise AssertionError("a gradient")

    which = model.predict(images)
    epsilon = 11.0 if norm == "linf" else 60.0
    asked = Watched(model)
    attack = SquareAttack(epsilon, norm, 200, seed=1)
    found = attack.search(asked, images, Misclassification(which), np.arange(20))
    assert 0 < found.found.sum() < 20
    assert max(seen) <= epsilon * (1 + 1e-5)
    assert max(seen) > 0.9 * epsilon
    assert (model.predict(found.points) != which).tolist() == found.found.tolist()
    unbroken = int((~found.found).sum())
    assert 200 * unbroken < asked.queries < 200 * 20


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_image_s_result_does_not_depend_on_the_others(model: Classifier, norm: Any) -> None:
    images, part = some_images(9), np.array([6, 2])
    criterion = Misclassification(model.predict(images))
    attack = SquareAttack(12.0 if norm == "linf" else 60.0, norm, 150, seed=3)
    whole = attack.run(model, images, criterion, np.arange(9))
    alone = attack.run(model, images[part], criterion.select(part), part)
    assert whole.found.any()
    assert np.array_equal(alone.found, whole.found[part])
    assert np.array_equal(alone.adversarials, whole.adversarials[part])


def test_scores_improve_as_queries_go_in_l2(model: Classifier) -> None:
    images = some_images(20)
    criterion = Misclassification(model.predict(images))
    few, many = (
        SquareAttack(60.0, "l2", queries, seed=1).search(
            Queries(model), images, criterion, np.arange(20)
        )
        for queries in (2, 200)
    )
    assert few.found.sum() < many.found.sum()


def test_whole_grey_levels_are_what_the_model_is_asked_about(
    model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = []
    logits = Classifier.logits

    def watched(self: Classifier, images: Pixels) -> Floats:
        kinds.append(images.dtype)
        return logits(self, images)

    monkeypatch.setattr(Classifier, "logits", watched)
    images = some_images(4)
    which = model.predict(images)
    kinds.clear()
    attack = SquareAttack(11.5, "linf", 50)
    attack.search(Queries(model, whole=True), images, Misclassification(which), np.arange(4))
    assert set(kinds) == {np.dtype(np.uint8)}


def test_texts_and_names() -> None:
    attack = parse_attack("square-l2=0.5of1x100r2", seed=7)
    assert attack == SquareAttack(127.5, "l2", 100, 2, 7)
    assert attack.text == "square-l2=127.5x100r2"
    assert attack.name == "Square L2 127.5, 100, 2 restarts"
    assert "nothing else" in attack.threat_model
    assert parse_attack("square=8") == SquareAttack(8.0, iterations=5000)


def test_colour_images_get_a_sign_for_each_channel(tmp_path: Path) -> None:
    weights = np.concatenate([np.full((1, 16), w) for w in (1, -1, 1)], axis=1)
    net = linear(
        tmp_path, np.concatenate([np.zeros_like(weights), weights]), [500, 0], shape=(3, 4, 4)
    )
    images = np.full((1, 3, 4, 4), 10, np.uint8)
    # 160 + 16 * 3 * 8 = 544 > 500, if all of a channel has its own sign.
    found = SquareAttack(8.0, "linf", 2000).search(
        Queries(net), images, Misclassification(labels(0)), labels(0)
    )
    assert found.found.all()
