"""Metrics of sensitivity and robustness, for each image: those of Wang et al. (2019).

CE        cross-entropy
ERR       whether the image is misclassified
SENSE     prod_t (u_t - l_t) of the bounds of the logits for all inputs within epsilon
JACOB     ||J||_F of the logits by the network's input
ADV_LOSS  cross-entropy of the worst logits, -J(e_y - e_t), within epsilon
ADV_ERR   whether the image is not certified, or misclassified

and, of the weights alone,

SPECTRAL  the sum over all layers of the largest singular value of W, outputs x rest

Inputs are in the units of the network. As in the paper, pixels within epsilon may leave 0..255.
"""

from dataclasses import dataclass

import numpy as np

from caffe_ext.certification.bounds import Bounder
from caffe_ext.certification.layers import Convolution, InnerProduct, Interval
from caffe_ext.certification.network import BoundableNetwork
from caffe_ext.certification.windows import Doubles
from caffe_ext.models.base import Images, Ints, Model
from caffe_ext.models.pixels import PixelSpace, allow_dark_pixels


@dataclass(frozen=True, eq=False)
class ImageMetrics:
    """The metrics of N images, float64 (N,) each.

    log_sense  the logarithm of SENSE, which exceeds the range of numbers for many classes
    """

    ce: Doubles
    err: Doubles
    log_sense: Doubles
    jacob: Doubles
    adv_loss: Doubles
    adv_err: Doubles


def measure_images(
    model: Model, bounder: Bounder, images: Images, labels: Ints, epsilon: float
) -> ImageMetrics:
    """Return the metrics of images.

    images   uint8 (N, C, H, W)
    labels   int64 (N,)
    epsilon  Linf, in grey levels

    Raises ValueError as Bounder does.
    """
    logits = model.logits(images).astype(np.float64)
    bounds = bounder.bound_boxes(surround_inputs(model.pixel_space, images, epsilon), labels)
    margins = bounds.margins.copy()
    margins[np.arange(len(labels)), labels] = 0
    wrong = logits.argmax(axis=1) != labels
    with np.errstate(divide="ignore"):  # of a width of 0
        log_sense = np.log(bounds.upper - bounds.lower).sum(axis=1)
    return ImageMetrics(
        _compute_cross_entropy(logits, labels),
        wrong.astype(np.float64),
        log_sense,
        _compute_jacobian_norms(model, images),
        _compute_cross_entropy(-margins, labels),
        (wrong | ~bounds.certified).astype(np.float64),
    )


@allow_dark_pixels()
def surround_inputs(space: PixelSpace, images: Images, epsilon: float) -> Interval:
    """Return the box of the inputs within epsilon grey levels of each image's, (N, C, h, w)."""
    centre = space.to_input(images).astype(np.float64)
    radius = epsilon * _arrange_scale(space, network_order=True)
    return Interval(centre - radius, centre + radius)


def measure_weights(network: BoundableNetwork) -> float:
    """Return SPECTRAL."""
    total = 0.0
    for node in network.nodes:
        if isinstance(node.layer, Convolution | InnerProduct):
            weights = node.layer.weights
            total += float(np.linalg.norm(weights.reshape(len(weights), -1), 2))
    return total


def _compute_cross_entropy(logits: Doubles, labels: Ints) -> Doubles:
    """Return the cross-entropy of each row."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(labels)), labels]
    return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - chosen)


def _compute_jacobian_norms(model: Model, images: Images) -> Doubles:
    """Return ||d logits / d input||_F of each image."""
    squares = np.zeros(len(images))
    scale = _arrange_scale(model.pixel_space, network_order=False)
    for number in range(model.classes):
        diff = np.zeros((len(images), model.classes), np.float32)
        diff[:, number] = 1
        gradient = model.gradient(images, diff).astype(np.float64) / scale
        squares += (gradient**2).sum(axis=(1, 2, 3))
    return np.asarray(np.sqrt(squares))


def _arrange_scale(space: PixelSpace, *, network_order: bool) -> Doubles:
    """Return the scale as (C, 1, 1) or (1, 1, 1), in the network's channel order or the images'."""
    scale = np.atleast_1d(np.asarray(space.scale, np.float64))
    if space.channel_order == "BGR" and not network_order:
        scale = scale[::-1]
    return scale[:, None, None]
