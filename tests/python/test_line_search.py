"""attacks/line_search.py: closed forms, brute force over all steps, and general properties."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from attack_samples import labels, linear, rows
from caffe_ext.attacks.base import AttackResult
from caffe_ext.attacks.criteria import Misclassification, TargetedMisclassification
from caffe_ext.attacks.directions import Direction, FastGradient, HotCold
from caffe_ext.attacks.lattice import make_rays, step_along
from caffe_ext.attacks.line_search import line_search, take_step
from caffe_ext.data import load_images
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.pixels import PixelSpace
from search_samples import QUICK, Floats, Images, along, searches

pytestmark = pytest.mark.any_device

# Small whole numbers, so that all sums in the net are exact in any order.
RANDOM = np.random.default_rng(7)
WEIGHTS = RANDOM.integers(-8, 9, (4, 6))
BIAS = RANDOM.integers(-500, 500, 4)


def targeted(targets: Any) -> TargetedMisclassification:
    return TargetedMisclassification(targets * 0, targets)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return linear(tmp_path_factory.mktemp("exact"), WEIGHTS, BIAS, batch_size=3)


def threshold(folder: Path, *, at: float = 100.5) -> Classifier:
    """Return a net with class 1 where the first pixel is above a value, else 0."""
    return linear(folder, [[0, 0], [1, 0]], [at, 0])


def test_the_closed_form_of_one_pixel(tmp_path: Path) -> None:
    classifier = threshold(tmp_path)
    images = rows([0, 0], [90, 9], [100, 255], [40, 1])
    # The second pixel goes further: the first gets a half, a quarter, or all of the amplitude.
    found = line_search(
        classifier,
        images,
        along([1, 2], [1, -4], [3, 0], [0.25, 0]),
        Misclassification(labels(0, 0, 0, 0)),
    )
    assert found.found.all()
    # 101 is reached by t/2, 90 + t/4, 100 + t and 40 + t; halves are rounded to the even number.
    assert found.step_lengths.tolist() == [202, 43, 1, 61]
    assert (found.adversarials[:, 0, 0, 0] == 101).all()
    assert found.classes.tolist() == [1, 1, 1, 1]


def test_the_other_way_there_is_nothing(tmp_path: Path) -> None:
    classifier = threshold(tmp_path)
    images = rows([100, 200], [100, 200], [100, 200])
    found = line_search(
        classifier, images, along([-1, 0], [0, 1], [0, 0]), Misclassification(labels(0, 0, 0))
    )
    assert not found.found.any()
    assert np.isnan(found.step_lengths).all()
    assert found.classes.tolist() == [-1, -1, -1]
    assert np.array_equal(found.adversarials, images)
    assert found.queries > 0


def brute(classifier: Classifier, image: Images, units: Floats, label: int, last: int) -> float:
    """Return the smallest amplitude up to `last`, asking about each; NaN if there is none."""
    amplitudes = np.arange(1, last + 1, dtype=float)
    repeated = np.repeat(image[None], last, axis=0)
    points = step_along(repeated, np.repeat(units[None], last, axis=0), amplitudes)
    wrong = np.flatnonzero(classifier.predict(points) != label)
    return float(amplitudes[wrong[0]]) if len(wrong) else float("nan")


def test_brute_force_where_the_class_changes_once(tmp_path: Path) -> None:
    # Two classes, and all pixels go up together: monotone, so the smallest of all is found.
    classifier = linear(tmp_path, [[0, 0, 0], [1, 2, 1]], [611, 0])
    images = RANDOM.integers(0, 120, (60, 1, 1, 3), dtype=np.uint8)
    directions = RANDOM.uniform(0, 1, images.shape).astype(np.float32)
    directions[:20] = np.sign(directions[:20])
    which = classifier.predict(images)
    found = line_search(classifier, images, directions, Misclassification(which))
    units = make_rays(images, directions).units
    expected = [
        brute(classifier, image, u, label, 255)
        for image, u, label in zip(images, units, which, strict=True)
    ]
    within = np.isfinite(expected)
    assert within.sum() > 30
    np.testing.assert_array_equal(found.step_lengths[within], np.array(expected)[within])
    assert not (found.step_lengths[~within] <= 255).any()


@QUICK
@given(searches())
def test_what_any_search_promises(exact: Classifier, search: tuple[Images, Floats]) -> None:
    images, directions = search
    before = images.copy(), directions.copy()
    which = exact.predict(images)
    found = line_search(exact, images, directions, Misclassification(which))
    assert np.array_equal(images, before[0])
    assert np.array_equal(directions, before[1])
    assert found.adversarials.dtype == np.uint8
    assert not np.shares_memory(found.adversarials, images)
    where = found.found
    assert not where[~directions.any(axis=(1, 2, 3))].any()
    assert np.array_equal(found.adversarials[~where], images[~where])
    assert (found.classes[~where] == -1).all()
    assert np.array_equal(np.isnan(found.step_lengths), ~where)
    every = make_rays(images, directions).units
    t, units = found.step_lengths[where], every[where]
    assert (t == np.floor(t)).all()
    assert (t >= 1).all()
    assert np.array_equal(step_along(images[where], units, t), found.adversarials[where])
    assert np.array_equal(exact.predict(found.adversarials[where]), found.classes[where])
    assert (found.classes[where] != which[where]).all()
    shorter = step_along(images[where], units, np.nextafter(t - 0.5, 0).round())
    assert np.array_equal(exact.predict(shorter), which[where])
    # Nothing was overlooked at the end of the way.
    last = step_along(images[~where], every[~where], np.full((~where).sum(), 1e60))
    assert np.array_equal(exact.predict(last), which[~where])


def test_amplitudes_far_beyond_what_float64_counts(tmp_path: Path) -> None:
    # The pixel that leads has no way to go; the other one moves by 1e-9, 1e-20, 1e-38 a step.
    classifier = threshold(tmp_path)
    steps = [1e-9, 1e-20, 1e-38, 1e-45]
    images = np.repeat(rows([0, 255]), len(steps), axis=0)
    directions = along(*([step, 1] for step in steps))
    found = line_search(classifier, images, directions, Misclassification(labels(0, 0, 0, 0)))
    assert found.found.all()
    assert (found.adversarials[:, 0, 0, 0] == 101).all()
    exact = np.array(steps, np.float32).astype(np.float64)
    np.testing.assert_allclose(found.step_lengths, 100.5 / exact, rtol=1e-6)


def test_a_direction_s_length_does_not_matter(exact: Classifier) -> None:
    images = RANDOM.integers(0, 256, (9, 1, 1, 6), dtype=np.uint8)
    which = exact.predict(images)
    directions = HotCold()(exact, images, Misclassification(which)).values
    whole = line_search(exact, images, directions, Misclassification(which))
    assert whole.found.any()
    for factor in (2.0**-100, 2.0**100):
        same(whole, line_search(exact, images, directions * factor, Misclassification(which)))


def same(one: AttackResult, other: AttackResult) -> None:
    """Assert that two searches have found the same, bit for bit."""
    for name in ("found", "step_lengths", "adversarials", "classes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_batches_and_order_do_not_matter(exact: Classifier, tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (23, 1, 1, 6), dtype=np.uint8)
    which = exact.predict(images)
    directions = HotCold()(exact, images, Misclassification(which)).values
    directions[5] = 0
    whole = line_search(exact, images, directions, Misclassification(which), 1.25)
    assert whole.found.any()
    assert not whole.found.all()
    for batch_size in (1, 2, 100):
        other = linear(tmp_path / f"{batch_size}", WEIGHTS, BIAS, batch_size=batch_size)
        same(whole, line_search(other, images, directions, Misclassification(which), 1.25))
    order = RANDOM.permutation(23)
    shuffled = line_search(
        exact, images[order], directions[order], Misclassification(which[order]), 1.25
    )
    for name in ("found", "step_lengths", "adversarials", "classes"):
        np.testing.assert_array_equal(getattr(shuffled, name), getattr(whole, name)[order])


def test_hard_positives_go_further_where_that_still_misleads(tmp_path: Path) -> None:
    # Class 1 from 101 to 150 only: 1.25 times 10 is inside, 1.25 times 60 beyond.
    classifier = linear(tmp_path, [[0, 0], [1, 0], [2, 0]], [100.5, 0, -150.5])
    images, which = rows([91, 0], [41, 0], [0, 0]), labels(0, 0, 0)
    small = line_search(
        classifier, images, along([1, 0], [1, 0], [-1, 0]), Misclassification(which)
    )
    assert small.step_lengths[:2].tolist() == [10, 60]
    further = line_search(
        classifier, images, along([1, 0], [1, 0], [-1, 0]), Misclassification(which), 1.25
    )
    assert further.found.tolist() == [True, True, False]
    assert further.step_lengths[:2].tolist() == [12.5, 75]
    assert further.adversarials[:, 0, 0, 0].tolist() == [104, 116, 0]  # 103.5, to the even one
    goal = targeted(labels(1, 1, 1))
    far = line_search(classifier, images, along([1, 0], [1, 0], [-1, 0]), goal, 2)
    assert far.found.tolist() == [True, False, False]  # 161 is of class 2
    assert np.array_equal(far.adversarials[1:], images[1:])


@pytest.mark.parametrize("scale", [0.99, 0, -1, 1e7, float("nan"), float("inf")])
def test_scales_that_make_no_sense_are_refused(exact: Classifier, scale: float) -> None:
    with pytest.raises(
        ValueError, match="scale of a hard positive must be from 1 to 1,000,000, not"
    ):
        line_search(exact, rows([0] * 6), along([1] * 6), Misclassification(labels(0)), scale)


def test_a_target_that_must_be_reached(tmp_path: Path) -> None:
    classifier = linear(tmp_path, [[0, 0], [1, 0], [2, 0]], [100.5, 0, -150.5])
    images = rows([91, 0], [91, 0], [91, 0])
    found = line_search(
        classifier, images, along([1, 0], [1, 0], [1, 0]), targeted(labels(1, 2, 0))
    )
    # Class 0, where all three are, has been reached before anything moves: t = 1 is enough.
    assert found.step_lengths.tolist() == [10, 60, 1]
    assert found.classes.tolist() == [1, 2, 0]
    assert found.adversarials[:, 0, 0, 0].tolist() == [101, 151, 92]


def test_fixed_epsilon_goes_all_the_way_and_no_further(tmp_path: Path) -> None:
    classifier = threshold(tmp_path)
    images = rows([60, 7], [61, 7], [100, 7], [250, 7])
    found = take_step(
        classifier,
        images,
        along([2, 0], [2, 0], [2, 0], [0, 0]),
        40.0,
        Misclassification(labels(0, 0, 0, 0)),
    )
    assert found.found.tolist() == [False, True, True, False]  # the last has no direction
    assert found.adversarials[:, 0, 0, 0].tolist() == [60, 101, 140, 250]
    np.testing.assert_array_equal(found.step_lengths, [np.nan, 40, 40, np.nan])
    assert found.classes.tolist() == [-1, 1, 1, -1]


@pytest.mark.parametrize("epsilon", [0, -1, float("nan"), float("inf")])
def test_epsilons_that_are_not_above_0_are_refused(exact: Classifier, epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon must be above 0 grey levels, not"):
        take_step(exact, rows([0] * 6), along([1] * 6), epsilon, Misclassification(labels(0)))


def test_scores_that_are_known_save_questions(tmp_path: Path) -> None:
    classifier, far = threshold(tmp_path), range(1, 8)
    images, way = rows(*([101 - t, 0] for t in far)), along(*[[1.0, 0.0]] * len(far))
    goal = Misclassification(labels(*(0 for _ in far)))
    less = line_search(classifier, images, way, goal, logits=classifier.logits(images))
    more = line_search(classifier, images, way, goal)
    same(less, more)
    assert less.step_lengths.tolist() == list(far)
    assert less.queries < more.queries


def test_a_slope_that_is_known_saves_questions(tmp_path: Path) -> None:
    # The margin is 100.5 - x: the first step goes a fifth too far, two or three cuts come back.
    classifier, far = threshold(tmp_path), range(2, 101)
    images, way = rows(*([101 - t, 0] for t in far)), along(*[[1.0, 0.0]] * len(far))
    goal, logits = Misclassification(labels(*(0 for _ in far))), classifier.logits(images)
    one = line_search(classifier, images, way, goal, logits=logits, slopes=np.ones(len(far)))
    assert one.step_lengths.tolist() == list(far)
    assert one.queries <= 4 * len(far)
    other = line_search(classifier, images, way, goal, logits=logits)
    same(one, other)
    assert one.queries < other.queries


def test_no_images_are_enough(exact: Classifier) -> None:
    images = np.zeros((0, 1, 1, 6), np.uint8)
    directions = np.zeros(images.shape, np.float32)
    for found in (
        line_search(exact, images, directions, Misclassification(labels()), 1.5),
        take_step(exact, images, directions, 8, Misclassification(labels())),
    ):
        assert found.adversarials.shape == images.shape
        assert len(found.found) == len(found.step_lengths) == len(found.classes) == 0
        assert found.queries == 0


@pytest.mark.parametrize("direction", [HotCold(), FastGradient(sign=True)])
@pytest.mark.parametrize("name", ["lenet_R0", "lenet_B1"])
def test_batches_and_order_hardly_matter_to_the_published_lenets(
    name: str, direction: Direction
) -> None:
    folder: Any = os.environ.get("CAFFE_EXT_MODELS")
    weights = Path(folder or ".") / f"{name}.caffemodel.h5"
    if folder is None or not weights.is_file() or "CAFFE_EXT_DATA" not in os.environ:
        pytest.skip(f"needs {weights.name} in CAFFE_EXT_MODELS and MNIST in CAFFE_EXT_DATA")
    deploy = Path(__file__).resolve().parents[2] / "prototxt" / "lenet_deploy.prototxt"
    test = load_images("mnist", "test")
    images, which = test.images[:150], test.labels[:150].astype(np.int64)

    def attack(batch_size: int, order: NDArray[np.int64]) -> AttackResult:
        classifier = Classifier(deploy, weights, PixelSpace(0.00390625), batch_size=batch_size)
        criterion = Misclassification(which[order])
        values = direction(classifier, images[order], criterion).values
        return line_search(classifier, images[order], values, criterion)

    straight = np.arange(len(images))
    whole = attack(100, straight)
    assert whole.found.any()
    for batch_size, order in ((1, straight), (7, straight), (100, RANDOM.permutation(len(images)))):
        other = attack(batch_size, order)
        agree = other.found == whole.found[order]
        both = other.found & whole.found[order]
        apart = np.abs(other.adversarials.astype(int) - whole.adversarials[order].astype(int))
        agree[both] &= apart[both].max(axis=(1, 2, 3)) <= 1
        # BLAS rounds otherwise in other batches, by 1e-6 of the direction: of 300 images all agree,
        # and up to 7 adversarials differ by a grey level somewhere. The sign of B1's loss gradient,
        # behind a saturated softmax, is that of rounding errors.
        masked = name == "lenet_B1" and isinstance(direction, FastGradient)
        assert (~agree).sum() <= (6 if masked else 1)
        assert (apart == 0).all(axis=(1, 2, 3)).mean() >= 0.94
