"""Correlations of sensitivity with energy, with 95% intervals."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from caffe_ext.studies.landscape.network import Doubles

CONFIDENCE = 0.95
_FEWEST = 4
_RESAMPLES = 2000


@dataclass(frozen=True)
class Correlation:
    """A coefficient and its interval."""

    coefficient: float
    low: float
    high: float


@dataclass(frozen=True)
class Correlations:
    """Of energy and log S over minima.

    pearson   with the interval by Fisher's transform
    spearman  of the ranks, with the bootstrap's percentiles
    """

    pearson: Correlation
    spearman: Correlation


def correlate(energies: Doubles, sensitivities: Doubles) -> Correlations | None:
    """Return the correlations; None for fewer than four minima, or if all values are the same."""
    logs = np.log(np.maximum(sensitivities, 1e-300))
    if len(energies) < _FEWEST or not (np.ptp(energies) and np.ptp(logs)):
        return None
    linear = stats.pearsonr(energies, logs)
    interval = linear.confidence_interval(CONFIDENCE)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(energies), (_RESAMPLES, len(energies)))
    ranks = [stats.rankdata(it[drawn], axis=1) for it in (energies, logs)]
    centred = [it - it.mean(axis=1, keepdims=True) for it in ranks]
    products = (centred[0] * centred[1]).sum(axis=1)
    lengths = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    found = products[lengths > 0] / lengths[lengths > 0]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return Correlations(
        Correlation(float(linear.statistic), float(interval.low), float(interval.high)),
        Correlation(float(stats.spearmanr(energies, logs).statistic), float(low), float(high)),
    )
