"""Sensitivity: the volume of a box that contains the logits of all inputs near a sample.

    S = prod_j (u_j - l_j),   |x'_p - x_p| <= sigma range_p

with the dual bounds of Wong and Kolter (2018) on the logits, in float64 without a margin:

first layer  l, u = W_1 x + b_1 -+ |W_1| eps
ReLU         d = 0 if u <= 0, 1 if l >= 0, else u / (u - l)
rows         A_L = W_L,  nu_k = A_k d_k,  A_(k-1) = nu_k W_(k-1)
width        2 sum_p eps_p |A_1p| + sum of |l| |nu| over all units with l < 0 < u
"""

from dataclasses import dataclass

import numpy as np

from caffe_ext.studies.landscape.network import Doubles, Widths, split_parameters


@dataclass(frozen=True, eq=False)
class Box:
    """All inputs within radii of a centre, float64 (features,) each."""

    centre: Doubles
    radii: Doubles


def compute_dual_bounds(
    parameters: Doubles, widths: Widths, inputs: Doubles, radii: Doubles
) -> tuple[Doubles, Doubles]:
    """Return the lower and upper bounds of the logits, (N, classes) each.

    inputs  float64 (N, features), the centres of the boxes
    radii   float64 (features,) or (N, features), 0 or more
    """
    return compute_layer_bounds(parameters, widths, inputs, radii)[-1]


def compute_layer_bounds(
    parameters: Doubles, widths: Widths, inputs: Doubles, radii: Doubles
) -> list[tuple[Doubles, Doubles]]:
    """Return the bounds of z of each layer; the arguments are those of compute_dual_bounds()."""
    layers = split_parameters(parameters, widths)
    count = len(inputs)
    radii = np.broadcast_to(radii, inputs.shape)
    bounds: list[tuple[Doubles, Doubles]] = []
    slopes: list[Doubles] = []
    lifts: list[Doubles] = []
    for number, layer in enumerate(layers):
        rows = np.broadcast_to(layer[:, :-1], (count, *layer[:, :-1].shape))
        centre = np.broadcast_to(layer[:, -1], (count, len(layer)))
        below, above = np.zeros(centre.shape), np.zeros(centre.shape)
        for before in range(number - 1, -1, -1):
            nu = rows * slopes[before][:, None, :]
            below = below + (np.maximum(-nu, 0) @ lifts[before][:, :, None])[..., 0]
            above = above + (np.maximum(nu, 0) @ lifts[before][:, :, None])[..., 0]
            centre = centre + nu @ layers[before][:, -1]
            rows = nu @ layers[before][:, :-1]
        centre = centre + (rows @ inputs[:, :, None])[..., 0]
        reach = (np.abs(rows) @ radii[:, :, None])[..., 0]
        lower, upper = centre - reach - below, centre + reach + above
        bounds.append((lower, upper))
        open_ = (lower < 0) & (upper > 0)
        spread = np.where(open_, upper - lower, 1)
        slopes.append(np.where(open_, upper / spread, (lower >= 0).astype(np.float64)))
        lifts.append(np.where(open_, -lower, 0.0))
    return bounds


def measure_sensitivity(
    parameters: Doubles, widths: Widths, inputs: Doubles, radii: Doubles
) -> Doubles:
    """Return S of each sample, (N,)."""
    lower, upper = compute_dual_bounds(parameters, widths, inputs, radii)
    return np.asarray((upper - lower).prod(axis=1))
