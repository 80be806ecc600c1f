"""Exact widths of a small net's logits over boxes of inputs.

    find_ranges(net, box, "milp", seconds=60)

For each logit the least and the largest value over all inputs within the radii, by one of

milp     a mixed-integer linear program with the bounds of `crown` as big-M, solved by HiGHS
branch   branch and bound over the inputs: the box with the loosest bound is halved, until the bound
         is within TOLERANCE of a value that is reached; for few inputs
marabou  satisfiability queries to Marabou and bisection to TOLERANCE, as in Wang et al., Section
         3.2, in a process of its own

A width lies between one that is reached, by two inputs in the box, and one that is not exceeded, up
to the solver's tolerances.
"""

from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import inf
from time import monotonic
from typing import Literal, get_args

import numpy as np

from caffe_ext.certification.bounds import Bounder
from caffe_ext.certification.layers import InnerProduct, Interval, Relu, Shape
from caffe_ext.certification.mixed_integer import Limits, encode_network
from caffe_ext.certification.network import BoundableNetwork, Node
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.studies.landscape.marabou import MarabouProblem, query_marabou
from caffe_ext.studies.landscape.network import (
    Doubles,
    Widths,
    compute_logits,
    split_parameters,
)
from caffe_ext.studies.landscape.sensitivity import (
    Box,
    compute_dual_bounds,
    compute_layer_bounds,
)

WidthMethod = Literal["milp", "branch", "marabou"]
WIDTH_METHODS: tuple[WidthMethod, ...] = get_args(WidthMethod)
TOLERANCE = 1e-4
"""Of branch and Marabou, relative to the width by the dual bound."""
_AT_A_TIME = 64
_ROUNDING = 1e-12
_LEAST_SHARE = 0.05
"""The least weight of an input, relative to the largest gradient, so that all are halved."""


@dataclass(frozen=True, eq=False)
class LogitRanges:
    """What is known of the least and the largest value of each logit, (classes,) each.

    least, most          not exceeded
    reached_least, reached_most
    """

    least: Doubles
    most: Doubles
    reached_least: Doubles
    reached_most: Doubles

    @property
    def upper(self) -> Doubles:
        """Return widths that are not exceeded."""
        return self.most - self.least

    @property
    def lower(self) -> Doubles:
        """Return widths that are reached."""
        return np.maximum(self.reached_most - self.reached_least, 0)


def find_ranges(
    net: tuple[Doubles, Widths], box: Box, method: WidthMethod = "milp", seconds: float = 60
) -> LogitRanges:
    """Return the ranges of the logits for all inputs in a box.

    net      its parameters and widths
    seconds  for each of the searches, two per logit; where it is over, the range is not exact

    Raises MarabouError if Marabou cannot be run.
    """
    parameters, widths = net
    if method == "marabou":
        problem = MarabouProblem(
            split_parameters(parameters, widths),
            box,
            compute_layer_bounds(parameters, widths, box.centre[None], box.radii),
            compute_logits(parameters, widths, box.centre[None])[0],
            TOLERANCE,
            seconds,
        )
        return LogitRanges(*query_marabou(problem))
    search = _search_boxes if method == "branch" else _solve_programs
    least, reached = search(parameters, widths, box, seconds)
    classes = widths[-1]
    return LogitRanges(least[:classes], -least[classes:], reached[:classes], -reached[classes:])


def make_network(parameters: Doubles, widths: Widths) -> BoundableNetwork:
    """Return a net with ReLUs as one of certification's; pixels are not its inputs."""
    shape: Shape = (widths[0], 1, 1)
    nodes = [Node("input", shape)]
    layers = split_parameters(parameters, widths)
    for number, layer in enumerate(layers):
        product = InnerProduct(shape, layer[:, :-1], layer[:, -1])
        shape = (len(layer), 1, 1)
        nodes.append(Node(f"layer{number + 1}", shape, product, (len(nodes) - 1,)))
        if number < len(layers) - 1:
            nodes.append(Node(f"relu{number + 1}", shape, Relu(shape), (len(nodes) - 1,)))
    return BoundableNetwork(tuple(nodes), PixelSpace())


