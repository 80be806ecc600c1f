"""The layers that can be bounded: intervals forwards, coefficients of linear bounds backwards.

Blobs are (C, H, W) per image, flat ones (N, 1, 1). Coefficients A (n, m, C, h, w) are those of m
rows, in a window; n is 1 where they are the same for all images. Everything is in float64.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod

import numpy as np

from caffe_ext.certification.windows import Doubles, SlidingKernel, Window

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Interval:
    """Bounds of a blob of n images, lower <= upper, (n, C, H, W)."""

    lower: Doubles
    upper: Doubles


@dataclass(eq=False)
class Rows:
    """m rows that bound something from below and from above: A z + c.

    lower, upper            A (n, m, C, h, w); one array where both are the same
    lower_rest, upper_rest  c (n, m)
    window                  the part of the blob z that A covers
    """

    lower: Doubles
    upper: Doubles
    lower_rest: Doubles
    upper_rest: Doubles
    window: Window


class Layer(ABC):
    """A layer with one bottom, or several, and one top."""

    shape: Shape
    """The bottom's."""

    @abstractmethod
    def compute_interval(self, given: Interval) -> Interval:
        """Return bounds of the top by interval arithmetic."""

    @abstractmethod
    def backward(self, rows: Rows, below: Interval) -> Rows:
        """Return the rows in terms of the bottom, whose bounds are `below`."""

    def find_input_window(self, window: Window) -> Window:
        """Return what a window of the top depends on."""
        return window

    def count_working_values(self, window: Window) -> int:
        """Return how many values a row needs here for a window of the top, with temporary ones."""
        return 2 * self.shape[0] * self.find_input_window(window).positions


class SlidingLayer(Layer):
    """A layer whose kernel slides over the bottom."""

    sliding: SlidingKernel
    parts = 1
    """Arrays that a row needs of the positions' contributions to the values that they see."""

    def find_input_window(self, window: Window) -> Window:
        """Return what the kernels see."""
        return self.sliding.find_input_window(window)

    def count_working_values(self, window: Window) -> int:
        """Return the values of a row, and of its positions' contributions to what they see."""
        added = self.shape[0] * window.positions * prod(self.sliding.kernel)
        return super().count_working_values(window) + self.parts * added


class LinearLayer(Layer):
    """A layer y = W x + b."""

    @abstractmethod
    def forward(self, values: Doubles, *, magnitude: bool = False) -> Doubles:
        """Return W x + b for x (n, C, H, W); with `magnitude`, |W| x."""

    @abstractmethod
    def apply_transposed(self, coefficients: Doubles, window: Window) -> Doubles:
        """Return A W for A (k, C, h, w)."""

    @abstractmethod
    def apply_bias(self, coefficients: Doubles, window: Window) -> Doubles:
        """Return A b for A (n, m, C, h, w), as (n, m)."""

    def compute_interval(self, given: Interval) -> Interval:
        """Return W c + b -+ |W| r for the centre c and the radius r."""
        centre = self.forward((given.upper + given.lower) / 2)
        radius = self.forward((given.upper - given.lower) / 2, magnitude=True)
        return Interval(centre - radius, centre + radius)

    def backward(self, rows: Rows, below: Interval) -> Rows:
        """Return A W, and A b added to the rest."""
        lower = self._pull_back(rows.lower, rows.window)
        same = rows.upper is rows.lower
        return Rows(
            lower,
            lower if same else self._pull_back(rows.upper, rows.window),
            rows.lower_rest + self.apply_bias(rows.lower, rows.window),
            rows.upper_rest + self.apply_bias(rows.upper, rows.window),
            self.find_input_window(rows.window),
        )

    def _pull_back(self, coefficients: Doubles, window: Window) -> Doubles:
        count, rows = coefficients.shape[:2]
        found = self.apply_transposed(
            coefficients.reshape(count * rows, *coefficients.shape[2:]), window
        )
        return found.reshape(count, rows, *found.shape[1:])


