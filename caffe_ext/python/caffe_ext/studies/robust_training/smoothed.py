"""Randomized smoothing as the report uses it: PREDICT, for images that may have been attacked.

The attacks see the base model, not the smoothed one: they do not know the defence, so what they
leave says little about an attacker who does. The certified accuracy within an L2 radius is what
holds against any attack (`caffe-ext certify smoothing`).
"""

import numpy as np

from caffe_ext.certification.class_counts import Sampler
from caffe_ext.certification.decisions import certify, predict
from caffe_ext.certification.noise import make_gaussian_table
from caffe_ext.data.image_source import ImageBatch
from caffe_ext.models.base import NO_CLASS, Images, Ints, Model
from caffe_ext.reporting import Step
from caffe_ext.runs.runner import Source


class _Given:
    """Images in memory as a source."""

    def __init__(self, images: Images) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def read(self, rows: slice) -> ImageBatch:
        return ImageBatch(self._images[rows], None)


def count_classes(
    model: Model,
    images: Images,
    sigma: float,
    samples: range,
    step: Step = lambda _: None,
) -> Ints:
    """Return how often noisy copies of images get each class, int64 (N, K + 1); last: none.

    sigma    standard deviation of the noise, in grey levels
    samples  their numbers, of each image; equal ones have equal noise
    step     is told how many samples were classified
    """
    source: Source = _Given(images)
    sampler = Sampler(model, source, make_gaussian_table(sigma), seed=1)
    counts = np.zeros((len(images), model.classes + 1), np.int64)
    count = len(samples)
    total = len(images) * count
    for start in range(0, total, sampler.at_a_time):
        numbers = np.arange(start, min(start + sampler.at_a_time, total))
        rows = numbers // count
        classes = sampler.classify(rows, samples.start + numbers % count)
        np.add.at(counts, (rows, np.where(classes == NO_CLASS, model.classes, classes)), 1)
        step(len(numbers))
    return counts


def predict_smoothed(counts: Ints, alpha: float = 0.001) -> Ints:
    """Return the smoothed model's classes, int64 (N,); -1 where it abstains."""
    return predict(counts, alpha)


def find_largest_radius(sigma: float, samples: int, alpha: float) -> float:
    """Return the largest L2 radius that so many samples can certify: that of equal ones."""
    counts = np.array([[samples, 0]], np.int64)
    return float(certify(counts, counts, alpha, sigma).radii[0])
