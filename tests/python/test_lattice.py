"""lattice.py: x(t) beside its formula in NumPy, directions of unit length, where ways end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from caffe_ext.lattice import perturbed, saturation, unit
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
    units = unit(directions)
    amplitudes = np.array([amplitude * random.random() for _ in images], np.float64)
    before = images.copy(), units.copy()
    points = perturbed(images, units, amplitudes)
    assert points.dtype == np.uint8
    np.testing.assert_array_equal(points, by_numpy(images, units, amplitudes))
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(units, before[1])


def test_points_of_some_images_only() -> None:
    random = np.random.default_rng(3)
    images = random.integers(0, 256, (9, 3, 17, 13), dtype=np.uint8)
    units = unit(random.standard_normal(images.shape).astype(np.float32))
    which = np.array([8, 0, 3, 3, 5])
    amplitudes = random.uniform(0, 300, 5)
    expected = by_numpy(images[which], units[which], amplitudes)
    np.testing.assert_array_equal(perturbed(images, units, amplitudes, which), expected)
    # Arrays that do not lie in one piece.
    turned = images.transpose(0, 1, 3, 2)
    other = by_numpy(turned[which], units.transpose(0, 1, 3, 2)[which], amplitudes)
    np.testing.assert_array_equal(
        perturbed(turned, units.transpose(0, 1, 3, 2), amplitudes, which), other
    )
    assert perturbed(images, units, np.zeros(0), which[:0]).shape == (0, 3, 17, 13)


@pytest.mark.parametrize(
    ("units", "amplitudes", "which", "says"),
    [
        ((2, 1, 1, 4), 2, [0, 1], "do not fit"),
        ((2, 1, 1, 3), 3, [0, 1], "do not fit"),
        ((2, 1, 1, 3), 3, None, "do not fit"),
        ((2, 1, 1, 3), 2, [0, 2], "images 0 to 2 of 2 are not there"),
        ((2, 1, 1, 3), 2, [0, -1], "images -1 to 0 of 2 are not there"),
    ],
)
def test_what_does_not_fit_is_refused(
    units: tuple[int, ...], amplitudes: int, which: list[int] | None, says: str
) -> None:
    images = np.zeros((2, 1, 1, 3), np.uint8)
    with pytest.raises(ValueError, match=says):
        perturbed(
            images,
            np.zeros(units, np.float32),
            np.zeros(amplitudes),
            None if which is None else np.array(which),
        )


@QUICK
@given(searches())
def test_unit_and_saturation(search: tuple[Images, Floats]) -> None:
    images, directions = search
    units = unit(directions)
    assert units.dtype == np.float32
    assert np.isfinite(units).all()
    largest = np.abs(units).max(axis=(1, 2, 3), initial=0)
    blank = ~directions.any(axis=(1, 2, 3))
    assert (largest[~blank] == 1).all()
    assert not units[blank].any()
    limits = saturation(images, units)
    assert np.isfinite(limits).all()
    ends = perturbed(images, units, limits)
    # Every pixel that moves has arrived, so that no amplitude beyond changes anything.
    goal = np.where(units > 0, 255, np.where(units < 0, 0, images))
    assert np.array_equal(ends, goal)
    assert np.array_equal(perturbed(images, units, limits * 2 + 1), ends)
    # Half a grey level is the most by which it is more than it takes.
    moving = limits > 2
    sizes = np.abs(np.where(units == 0, 1, units.astype(np.float64)))
    largest_step = 0.5 / sizes.min(axis=(1, 2, 3), initial=1)
    less = np.maximum(limits - largest_step * 1.01 - 2, 0)
    changes = (perturbed(images, units, less) != ends).any(axis=(1, 2, 3))
    assert changes[moving & (less > 0) & (less < limits - 1)].all()
