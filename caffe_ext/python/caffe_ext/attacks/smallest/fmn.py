"""The fast minimum-norm attack (FMN), in Linf and L2.

    g      = the gradient of the margin m at x + d
    eps    = min(eps (1 - gamma_k), ||best d||)           where x + d is adversarial
             eps (1 + gamma_k)                            where an earlier d was
             ||d|| + (1 + gamma_k) |m| / ||g||_dual       else: just beyond a linear boundary
    d      = clip(P_eps(d - alpha_k g / ||g||_2))         clip: x + d within 0..255

k = 0 .. steps - 1. alpha_k and gamma_k fall along half a cosine, from alpha_0 = 255 grey levels
(L2 norm of the step) to a hundredth of that, and from gamma_0 = .05 to .001. P_eps projects onto
the ball with the radius eps. The result is the nearest adversarial seen.

Here g is 0 in pixels that are at 0 or 255 and would leave 0..255. In the paper, they count in the
estimate and in the step's length though they do nothing, and on MNIST, where most pixels are 0,
many images then never reach the boundary in L2. And the first radii are slightly larger than the
paper's, which end on the boundary of a linear model, where the last bits decide.

An image is dropped when its distance has fallen by less than a thousandth in the last third of all
steps, or when its gradient is 0.

Pintor, Roli, Brendel and Biggio, 2021 (Algorithm 1).
"""

from math import cos, pi

import numpy as np

from caffe_ext.attacks.budget import Norm
from caffe_ext.attacks.norms import (
    compute_dual_norms,
    compute_norms,
    hold_at_bounds,
    normalize_l2,
    shorten,
)
from caffe_ext.attacks.smallest.nearest import NearestAdversarials
from caffe_ext.attacks.smallest.queries import MarginQueries
from caffe_ext.models.base import Images

ALPHA = (255.0, 2.55)
GAMMA = (0.05, 0.001)
_STALLED = 1e-3


def anneal(ends: tuple[float, float], step: int, steps: int) -> float:
    """Return the value on half a cosine between two ends, at a step of 0 .. steps - 1."""
    return ends[1] + (ends[0] - ends[1]) * (1 + cos(pi * step / steps)) / 2


def fast_minimum_norm(
    asked: MarginQueries, images: Images, norm: Norm, steps: int
) -> NearestAdversarials:
    """Return the nearest adversarials that FMN finds.

    images  uint8 (N, C, H, W), the criterion's
    """
    nearest = NearestAdversarials.make_empty(images)
    which = np.arange(len(images))
    origins = images.astype(np.float32)
    apart = np.zeros_like(origins)
    farthest = compute_norms(np.maximum(origins, 255 - origins), norm)
    radii = np.full(len(images), np.inf)
    seen = np.zeros(len(images), np.bool_)
    patience = max(1, steps // 3)
    before = [nearest.distances.copy()]
    for step in range(steps):
        alpha, gamma = anneal(ALPHA, step, steps), anneal(GAMMA, step, steps)
        points = origins + apart
        answers, gradients = asked.ascend(points, which)
        hold_at_bounds(gradients, points)
        lengths = compute_norms(apart, norm)
        nearest.offer(which, points, lengths, answers.adversarial)
        seen |= answers.adversarial
        slopes = compute_dual_norms(gradients, norm)
        with np.errstate(divide="ignore", invalid="ignore"):
            guessed = lengths + (1 + gamma) * np.abs(answers.margins) / slopes
        shrunk = np.minimum(radii * (1 - gamma), nearest.distances[which])
        radii = np.where(seen, radii * (1 + gamma), guessed)
        radii = np.minimum(np.where(answers.adversarial, shrunk, radii), farthest)
        apart -= np.float32(alpha) * normalize_l2(gradients)
        shorten(apart, radii, norm)
        np.clip(apart, -origins, 255 - origins, out=apart)
        before.append(nearest.distances.copy())
        stay = slopes > 0
        if step >= patience:
            old = before[step - patience][which]
            stay &= ~(nearest.distances[which] > old * (1 - _STALLED))
        if not stay.all():
            which, origins, apart = which[stay], origins[stay], apart[stay]
            farthest, radii, seen = farthest[stay], radii[stay], seen[stay]
        if not len(which):
            break
    return nearest
