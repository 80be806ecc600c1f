"""Windows of blobs (C, H, W): the rows of bounds depend on only part of each inner blob.

A unit of a convolution sees a small part of the image, so the coefficients of its bounds are 0
except in a window, and only that is computed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.runtime.native import scatter_windows

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """Rows top..bottom-1 and columns left..right-1 of a blob; all of a flat one, as (N, 1, 1)."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def from_shape(cls, shape: tuple[int, int, int]) -> "Window":
        """Return the window of a whole blob (C, H, W)."""
        return cls(0, shape[1], 0, shape[2])

    @property
    def slices(self) -> tuple[slice, slice]:
        """Return the window as an index of the last two axes."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def positions(self) -> int:
        """Return the number of positions in the window."""
        return (self.bottom - self.top) * (self.right - self.left)

    def unite(self, other: "Window") -> "Window":
        """Return the smallest window that contains both."""
        return Window(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )

    def embed(self, values: Doubles, around: "Window") -> Doubles:
        """Return values (..., h, w) of this window in a larger one around it, 0 elsewhere."""
        if self == around:
            return values
        edges = [(0, 0)] * (values.ndim - 2)
        edges += [(self.top - around.top, around.bottom - self.bottom)]
        edges += [(self.left - around.left, around.right - self.right)]
        return np.pad(values, edges)


@dataclass(frozen=True)
class SlidingKernel:
    """How a kernel slides over a blob, in convolution and pooling.

    shape     (C, H, W) of the blob below
    kernel, stride, pad, dilation  for height and width
    outputs   (h, w), the kernel's positions
    """

    shape: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    outputs: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)

    def find_input_window(self, window: Window) -> Window:
        """Return what positions in a window see of the blob below."""
        (top, bottom), (left, right) = (
            self._find_side(axis, first, last)
            for axis, (first, last) in enumerate(
                ((window.top, window.bottom), (window.left, window.right))
            )
        )
        return Window(top, bottom, left, right)

    def list_offsets(self) -> list[tuple[int, int]]:
        """Return the places of the kernel, row by row."""
        return [(a, b) for a in range(self.kernel[0]) for b in range(self.kernel[1])]

    def gather(self, values: Doubles, fill: float) -> Doubles:
        """Return what each position sees, (n, C, places, h, w), of blobs (n, C, H, W).

        fill  the value beyond the edges
        """
        padded = self._pad(values, fill)
        return np.stack(
            [
                padded[:, :, *self._make_kernel_slices(place, self.outputs)]
                for place in self.list_offsets()
            ],
            axis=2,
        )

    def scatter(self, parts: Doubles, window: Window) -> Doubles:
        """Return the sum (n, C, h, w), in find_input_window(window), of what positions contribute.

        parts  (n, C, places, h, w) of the positions in the window
        """
        shape = (-1, *self.kernel, *parts.shape[3:])
        found = scatter_windows(
            np.ascontiguousarray(parts).reshape(shape), self.stride, self.dilation
        )
        total = found.reshape(*parts.shape[:2], *found.shape[1:])
        # The window's corner in the blob below; what lies beyond the edges is dropped.
        below = self.find_input_window(window)
        top = window.top * self.stride[0] - self.pad[0]
        left = window.left * self.stride[1] - self.pad[1]
        rows = slice(below.top - top, below.bottom - top)
        return total[:, :, rows, below.left - left : below.right - left]

    def _find_side(self, axis: int, first: int, last: int) -> tuple[int, int]:
        begin = first * self.stride[axis] - self.pad[axis]
        reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        end = (last - 1) * self.stride[axis] - self.pad[axis] + reach
        return max(begin, 0), min(end, self.shape[axis + 1])

    def _pad(self, values: Doubles, fill: float) -> Doubles:
        edges = [(0, 0), (0, 0)]
        for axis in (0, 1):
            reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
            needed = (self.outputs[axis] - 1) * self.stride[axis] + reach
            after = needed - self.pad[axis] - self.shape[axis + 1]
            edges.append((self.pad[axis], max(after, 0)))
        return np.pad(values, edges, constant_values=fill)

    def _make_kernel_slices(
        self, place: tuple[int, int], count: tuple[int, int]
    ) -> tuple[slice, slice]:
        """Return the locations of a place of the kernel, for all positions, as a strided slice."""
        first, second = (
            slice(at * dilation, at * dilation + (number - 1) * stride + 1, stride)
            for at, dilation, number, stride in zip(
                place, self.dilation, count, self.stride, strict=True
            )
        )
        return first, second