def _solve_programs(
    parameters: Doubles, widths: Widths, given: Box, seconds: float
) -> tuple[Doubles, Doubles]:
    """Return the least values of z and of -z: bounds, and values that are reached."""
    centre, radii = given.centre, given.radii
    network = make_network(parameters, widths)
    shape = (1, widths[0], 1, 1)
    changes = Interval(*(sign * radii.reshape(shape) for sign in (-1, 1)))
    middle = centre.reshape(shape)
    box = Interval(middle + changes.lower, middle + changes.upper)
    bounds = Bounder(network, "crown").bound_nodes(box)
    program = encode_network(network, changes, box, bounds, whole=False)
    outer = compute_dual_bounds(parameters, widths, centre[None], radii)
    known = np.concatenate([outer[0][0], -outer[1][0]])
    least, reached = [], []
    for number, factors in enumerate(_list_objectives(widths[-1])):
        found = program.minimize_sum(factors, Limits(seconds, inf), "least")
        point = centre
        if found.changes is not None:
            point = centre + np.clip(found.changes.ravel(), -radii, radii)
        value = float(factors @ compute_logits(parameters, widths, point[None])[0])
        least.append(min(max(found.bound, float(known[number])), value))
        reached.append(value)
    return np.array(least), np.array(reached)


def _search_boxes(
    parameters: Doubles, widths: Widths, whole: Box, seconds: float
) -> tuple[Doubles, Doubles]:
    """Return the least values of z and of -z: bounds, and values that are reached."""
    centre, radii = whole.centre, whole.radii
    classes = widths[-1]
    outer = compute_dual_bounds(parameters, widths, centre[None], radii)
    known = np.concatenate([outer[0][0], -outer[1][0]])
    allowed = TOLERANCE * (outer[1] - outer[0])[0] + _ROUNDING * np.abs(outer).max()
    least, reached = [], []
    for number, factors in enumerate(_list_objectives(classes)):
        deadline = monotonic() + seconds
        tie = count()
        best, closed, bound = inf, inf, float(known[number])
        waiting: list[tuple[float, int, Doubles, Doubles]] = [(bound, next(tie), centre, radii)]
        while waiting:
            bound = min(waiting[0][0], closed)
            if best - bound <= allowed[number % classes] or monotonic() > deadline:
                break
            some = [heappop(waiting) for _ in range(min(_AT_A_TIME, len(waiting)))]
            middles, halves = (np.stack([box[place] for box in some]) for place in (2, 3))
            lower, upper = compute_dual_bounds(parameters, widths, middles, halves)
            lowest = (lower @ np.maximum(factors, 0)) - (upper @ np.maximum(-factors, 0))
            slopes = _differentiate(parameters, widths, middles, factors)
            corners = middles - halves * np.sign(slopes)
            points = np.concatenate([middles, corners])
            best = min(best, float((compute_logits(parameters, widths, points) @ factors).min()))
            sizes = np.abs(slopes)
            shares = np.maximum(sizes, _LEAST_SHARE * sizes.max(axis=1, keepdims=True)) * halves
            for middle, half, low, share, (before, *_) in zip(
                middles, halves, lowest, shares, some, strict=True
            ):
                if best - max(low, before) <= allowed[number % classes] / 2:
                    closed = min(closed, max(float(low), before))
                    continue
                longest = int(share.argmax() if share.any() else half.argmax())
                shorter = half.copy()
                shorter[longest] /= 2
                for sign in (-1, 1):
                    moved = middle.copy()
                    moved[longest] += sign * shorter[longest]
                    heappush(waiting, (max(float(low), before), next(tie), moved, shorter))
        else:
            bound = closed
        least.append(min(bound, best))
        reached.append(best)
    return np.array(least), np.array(reached)


def _differentiate(
    parameters: Doubles, widths: Widths, inputs: Doubles, factors: Doubles
) -> Doubles:
    """Return the gradients of factors z by the inputs, (N, features)."""
    *below, last = split_parameters(parameters, widths)
    hidden, slopes = inputs, []
    for layer in below:
        values = hidden @ layer[:, :-1].T + layer[:, -1]
        slopes.append((values > 0).astype(np.float64))
        hidden = np.maximum(values, 0)
    rows = np.broadcast_to(factors @ last[:, :-1], (len(inputs), last.shape[1] - 1))
    for layer, slope in zip(below[::-1], slopes[::-1], strict=True):
        rows = (rows * slope) @ layer[:, :-1]
    return np.asarray(rows)


def _list_objectives(classes: int) -> Doubles:
    """Return what is minimised: each logit, then each logit's negative, (2 classes, classes)."""
    return np.concatenate([np.eye(classes), -np.eye(classes)])
