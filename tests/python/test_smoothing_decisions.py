"""PREDICT and CERTIFY: against their definitions, and whether they are right as often as said."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, norm

from caffe_ext.certification.decisions import ABSTAIN, certify, compute_lower_bounds, predict
from caffe_ext.certification.noise import (
    NoisyCopies,
    add_noise,
    compute_gaussian_weights,
    make_gaussian_table,
)
from smoothing_samples import LinearModel


def counts(*rows: tuple[int, ...]) -> NDArray[np.int64]:
    return np.array(rows, np.int64)


def all_copies(images: int, samples: int) -> NoisyCopies:
    """Return all samples of one image that stands for many."""
    numbers = np.repeat(np.arange(images), samples)
    return NoisyCopies(np.zeros_like(numbers), numbers, np.tile(np.arange(samples), images))


def test_the_bound_is_where_so_many_are_as_improbable_as_alpha() -> None:
    found = np.array([1, 37, 80, 99])
    for bound, successes in zip(compute_lower_bounds(found, 100, 0.01), found, strict=True):
        assert binom.sf(successes - 1, 100, bound) == pytest.approx(0.01, rel=1e-9)
    assert compute_lower_bounds(np.array([0]), 100, 0.01) == 0
    assert compute_lower_bounds(np.array([100]), 100, 0.01) == pytest.approx(0.01 ** (1 / 100))


def test_sure_images_reach_the_ceiling() -> None:
    found = certify(counts((0, 100, 0)), counts((0, 10_000, 0)), 0.001, 2.0)
    assert found.classes == 1 and found.successes == 10_000
    assert found.radii == pytest.approx(2 * norm.ppf(0.001 ** (1 / 10_000)))
    assert found.radii / 2 == pytest.approx(3.20, abs=0.005)


def test_where_certify_abstains() -> None:
    selection = counts((60, 40, 0), (40, 60, 0), (10, 0, 90), (0, 50, 50))
    estimation = counts((900, 100, 0), (510, 490, 0), (0, 0, 1000), (0, 1000, 0))
    found = certify(selection, estimation, 0.001, 1.0)
    # Too few; of those that selected another class; where no class is the most frequent.
    assert found.classes.tolist() == [0, ABSTAIN, ABSTAIN, 1]
    assert found.selected.tolist() == [0, 1, ABSTAIN, 1]
    assert found.successes.tolist()[:2] == [900, 490]
    assert (found.radii > 0).tolist() == [True, False, False, True]
    labels = np.array([0, 1, 2, 0])
    assert found.find_certified(labels, 0).tolist() == [True, False, False, False]
    assert not found.find_certified(labels, found.radii[0] + 1e-9).any()
    assert not found.find_certified(np.full(4, ABSTAIN), 0).any()


def test_where_predict_abstains() -> None:
    rows = counts((100, 0, 0, 0), (52, 48, 0, 0), (30, 5, 65, 0), (40, 0, 0, 60), (0, 7, 0, 93))
    assert predict(rows, 0.001).tolist() == [0, ABSTAIN, 2, ABSTAIN, ABSTAIN]
    assert predict(rows, 0.9).tolist() == [0, 0, 2, ABSTAIN, ABSTAIN]


@pytest.mark.parametrize("alpha", [0, 1, -0.1, float("nan")])
def test_alpha_is_a_probability(alpha: float) -> None:
    one = counts((1, 0))
    for call in (lambda: certify(one, one, alpha, 1.0), lambda: predict(one, alpha)):
        with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
            call()


def test_bounds_hold_as_often_as_they_say() -> None:
    """On a model of which the probability is known: the bound is above it in the share alpha."""
    sigma, samples, images, alpha = 20.0, 100, 3000, 0.1
    model = LinearModel(np.array([[3, -1], [2, 1]]), threshold=560)
    image = np.array([[[[120, 100], [130, 90]]]], np.uint8)
    truth = model.probability(image[0, 0], compute_gaussian_weights(sigma))
    assert 0.6 < truth < 0.95
    noisy = add_noise(image, make_gaussian_table(sigma), 11, all_copies(images, samples))
    found = model.predict(noisy).reshape(images, samples).sum(axis=1)
    assert found.mean() / samples == pytest.approx(truth, abs=5 * 0.5 / np.sqrt(images * samples))
    wrong = int((compute_lower_bounds(found, samples, alpha) > truth).sum())
    # As counts are whole, the share is below alpha, but not by much.
    first = np.flatnonzero(compute_lower_bounds(np.arange(101), 100, alpha) > truth)[0]
    exact = binom.sf(first - 1, 100, truth)
    assert 0.5 * alpha < exact <= alpha
    assert binom.ppf(1e-6, images, exact) <= wrong <= binom.ppf(1 - 1e-6, images, exact)


def test_radii_are_below_the_distance_to_the_boundary() -> None:
    """The smoothed linear model's class ends where the linear model's does."""
    sigma, alpha, images = 8.0, 0.01, 400
    weights = np.array([[1, 1], [1, -1]])
    model = LinearModel(weights, threshold=120)
    image = np.array([[[[65, 70], [60, 62]]]], np.uint8)
    distance = (int((image[0, 0] * weights).sum()) - 119.5) / np.sqrt(4)
    noisy = add_noise(image, make_gaussian_table(sigma), 5, all_copies(images, 200))
    classes = model.predict(noisy).reshape(images, 200)
    tallies = np.stack([(classes == 0).sum(1), (classes == 1).sum(1), np.zeros(images, int)], 1)
    found = certify(tallies, tallies, alpha, sigma)
    assert (found.classes == 1).mean() > 0.9
    assert (found.radii > distance).mean() <= binom.ppf(1 - 1e-6, images, alpha) / images
    assert found.radii.mean() > 0.5 * distance
