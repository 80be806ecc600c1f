"""Points where the loss of a net with ReLUs is stationary, to the last digits, and what they are.

A ReLU's z is 0 for some samples at most minima: the loss has a kink there. At a kink the unit's
slope s is one of [0, 1], and a point is stationary (Clarke) if the loss with some such slopes,
L_s, has the gradient 0. So p and the slopes s of all kinks k together solve

    grad L_s(p) = 0,    z_k(p) = 0,

by Newton's method, with least-squares steps since minima are valleys. Which z are kinks is guessed
from their size, and corrected until all other z have the signs of their slopes and all s are in
[0, 1]. The point is a minimum on its valley if

* the loss rises on both sides of each kink: 0 < s < 1 and dL/dh > 0 for the unit's output h;
* the gradients of the z_k are linearly independent;
* L_s has no negative eigenvalue on the tangent space of the kinks;
* no new unit lowers the loss: a unit with incoming weights t w and outgoing ones t v changes it by
  t^2 (penalty (|w|^2 + |v|^2) + sum_n errors_n v relu(w a_n)), which is positive for all w and v if
  max |sum_n errors_n relu(w a_n)| over |w| = 1, the pull, is below 2 penalty. It is exactly
  2 penalty at the w of a unit that is there, as units can be split.

The first three are those of Griewank and Walther (2016, "First- and second-order optimality
conditions for piecewise smooth objective functions"); eigenvalues within ZERO of 0 count as those
of the valley. The pull is a maximum over many starts, so it may be missed: it is searched, not
proved.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear

from caffe_ext.studies.landscape.network import (
    Bools,
    Doubles,
    LossSurface,
    Widths,
    split_parameters,
)

CONVERGED = 1e-8
"""The largest residual of a stationary point: of the gradient's values and of the kinks' z."""
ZERO = 1e-7
"""Eigenvalues of the Hessian up to this magnitude count as 0; the penalty's alone is 2e-3."""
PULL = 1e-5
"""By how much more than 2 penalty the pull on a new unit must be, relatively, to lower the loss."""
_TOLERANCES = (1e-4, 1e-5, 1e-3, 1e-2)
_ROUNDS, _STEPS = 15, 15
_SLACK = 1e-7
_EXACT = 1e-13
_STARTS = 100
Place = tuple[int, int, int]
"""Of a kink: hidden layer, sample, unit."""


@dataclass(frozen=True, eq=False)
class StationaryPoint:
    """A stationary point of a net with ReLUs.

    kinks         z that are 0, each with its slope
    residual      largest magnitude of the gradient and of the kinks' z
    signs         numbers of negative, zero and positive eigenvalues on the kinks' tangent space
    lowest        the lowest eigenvalue there
    rank          of the gradients of the kinks' z
    falling       the kinks at which the loss falls on both sides
    strict        all slopes are inside (0, 1), and no kink is flat
    pull          the largest pull on a new unit in any layer, as found, over 2 penalty
    """

    energy: float
    parameters: Doubles
    widths: Widths
    kinks: dict[Place, float]
    residual: float
    signs: tuple[int, int, int]
    lowest: float
    rank: int
    falling: tuple[Place, ...]
    strict: bool
    pull: float

    @property
    def index(self) -> int:
        """Return the number of independent ways down: falling kinks and negative eigenvalues."""
        return len(self.falling) + self.signs[0]

    @property
    def is_certain(self) -> bool:
        """Tell whether the index is that of the point: converged, without degenerate kinks or ways
        down by new units.
        """
        return (
            self.residual <= CONVERGED
            and self.strict
            and self.rank == len(self.kinks)
            and self.pull <= 1 + PULL
        )

    @property
    def is_minimum(self) -> bool:
        """Tell whether it has all signs of a minimum, or of a valley of minima."""
        return self.is_certain and self.index == 0

    @property
    def is_transition_state(self) -> bool:
        """Tell whether it has all signs of a point from which there are two ways down."""
        return self.is_certain and self.index == 1


