"""What attacks within a budget maximise, in the logits: cross-entropy, DLR, and the margin.

For n images, an objective gives its values, float64 (n,), and its derivative with respect to the
logits, float32 (n, K), scaled to a largest magnitude of 1 in each row: only its direction counts,
and so nothing underflows in the backward pass in float32.

With z the logits, z_(1) >= z_(2) >= ... sorted, a and b the classes between which the criterion
decides (untargeted: a the label, b the largest besides it):

ce       ln sum_{j != y} exp z_j - z_y                                        (untargeted)
         z_t - ln sum_{j != t} exp z_j                                        (with a target t)
         The cross-entropy J = ln(1 + exp ce) increases with it, so the two have the same
         direction of ascent. Where the softmax is exactly 1, J is 0 and its gradient vanishes;
         that of ce does not.
margin   -(z_a - z_b)
dlr      -(z_a - z_b) / (z_(1) - z_(3))                                       K >= 3
dlr-t    -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2)      for a target t     K >= 4

Croce and Hein, 2020, "Reliable evaluation of adversarial robustness ...", Section 4.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.criteria import Criterion
from caffe_ext.models.base import Floats, Ints

Loss = Literal["ce", "margin", "dlr", "dlr-t"]
LOSSES: tuple[str, ...] = get_args(Loss)
FEWEST_CLASSES = {"ce": 2, "margin": 2, "dlr": 3, "dlr-t": 4}
Values = NDArray[np.float64]
Objective = Callable[[Floats, Ints], tuple[Values, Floats]]
"""(logits (n, K), which of the N images they are of (n,)) -> values (n,), derivatives (n, K)"""

_NO_LESS = 1e-12
"""Added to a denominator, which is 0 where all logits are equal."""
_ROUNDING = 1e-9


def make_objective(loss: Loss, criterion: Criterion, targets: Ints | None = None) -> Objective:
    """Return the objective of N images.

    targets  int64 (N,), for dlr-t
    """
    if loss == "ce":
        return lambda logits, which: cross_entropy(logits, criterion, which)
    if loss == "dlr-t":
        assert targets is not None
        chosen = targets

        def differentiate_margin(logits: Floats, which: Ints) -> tuple[Values, Floats]:
            pair = criterion.labels[which], chosen[which]
            return compute_logits_ratio(logits, pair, {0: 1.0, 2: -0.5, 3: -0.5})

        return differentiate_margin
    weights = {0: 1.0, 2: -1.0} if loss == "dlr" else {}

    def compute_ratio(logits: Floats, which: Ints) -> tuple[Values, Floats]:
        return compute_logits_ratio(logits, criterion.find_margin_classes(logits, which), weights)

    return compute_ratio


def check_classes(loss: Loss, classes: int) -> None:
    """Raise ValueError for a network with too few classes for a loss."""
    least = FEWEST_CLASSES[loss]
    if classes < least:
        what = {"dlr": "the DLR loss", "dlr-t": "the targeted DLR loss"}[loss]
        raise ValueError(
            f"{what} divides by a difference of logits and needs {least} classes or more; the "
            f"network has {classes}: use the loss ce or margin"
        )


def cross_entropy(logits: Floats, criterion: Criterion, which: Ints) -> tuple[Values, Floats]:
    """Return ce and its derivative: the softmax of the other classes, and -1 for the label.

    With a target, it is the target's, with the signs reversed.
    """
    targets = criterion.targets
    own = criterion.labels[which] if targets is None else targets[which]
    rows, others = np.arange(len(logits)), logits.astype(np.float64)
    mine = others[rows, own]
    others[rows, own] = -np.inf
    largest = others.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # a NaN stays one
        derivative = np.exp(others - largest)
        total = derivative.sum(axis=1, keepdims=True)
        derivative /= total
        values = (largest + np.log(total))[:, 0] - mine
    derivative[rows, own] = -1
    if targets is not None:
        values, derivative = -values, -derivative
    return values, derivative.astype(np.float32)


def compute_logits_ratio(
    logits: Floats, pair: tuple[Ints, Ints], weights: dict[int, float]
) -> tuple[Values, Floats]:
    """Return -(z_a - z_b) / D and its derivative, for classes a and b, int64 (n,) each.

    D = sum over r of weights[r] z_(r + 1),  1 where there are no weights
    """
    rows, z = np.arange(len(logits)), logits.astype(np.float64)
    above, below = pair
    apart = z[rows, above] - z[rows, below]
    derivative = np.zeros_like(z)
    denominator = np.ones(len(z))
    if weights:
        order = np.argsort(-z, axis=1, kind="stable")
        ranks = {rank: order[:, rank] for rank in weights}
        parts = [weight * z[rows, ranks[rank]] for rank, weight in weights.items()]
        denominator = _NO_LESS + np.sum(parts, axis=0)
        for rank, weight in weights.items():
            derivative[rows, ranks[rank]] += weight * apart / denominator
    # All multiplied by the denominator, which is positive: the direction is the same.
    derivative[rows, above] -= 1
    derivative[rows, below] += 1
    largest = np.abs(derivative).max(axis=1, keepdims=True)
    # Where the derivative is 0, only rounding errors are left.
    derivative /= np.where(largest > _ROUNDING, largest, np.inf)
    return -apart / denominator, derivative.astype(np.float32)
