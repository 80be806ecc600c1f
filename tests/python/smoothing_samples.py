"""Noise and models of which all is known, shared by the tests of randomized smoothing."""

import numpy as np
from numpy.typing import NDArray

from caffe_ext.certification.noise import NoiseTable
from caffe_ext.models.base import Diff, Floats, Images, Model, Pixels
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.runtime.device import Device


class LinearModel(Model):
    """Class 1 where whole-numbered weights times the pixels are at or above a threshold, else 0."""

    def __init__(self, weights: NDArray[np.int64], threshold: int, batch_size: int = 64) -> None:
        self.weights, self.threshold = weights, threshold
        self.batch_size, self.classes = batch_size, 2
        self.input_shape = (1, *weights.shape)
        self.pixel_space, self.device = PixelSpace(), Device()

    def logits(self, images: Pixels) -> Floats:
        score = np.tensordot(images[:, 0].astype(np.int64), self.weights, axes=2)
        return np.stack([np.zeros(len(score)), score - self.threshold + 0.5], 1).astype(np.float32)

    def gradient(self, images: Pixels, diff: Diff, *, through: str | None = None) -> Floats:
        raise NotImplementedError

    def probability(self, image: Images, weights: list[int]) -> float:
        """Return how probable class 1 is of an image (H, W) under noise of P(k) = weights / 2^64.

        Exact but for float64: the distribution of the sum, value by value.
        """
        single = np.array(weights, np.float64) / 2.0**64
        noise = np.arange(-256, 256)
        total = {0: 1.0}
        for pixel, weight in zip(
            image.ravel().tolist(), self.weights.ravel().tolist(), strict=True
        ):
            grey = np.clip(pixel + noise, 0, 255)
            chances = np.bincount(grey, single, 256)
            further: dict[int, float] = {}
            for value in np.flatnonzero(chances).tolist():
                for score, chance in total.items():
                    key = score + weight * value
                    further[key] = further.get(key, 0.0) + chance * chances[value]
            total = further
        return sum(chance for score, chance in total.items() if score >= self.threshold)


def probabilities_of(table: NoiseTable) -> list[int]:
    """Return P(k) of k = -256..255 that a table has, in units of 2^-64."""
    found = [0] * 512
    for column in range(512):
        kept = int(table.thresholds[column])
        found[column] += kept
        found[int(table.aliases[column]) + 256] += 2**55 - kept
    return found
