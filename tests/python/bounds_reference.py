"""The dual bound of Wong and Kolter (2018), as it is written: dense matrices, image by image."""

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Affine = tuple[Doubles, Doubles]


def convolution_matrix(
    weights: Doubles,
    shape: tuple[int, int, int],
    *,
    stride: int,
    pad: int,
    dilation: int,
    group: int,
) -> Doubles:
    """Return the convolution of a blob (C, H, W) as a matrix, entry by entry."""
    outputs, channels, kernel, _ = weights.shape
    reach = (kernel - 1) * dilation + 1
    height, width = ((side + 2 * pad - reach) // stride + 1 for side in shape[1:])
    matrix = np.zeros((outputs, height, width, *shape))
    for o, y, x, c, a, b in np.ndindex(outputs, height, width, channels, kernel, kernel):
        row, column = y * stride - pad + a * dilation, x * stride - pad + b * dilation
        if 0 <= row < shape[1] and 0 <= column < shape[2]:
            channel = o // (outputs // group) * channels + c
            matrix[o, y, x, channel, row, column] += weights[o, c, a, b]
    return matrix.reshape(outputs * height * width, -1)


def dual_bounds(layers: list[Affine], centre: Doubles, radius: Doubles) -> list[Affine]:
    """Return l and u before each ReLU and of the last layer of W_L relu(... relu(W_1 x + b_1)).

    centre, radius  of the box of x
    """
    bounds: list[Affine] = []
    for count in range(1, len(layers) + 1):
        units = len(layers[count - 1][1])
        lower = np.array(
            [_dual(layers[:count], bounds, centre, radius, row) for row in np.eye(units)]
        )
        upper = np.array(
            [-_dual(layers[:count], bounds, centre, radius, -row) for row in np.eye(units)]
        )
        bounds.append((lower, upper))
    return bounds


def _dual(
    layers: list[Affine], bounds: list[Affine], centre: Doubles, radius: Doubles, c: Doubles
) -> float:
    """Return J(c), at most min c^T z of the last of these layers."""
    nu = -c
    total = 0.0
    for number in range(len(layers) - 1, -1, -1):
        weights, bias = layers[number]
        total -= float(nu @ bias)
        hat = weights.T @ nu
        if number == 0:
            return float(total - centre @ hat - radius @ np.abs(hat))
        nu = np.empty_like(hat)
        for k, (lower, upper) in enumerate(zip(*bounds[number - 1], strict=True)):
            if upper <= 0:
                nu[k] = 0
            elif lower >= 0:
                nu[k] = hat[k]
            else:
                nu[k] = upper / (upper - lower) * hat[k]
                total += float(lower * max(nu[k], 0))
    raise AssertionError("there is a first layer")
