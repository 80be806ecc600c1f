"""L-BFGS, the attack of Szegedy et al.: box-constrained, towards a class, in L2.

    minimise  c ||r||_2^2 - ln p_target(x + r)       x + r within 0..255, r in units of 255

by scipy's L-BFGS-B from r = 0, for the largest c whose minimum is adversarial: c is multiplied or
divided by 10 until one is and the next is not, and then bisected five times (on the logarithm). The
result is the nearest adversarial among all minima. Unlike the paper's, the norm is squared, which
makes it smooth at 0, as L-BFGS requires.

Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow and Fergus, 2014 (Section 4.1); the baseline
of Rozsa, Rudd and Boult, 2016.
"""

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.norms import compute_norms
from caffe_ext.attacks.smallest.nearest import NearestAdversarials
from caffe_ext.attacks.smallest.queries import MarginQueries
from caffe_ext.models.base import Floats, Images, Ints

_FIRST_C = 1.0
_DECADES = 6
_BISECTIONS = 5


def lbfgs(
    asked: MarginQueries, images: Images, targets: list[Ints], iterations: int
) -> NearestAdversarials:
    """Return the nearest adversarials that L-BFGS finds, image by image.

    targets     int64, the classes that are tried for each image
    iterations  of each minimisation, at most
    """
    nearest = NearestAdversarials.make_empty(images)
    for row, tried in enumerate(targets):
        for target in tried:
            _TargetSearch(asked, images, row, int(target), iterations, nearest).search()
    return nearest


class _TargetSearch:
    """The search for one image and one class."""

    def __init__(  # noqa: PLR0913, PLR0917  it needs all of them
        self,
        asked: MarginQueries,
        images: Images,
        row: int,
        target: int,
        iterations: int,
        nearest: NearestAdversarials,
    ) -> None:
        self._asked, self._which, self._target = asked, np.array([row]), target
        self._image = images[row].astype(np.float64) / 255
        self._iterations, self._nearest = iterations, nearest

    def search(self) -> None:
        """Search for the largest c whose minimum is adversarial, and offer what is found."""
        c, first = _FIRST_C, self._try(_FIRST_C)
        for _ in range(_DECADES):
            further = c * 10 if first else c / 10
            if self._try(further) != first:
                break
            c = further
        else:
            return
        low, high = sorted((c, further))
        for _ in range(_BISECTIONS):
            middle = float(np.sqrt(low * high))
            if self._try(middle):
                low = middle
            else:
                high = middle

    def _try(self, c: float) -> bool:
        """Minimise, offer the minimum, and tell whether it is adversarial."""
        from scipy.optimize import minimize  # noqa: PLC0415  (slow to import)

        start = self._image.ravel()
        found = minimize(
            self._compute_objective,
            start,
            args=(c,),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, 1)] * start.size,
            options={"maxiter": self._iterations},
        )
        point = np.asarray(255 * found.x.reshape(1, *self._image.shape), np.float32)
        answers = self._asked.ask(point, self._which)
        apart = point - np.asarray(255 * self._image, np.float32)
        self._nearest.offer(self._which, point, compute_norms(apart, "l2"), answers.adversarial)
        return bool(answers.adversarial[0])

    def _compute_objective(
        self, values: NDArray[np.float64], c: float
    ) -> tuple[float, NDArray[np.float64]]:
        """Return the objective and its gradient with respect to the pixels in 0..1."""
        loss = 0.0

        def differentiate(logits: Floats, *_: object) -> Floats:
            nonlocal loss
            scores = logits.astype(np.float64) - logits.max()
            total = np.exp(scores).sum()
            loss = float(np.log(total) - scores[0, self._target])
            by_logits = np.exp(scores) / total
            by_logits[0, self._target] -= 1
            return np.asarray(by_logits, np.float32)

        point = np.asarray(255 * values.reshape(1, *self._image.shape), np.float32)
        _, gradients = self._asked.pull_back(point, self._which, differentiate)
        apart = values - self._image.ravel()
        slope = 255.0 * gradients.astype(np.float64).ravel() + 2 * c * apart
        return loss + c * float(np.square(apart).sum()), slope
