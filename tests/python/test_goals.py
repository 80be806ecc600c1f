"""goals.py: when a goal is reached, and by how much scores miss it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from attack_samples import labels
from caffe_ext.attacks.criteria import misclassified, reached
from caffe_ext.models.classifier import NO_CLASS, highest

SCORES = arrays(np.float32, (4, 3), elements=st.floats(-9, 9, width=16))
LABELS = labels(0, 1, 2, 2, 1)
WHICH = np.array([4, 0, 3, 2])


def test_margins_by_hand() -> None:
    scores = np.array([[1, 5, 3], [4, 4, 0], [0, 1, -2], [0, 0, 9]], np.float32)
    # Of the labels 1, 0, 2, 2.
    assert misclassified(LABELS).margins(scores, WHICH).tolist() == [2, 0, -3, 9]
    assert reached(LABELS).margins(scores, WHICH).tolist() == [-2, 0, 3, -9]


@given(SCORES)
def test_the_sign_of_a_margin_says_what_the_class_says(scores: NDArray[np.float32]) -> None:
    classes = scores.argmax(axis=1)
    for goal in (misclassified(LABELS), reached(LABELS)):
        there, margins = goal.reached(classes, WHICH), goal.margins(scores, WHICH)
        assert margins.dtype == np.float64
        assert (there[margins < 0]).all()
        assert not there[margins > 0].any()
    other = misclassified(LABELS).reached(classes, WHICH)
    np.testing.assert_array_equal(other, ~reached(LABELS).reached(classes, WHICH))
    np.testing.assert_array_equal(other, classes != LABELS[WHICH])


def test_no_class_is_no_answer() -> None:
    none = np.full(4, NO_CLASS)
    assert not misclassified(LABELS).reached(none, WHICH).any()
    assert not reached(LABELS).reached(none, WHICH).any()
    scores = np.array([[np.nan, 1, 2], [3, 1, np.nan], [1, np.inf, 0], [-np.inf] * 3], np.float32)
    assert highest(scores).tolist() == [NO_CLASS, NO_CLASS, 1, 0]


def test_scores_that_are_no_numbers_and_single_classes_warn_nobody() -> None:
    scores = np.array([[np.nan, 1, 0], [np.inf, np.inf, 0]], np.float32)
    assert np.isnan(misclassified(labels(1, 0)).margins(scores, np.arange(2))).all()
    assert reached(labels(0)).margins(scores[:1, 1:2], np.arange(1)).tolist() == [-np.inf]
