"""A net with its superfluous units removed: the same function with as little regularisation.

With ReLUs and the penalty ||p||^2, a unit with incoming weights w (with the bias) and outgoing ones
v computes v relu(w a). These do not change the function:

scaling    c w and v / c. The penalty is least where |w| = |v|.
splitting  two units with w / |w| in common are one with v = sum |w_j| v_j. Where their v are
           parallel, too, the penalty is the same, so minima are not points but valleys; the reduced
           net is one for all of a valley.
order      of the units in a layer.

Units with w = 0 and v = 0 are not there.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from caffe_ext.studies.landscape.network import (
    Doubles,
    Ints,
    Widths,
    join_layers,
    split_parameters,
)


def reduce_net(
    parameters: Doubles, widths: Widths, *, least: float = 1e-3, angle: float = 1e-3
) -> tuple[Doubles, Widths]:
    """Return p and the widths of a net without units that do nothing or are parallel to another.

    least  units with sqrt(|w| |v|) below it are removed
    angle  of two units' w, in radians, below which they become one
    """
    layers = [layer.copy() for layer in split_parameters(parameters, widths)]
    for number in range(len(layers) - 1):
        given, taken = layers[number], layers[number + 1]
        lengths = np.linalg.norm(given, axis=1)
        outgoing = np.linalg.norm(taken[:, :-1], axis=0)
        units = np.flatnonzero(np.sqrt(lengths * outgoing) > least)
        groups: list[list[int]] = []
        for unit in units[np.argsort(-(lengths * outgoing)[units])]:
            direction = given[unit] / lengths[unit]
            for group in groups:
                first = given[group[0]] / lengths[group[0]]
                if np.linalg.norm(first - direction) < angle:
                    group.append(int(unit))
                    break
            else:
                groups.append([int(unit)])
        rows, columns = [], []
        for group in groups:
            vector = taken[:, group] @ lengths[group]
            direction = (given[group].T @ outgoing[group]) / outgoing[group].sum()
            direction /= np.linalg.norm(direction)
            length = np.sqrt(np.linalg.norm(vector))
            if length > 0:
                rows.append(length * direction)
                columns.append(vector / length)
        layers[number] = np.array(rows).reshape(len(rows), given.shape[1])
        bias = taken[:, -1:]
        layers[number + 1] = np.hstack([np.array(columns).reshape(len(rows), len(taken)).T, bias])
    return join_layers(layers)


def pad_net(parameters: Doubles, widths: Widths, full: Widths) -> Doubles:
    """Return p of a wider net that computes the same: the other units are 0, behind these."""
    padded = []
    for number, layer in enumerate(split_parameters(parameters, widths)):
        wider = np.zeros((full[number + 1], full[number] + 1))
        wider[: layer.shape[0], : layer.shape[1] - 1] = layer[:, :-1]
        wider[: layer.shape[0], -1] = layer[:, -1]
        padded.append(wider)
    return join_layers(padded)[0]


def reorder_units(parameters: Doubles, widths: Widths, orders: list[Ints]) -> Doubles:
    """Return p with the units of each hidden layer in other orders."""
    layers = [layer.copy() for layer in split_parameters(parameters, widths)]
    for number, order in enumerate(orders):
        layers[number] = layers[number][order]
        layers[number + 1][:, :-1] = layers[number + 1][:, order]
    return join_layers(layers)[0]


def align_units(parameters: Doubles, widths: Widths, reference: Doubles) -> Doubles:
    """Return p with the units of each hidden layer in the order that fits a reference best.

    Layer after layer: the order with the least sum of squared differences of the incoming weights,
    and of the outgoing ones, of which the order does not matter, by their lengths.
    """
    aligned = parameters
    others = split_parameters(reference, widths)
    orders: list[Ints] = []
    for number in range(len(widths) - 2):
        layers = split_parameters(aligned, widths)
        mine, other = layers[number], others[number]
        outgoing = np.linalg.norm(layers[number + 1][:, :-1], axis=0)
        wanted = np.linalg.norm(others[number + 1][:, :-1], axis=0)
        cost = ((other[:, None] - mine[None]) ** 2).sum(axis=2)
        cost = cost + (wanted[:, None] - outgoing[None]) ** 2
        order = np.asarray(linear_sum_assignment(cost)[1], np.int64)
        orders = [np.arange(width) for width in widths[1:-1]]
        orders[number] = order
        aligned = reorder_units(aligned, widths, orders)
    return aligned
