"""metrics/distances.py: distances computed by hand and by a slow reference; refused input."""

from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from caffe_ext.metrics import distances as metrics
from caffe_ext.metrics.distances import Distances, as_pairs, compute_distances

Images = NDArray[np.uint8]


def values(found: Distances) -> dict[str, list[float]]:
    return {field.name: getattr(found, field.name).tolist() for field in fields(found)}


def test_two_pairs_by_hand() -> None:
    x = np.array([[[[0, 10], [255, 7]]], [[[5, 5], [5, 5]]]], np.uint8)
    y = np.array([[[[255, 10], [251, 10]]], [[[5, 5], [5, 5]]]], np.uint8)
    assert values(compute_distances(y, x)) == {  # 255, 0, -4, 3; and nothing
        "l0": [3, 0],
        "l1": [262, 0],
        "l2": [np.sqrt(65050), 0],
        "l2_per_pixel": [np.sqrt(65050 / 4), 0],
        "linf": [255, 0],
        "mean_absolute": [262 / 1020, 0],
    }


def test_a_pixel_that_changes_in_two_channels_is_one_pixel() -> None:
    x = np.zeros((3, 2, 2), np.uint8)
    y = x.copy()
    y[0, 0, 0], y[2, 0, 0], y[1, 1, 1] = 3, 4, 12
    found = compute_distances(y, x)
    assert found.l0.tolist() == [2]
    assert found.l2.tolist() == [13]
    assert found.l2_per_pixel.tolist() == [13 / np.sqrt(12)]


def test_black_against_white_is_the_full_scale() -> None:
    black, white = np.zeros((64, 64), np.uint8), np.full((64, 64), 255, np.uint8)
    for found in (compute_distances(black, white), compute_distances(white, black)):
        assert values(found) == {
            "l0": [4096],
            "l1": [4096 * 255],
            "l2": [64 * 255],
            "l2_per_pixel": [255],
            "linf": [255],
            "mean_absolute": [1],
        }


def test_the_mean_over_a_set_is_the_distortion_of_ulicny() -> None:
    random = np.random.default_rng(1)
    x, y = random.integers(0, 256, (2, 7, 3, 5, 4)).astype(np.uint8)
    as_in_the_paper = np.abs(x / 255 - y / 255).mean()
    assert compute_distances(x, y).mean_absolute.mean() == pytest.approx(as_in_the_paper, rel=1e-12)


PAIRS = st.tuples(
    st.integers(0, 5), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)
).flatmap(lambda shape: arrays(np.uint8, (2, *shape)))


@settings(deadline=None)
@given(PAIRS)
def test_the_same_as_the_obvious_reference(pairs: Images) -> None:
    a, b = pairs
    before = pairs.copy()
    found = compute_distances(a, b)
    assert np.array_equal(pairs, before)
    assert len(found) == len(a)
    for number, d in enumerate(a.astype(int) - b.astype(int)):
        assert found.l0[number] == (d != 0).any(axis=0).sum()
        assert found.l1[number] == abs(d).sum()
        assert found.l2[number] == np.sqrt((d * d).sum())
        assert found.l2_per_pixel[number] == np.sqrt((d * d).mean())
        assert found.linf[number] == abs(d).max()
        assert found.mean_absolute[number] == pytest.approx(abs(d / 255).mean(), rel=1e-12)


def test_parts_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.random.default_rng(2).integers(0, 256, (2, 10, 1, 6, 7)).astype(np.uint8)
    whole = values(compute_distances(x, y))
    monkeypatch.setattr(metrics, "_VALUES_AT_A_TIME", 100)
    assert values(compute_distances(x, y)) == whole


def test_types_and_shapes_of_the_record() -> None:
    found = compute_distances(np.zeros((4, 1, 2, 2), np.uint8), np.ones((4, 1, 2, 2), np.uint8))
    kinds = {field.name: getattr(found, field.name).dtype for field in fields(found)}
    integers = {name for name, kind in kinds.items() if kind == np.int64}
    assert integers == {"l0", "l1", "linf"}
    assert all(kind in (np.int64, np.float64) for kind in kinds.values())
    assert all(getattr(found, name).shape == (4,) for name in kinds)
    with pytest.raises(FrozenInstanceError):
        found.l0 = found.l1  # type: ignore[misc]


def test_read_only_views_are_enough() -> None:
    images = np.zeros((2, 1, 3, 3), np.uint8)
    images.flags.writeable = False
    assert compute_distances(images[::-1], images).l0.tolist() == [0, 0]
    assert as_pairs(images, images)[0].base is images


@pytest.mark.parametrize(
    ("first", "second", "error", "says"),
    [
        (np.zeros((2, 2)), np.zeros((2, 2), np.uint8), TypeError, "adversarials.*uint8.*float64"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2), "i4"), TypeError, "originals.*int32"),
        ([[0]], [[0]], TypeError, "not list"),
        (np.zeros((2, 2), "u1"), np.zeros((2, 3), "u1"), ValueError, r"\(2, 2\).*\(2, 3\)"),
        (np.zeros(4, "u1"), np.zeros(4, "u1"), ValueError, r"not \(4,\)"),
        (np.zeros((1,) * 5, "u1"), np.zeros((1,) * 5, "u1"), ValueError, "N, C, H, W"),
        (np.zeros((3, 0, 2), "u1"), np.zeros((3, 0, 2), "u1"), ValueError, "at least one pixel"),
    ],
)
def test_refused(first: Any, second: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        compute_distances(first, second)