@dataclass(frozen=True, eq=False)
class _System:
    """The equations at a point, their derivatives, the slopes, and dL/dh of the kinks."""

    gradient: Doubles
    values: Doubles
    normals: Doubles
    pulls: Doubles
    slopes: list[Doubles]
    signs: list[Doubles]

    @property
    def residual(self) -> float:
        return max(_find_largest(self.gradient), _find_largest(self.values))


def find_stationary_point(
    surface: LossSurface, parameters: Doubles, widths: Widths
) -> StationaryPoint | None:
    """Return the stationary point next to a point of a reduced net; None if there seems none."""
    energy = surface.compute_pass(parameters, widths).energy
    for tolerance in _TOLERANCES:
        found = _solve(surface, parameters, widths, tolerance)
        if found is None:
            continue
        point, kinks = found
        if surface.compute_pass(point, widths).energy > energy + 1e-4:
            continue
        return assess(surface, point, widths, kinks)
    return None


def assess(
    surface: LossSurface, parameters: Doubles, widths: Widths, kinks: dict[Place, float]
) -> StationaryPoint:
    """Return what a point is, with these kinks and slopes."""
    system = _set_up(surface, parameters, widths, kinks)
    eigenvalues, _, rank = _decompose(surface, parameters, widths, system)
    negative = int((eigenvalues < -ZERO).sum())
    positive = int((eigenvalues > ZERO).sum())
    slopes = np.array(list(kinks.values()))
    return StationaryPoint(
        surface.compute_pass(parameters, widths).energy,
        parameters,
        widths,
        kinks,
        system.residual,
        (negative, len(eigenvalues) - negative - positive, positive),
        float(eigenvalues.min(initial=0)),
        rank,
        tuple(place for place, pull in zip(kinks, system.pulls, strict=True) if pull < 0),
        bool((system.pulls != 0).all() and ((slopes > 0) & (slopes < 1)).all()),
        max(found[0] for found in _search_new_units(surface, parameters, widths, system.slopes)),
    )


def compute_lowest_mode(surface: LossSurface, point: StationaryPoint) -> Doubles:
    """Return the eigenvector of the lowest eigenvalue on the kinks' tangent space."""
    system = _set_up(surface, point.parameters, point.widths, point.kinks)
    return _decompose(surface, point.parameters, point.widths, system)[1][:, 0]


def compute_way_down(surface: LossSurface, point: StationaryPoint) -> Doubles:
    """Return the direction (P,), of length 1, in which a point of index 1 falls on both sides.

    It crosses the falling kink and no other one, or is the mode with the negative eigenvalue.
    """
    if not point.falling:
        return compute_lowest_mode(surface, point)
    system = _set_up(surface, point.parameters, point.widths, point.kinks)
    across = np.array([float(place in point.falling) for place in point.kinks])
    direction = np.linalg.lstsq(system.normals, across, rcond=1e-9)[0]
    return np.asarray(direction / np.linalg.norm(direction))


def _decompose(
    surface: LossSurface, parameters: Doubles, widths: Widths, system: _System
) -> tuple[Doubles, Doubles, int]:
    """Return the Hessian's eigenvalues and eigenvectors on the kinks' tangent space, and the rank
    of the kinks.
    """
    hessian = surface.compute_hessian(parameters, widths, slopes=system.slopes)
    rank, basis = 0, np.eye(len(parameters))
    if len(system.values):
        _, singular, right = np.linalg.svd(system.normals)
        rank = int((singular > 1e-8 * max(1.0, singular[0])).sum())
        basis = right[rank:].T
    eigenvalues, vectors = np.linalg.eigh(basis.T @ hessian @ basis)
    return eigenvalues, basis @ vectors, rank


def search_new_units(
    surface: LossSurface, point: StationaryPoint
) -> list[tuple[float, Doubles, Doubles]]:
    """Return for each hidden layer the largest pull on a new unit over 2 penalty, and its w and v.

    The starts are the samples, random combinations of them, and the units that are there.
    """
    system = _set_up(surface, point.parameters, point.widths, point.kinks)
    return _search_new_units(surface, point.parameters, point.widths, system.slopes)


