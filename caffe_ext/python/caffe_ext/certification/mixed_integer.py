"""A bounded net as a mixed-integer linear program: the least margin over all images in a box.

    program = encode_network(network, changes, box, bounds, whole=False)
    program.minimize_margin(label, target, Limits(60, 1e-3))

The variables are the changes of the pixels; the inputs z of each ReLU and maximum; the outputs y
of those that are not linear in the box, and their binaries a. With l <= z <= u:

ReLU     y >= 0,    y >= z,    y <= u a,    y <= z - l (1 - a)
maximum  y >= z_i,  y <= z_i + (U - l_i)(1 - a_i),  sum a_i = 1,  U = max u, over all u_i > max l

A ReLU that is always on or always off in the box is linear and needs no binary, and so is a maximum
in which one z is always the largest. Linear layers become the coefficients of the rows.

The solver is HiGHS (scipy.optimize.milp). It computes in float64 with tolerances of about 1e-6, so
a margin counts as positive only above a threshold that the caller gives.

Tjeng, Xiao and Tedrake, 2019, "Evaluating robustness of neural networks with mixed integer
programming".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, prod
from threading import Thread
from typing import Any, Literal

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from caffe_ext.certification.layers import Interval, LinearLayer, MaxPooling, Relu
from caffe_ext.certification.network import BoundableNetwork, Node
from caffe_ext.certification.windows import Doubles, Window
from caffe_ext.models.base import Ints
from caffe_ext.runtime.quiet import silence_stdout

_VALUES = 1 << 22
"""Values of a layer's matrix that are held dense at a time."""
_ANY_GAP = 1e12
"""The relative gap at which HiGHS stops at its first solution."""
_TOO_LARGE = 1e12
"""Numbers that float64 resolves no better than the solver's margin: nothing is decided by them."""
_PAUSE = 0.1
"""Seconds between two checks for Ctrl-C while HiGHS runs."""


Goal = Literal["relaxation", "point", "least"]
"""The least margin with binaries and whole grey levels relaxed to real numbers; any point at or
below the threshold; the point with the least margin, to a relative gap of 1e-6.
"""


@dataclass(frozen=True)
class Limits:
    """When a search ends.

    seconds    of the search
    threshold  margins above it are of no interest; infinity: all are of interest
    """

    seconds: float
    threshold: float


@dataclass(frozen=True, eq=False)
class Minimum:
    """The result of a search for the least margin of a class.

    outcome  "above": all margins are above the threshold; "below": there is a point at or below it;
             "unknown": the time ran out
    bound    a lower bound on all margins, up to the solver's tolerances; -infinity: not known, for
             example as the time ran out before a point was found
    changes  float64 (C, h, w), of the pixels that the net sees; None without a point
    """

    outcome: Literal["above", "below", "unknown"]
    bound: float
    changes: Doubles | None = None


@dataclass(eq=False)
class Affine:
    """Values M v + c of the variables v: M sparse, (n, variables so far), c (n,)."""

    matrix: Any
    offset: Doubles

    def select(self, units: Any) -> "Affine":
        """Return some of the values."""
        return Affine(self.matrix[units], self.offset[units])


