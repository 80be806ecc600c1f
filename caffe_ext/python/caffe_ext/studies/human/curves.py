"""Curves: the accuracy of people and of networks over the level of noise, with 95% intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from caffe_ext.studies.human.design import NATURAL, SUBSETS, Subset
from caffe_ext.studies.human.stimuli import Stimuli, get_subset
from caffe_ext.studies.human.store import Answer

Values = NDArray[np.float64]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """The mean of n accuracies, and its 95% confidence interval; no interval for n = 1."""

    count: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class CurvePoint:
    """An accuracy in one subset.

    distortion  mean absolute change per pixel in the subset, of pixels in [0, 1]; None: not the
                study's images
    """

    subset: Subset
    distortion: float | None
    accuracy: Interval


@dataclass(frozen=True)
class Curve:
    """The accuracies of people, or of networks, in several subsets; in the order of SUBSETS."""

    name: str
    points: tuple[CurvePoint, ...]

    def select(self, kind: str) -> tuple[CurvePoint, ...]:
        """Return the points with noise of this kind, after the one without noise; () if none."""
        mine = [point for point in self.points if point.subset.kind == kind]
        clean = [point for point in self.points if point.subset.kind == NATURAL]
        return (*clean, *mine) if mine else ()


def compute_interval(values: Values) -> Interval:
    """Return the mean of n >= 1 accuracies, one of each person or network, and its t interval:

    mean +- t(0.975, n - 1) s / sqrt(n),  s^2 = sum (x - mean)^2 / (n - 1), cut off at 0 and 1
    """
    count, mean = len(values), float(values.mean())
    if count < 2:
        return Interval(count, mean, None, None)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1))
    half = quantile * float(values.std(ddof=1)) / count**0.5
    return Interval(count, mean, max(0.0, mean - half), min(1.0, mean + half))


def compute_people_curve(stimuli: Stimuli, answers: Sequence[Answer]) -> Curve:
    """Return people's accuracies: each person's own first, then the mean over people.

    A subset without answers has no point. The hard digits come last.
    """
    shares: dict[int, dict[int, list[bool]]] = {}
    for one in answers:
        right = one.answer == stimuli.get_label(one.subset, one.image)
        shares.setdefault(one.subset, {}).setdefault(one.person, []).append(right)
    points = []
    for number, people in sorted(shares.items()):
        own = np.array([np.mean(those) for those in people.values()])
        pool = number < len(SUBSETS)
        distortion = stimuli.record.distortions[number] if pool else None
        points.append(CurvePoint(get_subset(number), distortion, compute_interval(own)))
    return Curve("people", tuple(points))


def make_curve(
    name: str,
    subsets: Sequence[Subset],
    accuracies: Values,
    distortions: Sequence[float] | None = None,
) -> Curve:
    """Return the curve of networks: accuracies (M, S) of M networks in S subsets."""
    own: Sequence[float | None] = distortions or [None] * len(subsets)
    return Curve(
        name,
        tuple(
            CurvePoint(subset, distortion, compute_interval(values))
            for subset, distortion, values in zip(subsets, own, accuracies.T, strict=True)
        ),
    )


def make_rows(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Return a row for each point of each curve, for JSON and CSV."""
    return [
        {
            "of": curve.name,
            "kind": point.subset.kind,
            "level": point.subset.level,
            "distortion": point.distortion,
            "count": point.accuracy.count,
            "accuracy": point.accuracy.mean,
            "low": point.accuracy.low,
            "high": point.accuracy.high,
        }
        for curve in curves
        for point in curve.points
    ]
