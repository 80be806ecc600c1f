"""PixelBall: the images within an Linf distance of one image and within 0..255."""

from dataclasses import dataclass
from math import floor

import numpy as np

from caffe_ext.certification.bounds import make_input_box
from caffe_ext.certification.layers import Interval
from caffe_ext.certification.windows import Doubles
from caffe_ext.models.base import Floats, Images, Model
from caffe_ext.models.pixels import PixelSpace


@dataclass(frozen=True, eq=False)
class PixelBall:
    """All images within a distance; what a crop cuts off stays as it is.

    image   uint8 (C, H, W)
    radius  Linf, in grey levels; rounded down if `whole`
    whole   pixels are whole grey levels; otherwise any real numbers
    space   of the network
    """

    image: Images
    radius: float
    whole: bool
    space: PixelSpace

    @property
    def reach(self) -> float:
        """Return how far a pixel may go."""
        return float(floor(self.radius)) if self.whole else float(self.radius)

    def compute_limits(self) -> tuple[Doubles, Doubles]:
        """Return the least and the most of each pixel, (1, C, H, W)."""
        centre = self.image[None].astype(np.float64)
        fixed = centre.copy()
        seen = self.space.take_visible(centre)
        return (
            self.space.replace_visible(fixed, np.clip(seen - self.reach, 0, 255)),
            self.space.replace_visible(fixed, np.clip(seen + self.reach, 0, 255)),
        )

    def compute_changes(self) -> Interval:
        """Return how far each pixel that the network sees may go down and up, (1, C, h, w)."""
        seen = self.space.take_visible(self.image[None].astype(np.float64))
        return Interval(*(self.space.take_visible(it) - seen for it in self.compute_limits()))

    def make_box(self) -> Interval:
        """Return the network's inputs, (1, C, h, w)."""
        return make_input_box(self.space, *self.compute_limits())

    def find_adversarial(self, model: Model, points: Doubles, label: int) -> Floats | None:
        """Return an image in the ball that the model itself misclassifies, float32 (C, H, W).

        points  (n, C, H, W), the candidates: first rounded to whole grey levels, and then, unless
                `whole`, as they are in float32
        """
        lower, upper = self.compute_limits()
        centre = self.image[None].astype(np.float64)
        down, up = (floor(self.reach) * sign for sign in (-1, 1))
        rounded = np.clip(
            np.rint(points), np.maximum(lower, centre + down), np.minimum(upper, centre + up)
        )
        found = _find_first_wrong(model, rounded.astype(np.uint8), label)
        if found is not None or self.whole:
            return found
        real = np.clip(points, lower, upper).astype(np.float32)
        real = np.where(real > upper, np.nextafter(real, np.float32(-np.inf)), real)
        real = np.where(real < lower, np.nextafter(real, np.float32(np.inf)), real)
        return _find_first_wrong(model, real, label)


def is_whole(pixels: Floats) -> bool:
    """Tell whether an image has whole grey levels."""
    return bool((pixels == np.rint(pixels)).all())


def _find_first_wrong(model: Model, images: Images | Floats, label: int) -> Floats | None:
    wrong = np.flatnonzero(model.predict(images) != label)
    return images[wrong[0]].astype(np.float32) if len(wrong) else None
