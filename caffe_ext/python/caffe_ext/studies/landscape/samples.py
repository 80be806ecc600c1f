"""Fisher's Iris data, as scikit-learn has them: 150 flowers, four measures in cm, three species."""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256

import numpy as np

from caffe_ext.studies.landscape.network import Doubles, Ints, LossSurface

SPECIES = 3
FEW_PER_SPECIES = 10


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled samples.

    inputs  float64 (N, features)
    labels  int64 (N,)
    """

    inputs: Doubles
    labels: Ints

    @property
    def ranges(self) -> Doubles:
        """Return the largest less the smallest value of each feature, (features,)."""
        return np.asarray(np.ptp(self.inputs, axis=0))

    @property
    def few(self) -> Ints:
        """Return the numbers of the first ten samples of each species."""
        chosen = [
            np.flatnonzero(self.labels == label)[:FEW_PER_SPECIES] for label in range(SPECIES)
        ]
        return np.concatenate(chosen)

    def make_surface(self, penalty: float) -> LossSurface:
        """Return the loss for all samples."""
        return LossSurface(self.inputs, self.labels, penalty)

    def compute_digest(self) -> str:
        """Return the SHA-256 of inputs and labels."""
        return sha256(self.inputs.astype("<f8").tobytes() + self.labels.tobytes()).hexdigest()


@cache
def load_iris_samples() -> Samples:
    """Return the samples, in the file's order: fifty of each species."""
    from sklearn.datasets import load_iris  # noqa: PLC0415  takes a second, seldom needed

    bunch = load_iris()
    return Samples(bunch.data.astype(np.float64), bunch.target.astype(np.int64))
