"""Iterated attacks held against single steps of the same radius, on the first images.

BIM may do all that one step does, and more; where it breaks less, gradients are masked.
"""

from collections.abc import Mapping

import numpy as np

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.evaluation.masking import Probe
from caffe_ext.evaluation.result import Settings
from caffe_ext.runs.records import AttackRecords
from caffe_ext.runs.summary import FGS, LOGIT

_STEPS, _STEPS_OF_RADIUS = 20, 8


def probe_radius(margin: AttackRecords, settings: Settings) -> float | None:
    """Return the radius in grey levels; None if there is to be no probe, or nothing suggests one.

    margin  records of FGS on the logits, whose median Linf it is by default
    """
    if not margin.attempted[: settings.probe].any():
        return None
    if settings.probe_epsilon is not None:
        return settings.probe_epsilon
    linf = margin.linf[: settings.probe][margin.found[: settings.probe]]
    return float(max(1, round(float(np.median(linf))))) if len(linf) else None


def iterated(radius: float) -> tuple[Attack, Attack]:
    """Return BIM along the loss, and along the margin of the logits."""
    shape = f"bim={radius!r}/{max(radius / _STEPS_OF_RADIUS, 1.0)!r}x{_STEPS}"
    return parse_attack(f"{shape}+fgv"), parse_attack(f"{shape}+margin")


def hold_against(
    radius: float, single: Mapping[str, AttackRecords], loss: AttackRecords, margin: AttackRecords
) -> Probe:
    """Compare them on the images that the iterated attacks were tried on.

    single        records of FGS and of FGS on the logits, on these images and maybe more
    loss, margin  records of the attacks of `iterated`
    """
    tried = loss.attempted
    within = {name: (single[name].linf[: len(tried)] <= radius)[tried] for name in (FGS, LOGIT)}
    return Probe(
        epsilon=radius,
        images=int(tried.sum()),
        single_loss=float(within[FGS].mean()),
        single_margin=float(within[LOGIT].mean()),
        iterated_loss=float(loss.found[tried].mean()),
        iterated_margin=float(margin.found[tried].mean()),
    )
