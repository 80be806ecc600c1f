"""Averaged predictions: their logarithms, and derivatives with respect to what is averaged.

    p_m = softmax(z_m),    l_k = log 1/M sum_m p_mk             z_m: the logits of member m

They are computed from log-probabilities in float64, so that nothing saturates: where all members
are certain of a class, l still orders the others and has a gradient. For an objective E, d = dE/dl,

    dE/dz_mj = d_j w_mj - p_mj sum_k d_k w_mk,     w_mk = p_mk / sum_n p_nk     (weights: sum_m = 1)
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from caffe_ext.models.base import Floats

Doubles = NDArray[np.float64]


def log_softmax(scores: Floats | Sequence[Floats]) -> Doubles:
    """Return the log-probabilities, float64 (M, N, K), for the logits of M members."""
    values = np.asarray(scores, np.float64)
    values = values - values.max(axis=2, keepdims=True, initial=-np.inf)
    return np.asarray(values - np.log(np.exp(values).sum(axis=2, keepdims=True)))


def compute_log_mean(every: Doubles) -> Floats:
    """Return log(1/M sum_m exp(l_m)), float32 (N, K), for the members' log-probabilities."""
    largest = every.max(axis=0)
    with np.errstate(invalid="ignore"):  # NaN, and -inf of all members, are kept
        apart = np.where(np.isneginf(largest), 0, every - largest)
    total = np.exp(apart).mean(axis=0)
    return np.asarray(largest + np.log(total), np.float32)


def compute_member_diffs(every: Doubles, diff: Doubles) -> list[Floats]:
    """Return dE/dz_m, float32 (N, K) for each member, for its log-probabilities and dE/dl."""
    shares = np.exp(every - every.max(axis=0))
    parts = diff * shares / shares.sum(axis=0)
    return [
        np.asarray(part - np.exp(mine) * part.sum(axis=1, keepdims=True), np.float32)
        for part, mine in zip(parts, every, strict=True)
    ]
