"""Can attacks on a model be trusted? The checks of AutoAttack's authors.

randomised          the same images get different scores in a second forward pass
probabilities       the scores are the output of a softmax: DLR and the margin then saturate
zero_gradient       the gradient of the margin of the scores is 0 in all pixels
depends_on_batch    an image's scores depend on the others of its batch: Dropout or the statistics
                    of BatchNorm are active at test time
wrong_gradient      the scores do not change as the gradient predicts: a layer optimises, quantises
                    or purifies at test time, or its backward pass is wrong

Croce and Hein, 2020, and `checks.py` of their program. Measured on images of the evaluation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from caffe_ext.attacks.criteria import Bools, Misclassification
from caffe_ext.attacks.directions import LogitMargin
from caffe_ext.models.base import NO_CLASS, Floats, Images, Ints, Model, find_top_class
from caffe_ext.models.batch_dependence import TOLERANCE
from caffe_ext.models.cache import load_cached
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter
from caffe_ext.runs.runner import Source

IMAGES = 100
"""The number of images of an evaluation that are used."""
GRADIENTS = 32
"""The number of these on which gradients are compared with differences."""
_ALONE = 4
_SUM_TOLERANCE = 1e-4
# How far the margin is followed along the gradient and back, L2 in grey levels: a piecewise linear
# network agrees with its gradient at one of these, up to rounding.
_REACHES = (0.5, 2.0, 8.0)
_AGREEMENT = 0.5


@dataclass(frozen=True)
class Attackability:
    """The measurements on some images; shares, 0..1.

    randomised, depends_on_batch
                   the largest change of a score, as a share of the largest score
    probabilities  whether all scores are probabilities
    zero_gradient  the share of the images without a gradient
    wrong_gradient the share of the others whose margin changes by less than 0.5 or more than 1.5
                   times what the gradient predicts; 0 if randomised
    """

    images: int
    randomised: float
    depends_on_batch: float
    probabilities: bool
    zero_gradient: float
    wrong_gradient: float


@dataclass(frozen=True)
class AttackabilityTask:
    """Measures attackability, in any process."""

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
        return Attackability(
            0, 0.0, 0.0, probabilities=False, zero_gradient=0.0, wrong_gradient=0.0
        )
    logits = model.logits(images)
    again = model.logits(images)
    few = images[:_ALONE]
    alone = np.concatenate([model.logits(one[None]) for one in few])
    sums = logits.astype(np.float64).sum(axis=1)
    labels = find_top_class(logits)
    good = labels != NO_CLASS
    criterion = Misclassification(labels[good])
    directions = LogitMargin()(model, images[good], criterion)
    zero = directions.zero_gradient
    randomised = _compute_relative_difference(logits, again)
    sloped = np.flatnonzero(~zero)[:GRADIENTS]
    wrong = np.zeros(0, np.bool_)
    if len(sloped) and not randomised:
        classes = criterion.select(sloped).find_margin_classes(
            directions.logits[sloped], np.arange(len(sloped))
        )
        wrong = _find_wrong_gradients(
            model, images[good][sloped], classes, directions.values[sloped]
        )
    return Attackability(
        images=len(images),
        randomised=randomised,
        depends_on_batch=_compute_relative_difference(logits[: len(few)], alone),
        probabilities=bool(
            ((logits >= 0) & (logits <= 1)).all() and (np.abs(sums - 1) < _SUM_TOLERANCE).all()
        ),
        zero_gradient=float(zero.mean()) if len(zero) else 0.0,
        wrong_gradient=float(wrong.mean()) if len(wrong) else 0.0,
    )


def _find_wrong_gradients(
    model: Model, images: Images, classes: tuple[Ints, Ints], gradients: Floats
) -> Bools:
    """Return which margins do not change as their gradient predicts, at any reach; bool (n,).

    classes    a and b of each image's margin h_a - h_b
    gradients  of h_b - h_a with respect to the pixels, (n, C, H, W), none of them 0

        h_b - h_a at x + d   less that at x - d'   against   <gradient, d + d'>

    with d = reach g / |g|, and d, d' clipped so that pixels stay within 0..255.
    """
    rows, (above, below) = np.arange(len(images)), classes
    wide = gradients.astype(np.float64)
    units = wide / np.sqrt(np.square(wide).sum(axis=(1, 2, 3), keepdims=True))
    wrong = np.ones(len(images), np.bool_)
    for reach in _REACHES:
        ahead, behind = (
            np.clip(images + sign * reach * units, 0, 255).astype(np.float32) for sign in (1, -1)
        )
        said = (wide * (ahead.astype(np.float64) - behind)).sum(axis=(1, 2, 3))
        ends = [model.logits(points).astype(np.float64) for points in (ahead, behind)]
        rises = [logits[rows, below] - logits[rows, above] for logits in ends]
        with np.errstate(invalid="ignore"):
            wrong &= ~(np.abs(rises[0] - rises[1] - said) <= _AGREEMENT * said)
    return wrong


def _compute_relative_difference(one: Floats, other: Floats) -> float:
    """Return the largest difference as a share of the largest value; below TOLERANCE it is 0."""
    with np.errstate(invalid="ignore"):
        difference = np.nan_to_num(np.abs(one.astype(np.float64) - other))
    largest = float(np.abs(one[np.isfinite(one)]).max(initial=0))
    share = float(difference.max(initial=0)) / largest if largest else 0.0
    return share if share > TOLERANCE else 0.0
