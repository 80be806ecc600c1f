"""Can attacks be trusted on a model? What AutoAttack's authors ask before its figures are believed.

randomised          the same images get other scores when they are asked again
probabilities       the scores are what a softmax gives: DLR and the margin then saturate
zero_gradient       the gradient of the margin of the scores is 0 in all pixels
depends_on_batch    an image's scores depend on the others of its batch: Dropout or the statistics
                    of BatchNorm at work at test time

Croce and Hein, 2020, and `checks.py` of their program. Measured on images of the evaluation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from caffe_ext.attacks.criteria import Misclassification
from caffe_ext.attacks.directions import LogitMargin
from caffe_ext.models.base import NO_CLASS, Floats, Images, Model, top_class
from caffe_ext.models.batch_dependence import TOLERANCE
from caffe_ext.models.cache import load_cached
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter
from caffe_ext.runs.runner import Source

IMAGES = 100
_ALONE = 4
_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Attackability:
    """What was measured on some images; shares of them, 0..1.

    randomised, depends_on_batch
                   the largest change of a score, as a share of the largest score
    probabilities  whether all scores are probabilities
    zero_gradient  the share of the images without a gradient
    """

    images: int
    randomised: float
    depends_on_batch: float
    probabilities: bool
    zero_gradient: float


@dataclass(frozen=True)
class AttackabilityTask:
    """Measures it in any process."""

    model: LoadableModel
    batch_size: int
    opener: Callable[[], Source]

    def __call__(self, reporter: Reporter) -> Attackability:
        """Measure it on the first images."""
        images = self.opener().read(slice(0, IMAGES)).images
        return measure_attackability(load_cached(self.model, self.batch_size), images)


def measure_attackability(model: Model, images: Images) -> Attackability:
    """Measure it on images uint8 (N, C, H, W); see above."""
    if not len(images):
        return Attackability(0, 0.0, 0.0, probabilities=False, zero_gradient=0.0)
    logits = model.logits(images)
    again = model.logits(images)
    few = images[:_ALONE]
    alone = np.concatenate([model.logits(one[None]) for one in few])
    sums = logits.astype(np.float64).sum(axis=1)
    labels = top_class(logits)
    good = labels != NO_CLASS
    criterion = Misclassification(labels[good])
    directions = LogitMargin()(model, images[good], criterion)
    zero = directions.zero_gradient
    return Attackability(
        images=len(images),
        randomised=_relative_difference(logits, again),
        depends_on_batch=_relative_difference(logits[: len(few)], alone),
        probabilities=bool(
            ((logits >= 0) & (logits <= 1)).all() and (np.abs(sums - 1) < _SUM_TOLERANCE).all()
        ),
        zero_gradient=float(zero.mean()) if len(zero) else 0.0,
    )


def _relative_difference(one: Floats, other: Floats) -> float:
    """Return the largest difference as a share of the largest value; below TOLERANCE it is 0."""
    with np.errstate(invalid="ignore"):
        difference = np.nan_to_num(np.abs(one.astype(np.float64) - other))
    largest = float(np.abs(one[np.isfinite(one)]).max(initial=0))
    share = float(difference.max(initial=0)) / largest if largest else 0.0
    return share if share > TOLERANCE else 0.0
