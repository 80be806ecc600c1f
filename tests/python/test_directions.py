"""attacks/directions.py: known answers, finite differences, Caffe's own loss, refused input."""

from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from numpy.typing import NDArray

from attack_samples import labels, linear, rows
from caffe_ext.attacks.criteria import (
    NO_TARGET,
    Misclassification,
    TargetedMisclassification,
    TopKMisclassification,
    find_class_of_rank,
)
from caffe_ext.attacks.directions import FastGradient, HotCold, LogitMargin
from caffe_ext.models.base import softmax
from caffe_ext.models.classifier import Classifier
from caffe_ext.runtime.quiet import silence_caffe

pytestmark = pytest.mark.any_device

WEIGHTS = np.array([[1, 2, -1, 0], [0, -1, 1, 3], [2, 0, 0, -2]], np.float32) / 64
BIAS = np.array([0.25, 0, -0.5], np.float32)
IMAGES = rows([10, 200, 30, 4], [0, 255, 7, 90], [128, 3, 250, 60])


@pytest.fixture
def three(tmp_path: Path) -> Classifier:
    return linear(tmp_path, WEIGHTS, BIAS, batch_size=2)


def loss(pixels: NDArray[np.float64], which: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return -ln p of the labels in float64."""
    scores = pixels.reshape(len(pixels), -1) @ WEIGHTS.T.astype(float) + BIAS
    scores -= scores.max(axis=1, keepdims=True)
    total: NDArray[np.float64] = np.log(np.exp(scores).sum(axis=1))
    return np.asarray(total - scores[np.arange(len(which)), which])


@pytest.mark.parametrize("which", [labels(0, 1, 2), labels(2, 0, 1)])
def test_fgv_is_the_derivative_of_the_loss(three: Classifier, which: NDArray[np.int64]) -> None:
    found = FastGradient()(three, IMAGES, Misclassification(which))
    numeric, step = np.zeros(IMAGES.shape), 1e-4
    for index in np.ndindex(*IMAGES.shape[1:]):
        at = (slice(None), *index)
        above, below = IMAGES.astype(float), IMAGES.astype(float)
        above[at] += step
        below[at] -= step
        numeric[at] = (loss(above, which) - loss(below, which)) / (2 * step)
    np.testing.assert_allclose(found.values, numeric, atol=2e-6)
    assert found.values.dtype == np.float32
    assert found.targets.tolist() == [NO_TARGET] * 3
    np.testing.assert_array_equal(found.logits, three.logits(IMAGES))
    signs = FastGradient(sign=True)(three, IMAGES, Misclassification(which)).values
    assert np.array_equal(signs, np.sign(found.values))
    assert set(np.unique(signs)) <= {-1, 0, 1}


def test_fgv_is_the_gradient_of_caffe_s_own_loss(three: Classifier, tmp_path: Path) -> None:
    text = Path(tmp_path / "deploy.prototxt").read_text().replace("dim: 1 dim: 1", "dim: 3 dim: 1")
    text = "force_backward: true\n" + text[: text.index("layer { name: 'prob'")]
    text += """layer { name: 'label' type: 'Input' top: 'label'
      input_param { shape { dim: 3 } } }
    layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'score' bottom: 'label' top: 'loss' }"""
    (tmp_path / "train.prototxt").write_text(text)
    with silence_caffe():
        caffes = caffe.Net(
            str(tmp_path / "train.prototxt"), str(tmp_path / "net.caffemodel"), caffe.TEST
        )
    which = labels(2, 1, 0)
    caffes.blobs["data"].data[...] = IMAGES
    caffes.blobs["label"].data[...] = which
    caffes.forward()
    gradient = caffes.backward(diffs=["data"])["data"] * 3  # of the mean over the batch
    found = FastGradient()(three, IMAGES, Misclassification(which)).values
    np.testing.assert_allclose(found, gradient, rtol=1e-4, atol=1e-7)
    assert found.any()


def test_hot_and_cold_are_equation_7() -> None:
    logits = np.array([[5, 3, -2, 4], [-1, -7, -3, -2], [0, 0, 0, 0]], np.float32)
    omega, hot = HotCold().compute_omega(logits, Misclassification(labels(0, 0, 1)))
    assert hot.tolist() == [3, 3, 0]
    # |h_hot| where it is hot, -h_label where it is cold, also if that is above 0
    assert omega.tolist() == [[-5, 0, 0, 4], [1, 0, 0, 2], [0, 0, 0, 0]]
    assert omega.dtype == np.float32
    second, hot = HotCold(rank=2).compute_omega(logits, Misclassification(labels(0, 0, 1)))
    assert hot.tolist() == [1, 2, 2]
    assert second[:2].tolist() == [[-5, 3, 0, 0], [1, 0, 3, 0]]


def test_the_label_s_own_score_does_not_count_among_the_ranks() -> None:
    logits = np.array([[1, 9, 5, 3]], np.float32)
    assert [find_class_of_rank(logits, labels(3), rank)[0] for rank in (1, 2, 3)] == [1, 2, 0]
    assert [find_class_of_rank(logits, labels(1), rank)[0] for rank in (1, 2, 3)] == [2, 3, 0]


def test_of_equal_scores_the_lower_class_comes_first() -> None:
    logits = np.array([[2, 7, 7, 2, 7]], np.float32)
    assert [find_class_of_rank(logits, labels(2), rank)[0] for rank in (1, 2, 3, 4)] == [1, 4, 0, 3]


def test_hot_cold_goes_back_to_the_pixels(three: Classifier) -> None:
    logits = three.logits(IMAGES)
    which = three.predict(IMAGES)
    found = HotCold()(three, IMAGES, Misclassification(which))
    expected = HotCold().compute_omega(logits, Misclassification(which))[0] @ WEIGHTS
    np.testing.assert_allclose(found.values.reshape(3, 4), expected, rtol=1e-5)
    assert np.array_equal(found.targets, np.argsort(-logits, axis=1)[:, 1])
    signs = HotCold(sign=True)(three, IMAGES, Misclassification(which)).values
    assert np.array_equal(signs, np.sign(found.values))


def test_a_named_target_and_the_label_itself(three: Classifier) -> None:
    found = HotCold(target=1)(three, IMAGES, Misclassification(labels(0, 1, 2)))
    assert found.targets.tolist() == [1, 1, 1]
    assert found.zero_gradient.tolist() == [False, True, False]
    logits = three.logits(IMAGES)[0]
    expected = np.array([-logits[0], abs(logits[1]), 0]) @ WEIGHTS
    np.testing.assert_allclose(found.values[0].ravel(), expected, rtol=1e-5)


def test_the_margin_is_the_difference_of_two_rows_of_weights(three: Classifier) -> None:
    found = LogitMargin()(three, IMAGES, Misclassification(labels(0, 1, 2)))
    for row, label in enumerate((0, 1, 2)):
        expected = WEIGHTS[found.targets[row]] - WEIGHTS[label]
        np.testing.assert_array_equal(found.values[row].ravel(), expected)
    others = three.logits(IMAGES)
    others[np.arange(3), np.arange(3)] = -np.inf
    assert np.array_equal(found.targets, others.argmax(axis=1))


def fall(weights: NDArray[np.float64], image: NDArray[np.uint8], way: Any, label: int) -> float:
    """Return by how much the margin of a linear net falls in one grey level."""
    u = way.ravel().astype(float) / np.abs(way).max()
    u *= np.where(u > 0, image.ravel() < 255, image.ravel() > 0)
    scores = weights @ image.ravel().astype(float)
    scores[label] = -np.inf
    return float((weights[scores.argmax()] - weights[label]) @ u)


@pytest.mark.parametrize("sign", [False, True])
def test_slopes_are_exact_where_the_margin_is_linear(tmp_path: Path, sign: bool) -> None:
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (40, 1, 1, 5), dtype=np.uint8)
    images[random.random(images.shape) < 0.2] = 0
    images[random.random(images.shape) < 0.2] = 255
    # Of two classes the loss's derivative lies along the margin's, too.
    for classes, kind in ((2, FastGradient), (2, LogitMargin), (7, LogitMargin)):
        weights = random.normal(size=(classes, 5)) / 400
        classifier = linear(tmp_path / f"{classes}{kind.__name__}", weights, batch_size=16)
        which = classifier.predict(images)
        found = kind(sign=sign)(classifier, images, Misclassification(which))
        expected = [fall(weights, *each) for each in zip(images, found.values, which, strict=True)]
        np.testing.assert_allclose(found.slopes, expected, rtol=1e-4, atol=1e-7)
        assert (found.slopes > 0).mean() > 0.9


def test_a_hot_cold_slope_is_that_of_logits_that_move_along_omega(tmp_path: Path) -> None:
    # Each class has pixels of its own, so that the logits do move along omega: 60 and 80 of 100.
    classifier = linear(tmp_path, [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    found = HotCold()(classifier, rows([80, 60, 9]), Misclassification(labels(0)))
    assert found.values.ravel().tolist() == [-80, 60, 0]
    assert found.slopes.tolist() == [pytest.approx((60 + 80) / 80)]


def test_there_is_no_slope_where_nothing_is_said_of_the_label_s_score(tmp_path: Path) -> None:
    classifier = linear(tmp_path, [[1, 0], [0, 1]], [-60, -70])
    images = rows([50, 9], [50, 9])
    # Hot/cold takes logits below 0 up: -10 by 10 and -61 by 61 pixels' worth.
    fall = HotCold()(classifier, images, Misclassification(labels(0, 1))).slopes
    np.testing.assert_allclose(fall, [(61 - 10) / 61, (10 - 61) / 61])
    # Logits 51 apart leave no loss at all, 13 do.
    saturated = FastGradient()(classifier, rows([50, 9], [12, 9]), Misclassification(labels(0, 0)))
    assert np.isnan(saturated.slopes).tolist() == saturated.saturated.tolist() == [True, False]
    assert not np.isnan(
        LogitMargin()(classifier, images, Misclassification(labels(0, 0))).slopes
    ).any()
    assert np.isnan(
        LogitMargin(through="score")(classifier, images, Misclassification(labels(0, 0))).slopes
    ).all()


def test_saturated_and_zero_where_the_softmax_saturates(tmp_path: Path) -> None:
    # The other class's p is e^-x at (x, 0): at 255, float32 has no number for it.
    classifier = linear(tmp_path, [[1, 0], [0, 1]])
    images, which = rows([1, 0], [30, 0], [255, 0], [0, 0]), labels(0, 0, 0, 0)
    found = FastGradient()(classifier, images, Misclassification(which))
    assert found.saturated.tolist() == [False, True, True, False]
    assert found.zero_gradient.tolist() == [False, False, True, False]
    for other in (HotCold(), LogitMargin()):
        assert not other(classifier, images[:3], Misclassification(which[:3])).zero_gradient.any()
        assert other(classifier, images[:3], Misclassification(which[:3])).saturated.tolist() == [
            False,
            True,
            True,
        ]


def test_what_is_left_where_the_loss_is_exactly_0(tmp_path: Path) -> None:
    classifier = linear(tmp_path, [[1, 0], [0, 1]])
    found = FastGradient()(classifier, rows([40, 0]), Misclassification(labels(0)))
    assert found.saturated.all()
    # omega = (0, e^-40): only the other class's row of weights
    expected = np.exp(np.float32(-40))
    assert found.values.ravel().tolist() == [0, pytest.approx(expected, rel=1e-4)]


def test_numbers_that_are_none_point_nowhere(tmp_path: Path) -> None:
    classifier = linear(tmp_path, [[3e38, 0], [-3e38, 0]])
    with np.errstate(all="ignore"):
        for direction in (FastGradient(), HotCold(), LogitMargin(), HotCold(sign=True)):
            found = direction(classifier, rows([0, 1], [255, 1]), Misclassification(labels(0, 0)))
            assert np.isfinite(found.values).all()


def test_nothing_that_is_passed_in_is_changed(three: Classifier) -> None:
    which, images = labels(0, 1, 2), IMAGES.copy()
    which.flags.writeable = images.flags.writeable = False
    for direction in (FastGradient(sign=True), HotCold(), LogitMargin()):
        direction(three, images, Misclassification(which))


def test_no_images_are_enough(three: Classifier) -> None:
    for direction in (FastGradient(), HotCold(), LogitMargin(through="score")):
        found = direction(three, IMAGES[:0], Misclassification(labels()))
        assert found.values.shape == (0, 1, 1, 4)
        assert found.zero_gradient.shape == found.saturated.shape == found.targets.shape == (0,)


@pytest.mark.parametrize(
    ("which", "says"),
    [
        (labels(0, 3, 1), r"label 3 of image 1 does not exist: the network has 3 classes, 0..2"),
        (labels(0, 1, -1), r"label -1 of image 2 does not exist"),
        (labels(0, 1), r"labels must be integers \(3,\), not int64 \(2,\)"),
        (np.array([0.0, 1, 2]), "labels must be integers"),
    ],
)
def test_labels_that_are_no_classes_are_refused(three: Classifier, which: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        FastGradient()(three, IMAGES, Misclassification(which))


def test_targeted_directions_point_to_the_target(three: Classifier) -> None:
    which, targets = labels(0, 1, 2), labels(2, 0, 1)
    criterion = TargetedMisclassification(which, targets)
    loss_of_target = FastGradient()(three, IMAGES, criterion)
    away = FastGradient()(three, IMAGES, Misclassification(targets))
    np.testing.assert_array_equal(loss_of_target.values, -away.values)
    assert np.array_equal(loss_of_target.targets, targets)
    assert np.array_equal(HotCold(rank=2)(three, IMAGES, criterion).targets, targets)
    found = LogitMargin()(three, IMAGES, criterion)
    others = three.logits(IMAGES)
    others[np.arange(3), targets] = -np.inf
    for row, target in enumerate(targets):
        expected = WEIGHTS[target] - WEIGHTS[others[row].argmax()]
        np.testing.assert_array_equal(found.values[row].ravel(), expected)


def test_the_margin_of_a_top_k_criterion(three: Classifier) -> None:
    found = LogitMargin()(three, IMAGES, TopKMisclassification(labels(0, 1, 2), 2))
    second = find_class_of_rank(three.logits(IMAGES), labels(0, 1, 2), 2)
    assert np.array_equal(found.targets, second)
    for row, label in enumerate((0, 1, 2)):
        np.testing.assert_array_equal(
            found.values[row].ravel(), WEIGHTS[second[row]] - WEIGHTS[label]
        )


def test_ranks_and_targets_that_the_net_does_not_have(three: Classifier) -> None:
    with pytest.raises(ValueError, match="can be at most 2, not 3: the network has 3 classes"):
        HotCold(rank=3)(three, IMAGES, Misclassification(labels(0, 1, 2)))
    with pytest.raises(ValueError, match=r"the hot class must be one of 0\.\.2, not 3"):
        HotCold(target=3)(three, IMAGES, Misclassification(labels(0, 1, 2)))
    with pytest.raises(ValueError, match="at least 1, not 0"):
        HotCold(rank=0)
    with pytest.raises(ValueError, match="0 or more, not -1"):
        HotCold(target=-1)


def test_names() -> None:
    names = [
        FastGradient(sign=True),
        FastGradient(through="ip1"),
        HotCold(rank=3, sign=True),
        HotCold(target=7, through="a"),
        LogitMargin(),
        LogitMargin(sign=True),
    ]
    assert [direction.name for direction in names] == [
        "FGS",
        "FGV@ip1",
        "HC3-S",
        "HC->7@a",
        "margin",
        "margin-S",
    ]


def test_softmax_in_its_own_precision() -> None:
    logits = np.array([[0, 0], [1000, 0], [-1000, 0], [-5, -6]], np.float32)
    found = softmax(logits)
    assert found.dtype == np.float32
    p = 1 / (1 + np.exp(-1))
    expected = np.array([[0.5, 0.5], [1, 0], [0, 1], [p, 1 - p]])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert softmax(logits.astype(np.float64)).dtype == np.float64
    assert softmax(logits[:0]).shape == (0, 2)
