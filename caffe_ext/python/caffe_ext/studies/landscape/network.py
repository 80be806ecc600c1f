"""A small net of fully connected layers and its loss as a function of all parameters, in float64.

    loss = mean over the samples of the cross-entropy + penalty ||p||^2

The parameters p are one vector: for each layer its weights (outputs, inputs + 1), the bias in the
last column. The hidden units are ReLUs, softplus functions log(1 + exp(b z)) / b, which become
ReLUs as b grows, or linear ones with a given slope for each sample: with the slopes of ReLUs,
where these are differentiable, all derivatives are theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Widths = tuple[int, ...]
"""The number of inputs, of the units of each hidden layer, and of classes."""


def count_parameters(widths: Widths) -> int:
    """Return the length of p."""
    return sum((below + 1) * units for below, units in pairwise(widths))


def split_parameters(parameters: Doubles, widths: Widths) -> list[Doubles]:
    """Return the layers as views of p (..., P): (..., outputs, inputs + 1)."""
    layers, start = [], 0
    for below, units in pairwise(widths):
        stop = start + units * (below + 1)
        part = parameters[..., start:stop]
        layers.append(part.reshape(*part.shape[:-1], units, below + 1))
        start = stop
    return layers


def join_layers(layers: Sequence[Doubles]) -> tuple[Doubles, Widths]:
    """Return p and the widths of a net's layers."""
    widths = (layers[0].shape[1] - 1, *(len(layer) for layer in layers))
    return np.concatenate([layer.ravel() for layer in layers]), widths


@dataclass(frozen=True, eq=False)
class Pass:
    """What a net computes for all N samples, by layer.

    inputs   of each layer, with a column of ones: (N, inputs + 1)
    values   z of each layer, the logits last: (N, outputs)
    slopes   of each hidden layer's units: (N, units)
    errors   the loss's derivative by z: (N, outputs)
    """

    energy: float
    inputs: list[Doubles]
    values: list[Doubles]
    slopes: list[Doubles]
    errors: list[Doubles]


