"""attacks/line_search.py on networks that mislead it: changing, non-finite or constant scores."""

from typing import Any

import numpy as np
import pytest

from attack_samples import labels, rows
from caffe_ext.attacks.criteria import Misclassification
from caffe_ext.attacks.line_search import line_search
from search_samples import Floats, Images, along


class Wavering:
    """A classifier that takes back what it gave away: class 1 is above a sum that grows.

    It stands for a net whose sums differ from batch to batch in their last bits.
    """

    batch_size = 4

    def __init__(self, values: list[int], margin: float) -> None:
        self.values, self.margin, self.calls = values, margin, 0

    def logits(self, images: Images) -> Floats:
        value = self.values[min(self.calls, len(self.values) - 1)]
        self.calls += 1
        total = images.sum(axis=(1, 2, 3), dtype=np.int64)
        above = np.where(total >= value, self.margin, -self.margin)
        return np.stack([np.zeros_like(above), above, np.full_like(above, -1)], axis=1)


@pytest.mark.parametrize(("last", "expected"), [(8, 8), (11, 11), (255, 255), (256, None)])
def test_what_is_found_is_asked_about_once_more(last: int, expected: int | None) -> None:
    # Line search 8, then between 0, where nothing is known, and 8: 4, 5, 6, 7; only then does
    # the boundary move.
    wavering: Any = Wavering([8] * 5 + [last], margin=1e-6)
    found = line_search(wavering, rows([0]), along([1]), Misclassification(labels(0)))
    assert found.found.tolist() == [expected is not None]
    if expected is not None:
        assert found.step_lengths.tolist() == [expected]
        assert found.adversarials.ravel().tolist() == [expected]


def test_what_lies_clearly_beyond_the_boundary_is_not_asked_about_again() -> None:
    wavering: Any = Wavering([8] * 5 + [255], margin=1e-3)
    found = line_search(wavering, rows([0]), along([1]), Misclassification(labels(0)))
    assert found.step_lengths.tolist() == [8]
    assert found.queries == 5


def test_what_is_asked_about_once_more_is_the_next_other_image() -> None:
    images, ways = rows([100, 100]), along([1, 1e-6])  # 100.5 from half a million on
    steady: Any = Wavering([255 + 101], margin=1e-6)
    once = line_search(steady, images, ways, Misclassification(labels(0)))
    assert once.step_lengths[0] == pytest.approx(0.5e6, abs=2)
    growing: Any = Wavering([255 + 101] * (once.queries - 1) + [255 + 103], margin=1e-6)
    more = line_search(growing, images, ways, Misclassification(labels(0)))
    assert more.adversarials.ravel().tolist() == [255, 103]
    assert more.step_lengths[0] == pytest.approx(2.5e6, abs=2)
    assert more.queries < once.queries + 9


class Steep:
    """Class 1 from a value on, at a margin that is no number beyond it, or says nothing."""

    batch_size = 100

    def __init__(self, value: int, beyond: float) -> None:
        self.value, self.beyond = value, beyond

    def logits(self, images: Images) -> Floats:
        above = images[:, 0, 0, 0] >= self.value
        return np.stack([np.where(above, -1.0, 1e-9), np.where(above, self.beyond, 0)], axis=1)


@pytest.mark.parametrize("beyond", [np.inf, 0.0, 1e30])
@pytest.mark.parametrize("value", [1, 2, 7, 8, 9, 100, 201, 254, 255])
def test_margins_that_mislead_cost_questions_only(value: int, beyond: float) -> None:
    steep: Any = Steep(value, beyond)
    found = line_search(steep, rows([0]), along([1]), Misclassification(labels(0)))
    assert found.step_lengths.tolist() == [value]
    assert found.queries <= 20


def test_images_whose_scores_are_no_numbers_are_not_adversarial() -> None:
    steep: Any = Steep(200, np.nan)
    assert not line_search(steep, rows([0]), along([1]), Misclassification(labels(0))).found[0]


@pytest.mark.parametrize("first", [np.inf, -np.inf, np.nan, 0.0])
def test_scores_that_are_no_numbers_do_not_stop_a_search(first: float) -> None:
    steep: Any = Steep(200, 1.0)
    scores = np.array([[first, 0]], np.float32)
    found = line_search(steep, rows([0]), along([1]), Misclassification(labels(0)), logits=scores)
    assert found.step_lengths.tolist() == [200]


@pytest.mark.parametrize("slope", [np.nan, np.inf, -1.0, 0.0, 1e-300, 1e-9, 1e9])
@pytest.mark.parametrize("score", [0.0, 1e-9, 1e30])
@pytest.mark.parametrize("value", [1, 8, 100, 255])
def test_slopes_that_mislead_cost_questions_only(value: int, score: float, slope: float) -> None:
    steep: Any = Steep(value, 1.0)
    logits, slopes = np.array([[score, 0]], np.float32), np.array([slope])
    goal = Misclassification(labels(0))
    found = line_search(steep, rows([0]), along([1]), goal, logits=logits, slopes=slopes)
    assert found.step_lengths.tolist() == [value]
    assert found.queries <= 25


class Window:
    """Class 1 where the pixel lies within two values, both of them included; class 0 elsewhere."""

    batch_size = 100

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last

    def logits(self, images: Images) -> Floats:
        pixel = images[:, 0, 0, 0].astype(np.float32)
        inside = np.minimum(pixel - self.first, self.last - pixel) + 0.5
        return np.stack([np.zeros_like(inside), inside], axis=1)


@pytest.mark.parametrize(("first", "last", "found"), [(41, 90, 41), (1, 1, 1), (120, 130, 120)])
def test_what_the_steps_have_gone_beyond_is_looked_for_again(
    first: int, last: int, found: int
) -> None:
    window: Any = Window(first, last)
    goal, logits = Misclassification(labels(0)), np.array([[first, 0]], np.float32)
    # The slope takes the first step far beyond the window, the next one to the end of the way.
    slopes = np.array([first / 180])
    result = line_search(window, rows([0]), along([1]), goal, logits=logits, slopes=slopes)
    assert result.step_lengths.tolist() == [found]


def test_where_there_is_nothing_the_search_ends() -> None:
    window: Any = Window(256, 300)
    result = line_search(window, rows([0], [250]), along([1], [1]), Misclassification(labels(0, 0)))
    assert not result.found.any()
    # 8, 32, 128, 255 and 1, 2, ... 128 of the first; 5 and 1, 2, 4 of the other.
    assert result.queries <= 4 + 8 + 1 + 3
