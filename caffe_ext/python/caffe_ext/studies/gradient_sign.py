"""The signs of a loss's gradient, which the gradient sign noise of the papers is made of."""

import numpy as np

from caffe_ext.models.base import Floats, Images, Ints, Model


def compute_loss_signs(model: Model, images: Images, labels: Ints) -> Floats:
    """Return sign(dL/dx), float32 (N, C, H, W), L = -ln softmax(z)_y the loss of the labels y.

    dL/dz_j = p_j for j != y, and p_y - 1, divided by 1 - p_y > 0, which changes no sign:

        p_j / sum_{i != y} p_i   for j != y,     and -1 for y

    This does not vanish where p_y is 1 in float32.
    """
    labels = model.check_labels(labels, len(images))

    def compute_diff(logits: Floats, rows: slice) -> Floats:
        every = np.arange(len(logits))
        scores = logits.astype(np.float64)
        scores[every, labels[rows]] = -np.inf
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        shares[every, labels[rows]] = -1
        return np.asarray(shares, np.float32)

    return np.asarray(np.sign(model.gradient(images, compute_diff)), np.float32)
