"""Branch and bound over the pixels: boxes are halved until certified or an adversarial is found.

    search_boxes(bounder, model, ball, label, seconds)

The open boxes with the lowest bounds are halved first, along the pixel with the largest product of
width and gradient. In each box the model is queried at the centre and at the corner to which the
gradient points. A box of a single image of whole grey levels is decided by the model. For nets with
few inputs only, as each halving splits one of them.
"""

from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import inf
from time import monotonic
from typing import Literal

import numpy as np

from caffe_ext.certification.bounds import Bounder, make_input_box
from caffe_ext.certification.network import BoundableNetwork
from caffe_ext.certification.perturbations import PixelBall
from caffe_ext.certification.windows import Doubles
from caffe_ext.models.base import Floats, Model

MOST_INPUTS = 64
_AT_A_TIME = 32
_MOST_OPEN = 1 << 16
"""The most boxes in memory."""
_LEAST_SHARE = 1e-3
"""The least weight of a pixel, relative to the largest gradient, so that each is halved in time."""


@dataclass(frozen=True, eq=False)
class BoxSearch:
    """What a search has found.

    outcome      "robust", "vulnerable", or "undecided": time or memory ran out
    bound        all margins are at least this, up to rounding
    adversarial  float32 (C, H, W), which the model misclassifies
    """

    outcome: Literal["robust", "vulnerable", "undecided"]
    bound: float
    adversarial: Floats | None = None


def check_inputs(network: BoundableNetwork) -> None:
    """Raise ValueError for a net with too many inputs."""
    inputs = int(np.prod(network.nodes[0].shape))
    if inputs > MOST_INPUTS:
        raise ValueError(
            f"branch and bound over the pixels is for at most {MOST_INPUTS} inputs, and this net "
            f"has {inputs:,}: use the method milp"
        )


def search_boxes(
    bounder: Bounder, model: Model, ball: PixelBall, label: int, seconds: float
) -> BoxSearch:
    """Decide whether a ball contains a misclassified image."""
    deadline = monotonic() + seconds
    tie, least, closed = count(), inf, True
    lower, upper = ball.compute_limits()
    waiting: list[tuple[float, int, Doubles, Doubles]] = [(-inf, next(tie), lower[0], upper[0])]
    while waiting:
        some = [heappop(waiting) for _ in range(min(_AT_A_TIME, len(waiting)))]
        lowers, uppers = (np.stack([box[place] for box in some]) for place in (2, 3))
        boxes = make_input_box(ball.space, lowers, uppers)
        margins = bounder.bound_boxes(boxes, np.full(len(some), label)).margins
        bounds, worst = margins.min(axis=1), margins.argmin(axis=1)
        sure = bounds > 0
        least = min(least, float(bounds[sure].min(initial=inf)))
        lowers, uppers, bounds, worst = (it[~sure] for it in (lowers, uppers, bounds, worst))
        if not len(bounds):
            continue
        centres = (lowers + uppers) / 2
        directions = _compute_margin_gradients(model, centres, label, worst)
        corners = np.where(directions > 0, lowers, uppers)
        adversarial = ball.find_adversarial(model, np.concatenate([centres, corners]), label)
        if adversarial is not None:
            bound = min(least, float(bounds.min()), *(box[0] for box in waiting), inf)
            return BoxSearch("vulnerable", bound, adversarial)
        wide = (uppers > lowers).any(axis=(1, 2, 3))
        if not (wide.all() or ball.whole):  # a single point that the bounds leave open
            closed, least = False, min(least, float(bounds[~wide].min()))
        for number in np.flatnonzero(wide):
            box = lowers[number], uppers[number]
            for half in _halve(*box, directions[number], whole=ball.whole):
                heappush(waiting, (float(bounds[number]), next(tie), *half))
        if waiting and (monotonic() > deadline or len(waiting) > _MOST_OPEN):
            return BoxSearch("undecided", min(least, waiting[0][0]))
    return BoxSearch("robust" if closed else "undecided", least if np.isfinite(least) else 0.0)


def _compute_margin_gradients(
    model: Model, points: Doubles, label: int, targets: Doubles
) -> Doubles:
    """Return the gradients of z_label - z_target with respect to the pixels."""
    diff = np.zeros((len(points), model.classes), np.float32)
    diff[:, label] = 1
    diff[np.arange(len(points)), targets] -= 1
    return model.gradient(points.astype(np.float32), diff).astype(np.float64)


def _halve(
    lower: Doubles, upper: Doubles, direction: Doubles, *, whole: bool
) -> tuple[tuple[Doubles, Doubles], tuple[Doubles, Doubles]]:
    """Return the halves of a box; in whole grey levels they are disjoint."""
    size = np.abs(direction)
    weight = np.maximum(size, max(_LEAST_SHARE * size.max(), 1e-30)) * (upper - lower)
    pixel = np.unravel_index(weight.argmax(), weight.shape)
    middle = (lower[pixel] + upper[pixel]) / 2
    below, above = upper.copy(), lower.copy()
    below[pixel] = np.floor(middle) if whole else middle
    above[pixel] = below[pixel] + 1 if whole else middle
    return (lower, below), (above, upper)
