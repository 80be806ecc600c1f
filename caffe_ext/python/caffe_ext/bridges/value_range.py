"""What the bridges share: the model, and its images' values.

ValueRange: the values that stand for black and white elsewhere, and grey levels 0..255 here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_ext.models.base import Floats, Model

_WHITE = 255.0


def check_model(model: object) -> None:
    """Raise TypeError unless it is a model that is loaded."""
    if isinstance(model, Model):
        return
    kind = type(model).__name__
    load = ": load() returns its model" if hasattr(model, "load") else ""
    raise TypeError(f"a Model is needed, such as read_model(...).load(), not {kind}{load}")


@dataclass(frozen=True)
class ValueRange:
    """The value range of another framework's images.

        pixel = (value - low) / (high - low) * 255

    low, high  the values of black and of white: 0 and 1 in PyTorch, 0 and 255 for grey levels
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError unless low < high, both finite."""
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise ValueError(
                f"the range of the values is (black, white), such as (0, 1) or (0, 255), not "
                f"({self.low}, {self.high})"
            )

    @property
    def pixels_per_unit(self) -> float:
        """Return dpixel/dvalue."""
        return _WHITE / (self.high - self.low)

    def to_pixels(self, values: NDArray[Any], shape: tuple[int, int, int]) -> Floats:
        """Return images (N, C, H, W) of values as real-valued pixels, float32.

        Computed in double precision, in which k / 255 of PyTorch's uint8 images is grey level k.
        Raises ValueError if the images' shape is not `shape`, for values outside the range, and for
        NaN.
        """
        if values.ndim != 4 or values.shape[1:] != shape:
            sides = ", ".join(map(str, shape))
            raise ValueError(f"the model takes images (N, {sides}), not {values.shape}")
        # A comparison with NaN is false.
        if not ((values >= self.low) & (values <= self.high)).all():
            raise ValueError(
                f"the values of an image must be from {self.low:g} (black) to {self.high:g} "
                f"(white); these are from {values.min():g} to {values.max():g}"
            )
        pixels = (np.asarray(values, np.float64) - self.low) * self.pixels_per_unit
        return np.asarray(np.clip(pixels, 0, _WHITE), np.float32)

    def convert_gradient(self, gradient: Floats) -> Floats:
        """Return dE/dvalue, float32, for dE/dpixel: the chain rule."""
        return gradient * np.float32(self.pixels_per_unit)
