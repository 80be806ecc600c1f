"""The least margin of a small net in a box: a linear program for each pattern of its ReLUs."""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

Doubles = NDArray[np.float64]
Affine = tuple[Doubles, Doubles]


def least_margin(
    layers: list[Affine], lower: Doubles, upper: Doubles, label: int, target: int
) -> float:
    """Return min z_label - z_target of W_L relu(... relu(W_1 x + b_1)), lower <= x <= upper.

    In each of the 2^n patterns of which of the n ReLUs are on, the net is linear, and so are the
    conditions under which the pattern holds.
    """
    units = [len(bias) for _, bias in layers[:-1]]
    least = np.inf
    for pattern in product((False, True), repeat=sum(units)):
        matrix, offset = np.eye(len(lower)), np.zeros(len(lower))
        rows, limits, start = [], [], 0
        for (weights, bias), count in zip(layers[:-1], units, strict=True):
            matrix, offset = weights @ matrix, weights @ offset + bias
            on = np.array(pattern[start : start + count], np.float64)
            sign = 1 - 2 * on  # on: -z <= 0; off: z <= 0
            rows.append(sign[:, None] * matrix)
            limits.append(-sign * offset)
            matrix, offset = on[:, None] * matrix, on * offset
            start += count
        weights, bias = layers[-1]
        row = weights[label] - weights[target]
        found = linprog(
            row @ matrix,
            A_ub=np.concatenate(rows),
            b_ub=np.concatenate(limits),
            bounds=np.stack([lower, upper], axis=1),
        )
        if found.status == 0:
            least = min(least, found.fun + row @ offset + bias[label] - bias[target])
    return least
