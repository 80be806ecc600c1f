"""Decoupled direction and norm (DDN), in L2.

    d      = d - alpha_k g / ||g||_2                g: of the softmax loss, away from the label
    eps    = eps (1 - .05) where x + d_k was adversarial, else eps (1 + .05)
    d      = clip(eps d / ||d||_2)                  clip: x + d within 0..255

k = 0 .. steps - 1. eps starts at 255 grey levels (L2), alpha_k falls along half a cosine from 255
to a hundredth of that. The result is the nearest adversarial seen. g is 0 in pixels that are at 0
or 255 and would leave 0..255 (fmn.py says why), and does not vanish where the loss does
(MarginQueries.ascend_loss).

Rony, Hafemann, Oliveira, Ben Ayed, Sabourin and Granger, 2019 (Algorithm 1).
"""

import numpy as np

from caffe_ext.attacks.norms import compute_norms, hold_at_bounds, normalize_l2
from caffe_ext.attacks.smallest.fmn import ALPHA, anneal
from caffe_ext.attacks.smallest.nearest import NearestAdversarials
from caffe_ext.attacks.smallest.queries import MarginQueries
from caffe_ext.models.base import Images

FIRST_RADIUS = 255.0
GAMMA = 0.05


def decoupled_direction_and_norm(
    asked: MarginQueries, images: Images, steps: int
) -> NearestAdversarials:
    """Return the nearest adversarials that DDN finds.

    images  uint8 (N, C, H, W), the criterion's
    """
    nearest = NearestAdversarials.make_empty(images)
    which = np.arange(len(images))
    origins = images.astype(np.float32)
    apart = np.zeros_like(origins)
    farthest = compute_norms(np.maximum(origins, 255 - origins), "l2")
    radii = np.full(len(images), FIRST_RADIUS)
    for step in range(steps):
        points = origins + apart
        answers, gradients = asked.ascend_loss(points, which)
        hold_at_bounds(gradients, points)
        nearest.offer(which, points, compute_norms(apart, "l2"), answers.adversarial)
        apart -= np.float32(anneal(ALPHA, step, steps)) * normalize_l2(gradients)
        radii = radii * np.where(answers.adversarial, 1 - GAMMA, 1 + GAMMA)
        radii = np.minimum(radii, farthest)
        apart = radii.astype(np.float32)[:, None, None, None] * normalize_l2(apart)
        np.clip(apart, -origins, 255 - origins, out=apart)
        stay = gradients.any(axis=(1, 2, 3)) | apart.any(axis=(1, 2, 3))
        if not stay.all():
            which, origins, apart = which[stay], origins[stay], apart[stay]
            farthest, radii = farthest[stay], radii[stay]
        if not len(which):
            break
    return nearest
