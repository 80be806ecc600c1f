"""Transition states of nets with ReLUs: stationary points of index 1.

There are two kinds. At a smooth one the Hessian has one negative eigenvalue. At the other, there is
one falling kink: a ReLU's z is 0 for a sample, and the loss falls on both sides of it. Such a point
is a minimum among the nets with z = 0.

    find_transition_state(surface, before, behind, widths, most)

begins at a peak of a path. If the loss has a falling kink there, L-BFGS finds the minimum
with z = 0: the unit's bias is what makes z 0. Otherwise eigenvector following goes uphill along the
lowest mode and downhill along all others, on surfaces of softplus units, sharper and sharper: steps
of 2 g / (|e| (1 + sqrt(1 + 4 g^2 / e^2))) along the mode with eigenvalue e (Wales, 2003), with a
trust radius. Newton's method with the kinks as constraints (stationary.py) then finds the point.
"""

import numpy as np
from scipy.optimize import minimize

from caffe_ext.studies.landscape.network import (
    Doubles,
    LossSurface,
    Widths,
    count_parameters,
    split_parameters,
)
from caffe_ext.studies.landscape.paths import SHARPNESS
from caffe_ext.studies.landscape.quench import add_unit, descend, settle
from caffe_ext.studies.landscape.reduction import reduce_net
from caffe_ext.studies.landscape.stationary import (
    PULL,
    Place,
    StationaryPoint,
    compute_way_down,
    find_stationary_point,
)

_SHARPER = (SHARPNESS, 300.0, 1e3, 3e3, 1e4)
_FOLLOWED = 40
_SHORTEST, _LONGEST = 1e-5, 0.5
_ZERO = 1e-6
_HELD_STEPS = 2000
_HALVINGS = 50
_ACROSS = 1e-9
"""A share of a line, to both sides of its highest point, within which the kink lies."""
_ROUNDS = 4
_MERGES = ((1e-3, 1e-2), (0.1, 0.03), (0.3, 0.1), (0.02, 0.003))
_DISPLACEMENTS = (1e-3, 1e-2, 5e-2)


def find_transition_state(
    surface: LossSurface, before: Doubles, behind: Doubles, widths: Widths, most: Widths
) -> StationaryPoint | None:
    """Return the transition state to which a peak between two points leads; None if to none.

    most  the widths that the net may have
    """
    point, place = find_falling_kink(surface, before, behind, widths)
    if place is not None:
        found = settle_on_kink(surface, point, widths, place, most)
        if found is not None and found.is_transition_state:
            return found
    followed, reduced = reduce_net(point, widths, least=1e-2, angle=1e-3)
    for sharpness in _SHARPER:
        followed = follow_mode(surface, followed, reduced, sharpness)
    found = find_stationary_point(surface, *reduce_net(followed, reduced, least=1e-2, angle=1e-3))
    return found if found is not None and found.is_transition_state else None


def find_falling_kink(
    surface: LossSurface, before: Doubles, behind: Doubles, widths: Widths
) -> tuple[Doubles, Place | None]:
    """Return the highest point on a line, and the kink there at which the loss falls on both sides.

    None if there is no such kink: the loss is smooth there.
    """
    line = behind - before
    for _ in range(_HALVINGS):
        middle = (before + behind) / 2
        if surface.evaluate(middle, widths)[1] @ line > 0:
            before = middle
        else:
            behind = middle
    middle = (before + behind) / 2
    found = surface.compute_pass(middle, widths)
    layers = split_parameters(middle, widths)
    signs = [
        [values > 0 for values in surface.compute_pass(it, widths).values[:-1]]
        for it in (middle - _ACROSS * line, middle + _ACROSS * line)
    ]
    best, place = 0.0, None
    for number, (one, other) in enumerate(zip(*signs, strict=True)):
        pulls = found.errors[number + 1] @ layers[number + 1][:, :-1]
        for row, unit in zip(*np.nonzero(one != other), strict=True):
            if pulls[row, unit] < best:
                best, place = float(pulls[row, unit]), (number, int(row), int(unit))
    return middle, place


def descend_on_kink(
    surface: LossSurface,
    parameters: Doubles,
    widths: Widths,
    place: Place,
    sharpness: float | None = None,
) -> Doubles:
    """Return where L-BFGS ends among the nets with z = 0 of one hidden unit for one sample."""
    bias = _locate_bias(widths, place[0], place[2])
    places = np.array([place])

    def evaluate(given: Doubles) -> tuple[float, Doubles]:
        held = hold_kink(surface, given, widths, place)
        found = surface.compute_pass(held, widths, sharpness)
        gradient = surface.compute_gradient(held, found)
        normal = surface.differentiate_values(held, widths, found, places)[0]
        gradient = gradient - gradient[bias] * normal
        gradient[bias] = 0
        return found.energy, gradient

    options = {"maxiter": _HELD_STEPS, "maxfun": 2 * _HELD_STEPS, "maxcor": 20, "ftol": 1e-15}
    found = minimize(evaluate, parameters, jac=True, method="L-BFGS-B", options=options)
    return hold_kink(surface, found.x, widths, place)


