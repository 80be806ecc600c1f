"""What the counts of noisy samples prove: PREDICT and CERTIFY of randomized smoothing.

The smoothed classifier is g(x) = argmax_c P(f(x + N(0, sigma^2 I)) = c). Each statement by itself
holds with probability at least 1 - alpha:

PREDICT   its class is g(x), or it abstains:  binomtest(n_A, n_A + n_B, 1/2) > alpha
CERTIFY   g is its class in the whole L2 ball of its radius around x, or it abstains:

    radius = sigma Phi^-1(p_A),  p_A the lower Clopper-Pearson bound on P(f = A), where p_A > 1/2

CERTIFY's A is the most frequent class of separate samples. With n samples the radius is at most
sigma Phi^-1(alpha^(1/n)): 3.20 sigma for n = 10,000 and alpha = 0.001.

Cohen, Rosenfeld and Kolter, 2019, "Certified adversarial robustness via randomized smoothing".
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binomtest, norm

from caffe_ext.models.base import Ints

Floats64 = NDArray[np.float64]

ABSTAIN = -1
"""The class where it abstains."""


@dataclass(frozen=True, eq=False)
class Certificates:
    """CERTIFY's results for N images.

    classes        int64 (N,), ABSTAIN where it abstains
    selected       int64 (N,), the most frequent class of the selection; ABSTAIN: it was none
    successes      int64 (N,), how many of the samples had that class
    probabilities  float64 (N,), lower bounds on its probability
    radii          float64 (N,), L2, in the units of sigma; 0 where it abstains
    """

    classes: Ints
    selected: Ints
    successes: Ints
    probabilities: Floats64
    radii: Floats64

    def find_certified(self, labels: Ints, radius: float) -> NDArray[np.bool_]:
        """Return which images keep their label in the whole ball of a radius, bool (N,)."""
        certain = (self.classes != ABSTAIN) & (self.radii >= radius)
        return np.asarray(certain & (self.classes == labels), np.bool_)


def check_alpha(alpha: float) -> None:
    """Raise ValueError unless it can be the probability of an error."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not be {alpha}")


def compute_lower_bounds(successes: Ints, trials: int, alpha: float) -> Floats64:
    """Return one-sided lower Clopper-Pearson bounds on a probability, float64 (N,).

    They exceed the probability in at most a share alpha of all experiments.
    """
    check_alpha(alpha)
    found = np.asarray(successes)
    bounds = beta.ppf(alpha, np.maximum(found, 1), trials - found + 1)
    return np.where(found > 0, bounds, 0.0)


def certify(selection: Ints, counts: Ints, alpha: float, sigma: float) -> Certificates:
    """Return the certificates of N images.

    selection  int64 (N, K + 1), how many samples had each class; the last column: none
    counts     int64 (N, K + 1), the same for n other samples, the same n for all images
    sigma      of the noise, in any unit
    """
    none = counts.shape[1] - 1
    selected = selection.argmax(axis=1)
    successes = counts[np.arange(len(counts)), selected]
    trials = int(counts[0].sum()) if len(counts) else 0
    probabilities = compute_lower_bounds(successes, trials, alpha)
    sure = (probabilities > 0.5) & (selected != none)
    radii = np.where(sure, sigma * norm.ppf(np.where(sure, probabilities, 0.5)), 0.0)
    return Certificates(
        classes=np.where(sure, selected, ABSTAIN),
        selected=np.where(selected == none, ABSTAIN, selected),
        successes=successes,
        probabilities=probabilities,
        radii=radii,
    )


def predict(counts: Ints, alpha: float) -> Ints:
    """Return the classes that PREDICT gives, int64 (N,); ABSTAIN where it abstains.

    counts  int64 (N, K + 1), as in certify()
    """
    check_alpha(alpha)
    none = counts.shape[1] - 1
    order = np.argsort(-counts, axis=1, kind="stable")[:, :2]
    first, second = np.take_along_axis(counts, order, axis=1).T
    sure = np.array(
        [
            _compute_p_value(a, b) <= alpha
            for a, b in zip(first.tolist(), second.tolist(), strict=True)
        ],
        np.bool_,
    )
    return np.where(sure & (order[:, 0] != none), order[:, 0], ABSTAIN)


@lru_cache(maxsize=1 << 16)
def _compute_p_value(first: int, second: int) -> float:
    """Return the p-value of the two counts if both classes were equally probable."""
    return float(binomtest(first, first + second, 0.5).pvalue)