@dataclass(frozen=True, eq=False)
class LossSurface:
    """The loss for these samples.

    inputs   float64 (N, features)
    labels   int64 (N,)
    penalty  the factor of ||p||^2
    """

    inputs: Doubles
    labels: Ints
    penalty: float = 0.001

    def compute_pass(
        self,
        parameters: Doubles,
        widths: Widths,
        sharpness: float | None = None,
        slopes: Sequence[Doubles] | None = None,
    ) -> Pass:
        """Return the values forwards and the errors backwards.

        sharpness  b of softplus units; None: ReLUs, with slope 0 at 0
        slopes     of linear units, (N, units) for each hidden layer; None: not linear
        """
        layers = split_parameters(parameters, widths)
        count = len(self.labels)
        ones = np.ones((count, 1))
        hidden = self.inputs
        inputs, values, used = [], [], []
        for number, layer in enumerate(layers):
            inputs.append(np.hstack([hidden, ones]))
            values.append(inputs[-1] @ layer.T)
            if number < len(layers) - 1:
                given = None if slopes is None else slopes[number]
                hidden, slope = _apply_units(values[-1], sharpness, given)
                used.append(slope)
        rows = np.arange(count)
        shifted = values[-1] - values[-1].max(axis=1, keepdims=True)
        powers = np.exp(shifted)
        total = powers.sum(axis=1, keepdims=True)
        loss = float((np.log(total[:, 0]) - shifted[rows, self.labels]).mean())
        error = powers / total
        error[rows, self.labels] -= 1
        errors = [error / count]
        for layer, slope in zip(layers[:0:-1], used[::-1], strict=True):
            errors.append((errors[-1] @ layer[:, :-1]) * slope)
        energy = loss + self.penalty * float(parameters @ parameters)
        return Pass(energy, inputs, values, used, errors[::-1])

    def compute_gradient(self, parameters: Doubles, found: Pass) -> Doubles:
        """Return the gradient by p at a pass."""
        parts = [
            (errors.T @ inputs).ravel()
            for errors, inputs in zip(found.errors, found.inputs, strict=True)
        ]
        return np.concatenate(parts) + 2 * self.penalty * parameters

    def evaluate(
        self, parameters: Doubles, widths: Widths, sharpness: float | None = None
    ) -> tuple[float, Doubles]:
        """Return the loss and its gradient."""
        found = self.compute_pass(parameters, widths, sharpness)
        return found.energy, self.compute_gradient(parameters, found)

    def multiply_hessian(
        self,
        parameters: Doubles,
        widths: Widths,
        directions: Doubles,
        found: Pass,
        sharpness: float | None = None,
    ) -> Doubles:
        """Return the Hessian times directions (D, P), at a pass; with `sharpness`, of softplus."""
        layers, moves = split_parameters(parameters, widths), split_parameters(directions, widths)
        count, rows = len(directions), len(self.labels)
        change: Doubles = np.zeros((count, rows, widths[0]))  # of the hidden units
        changes, bends = [], []
        for number, (layer, move) in enumerate(zip(layers, moves, strict=True)):
            changes.append(change)
            moved = change @ layer[:, :-1].T + found.inputs[number] @ move.transpose(0, 2, 1)
            if number < len(layers) - 1:
                slope = found.slopes[number]
                bend = 0.0 if sharpness is None else sharpness * slope * (1 - slope)
                bends.append(bend * moved)
                change = slope * moved
        odds = found.errors[-1] * rows
        odds[np.arange(rows), self.labels] += 1  # the probabilities
        weighted = odds * moved
        change = (weighted - odds * weighted.sum(axis=2, keepdims=True)) / rows
        parts: list[Doubles] = []
        for number in range(len(layers) - 1, -1, -1):
            errors = found.errors[number]
            part = change.transpose(0, 2, 1) @ found.inputs[number]
            part[:, :, :-1] += errors.T @ changes[number]
            parts.append(part.reshape(count, -1))
            if number:
                weights = layers[number][:, :-1]
                own = change @ weights + errors @ moves[number][:, :, :-1]
                change = own * found.slopes[number - 1]
                if sharpness is not None:
                    change = change + (errors @ weights) * bends[number - 1]
        return np.concatenate(parts[::-1], axis=1) + 2 * self.penalty * directions

    def compute_hessian(
        self,
        parameters: Doubles,
        widths: Widths,
        sharpness: float | None = None,
        slopes: Sequence[Doubles] | None = None,
    ) -> Doubles:
        """Return the Hessian (P, P) of ReLUs where they are differentiable, or of other units."""
        found = self.compute_pass(parameters, widths, sharpness, slopes)
        unit = np.eye(len(parameters))
        hessian = self.multiply_hessian(parameters, widths, unit, found, sharpness)
        return (hessian + hessian.T) / 2

    def differentiate_values(
        self, parameters: Doubles, widths: Widths, found: Pass, places: Ints
    ) -> Doubles:
        """Return the gradients (n, P) by p of z at places of one hidden layer.

        places  layer, sample and unit, (n, 3)

        The units below have the pass's slopes.
        """
        layer, rows, units = int(places[0, 0]), places[:, 1], places[:, 2]
        layers = split_parameters(parameters, widths)
        count = len(rows)
        parts = [np.zeros((count, it.size)) for it in layers]
        errors = np.zeros((count, widths[layer + 1]))
        errors[np.arange(count), units] = 1
        for number in range(layer, -1, -1):
            inputs = found.inputs[number][rows]
            parts[number] = (errors[:, :, None] * inputs[:, None, :]).reshape(count, -1)
            if number:
                errors = (errors @ layers[number][:, :-1]) * found.slopes[number - 1][rows]
        return np.concatenate(parts, axis=1)


def compute_logits(parameters: Doubles, widths: Widths, inputs: Doubles) -> Doubles:
    """Return the logits (N, classes) of a net with ReLUs for inputs (N, features)."""
    hidden = inputs
    *below, last = split_parameters(parameters, widths)
    for layer in below:
        hidden = np.maximum(hidden @ layer[:, :-1].T + layer[:, -1], 0)
    return np.asarray(hidden @ last[:, :-1].T + last[:, -1])


def _apply_units(
    values: Doubles, sharpness: float | None, slopes: Doubles | None
) -> tuple[Doubles, Doubles]:
    """Return the units' outputs and slopes."""
    if slopes is not None:
        return slopes * values, slopes
    if sharpness is None:
        return np.maximum(values, 0), (values > 0).astype(np.float64)
    scaled = sharpness * values
    return np.logaddexp(0, scaled) / sharpness, np.exp(-np.logaddexp(0, -scaled))