def hold_kink(surface: LossSurface, parameters: Doubles, widths: Widths, place: Place) -> Doubles:
    """Return the net with another bias, so that z = 0 of one hidden unit for one sample."""
    layer, row, unit = place
    held = parameters.copy()
    values = surface.compute_pass(held, widths).values
    held[_locate_bias(widths, layer, unit)] -= values[layer][row, unit]
    return held


def settle_on_kink(
    surface: LossSurface, parameters: Doubles, widths: Widths, place: Place, most: Widths
) -> StationaryPoint | None:
    """Return the minimum among the nets with z = 0, as a reduced net; None if none was found.

    place  of z: hidden layer, sample, unit
    most   the widths that the net may have
    """
    point, last = parameters, None
    layer, row, _ = place
    for number in range(_ROUNDS):
        for sharpness in (SHARPNESS, 1e4, None) if number == 0 else (1e4, None):
            point = descend_on_kink(surface, point, widths, place, sharpness)
        angle, least = _MERGES[number]
        point, widths = reduce_net(point, widths, least=least, angle=angle)
        if not all(widths):
            return last
        values = surface.compute_pass(point, widths).values[layer][row]
        place = (layer, row, int(np.abs(values).argmin()))
        if abs(values[place[2]]) > 1e-2:
            return last
        point = descend_on_kink(surface, point, widths, place)
        found = find_stationary_point(surface, point, widths)
        if found is None:
            continue
        if found.is_transition_state:
            return found
        last = found
        if place in found.falling and found.pull > 1 + PULL:
            point, widths = add_unit(surface, found, most)
    return last


def follow_mode(
    surface: LossSurface, parameters: Doubles, widths: Widths, sharpness: float
) -> Doubles:
    """Return where eigenvector following ends on the surface of softplus units."""
    energy, gradient = surface.evaluate(parameters, widths, sharpness)
    mode: Doubles | None = None
    trust = 0.02
    for _ in range(_FOLLOWED):
        eigenvalues, vectors = np.linalg.eigh(
            surface.compute_hessian(parameters, widths, sharpness)
        )
        chosen = 0 if mode is None else int(np.abs(vectors.T @ mode).argmax())
        mode = vectors[:, chosen]
        parts = vectors.T @ gradient
        sizes = np.maximum(np.abs(eigenvalues), _ZERO)
        steps = -2 * parts / (sizes * (1 + np.sqrt(1 + 4 * parts**2 / sizes**2)))
        steps[chosen] *= -1
        while True:
            part = steps * min(1.0, trust / max(float(np.linalg.norm(steps)), 1e-300))
            moved = parameters + vectors @ part
            after, new = surface.evaluate(moved, widths, sharpness)
            predicted = parts @ part + (eigenvalues * part**2).sum() / 2
            error = abs((after - energy) / predicted - 1) if abs(predicted) > 1e-12 else 0.0
            if error < 0.5 or trust < _SHORTEST:
                break
            trust /= 3
        parameters, energy, gradient = moved, after, new
        if error < 0.2:
            trust = min(1.5 * trust, _LONGEST)
        if np.linalg.norm(gradient) < 1e-10:
            break
    return parameters


def descend_both_sides(
    surface: LossSurface, point: StationaryPoint, most: Widths
) -> list[StationaryPoint | None]:
    """Return the minima below a transition state, one on each side; None: none was reached.

    most  the widths that the nets may have

    The first step down is the smallest one that lowers the loss, the rest L-BFGS.
    """
    direction = compute_way_down(surface, point)
    found: list[StationaryPoint | None] = []
    for sign in (-1, 1):
        for size in _DISPLACEMENTS:
            moved = point.parameters + sign * size * direction
            if surface.compute_pass(moved, point.widths).energy < point.energy - 1e-9:
                lower = descend(surface, moved, point.widths, (None,))
                found.append(settle(surface, lower, point.widths, most))
                break
        else:
            found.append(None)
    return found


def _locate_bias(widths: Widths, layer: int, unit: int) -> int:
    """Return the number of a hidden unit's bias among the parameters."""
    return count_parameters(widths[: layer + 1]) + (unit + 1) * (widths[layer] + 1) - 1