def _search_new_units(
    surface: LossSurface, parameters: Doubles, widths: Widths, slopes: list[Doubles]
) -> list[tuple[float, Doubles, Doubles]]:
    found = surface.compute_pass(parameters, widths, slopes=slopes)
    rng = np.random.default_rng(0)
    results = []
    for number in range(len(widths) - 2):
        inputs, errors = found.inputs[number], found.errors[number + 1]
        centred = inputs - inputs.mean(axis=0)
        starts = rng.normal(size=(_STARTS, len(inputs))) @ centred
        own = split_parameters(parameters, widths)[number]
        directions = np.concatenate([starts, -inputs, inputs, own])
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        directions = directions / np.where(lengths > 0, lengths, 1)
        for _ in range(60):
            on = (directions @ inputs.T > 0).astype(np.float64)
            pulls = -((on * (directions @ inputs.T)) @ errors)
            factors = pulls @ errors.T
            ascent = -(on * factors) @ inputs
            lengths = np.linalg.norm(ascent, axis=1, keepdims=True)
            directions = np.where(lengths > 0, ascent / np.where(lengths > 0, lengths, 1), 0.0)
        pulls = -(np.maximum(directions @ inputs.T, 0) @ errors)
        strength = np.linalg.norm(pulls, axis=1)
        best = int(strength.argmax())
        vector = pulls[best] / max(strength[best], 1e-300)
        results.append((float(strength[best]) / (2 * surface.penalty), directions[best], vector))
    return results


def _solve(
    surface: LossSurface, parameters: Doubles, widths: Widths, tolerance: float
) -> tuple[Doubles, dict[Place, float]] | None:
    """Return a solution of the equations with consistent kinks, or None."""
    found = surface.compute_pass(parameters, widths)
    kinks = _list_places([np.abs(values) < tolerance for values in found.values[:-1]])
    slopes = dict.fromkeys(kinks, 0.5)
    signs = [(values > 0).astype(np.float64) for values in found.values[:-1]]
    point = parameters
    for _ in range(_ROUNDS):
        if len(slopes) >= len(point):
            return None
        slopes = _fit_slopes(surface, point, widths, slopes, signs)
        solved = _iterate(surface, point, widths, slopes, signs)
        if solved is None:
            return None
        reached, slopes, system = solved
        before, after = (
            surface.compute_pass(it, widths, slopes=system.slopes).values[:-1]
            for it in (point, reached)
        )
        share, crossed = _find_first_crossing(before, after, signs, slopes)
        point = point + share * (reached - point)
        loose = [place for place, slope in slopes.items() if slope < -_SLACK or slope > 1 + _SLACK]
        if not crossed and not loose:
            if system.residual > CONVERGED:
                return None
            return point, {place: min(max(s, 0.0), 1.0) for place, s in slopes.items()}
        for layer, row, unit in loose if not crossed else []:
            signs[layer][row, unit] = float(slopes.pop((layer, row, unit)) > 1)
        for place in crossed:
            slopes[place] = 0.5
    return None


def _iterate(
    surface: LossSurface,
    point: Doubles,
    widths: Widths,
    slopes: dict[Place, float],
    signs: list[Doubles],
) -> tuple[Doubles, dict[Place, float], _System] | None:
    """Return p and the slopes after Newton's steps, and the equations there; None: they diverge."""
    start, last = point, np.inf
    for _ in range(_STEPS):
        system = _set_up(surface, point, widths, slopes, signs)
        if not np.isfinite(system.residual):
            return None
        if system.residual < _EXACT or CONVERGED > system.residual > 0.5 * last:
            break
        last = system.residual
        count, kinks = len(point), len(slopes)
        matrix = np.zeros((count + kinks, count + kinks))
        matrix[:count, :count] = surface.compute_hessian(point, widths, slopes=system.slopes)
        matrix[:count, count:] = system.normals.T * system.pulls
        matrix[count:, :count] = system.normals
        right = -np.concatenate([system.gradient, system.values])
        step = np.linalg.lstsq(matrix, right, rcond=1e-9)[0]
        point = point + step[:count]
        slopes = {
            place: slope + change
            for (place, slope), change in zip(slopes.items(), step[count:], strict=True)
        }
        if not np.linalg.norm(point - start) < 0.5 + 0.1 * np.linalg.norm(start):
            return None
    return point, slopes, _set_up(surface, point, widths, slopes, signs)