@dataclass(eq=False)
class Program:
    """Variables within bounds, and rows lower <= A v <= upper."""

    shape: tuple[int, int, int]
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    integral: list[bool] = field(default_factory=list)
    rows: list[tuple[Any, Doubles, Doubles]] = field(default_factory=list)
    logits: Affine = field(default_factory=lambda: Affine(sparse.csr_array((0, 0)), np.zeros(0)))
    binaries: int = 0

    def add_variables(self, lower: Doubles, upper: Doubles, *, integral: bool = False) -> Ints:
        """Append variables and return their numbers."""
        first = len(self.lower)
        self.lower.extend(lower.tolist())
        self.upper.extend(upper.tolist())
        self.integral.extend([integral] * len(lower))
        return np.arange(first, len(self.lower))

    def add_rows(
        self, terms: Sequence[tuple[Any, Ints]], lower: Doubles, upper: Doubles, rest: Any = None
    ) -> None:
        """Append rows lower <= sum_k factor_k v[number_k] + rest v <= upper.

        terms  factors, a number or (n,), each with its variables (n,)
        rest   a sparse matrix (n, any number of the first variables)
        """
        count = len(lower)
        matrix = sparse.csr_array((count, len(self.lower)))
        for factors, numbers in terms:
            values = np.broadcast_to(np.asarray(factors, np.float64), count)
            places = (np.arange(count), numbers)
            matrix = matrix + sparse.csr_array((values, places), shape=matrix.shape)
        if rest is not None:
            matrix = matrix + _stretch(rest, len(self.lower))
        self.rows.append((matrix, lower, upper))

    def minimize_margin(
        self, label: int, target: int, limits: Limits, goal: Goal = "point"
    ) -> Minimum:
        """Search for a point with z_label - z_target at or below the threshold.

        The search ends when the goal is reached, is proved unreachable, or the time runs out.
        The bound of a relaxation is valid, but its point need not be one of the net's.
        """
        factors = np.zeros(len(self.logits.offset))
        factors[label] += 1
        factors[target] -= 1
        return self.minimize_sum(factors, limits, goal)

    def minimize_sum(self, factors: Doubles, limits: Limits, goal: Goal = "point") -> Minimum:
        """Search for a point with sum_t factors_t z_t at or below the threshold, as above."""
        integral = np.array([*self.integral, False], np.int64) * (goal != "relaxation")
        difference = sparse.csr_array(factors[None]) @ self.logits.matrix
        offset = float(factors @ self.logits.offset)
        count = len(self.lower) + 1
        matrices = [_stretch(matrix, count) for matrix, _, _ in self.rows]
        margin = sparse.csr_array(([-1.0], ([0], [count - 1])), shape=(1, count))
        matrices.append(_stretch(difference, count) + margin)
        lower = [row for _, row, _ in self.rows] + [np.array([-offset])]
        upper = [row for _, _, row in self.rows] + [np.array([-offset])]
        objective = np.zeros(count)
        objective[-1] = 1.0
        coefficients = sparse.vstack(matrices, format="csc")
        sides = np.concatenate([*lower, *upper, self.lower, self.upper])
        if (
            not max(
                _find_largest_magnitude(coefficients.data),
                _find_largest_magnitude(sides[np.isfinite(sides)]),
            )
            < _TOO_LARGE
        ):
            return Minimum("unknown", -inf)
        seconds = max(limits.seconds, 0.01)
        found = _solve(
            objective,
            integrality=integral,
            bounds=Bounds([*self.lower, -inf], [*self.upper, limits.threshold]),
            constraints=LinearConstraint(
                coefficients, np.concatenate(lower), np.concatenate(upper)
            ),
            options={"time_limit": seconds, "mip_rel_gap": _ANY_GAP if goal == "point" else 1e-6},
        )
        bound = -inf if found.mip_dual_bound is None else float(found.mip_dual_bound)
        if found.status == _OPTIMAL and not integral.any():  # no such bound
            bound = float(found.fun)
        if found.status == _INFEASIBLE:
            if not np.isfinite(limits.threshold):  # there are points, so the solver is wrong
                return Minimum("unknown", -inf)
            return Minimum("above", limits.threshold)
        if found.x is None:
            return Minimum("unknown", min(bound, limits.threshold))
        changes = np.asarray(found.x[: prod(self.shape)]).reshape(self.shape)
        return Minimum("below", min(bound, float(found.x[-1])), changes)


_OPTIMAL, _INFEASIBLE = 0, 2
"""The status of scipy.optimize.milp."""


def _find_largest_magnitude(values: Doubles) -> float:
    """Return the largest magnitude; NaN if there is one."""
    return float(np.abs(values).max(initial=0))


