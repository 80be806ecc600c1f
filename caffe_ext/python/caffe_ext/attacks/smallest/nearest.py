"""NearestAdversarials: the nearest adversarials of N images that a search has seen."""

from dataclasses import dataclass

import numpy as np

from caffe_ext.attacks.criteria import Bools
from caffe_ext.attacks.norms import Lengths
from caffe_ext.attacks.smallest.queries import Points
from caffe_ext.models.base import Images, Ints


@dataclass(frozen=True, eq=False)
class NearestAdversarials:
    """The nearest adversarials so far.

    points     float32 (N, C, H, W); the image where there is none
    distances  float64 (N,), in grey levels; infinite where there is none
    """

    points: Points
    distances: Lengths

    @classmethod
    def make_empty(cls, images: Images) -> "NearestAdversarials":
        """Return a state in which nothing is found yet."""
        return cls(images.astype(np.float32), np.full(len(images), np.inf))

    @property
    def found(self) -> Bools:
        """Return which images have one, bool (N,)."""
        return np.isfinite(self.distances)

    def offer(self, which: Ints, points: Points, distances: Lengths, adversarial: Bools) -> Bools:
        """Keep those of n points that are adversarial and nearer; return which, bool (n,).

        which  int64 (n,), the images that the points belong to, each at most once
        """
        nearer = np.asarray(adversarial & (distances < self.distances[which]))
        self.points[which[nearer]] = points[nearer]
        self.distances[which[nearer]] = distances[nearer]
        return nearer
