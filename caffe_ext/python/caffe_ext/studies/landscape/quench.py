"""From any parameters downhill to a minimum of a net with ReLUs.

1. L-BFGS on the net with softplus units of increasing sharpness, then with ReLUs.
2. The reduced net, in which L-BFGS is fast; units that are nearly parallel are merged and it is run
   again.
3. Newton's method with the kinks as constraints (stationary.py).
4. If the point is stationary but no minimum, a step down: along the eigenvector of the lowest
   eigenvalue, or with a new unit. Then again from 2.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize

from caffe_ext.studies.landscape.network import (
    Doubles,
    LossSurface,
    Widths,
    join_layers,
    split_parameters,
)
from caffe_ext.studies.landscape.reduction import reduce_net
from caffe_ext.studies.landscape.stationary import (
    PULL,
    StationaryPoint,
    compute_lowest_mode,
    find_stationary_point,
    search_new_units,
)

SCHEDULES: tuple[tuple[float | None, ...], ...] = (
    (10.0, 100.0, 1000.0, None),
    (100.0, 1000.0, None),
    (1000.0, None),
)
"""Sharpness of the units on the way down; the smoother the first, the fewer the minima."""
_FULL_STEPS, _STEPS = 250, 2000
_MERGES = ((0.3, 0.03), (0.1, 0.01), (0.5, 0.1), (0.02, 0.003))
"""Angles and least sizes of units for reduce_net(), in turn."""
_ROUNDS, _ROUNDS_OF_INEXACT = 8, 3
_EXACT = 1e-11
_STRIDE = 0.05


def initialize_net(widths: Widths, rng: np.random.Generator) -> Doubles:
    """Return random weights, Gaussian with the variance 2 / inputs, and biases 0."""
    layers = []
    for below, units in pairwise(widths):
        weights = rng.normal(size=(units, below)) * np.sqrt(2 / below)
        layers.append(np.hstack([weights, np.zeros((units, 1))]))
    return join_layers(layers)[0]


def descend(
    surface: LossSurface,
    parameters: Doubles,
    widths: Widths,
    sharpness: Sequence[float | None] = SCHEDULES[0],
    steps: int = _STEPS,
) -> Doubles:
    """Return where L-BFGS ends, on one surface after another; None: that of ReLUs."""
    for one in sharpness:
        parameters = minimize(
            surface.evaluate,
            parameters,
            (widths, one),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": steps,
                "maxfun": 2 * steps,
                "maxcor": 20,
                "ftol": 1e-15,
                "gtol": 1e-9,
            },
        ).x
    return parameters


def quench(
    surface: LossSurface,
    parameters: Doubles,
    widths: Widths,
    sharpness: Sequence[float | None] = SCHEDULES[0],
) -> StationaryPoint | None:
    """Return the minimum, as a reduced net, or the last stationary point; None if there is none."""
    point = descend(surface, parameters, widths, sharpness, _FULL_STEPS)
    return settle(surface, point, widths, widths)


def settle(
    surface: LossSurface, parameters: Doubles, widths: Widths, most: Widths
) -> StationaryPoint | None:
    """Return the minimum next to parameters that L-BFGS has brought near one; as quench() does.

    most  the widths that the net may have: a new unit needs room
    """
    point, last, best = parameters, None, None
    for number in range(_ROUNDS):
        angle, least = _MERGES[number % len(_MERGES)]
        point, widths = reduce_net(point, widths, least=least, angle=angle)
        point = descend(surface, point, widths, (1e4, None))
        found = find_stationary_point(surface, point, widths)
        if found is None:
            continue
        if found.is_minimum:
            # Newton's method is slow where a unit is about to vanish; with fewer units it is not.
            best = found if best is None or found.residual < best.residual else best
            if best.residual < _EXACT or number >= _ROUNDS_OF_INEXACT:
                return best
            point, widths = found.parameters, found.widths
            continue
        last = found
        point, widths = step_down(surface, found, most)
    return best or last


def step_down(surface: LossSurface, found: StationaryPoint, most: Widths) -> tuple[Doubles, Widths]:
    """Return a point of lower energy near a stationary point that is no minimum, or the point."""
    if found.signs[0]:
        mode = compute_lowest_mode(surface, found)
        around = [found.parameters + sign * _STRIDE * mode for sign in (-1, 1)]
        energies = [surface.compute_pass(it, found.widths).energy for it in around]
        return around[int(np.argmin(energies))], found.widths
    if found.pull > 1 + PULL:
        return add_unit(surface, found, most)
    return found.parameters, found.widths


def add_unit(surface: LossSurface, found: StationaryPoint, most: Widths) -> tuple[Doubles, Widths]:
    """Return a net with the new unit of the largest pull, small; the net as it is without room."""
    units = search_new_units(surface, found)
    number = max(range(len(units)), key=lambda place: units[place][0])
    if found.widths[number + 1] >= most[number + 1]:
        return found.parameters, found.widths
    _, incoming, outgoing = units[number]
    layers = list(split_parameters(found.parameters, found.widths))
    layers[number] = np.vstack([layers[number], _STRIDE * incoming])
    above = layers[number + 1]
    layers[number + 1] = np.hstack([above[:, :-1], _STRIDE * outgoing[:, None], above[:, -1:]])
    return join_layers(layers)