def _fit_slopes(
    surface: LossSurface,
    point: Doubles,
    widths: Widths,
    slopes: dict[Place, float],
    signs: list[Doubles],
) -> dict[Place, float]:
    """Return the slopes in [0, 1] for which the gradient is smallest, nearly: it is not linear."""
    if not slopes:
        return slopes
    system = _set_up(surface, point, widths, slopes, signs)
    matrix = system.normals.T * system.pulls
    given = np.array(list(slopes.values()))
    fitted = lsq_linear(matrix, matrix @ given - system.gradient, (0.0, 1.0)).x
    return dict(zip(slopes, fitted.tolist(), strict=True))


def _set_up(
    surface: LossSurface,
    point: Doubles,
    widths: Widths,
    kinks: dict[Place, float],
    signs: list[Doubles] | None = None,
) -> _System:
    """Return the equations; signs: the slopes of the other units, None: those of their z."""
    if signs is None:
        found = surface.compute_pass(point, widths)
        signs = [(values > 0).astype(np.float64) for values in found.values[:-1]]
    slopes = [sign.copy() for sign in signs]
    for (layer, row, unit), slope in kinks.items():
        slopes[layer][row, unit] = slope
    found = surface.compute_pass(point, widths, slopes=slopes)
    layers = split_parameters(point, widths)
    values, pulls = np.zeros(len(kinks)), np.zeros(len(kinks))
    normals = np.zeros((len(kinks), len(point)))
    places = np.array(list(kinks), np.int64).reshape(-1, 3)
    for layer in np.unique(places[:, 0]).tolist():
        chosen = places[:, 0] == layer
        rows, units = places[chosen, 1], places[chosen, 2]
        values[chosen] = found.values[layer][rows, units]
        factors = layers[layer + 1][:, units].T
        pulls[chosen] = (found.errors[layer + 1][rows] * factors).sum(axis=1)
        normals[chosen] = surface.differentiate_values(point, widths, found, places[chosen])
    return _System(
        surface.compute_gradient(point, found),
        values,
        normals,
        pulls,
        slopes,
        signs,
    )


def _find_first_crossing(
    before: list[Doubles], after: list[Doubles], signs: list[Doubles], kinks: dict[Place, float]
) -> tuple[float, list[Place]]:
    """Return up to which share of a step all z but the kinks keep their signs, and which ends it.

    Not the whole list: with the first one at its kink, the next step is another.
    """
    share = 1.0
    first: list[Place] = []
    for place in _list_places(
        [(values > 0) != (sign > 0) for values, sign in zip(after, signs, strict=True)]
    ):
        if place in kinks:
            continue
        layer, row, unit = place
        old, new = before[layer][row, unit], after[layer][row, unit]
        crossing = float(np.clip(old / (old - new), 0, 1)) if old != new else 0.0
        if crossing < share - 1e-12 or not first:
            share, first = crossing, [place]
        elif crossing <= share:
            first.append(place)
    return share, first


def _find_largest(values: Doubles) -> float:
    """Return the largest magnitude."""
    return float(np.abs(values).max(initial=0))


def _list_places(masks: list[Bools]) -> list[Place]:
    """Return where masks are true, one for each hidden layer."""
    return [
        (number, int(row), int(unit))
        for number, mask in enumerate(masks)
        for row, unit in zip(*np.nonzero(mask), strict=True)
    ]
