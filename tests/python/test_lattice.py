"""attacks/lattice.py: x(t), the range of t, and rises, against their formulas in NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from caffe_ext.attacks.lattice import (
    compute_directional_derivatives,
    find_next_step_lengths,
    make_rays,
    step_along,
)
from search_samples import QUICK, Images, searches

Floats = NDArray[np.float32]


def by_numpy(images: Images, units: Floats, amplitudes: NDArray[np.float64]) -> Images:
    """Return x(t), operation by operation."""
    moved = units.astype(np.float64) * amplitudes[:, None, None, None] + images
    return np.clip(np.rint(moved), 0, 255).astype(np.uint8)


@QUICK
@given(searches(), st.floats(0, 600), st.randoms())
def test_points_are_those_of_the_formula(
    search: tuple[Images, Floats], amplitude: float, random: "np.random.Generator"
) -> None:
    images, directions = search
    units = make_rays(images, directions).units
    amplitudes = np.array([amplitude * random.random() for _ in images], np.float64)
    before = images.copy(), units.copy()
    points = step_along(images, units, amplitudes)
    assert points.dtype == np.uint8
    np.testing.assert_array_equal(points, by_numpy(images, units, amplitudes))
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(units, before[1])


def test_points_of_some_images_only() -> None:
    random = np.random.default_rng(3)
    images = random.integers(0, 256, (9, 3, 17, 13), dtype=np.uint8)
    directions = random.standard_normal(images.shape).astype(np.float32)
    units = make_rays(images, directions).units
    which = np.array([8, 0, 3, 3, 5])
    amplitudes = random.uniform(0, 300, 5)
    expected = by_numpy(images[which], units[which], amplitudes)
    np.testing.assert_array_equal(step_along(images, units, amplitudes, which), expected)
    # Arrays that do not lie in one piece.
    turned = images.transpose(0, 1, 3, 2)
    other = by_numpy(turned[which], units.transpose(0, 1, 3, 2)[which], amplitudes)
    np.testing.assert_array_equal(
        step_along(turned, units.transpose(0, 1, 3, 2), amplitudes, which), other
    )
    assert step_along(images, units, np.zeros(0), which[:0]).shape == (0, 3, 17, 13)


@QUICK
@given(searches(), st.integers(0, 600))
def test_the_next_amplitude_is_the_next_other_image(
    search: tuple[Images, Floats], amplitude: int
) -> None:
    images, directions = search
    units = make_rays(images, directions).units
    amplitudes = np.full(len(images), float(amplitude))
    others = find_next_step_lengths(images, units, amplitudes)
    same = step_along(images, units, amplitudes)
    for row, other in enumerate(others):
        one, unit = images[row : row + 1], units[row : row + 1]

        def point(t: float, one: Images = one, unit: Floats = unit) -> bytes:
            return step_along(one, unit, np.array([t])).tobytes()

        if np.isnan(other):
            assert point(1e60) == same[row].tobytes()
        else:
            assert other >= amplitude + 1
            assert other.is_integer()
            # Quotients are rounded, and so are halves: one more or less.
            assert point(max(amplitude, other * (1 - 1e-12) - 2)) == same[row].tobytes()
            assert point(other * (1 + 1e-12) + 1) != same[row].tobytes()


def test_next_step_lengths_by_hand() -> None:
    images = np.array([[100, 254, 0], [100, 254, 0], [255, 255, 0]], np.uint8).reshape(3, 1, 1, 3)
    units = np.array([[1, 1, -1], [1 / 1024, 1e-6, 0], [1, 1, -1]], np.float32).reshape(3, 1, 1, 3)
    assert find_next_step_lengths(images, units, np.zeros(3))[:2].tolist() == [1, 512]
    assert find_next_step_lengths(images, units, np.array([3.0, 513, 0]))[:2].tolist() == [4, 1536]
    ends = find_next_step_lengths(images, units, np.array([155.0, 2.0**60, 0]))
    assert np.isnan(ends).all()


@pytest.mark.parametrize(
    ("units", "amplitudes", "which", "says"),
    [
        ((2, 1, 1, 4), 2, [0, 1], "do not fit"),
        ((2, 1, 1, 3), 3, [0, 1], "do not fit"),
        ((2, 1, 1, 3), 3, None, "do not fit"),
        ((2, 1, 1, 3), 2, [0, 2], "image numbers 0 to 2 are not within 0..1"),
        ((2, 1, 1, 3), 2, [0, -1], "image numbers -1 to 0 are not within 0..1"),
    ],
)
def test_what_does_not_fit_is_refused(
    units: tuple[int, ...], amplitudes: int, which: list[int] | None, says: str
) -> None:
    images = np.zeros((2, 1, 1, 3), np.uint8)
    with pytest.raises(ValueError, match=says):
        step_along(
            images,
            np.zeros(units, np.float32),
            np.zeros(amplitudes),
            None if which is None else np.array(which),
        )


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_directions_that_are_not_finite_are_refused(wrong: float) -> None:
    directions = np.ones((2, 1, 2, 2), np.float32)
    directions[1, 0, 1, 0] = wrong
    with pytest.raises(ValueError, match="directions must be finite numbers"):
        make_rays(np.zeros(directions.shape, np.uint8), directions)


def plain_ways(images: Images, directions: Floats) -> tuple[Floats, NDArray[np.float64]]:
    """Return units and limits, operation by operation."""
    largest = np.abs(directions).max(axis=(1, 2, 3), keepdims=True, initial=0).astype(np.float64)
    units = (directions / np.where(largest > 0, largest, 1)).astype(np.float32)
    way = np.where(units > 0, 255 - images.astype(np.float64), images)
    moving = units != 0
    steps = np.divide(way, np.abs(units, dtype=np.float64), out=0 * way, where=moving)
    return units, np.ceil(steps.max(axis=(1, 2, 3), initial=0))


@QUICK
@given(searches())
def test_ways_and_where_they_end(search: tuple[Images, Floats]) -> None:
    images, directions = search
    found = make_rays(images, directions)
    units, limits = found.units, found.limits
    expected = plain_ways(images, directions)
    np.testing.assert_array_equal(units, expected[0])
    np.testing.assert_array_equal(limits, expected[1])
    assert units.dtype == np.float32
    assert np.isfinite(units).all()
    largest = np.abs(units).max(axis=(1, 2, 3), initial=0)
    blank = ~directions.any(axis=(1, 2, 3))
    assert (largest[~blank] == 1).all()
    assert not units[blank].any()
    assert np.isfinite(limits).all()
    ends = step_along(images, units, limits)
    # Every pixel that moves has arrived, so that no amplitude beyond changes anything.
    goal = np.where(units > 0, 255, np.where(units < 0, 0, images))
    assert np.array_equal(ends, goal)
    assert np.array_equal(step_along(images, units, limits * 2 + 1), ends)
    # Half a grey level is the most by which it is more than it takes.
    moving = limits > 2
    sizes = np.abs(np.where(units == 0, 1, units.astype(np.float64)))
    largest_step = 0.5 / sizes.min(axis=(1, 2, 3), initial=1)
    less = np.maximum(limits - largest_step * 1.01 - 2, 0)
    changes = (step_along(images, units, less) != ends).any(axis=(1, 2, 3))
    assert changes[moving & (less > 0) & (less < limits - 1)].all()


def test_ways_of_larger_images_and_of_arrays_in_pieces() -> None:
    random = np.random.default_rng(4)
    images = random.integers(0, 256, (50, 3, 33, 31), dtype=np.uint8)
    directions = random.standard_normal(images.shape).astype(np.float32)
    directions[random.random(images.shape) < 0.2] = 0
    for order in ((0, 1, 2, 3), (0, 1, 3, 2)):
        mine, way = images.transpose(order), directions.transpose(order)
        found, (units, limits) = make_rays(mine, way), plain_ways(mine, way)
        np.testing.assert_array_equal(found.units, units)
        np.testing.assert_array_equal(found.limits, limits)


def test_a_rise_is_the_derivative_along_the_way() -> None:
    # Far from rounding and the ends: E = g x rises by g u a grey level.
    images = np.array([100, 0, 255, 0, 255, 9], np.uint8).reshape(1, 1, 1, 6)
    directions = np.array([2, 1, -4, -1, 1, 0], np.float32).reshape(1, 1, 1, 6)
    gradients = np.array([3, 5, 7, 1000, 1000, 1000], np.float32).reshape(1, 1, 1, 6)
    # The fourth and the fifth pixel are at the end that they go to; the last one does not move.
    assert compute_directional_derivatives(images, directions, gradients).tolist() == [
        (2 * 3 + 1 * 5 - 4 * 7) / 4
    ]
    assert compute_directional_derivatives(images, 0 * directions, gradients).tolist() == [0]
    assert compute_directional_derivatives(images[:0], directions[:0], gradients[:0]).shape == (0,)


@QUICK
@given(searches(), searches())
def test_rises_are_those_of_the_formula(
    search: tuple[Images, Floats], other: tuple[Images, Floats]
) -> None:
    images, directions = search
    gradients = np.resize(other[1], images.shape) if other[1].size else directions
    moving = np.where(directions > 0, images < 255, images > 0)
    largest = np.abs(directions).max(axis=(1, 2, 3), initial=0).astype(np.float64)
    terms = np.where(moving, directions.astype(np.float64) * gradients, 0)
    sums, sizes = terms.sum(axis=(1, 2, 3)), np.abs(terms).sum(axis=(1, 2, 3))
    scale = np.where(largest > 0, largest, 1)
    found = compute_directional_derivatives(images, directions, gradients)
    assert (np.abs(found - sums / scale) <= 1e-14 * sizes / scale).all()


def test_what_does_not_fit_has_no_way() -> None:
    images, directions = np.zeros((2, 1, 1, 3), np.uint8), np.zeros((2, 1, 1, 3), np.float32)
    with pytest.raises(ValueError, match="do not fit"):
        make_rays(images, directions[:1])
    with pytest.raises(ValueError, match="do not fit"):
        compute_directional_derivatives(images, directions, directions[:, :, :, :2])
