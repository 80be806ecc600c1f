"""Figures as the papers print them."""

from caffe_ext.metrics.distances import FULL_SCALE
from caffe_ext.runs.summary import Spread

NONE = "–"


def format_percent(share: float | None) -> str:
    """Return a share as the papers print it: 93.12%."""
    return NONE if share is None else f"{100 * share:.2f}%"


def format_pass(found: Spread | None) -> str:
    """Return PASS as the papers print it: 0.4072 ± 0.1081."""
    return NONE if found is None else f"{found.mean:.4f} ± {found.std:.4f}"


def format_grey_levels(found: Spread | None) -> str:
    """Return a distance as the papers print it: 40.51 ± 15.72."""
    return NONE if found is None else f"{found.mean:.2f} ± {found.std:.2f}"


def format_of_one(distance: float) -> str:
    """Return grey levels as a distance of pixels in 0..1: 0.1 of 1."""
    return f"{distance / FULL_SCALE:.3g} of 1"


def format_both_units(distance: float) -> str:
    """Return a distance in grey levels, in brackets for pixels in 0..1: 25.5 (0.1)."""
    return f"{round(distance, 1):,g} ({distance / FULL_SCALE:.2g})"