@dataclass(eq=False)
class Convolution(SlidingLayer, LinearLayer):
    """Caffe's Convolution: weights (O, C / group, kh, kw), bias (O,)."""

    shape: Shape
    weights: Doubles
    bias: Doubles
    sliding: SlidingKernel
    group: int

    def forward(self, values: Doubles, *, magnitude: bool = False) -> Doubles:
        """Return the convolution."""
        seen = self.sliding.gather(values, 0.0)
        count, (height, width) = len(values), self.sliding.outputs
        columns = seen.reshape(count, self.group, -1, height * width)
        weights = self.weights.reshape(self.group, len(self.weights) // self.group, -1)
        found = np.matmul(np.abs(weights) if magnitude else weights, columns)
        found = found.reshape(count, -1, height, width)
        return np.asarray(found if magnitude else found + self.bias[:, None, None])

    def apply_transposed(self, coefficients: Doubles, window: Window) -> Doubles:
        """Return the transposed convolution."""
        count, outputs, height, width = coefficients.shape
        weights = self.weights.reshape(self.group, outputs // self.group, -1)
        grouped = coefficients.reshape(count, self.group, outputs // self.group, height * width)
        parts = np.matmul(weights.transpose(0, 2, 1), grouped)
        places = prod(self.sliding.kernel)
        return self.sliding.scatter(
            parts.reshape(count, self.shape[0], places, height, width), window
        )

    def apply_bias(self, coefficients: Doubles, window: Window) -> Doubles:
        """Return A b."""
        return np.asarray(coefficients.sum(axis=(3, 4)) @ self.bias)


@dataclass(eq=False)
class InnerProduct(LinearLayer):
    """Caffe's InnerProduct of all values: weights (O, C H W), bias (O,)."""

    shape: Shape
    weights: Doubles
    bias: Doubles

    def find_input_window(self, window: Window) -> Window:
        """Return all of it."""
        return Window.from_shape(self.shape)

    def forward(self, values: Doubles, *, magnitude: bool = False) -> Doubles:
        """Return the products."""
        flat = values.reshape(len(values), -1)
        found = flat @ np.abs(self.weights).T if magnitude else flat @ self.weights.T + self.bias
        return found.reshape(*found.shape, 1, 1)

    def apply_transposed(self, coefficients: Doubles, window: Window) -> Doubles:
        """Return A W."""
        found = coefficients.reshape(len(coefficients), -1) @ self.weights
        return found.reshape(-1, *self.shape)

    def apply_bias(self, coefficients: Doubles, window: Window) -> Doubles:
        """Return A b."""
        return np.asarray(coefficients[..., 0, 0] @ self.bias)


@dataclass(eq=False)
class ChannelScale(LinearLayer):
    """y = scale x + shift, one of each per channel (C,): BatchNorm in inference, Scale, Bias."""

    shape: Shape
    scale: Doubles
    shift: Doubles

    def forward(self, values: Doubles, *, magnitude: bool = False) -> Doubles:
        """Return the scaled values."""
        if magnitude:
            return values * np.abs(self.scale)[:, None, None]
        return values * self.scale[:, None, None] + self.shift[:, None, None]

    def apply_transposed(self, coefficients: Doubles, window: Window) -> Doubles:
        """Return the scaled coefficients."""
        return coefficients * self.scale[:, None, None]

    def apply_bias(self, coefficients: Doubles, window: Window) -> Doubles:
        """Return A shift."""
        return np.asarray(coefficients.sum(axis=(3, 4)) @ self.shift)


@dataclass(eq=False)
class Flatten(LinearLayer):
    """The same values as (C H W, 1, 1)."""

    shape: Shape

    def find_input_window(self, window: Window) -> Window:
        """Return all of it."""
        return Window.from_shape(self.shape)

    def forward(self, values: Doubles, *, magnitude: bool = False) -> Doubles:
        """Return the values."""
        return values.reshape(len(values), -1, 1, 1)

    def apply_transposed(self, coefficients: Doubles, window: Window) -> Doubles:
        """Return the coefficients."""
        return coefficients.reshape(-1, *self.shape)

    def apply_bias(self, coefficients: Doubles, window: Window) -> Doubles:
        """Return 0."""
        return np.zeros(coefficients.shape[:2])


@dataclass(eq=False)
class AveragePooling(SlidingLayer, LinearLayer):
    """Caffe's average pooling: the sum over each window, divided by `divisors` (h, w)."""

    shape: Shape
    sliding: SlidingKernel
    divisors: Doubles

    def forward(self, values: Doubles, *, magnitude: bool = False) -> Doubles:
        """Return the averages."""
        return np.asarray(self.sliding.gather(values, 0.0).sum(axis=2) / self.divisors)

    def apply_transposed(self, coefficients: Doubles, window: Window) -> Doubles:
        """Return each value's share."""
        shares = (coefficients / self.divisors[window.slices])[:, :, None]
        places = prod(self.sliding.kernel)
        return self.sliding.scatter(np.repeat(shares, places, axis=2), window)

    def apply_bias(self, coefficients: Doubles, window: Window) -> Doubles:
        """Return 0."""
        return np.zeros(coefficients.shape[:2])


@dataclass(eq=False)
class Relu(Layer):
    """max(z, 0), between d z and d (z - l) where l < 0 < u, d = u / (u - l)."""

    shape: Shape

    def compute_interval(self, given: Interval) -> Interval:
        """Return the ReLU of the bounds."""
        return Interval(np.maximum(given.lower, 0), np.maximum(given.upper, 0))

    def backward(self, rows: Rows, below: Interval) -> Rows:
        """Return the rows with the slopes d, the same for both lines (Wong and Kolter, 2018)."""
        lower, upper = (bound[:, :, *rows.window.slices] for bound in (below.lower, below.upper))
        open_ = (lower < 0) & (upper > 0)
        slopes = np.where(open_, upper / np.where(open_, upper - lower, 1), lower >= 0)
        heights = np.where(open_, -slopes * lower, 0.0)
        slopes, heights = slopes[:, None], heights[:, None]
        down = rows.lower * slopes
        return Rows(
            down,
            down if rows.upper is rows.lower else rows.upper * slopes,
            rows.lower_rest + (np.minimum(rows.lower, 0) * heights).sum(axis=(2, 3, 4)),
            rows.upper_rest + (np.maximum(rows.upper, 0) * heights).sum(axis=(2, 3, 4)),
            rows.window,
        )


@dataclass(eq=False)
class MaxPooling(SlidingLayer):
    """The maximum of a window: at least z_i, i = argmax l, and at most max u.

    Where l_i is at or above every other u, it is z_i.
    """

    shape: Shape
    sliding: SlidingKernel
    parts = 2  # lower and upper rows differ

    def compute_interval(self, given: Interval) -> Interval:
        """Return the maxima of the bounds."""
        return Interval(
            self.sliding.gather(given.lower, -np.inf).max(axis=2),
            self.sliding.gather(given.upper, -np.inf).max(axis=2),
        )

    def backward(self, rows: Rows, below: Interval) -> Rows:
        """Return the rows through the relaxation; lower and upper ones differ from here on."""
        region = (slice(None), slice(None), slice(None), *rows.window.slices)
        lower = self.sliding.gather(below.lower, -np.inf)[region]
        upper = self.sliding.gather(below.upper, -np.inf)[region]
        chosen = lower.argmax(axis=2)[:, :, None] == np.arange(lower.shape[2])[:, None, None]
        others = np.where(chosen, -np.inf, upper).max(axis=2)
        sure = (lower.max(axis=2) >= others)[:, None]
        most = np.where(sure, 0.0, upper.max(axis=2)[:, None])

        def pull_back(kept: Doubles) -> Doubles:
            parts = kept[:, :, :, None] * chosen[:, None]
            count, number = parts.shape[:2]
            found = self.sliding.scatter(parts.reshape(-1, *parts.shape[2:]), rows.window)
            return found.reshape(count, number, *found.shape[1:])

        below_ = np.where(sure, rows.lower, np.maximum(rows.lower, 0))
        above = np.where(sure, rows.upper, np.minimum(rows.upper, 0))
        return Rows(
            pull_back(below_),
            pull_back(above),
            rows.lower_rest + (np.minimum(rows.lower, 0) * most).sum(axis=(2, 3, 4)),
            rows.upper_rest + (np.maximum(rows.upper, 0) * most).sum(axis=(2, 3, 4)),
            self.find_input_window(rows.window),
        )
