"""The figure: accuracy over the level of noise, a panel for each kind (Figure 8 of the paper)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caffe_ext.studies.human.curves import Curve
from caffe_ext.studies.human.design import CLASSES, GAUSSIAN, SIGN

_PANELS = {SIGN: ("gradient sign noise", "ε"), GAUSSIAN: ("Gaussian noise", "σ")}
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#1b1f24", "marker": "o"},
    {"color": "#0a4fa3", "marker": "s"},
    {"color": "#c2410c", "marker": "^", "linestyle": "--"},
)
_CHANCE = 100 / CLASSES


@rc_context({"text.parse_math": False})  # a name with two "$" is not a formula
def plot_curves(curves: Sequence[Curve], note: str) -> Figure:
    """Draw the curves with their intervals as bands.

    note  a line below the panels
    """
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axes = figure.subplots(1, len(_PANELS), sharey=True)
    for place, (kind, (title, level)) in zip(axes, _PANELS.items(), strict=True):
        for curve, style in zip(curves, _STYLES, strict=False):
            _draw_curve(place, curve, kind, style)
        place.axhline(_CHANCE, color="#6b7280", linewidth=0.8, linestyle=":", label="chance")
        place.set_title(title, fontsize="medium")
        place.set_xlabel(f"{level} (of pixels in [0, 1])")
        place.grid(color="#d5d9de", linewidth=0.6)
        place.set_axisbelow(True)
        for side in ("top", "right"):
            place.spines[side].set_visible(False)
    axes[0].set_ylim(0, 102)
    axes[0].set_ylabel("accuracy (%)")
    # The panel with the most curves names them all.
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    figure.supxlabel(note, fontsize="small", color="#4a5159")
    return figure


def _draw_curve(axes: Axes, curve: Curve, kind: str, style: dict[str, Any]) -> None:
    points = curve.select(kind)
    if not points:
        return
    levels = [point.subset.level for point in points]
    means = [100 * point.accuracy.mean for point in points]
    axes.plot(levels, means, label=curve.name, markersize=4, **style)
    bands = [
        (point.subset.level, 100 * point.accuracy.low, 100 * point.accuracy.high)
        for point in points
        if point.accuracy.low is not None and point.accuracy.high is not None
    ]
    if bands:
        axes.fill_between(*np.array(bands).T, color=style["color"], alpha=0.18, linewidth=0)
