"""Iterated attacks compared with single steps of the same radius, on the first images.

BIM can do everything that one step does, and more; if it breaks less, gradients are masked.
"""

from collections.abc import Mapping

import numpy as np

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.evaluation.masking import Probe
from caffe_ext.evaluation.suite import Suite
from caffe_ext.runs.records import AttackRecords

_STEPS, _STEPS_OF_RADIUS = 20, 8


def choose_probe_radius(
    margin: AttackRecords, images: int, epsilon: float | None = None
) -> float | None:
    """Return the radius in grey levels; None for no probe, or if no radius can be derived.

    margin   records of the single steps along the logits' margin; the default radius is their
             median Linf, within which a single step breaks half of the images that it breaks at all
    images   how many of the first images are probed; 0: no probe
    epsilon  the requested radius
    """
    if not margin.attempted[:images].any():
        return None
    if epsilon is not None:
        return epsilon
    linf = margin.linf[:images][margin.found[:images]]
    return float(max(1, round(float(np.median(linf))))) if len(linf) else None


def make_iterated_attacks(radius: float) -> tuple[Attack, Attack]:
    """Return BIM along the loss, and along the margin of the logits."""
    shape = f"bim={radius!r}/{max(radius / _STEPS_OF_RADIUS, 1.0)!r}x{_STEPS}"
    return parse_attack(f"{shape}+fgv"), parse_attack(f"{shape}+margin")


def compare_with_single_steps(
    radius: float,
    suite: Suite,
    single: Mapping[str, AttackRecords],
    loss: AttackRecords,
    margin: AttackRecords,
) -> Probe:
    """Compare them on the images that the iterated attacks were tried on.

    single        records of the suite's attacks, on these images and maybe more
    loss, margin  records of the iterated attacks
    """
    tried = loss.attempted
    within = {
        text: (single[text].linf[: len(tried)] <= radius)[tried]
        for text in (suite.loss, suite.margin)
        if text is not None
    }
    return Probe(
        epsilon=radius,
        images=int(tried.sum()),
        single_loss=float(within[suite.loss or ""].mean()),
        single_margin=float(within[suite.margin or ""].mean()),
        iterated_loss=float(loss.found[tried].mean()),
        iterated_margin=float(margin.found[tried].mean()),
    )
