"""Check that the scores of an image do not depend on the other images of its batch.

Attacks and measurements treat images independently: which others are in the batch, and how many,
must not matter. With a layer such as BatchNorm with `use_global_stats: false`, results would depend
on the batch size, and adversarials would not be adversarial when classified alone.
"""

import numpy as np
from numpy.typing import NDArray

from caffe_ext.models.base import Floats, Images, Model
from caffe_ext.models.classifier import Classifier

TOLERANCE = 1e-3
"""Relative to the largest value: smaller differences are rounding, which depends on the shape."""


def check_batch_independence(model: Model) -> None:
    """Raise ValueError, with the layer's name where it can be found, if a model's scores depend on
    the other images of the batch.

    Images that differ much in brightness and contrast are classified in one batch, of at most the
    model's batch_size, and one by one; with a batch_size of 1 there is nothing to check. Models
    with random scores are not checked.
    """
    images = _make_probe_images(model.image_shape)[: model.batch_size]
    if len(images) < 2:
        return
    together = model.logits(images)
    alone = np.concatenate([model.logits(images[row : row + 1]) for row in range(len(images))])
    if _close(together, alone) or not _close(together, model.logits(images)):
        return
    if not (np.isfinite(together).all() and np.isfinite(alone).all()):
        raise ValueError(
            "the scores are not finite numbers: the weights or the scale are too large"
        )
    layer = _find_first_dependent_layer(model, images) if isinstance(model, Classifier) else None
    name, kind = layer or ("", "")
    where = f", from layer '{name}' ({kind}) on" if layer else ""
    remedy = (
        "its batch_norm_param needs `use_global_stats: true`, the default of a deploy net"
        if kind == "BatchNorm"
        else "make it independent of them, or classify images one by one: --batch-size 1"
    )
    raise ValueError(
        f"the scores of an image depend on the other images of the batch{where}; {remedy}"
    )


def _make_probe_images(shape: tuple[int, int, int]) -> Images:
    """Return noise, black, white and a dark ramp, uint8 (4, C, H, W)."""
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    ramp = np.broadcast_to(np.linspace(0, 90, shape[2]).astype(np.uint8), shape)
    return np.stack([noise, np.zeros_like(noise), np.full_like(noise, 255), ramp])


def _close(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Tell whether two arrays are equal except for rounding; NaN equals NaN."""
    finite = np.abs(other[np.isfinite(other)])
    far = TOLERANCE * float(finite.max(initial=0))
    return bool(np.allclose(one, other, rtol=0, atol=far, equal_nan=True))


def _find_first_dependent_layer(classifier: Classifier, images: Images) -> tuple[str, str] | None:
    """Return name and type of the first layer whose tops for an image depend on the others.

    None if there is none with one row per image.
    """
    together = [
        (name, kind, {top: values.copy() for top, values in tops.items()})
        for name, kind, tops in classifier.run_layers(images)
    ]
    alone: list[list[dict[str, Floats]]] = [
        [
            {top: values.copy() for top, values in tops.items()}
            for *_, tops in classifier.run_layers(images[row : row + 1])
        ]
        for row in range(len(images))
    ]
    for number, (name, kind, tops) in enumerate(together):
        for top, values in tops.items():
            rows = [one[number][top] for one in alone]
            if values.shape[:1] != (len(images),) or any(r.shape[:1] != (1,) for r in rows):
                continue
            if not _close(values, np.concatenate(rows)):
                return name, kind
    return None