def encode_network(
    network: BoundableNetwork,
    changes: Interval,
    box: Interval,
    bounds: Sequence[Interval],
    *,
    whole: bool,
) -> Program:
    """Return the program for all images in a box.

    changes  bounds on those of the pixels that the net sees, (1, C, h, w), in grey levels
    box      bounds on the net's inputs for them
    bounds   on all nodes, in the box
    whole    whether the changes are whole grey levels
    """
    shape = network.nodes[0].shape
    program = Program(shape)
    least, most = changes.lower.ravel(), changes.upper.ravel()
    numbers = program.add_variables(least, most, integral=whole)
    spread = most - least
    open_ = spread > 0
    slopes = (box.upper.ravel() - box.lower.ravel()) / np.where(open_, spread, 1) * open_
    centre = (box.upper.ravel() + box.lower.ravel()) / 2
    first = Affine(
        sparse.csr_array((slopes, (numbers, numbers)), shape=(len(numbers), len(numbers))),
        np.where(open_, box.lower.ravel() - slopes * least, centre),
    )
    values = [first]
    for node in network.nodes[1:]:
        values.append(_encode_node(program, node, values, bounds))
    program.logits = values[-1]
    return program


def build_layer_matrix(layer: LinearLayer, shape: tuple[int, int, int]) -> Affine:
    """Return the matrix and the bias of a linear layer.

    shape  of its top
    """
    window = Window.from_shape(shape)
    below = layer.find_input_window(window)
    units = prod(shape)
    step = max(1, _VALUES // max(units, layer.count_working_values(window)))
    parts = []
    for start in range(0, units, step):
        some = np.arange(start, min(start + step, units))
        rows = np.zeros((len(some), units))
        rows[np.arange(len(some)), some] = 1
        found = layer.apply_transposed(rows.reshape(len(some), *shape), window)
        found = below.embed(found, Window.from_shape(layer.shape))
        parts.append(sparse.csr_array(found.reshape(len(some), -1)))
    offset = layer.forward(np.zeros((1, *layer.shape))).ravel()
    return Affine(sparse.vstack(parts, format="csr"), offset)


def _encode_node(
    program: Program, node: Node, values: list[Affine], bounds: Sequence[Interval]
) -> Affine:
    """Return a node's values, after adding the variables and the rows that it needs."""
    if node.layer is None:
        pairs = list(zip(node.coefficients, (values[it] for it in node.bottoms), strict=True))
        width = max(value.matrix.shape[1] for _, value in pairs)
        matrix = sum(factor * _stretch(value.matrix, width) for factor, value in pairs)
        return Affine(
            sparse.csr_array(matrix), np.sum([factor * it.offset for factor, it in pairs], axis=0)
        )
    bottom, given = values[node.bottoms[0]], bounds[node.bottoms[0]]
    if isinstance(node.layer, LinearLayer):
        linear = build_layer_matrix(node.layer, node.shape)
        return Affine(
            sparse.csr_array(linear.matrix @ bottom.matrix),
            linear.matrix @ bottom.offset + linear.offset,
        )
    if isinstance(node.layer, Relu):
        return _encode_relu(program, bottom, given)
    assert isinstance(node.layer, MaxPooling)
    return _encode_maximum(program, node.layer, bottom, given)


def _encode_relu(program: Program, bottom: Affine, given: Interval) -> Affine:
    """Return the ReLU of values: 0, the values themselves, or new variables."""
    lower, upper = given.lower.ravel(), given.upper.ravel()
    on = np.flatnonzero(lower >= 0)
    open_ = np.flatnonzero((lower < 0) & (upper > 0))
    used = np.concatenate([on, open_])
    inputs = _make_variables(program, bottom.select(used), lower[used], upper[used])
    before = inputs[len(on) :]
    least, most, zero = lower[open_], upper[open_], np.zeros(len(open_))
    free = np.full(len(open_), inf)
    after = program.add_variables(zero, most)
    active = program.add_variables(zero, zero + 1, integral=True)
    program.binaries += len(active)
    program.add_rows([(1, after), (-1, before)], zero, free)
    program.add_rows([(1, after), (-most, active)], -free, zero)
    program.add_rows([(1, after), (-1, before), (-least, active)], -free, -least)
    outputs = np.concatenate([inputs[: len(on)], after])
    width = len(program.lower)
    ones = np.ones(len(used))
    matrix = sparse.csr_array((ones, (used, outputs)), shape=(len(lower), width))
    return Affine(matrix, np.zeros(len(lower)))


def _encode_maximum(program: Program, layer: MaxPooling, bottom: Affine, given: Interval) -> Affine:
    """Return the maxima: for each window the value that is always the largest, or a variable."""
    places = np.arange(given.lower[0].size, dtype=np.float64).reshape(given.lower.shape)
    units = layer.sliding.gather(places, -1.0)[0].astype(np.int64)  # (C, places, h, w)
    units = units.transpose(0, 2, 3, 1).reshape(-1, units.shape[1])
    lower, upper = (np.append(it.ravel(), -inf)[units] for it in (given.lower, given.upper))
    highest = lower.max(axis=1)
    candidates = upper > highest[:, None]
    candidates[np.arange(len(units)), lower.argmax(axis=1)] = True
    sure = candidates.sum(axis=1) == 1
    windows = np.flatnonzero(~sure)
    used = np.unique(units[windows][candidates[windows]])
    inputs = _make_variables(
        program, bottom.select(used), given.lower.ravel()[used], given.upper.ravel()[used]
    )
    outputs = program.add_variables(highest[windows], upper[windows].max(axis=1, initial=-inf))
    where, place = np.nonzero(candidates[windows])
    members = inputs[np.searchsorted(used, units[windows][where, place])]
    chosen = program.add_variables(np.zeros(len(where)), np.ones(len(where)), integral=True)
    program.binaries += len(chosen)
    tops = outputs[where]
    free = np.full(len(where), inf)
    reach = upper[windows].max(axis=1, initial=-inf)[where] - lower[windows][where, place]
    program.add_rows([(1, tops), (-1, members)], np.zeros(len(where)), free)
    program.add_rows([(1, tops), (-1, members), (reach, chosen)], -free, reach)
    width = len(program.lower)
    one = np.ones(len(windows))
    choice = sparse.csr_array((np.ones(len(where)), (where, chosen)), shape=(len(windows), width))
    program.add_rows([], one, one, choice)
    alone = units[np.arange(len(units)), candidates.argmax(axis=1)]
    matrix = sparse.lil_array((len(units), width))
    matrix[windows, outputs] = 1
    keep = sparse.diags_array(sure.astype(np.float64))
    linear = keep @ _stretch(bottom.matrix[alone], width)
    return Affine(sparse.csr_array(linear + matrix), np.where(sure, bottom.offset[alone], 0.0))


def _make_variables(program: Program, values: Affine, lower: Doubles, upper: Doubles) -> Ints:
    """Return variables equal to the values; values that are already variables are reused."""
    matrix = sparse.csr_array(values.matrix)
    matrix.eliminate_zeros()
    found = np.full(len(lower), -1)
    single = np.flatnonzero((np.diff(matrix.indptr) == 1) & (values.offset == 0))
    single = single[matrix.data[matrix.indptr[single]] == 1]
    found[single] = matrix.indices[matrix.indptr[single]]
    new = np.flatnonzero(found < 0)
    found[new] = program.add_variables(lower[new], upper[new])
    program.add_rows([(-1, found[new])], -values.offset[new], -values.offset[new], matrix[new])
    return found


def _stretch(matrix: Any, width: int) -> Any:
    """Return a matrix with columns of zeros up to a width."""
    stretched = sparse.csr_array(matrix, copy=True)
    stretched.resize((matrix.shape[0], width))
    return stretched


def _solve(objective: Doubles, **settings: Any) -> Any:
    """Return milp()'s result; it runs in another thread, so that Ctrl-C need not wait for it."""
    found: list[Any] = []

    def work() -> None:
        try:
            found.append(milp(objective, **settings))
        except Exception as error:
            found.append(error)

    thread = Thread(target=work, daemon=True)
    with silence_stdout():  # HiGHS prints the names of some of its functions
        thread.start()
        while thread.is_alive():
            thread.join(_PAUSE)
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]
