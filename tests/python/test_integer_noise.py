"""Noise in whole grey levels: its distribution, exactly, and on what it depends."""

from fractions import Fraction
from math import erfc, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_ext.certification.noise import (
    NoisyCopies,
    add_noise,
    build_alias_table,
    compute_gaussian_weights,
    make_gaussian_table,
)
from caffe_ext.models.base import Images
from caffe_ext.runtime import engine
from smoothing_samples import probabilities_of

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 1, 13, 11), dtype=np.uint8)
MASK = 2**32 - 1


def copy(number: int, sample: int) -> NoisyCopies:
    """Return one copy, of the first image."""
    return NoisyCopies(*(np.array([one]) for one in (0, number, sample)))


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Return the numbers of a block, as Salmon et al. define Philox4x32-10."""
    x, (k0, k1) = list(counter), key
    for _ in range(10):
        first, second = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [second >> 32 ^ x[1] ^ k0, second & MASK, first >> 32 ^ x[3] ^ k1, first & MASK]
        k0, k1 = k0 + 0x9E3779B9 & MASK, k1 + 0xBB67AE85 & MASK
    return x


def reference(image: Images, sigma: float, seed: int, number: int, sample: int) -> list[int]:
    """Return a noisy image value by value, from the exact table."""
    table, noisy = make_gaussian_table(sigma), []
    for i, pixel in enumerate(image.ravel().tolist()):
        group, word, block = i // 128, i % 128 // 32, i % 32
        counter = [sample, number & MASK, number >> 32]
        key = [seed & MASK, seed >> 32]
        first = philox([32 * group + block, *counter], key)[word]
        further = philox([2**31 + i, *counter], key)[0]
        column, rest = first >> 23, (first & 2**23 - 1) << 32 | further
        stays = rest < int(table.thresholds[column])
        noise = column - 256 if stays else int(table.aliases[column])
        noisy.append(min(max(pixel + noise, 0), 255))
    return noisy


@pytest.mark.parametrize("sigma", [0.05, 0.3, 1, 10, 63.75, 255, 1e4, 1e300])
def test_the_weights_are_those_of_rounded_normals(sigma: float) -> None:
    weights = compute_gaussian_weights(sigma)
    assert sum(weights) == 2**64 and min(weights) >= 0
    for k in range(-255, 256):
        lower = -np.inf if k == -255 else (k - 0.5) / sigma
        upper = np.inf if k == 255 else (k + 0.5) / sigma
        # By the tail on whose side it lies: no difference of two numbers near 1.
        low, high = (lower, upper) if upper <= 0 else (-upper, -lower)
        if lower < 0 < upper:
            expected = 1 - erfc(upper / sqrt(2)) / 2 - erfc(-lower / sqrt(2)) / 2
        else:
            expected = erfc(-high / sqrt(2)) / 2 - erfc(-low / sqrt(2)) / 2
        assert weights[k + 256] / 2**64 == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert weights[0] == 0


@pytest.mark.parametrize("sigma", [0.3, 10, 63.75, 1e4])
def test_the_table_has_exactly_these_weights(sigma: float) -> None:
    weights = compute_gaussian_weights(sigma)
    assert probabilities_of(make_gaussian_table(sigma)) == weights


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 2**40), min_size=512, max_size=512), st.integers(0, 511))
def test_any_weights_become_a_table(parts: list[int], rest: int) -> None:
    scale = Fraction(2**63, sum(parts) + 1)
    weights = [int(part * scale) for part in parts]
    weights[rest] += 2**64 - sum(weights)
    assert probabilities_of(build_alias_table(weights)) == weights


def test_noise_is_that_of_a_slow_loop() -> None:
    table = make_gaussian_table(40.0)
    which, numbers = np.array([2, 0, 2]), np.array([5, 2**40, 5])
    samples = np.array([0, 2**32 - 1, 9])
    noisy = add_noise(IMAGES, table, 2**63 + 5, NoisyCopies(which, numbers, samples))
    for row in range(3):
        image, number, sample = IMAGES[which[row]], int(numbers[row]), int(samples[row])
        expected = reference(image, 40.0, 2**63 + 5, number, sample)
        assert noisy[row].ravel().tolist() == expected


def test_noise_depends_on_numbers_only() -> None:
    table = make_gaussian_table(40.0)
    which, samples = np.divmod(np.arange(300), 100)
    whole = add_noise(IMAGES, table, 1, NoisyCopies(which, which + 7, samples))
    order = np.random.default_rng(1).permutation(300)
    before = engine.get_threads()
    try:
        for threads in (1, 2, 5):
            engine.set_threads(threads)
            copies = NoisyCopies(which[order], which[order] + 7, samples[order])
            mixed = add_noise(IMAGES, table, 1, copies)
            assert np.array_equal(mixed, whole[order])
    finally:
        engine.set_threads(before)
    one = add_noise(IMAGES[1:2], table, 1, copy(8, 42))
    assert np.array_equal(one[0], whole[142])
    for seed, number, sample in ((2, 8, 42), (1, 9, 42), (1, 8, 43)):
        other = add_noise(IMAGES[1:2], table, seed, copy(number, sample))
        assert (other != one).mean() > 0.5


def test_samples_have_the_distribution() -> None:
    grey = np.full((1, 1, 16, 16), 128, np.uint8)
    count = 4000
    zeros = np.zeros(count, np.int64)
    noisy = add_noise(
        grey, make_gaussian_table(30.0), 3, NoisyCopies(zeros, zeros, np.arange(count))
    )
    found = np.bincount(noisy.ravel().astype(np.int64) + 128, minlength=512)
    expected = np.array(compute_gaussian_weights(30.0), np.float64) / 2.0**64 * noisy.size
    usual = (expected > 50) & (np.abs(np.arange(512) - 256) < 127)
    chi = ((found - expected)[usual] ** 2 / expected[usual]).sum()
    assert abs(chi - usual.sum()) < 5 * sqrt(2 * usual.sum())
    pairs = noisy.reshape(count, -1).astype(np.float64) - 128
    # Neighbours, and samples one after the other, know nothing of each other.
    for one, other in ((pairs[:, 1:], pairs[:, :-1]), (pairs[1:], pairs[:-1])):
        assert abs((one * other).mean()) < 5 * 900 / sqrt(one.size)


def test_what_makes_no_noise() -> None:
    for sigma in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="sigma must be a number above 0"):
            make_gaussian_table(sigma)
    table, zero = make_gaussian_table(1.0), np.zeros(1, np.int64)
    with pytest.raises(ValueError, match="the seed must be from 0"):
        add_noise(IMAGES, table, -1, copy(0, 0))
    with pytest.raises(ValueError, match="image number is out of range"):
        add_noise(IMAGES, table, 0, NoisyCopies(zero + 3, zero, zero))
    with pytest.raises(ValueError, match="image number is negative"):
        add_noise(IMAGES, table, 0, copy(-1, 0))
    with pytest.raises(ValueError, match="a sample number is outside 0 to"):
        add_noise(IMAGES, table, 0, copy(0, 2**32))
