"""attacks/criteria.py: when a criterion is met, and the margin by which scores miss it."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from attack_samples import labels
from caffe_ext.attacks.criteria import (
    MISCLASSIFIED,
    Criterion,
    Misclassification,
    TargetedKind,
    TargetedMisclassification,
    TopKKind,
    TopKMisclassification,
    find_class_of_rank,
    parse_criterion,
)
from caffe_ext.models.base import NO_CLASS, find_top_class

SCORES = arrays(np.float32, (4, 3), elements=st.floats(-9, 9, width=16))
LABELS = labels(0, 1, 2, 2, 1)
WHICH = np.array([4, 0, 3, 2])


def targeted(targets: NDArray[np.int64]) -> TargetedMisclassification:
    return TargetedMisclassification(np.zeros_like(targets), targets)


def test_margins_by_hand() -> None:
    scores = np.array([[1, 5, 3], [4, 4, 0], [0, 1, -2], [0, 0, 9]], np.float32)
    # Of the labels 1, 0, 2, 2.
    assert Misclassification(LABELS).compute_margins(scores, WHICH).tolist() == [2, 0, -3, 9]
    assert targeted(LABELS).compute_margins(scores, WHICH).tolist() == [-2, 0, 3, -9]
    assert TopKMisclassification(LABELS, 1).compute_margins(scores, WHICH).tolist() == [2, 0, -3, 9]
    assert TopKMisclassification(LABELS, 2).compute_margins(scores, WHICH).tolist() == [4, 4, -2, 9]


@given(SCORES)
def test_the_sign_of_a_margin_says_what_the_criterion_says(scores: NDArray[np.float32]) -> None:
    criteria: list[Criterion] = [Misclassification(LABELS), targeted(LABELS)]
    criteria += [TopKMisclassification(LABELS, k) for k in (1, 2)]
    for criterion in criteria:
        satisfied = criterion.is_satisfied(scores, WHICH)
        margins = criterion.compute_margins(scores, WHICH)
        assert margins.dtype == np.float64
        assert satisfied[margins < 0].all()
        assert not satisfied[margins > 0].any()
        part = criterion.select(WHICH)
        np.testing.assert_array_equal(part.is_satisfied(scores, np.arange(4)), satisfied)
        np.testing.assert_array_equal(part.compute_margins(scores, np.arange(4)), margins)
    other = Misclassification(LABELS).is_satisfied(scores, WHICH)
    np.testing.assert_array_equal(other, ~targeted(LABELS).is_satisfied(scores, WHICH))
    np.testing.assert_array_equal(other, scores.argmax(axis=1) != LABELS[WHICH])
    first = TopKMisclassification(LABELS, 1).is_satisfied(scores, WHICH)
    np.testing.assert_array_equal(other, first)


@given(SCORES)
def test_top_k_against_sorting(scores: NDArray[np.float32]) -> None:
    order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")
    place = (order == LABELS[WHICH][:, None]).argmax(axis=1)
    for k in (1, 2):
        found = TopKMisclassification(LABELS, k).is_satisfied(scores, WHICH)
        np.testing.assert_array_equal(found, place >= k)


def test_nan_satisfies_nothing() -> None:
    scores = np.full((4, 3), np.nan, np.float32)
    for criterion in (
        Misclassification(LABELS),
        targeted(LABELS),
        TopKMisclassification(LABELS, 1),
    ):
        assert not criterion.is_satisfied(scores, WHICH).any()
    scores = np.array([[np.nan, 1, 2], [3, 1, np.nan], [1, np.inf, 0], [-np.inf] * 3], np.float32)
    assert find_top_class(scores).tolist() == [NO_CLASS, NO_CLASS, 1, 0]


def test_infinite_logits_warn_nobody() -> None:
    scores = np.array([[np.nan, 1, 0], [np.inf, np.inf, 0]], np.float32)
    assert np.isnan(Misclassification(labels(1, 0)).compute_margins(scores, np.arange(2))).all()


def test_kinds_and_their_texts() -> None:
    for text, kind in (
        ("misclassified", MISCLASSIFIED),
        ("targeted=7", TargetedKind(7)),
        ("TOP-K=5", TopKKind(5)),
    ):
        assert parse_criterion(text) == kind
        assert parse_criterion(kind.text) == kind
        assert kind.wording.startswith("wants ")
    criterion = TargetedKind(1)(LABELS)
    assert criterion.targets.tolist() == [1] * 5
    assert TargetedKind(1).find_applicable(LABELS).tolist() == [True, False, True, True, False]
    assert MISCLASSIFIED.find_applicable(LABELS).all()
    assert TopKKind(2)(LABELS).k == 2


@pytest.mark.parametrize("text", ["", "targeted", "targeted=-1", "top-k=0", "top-k", "wrong"])
def test_unknown_criteria(text: str) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"unknown criterion {text!r}; known criteria: ")
    ):
        parse_criterion(text)


def test_criteria_that_a_network_cannot_satisfy() -> None:
    TargetedKind(9).check(10)
    with pytest.raises(ValueError, match=r"target class must be one of 0\.\.9, not 10"):
        TargetedKind(10).check(10)
    TopKKind(9).check(10)
    with pytest.raises(ValueError, match="can be at most 9, not 10: the network has 10 classes"):
        TopKKind(10).check(10)
    with pytest.raises(ValueError, match="at most 2"):
        find_class_of_rank(np.zeros((1, 3), np.float32), labels(0), 3)
    with pytest.raises(ValueError, match="must be at least 1, not 0"):
        TopKMisclassification(LABELS, 0)
