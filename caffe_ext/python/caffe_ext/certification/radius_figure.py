"""Shares of images over the Linf radius, a panel for each model: bounds as steps (steps.py)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from caffe_ext.certification.steps import LOWER, UPPER, make_band
from caffe_ext.certification.windows import Doubles
from caffe_ext.reporting import pluralize

_MARKERS = ("s", "^", "v", "D")


@dataclass(frozen=True, eq=False)
class RadiusPanel:
    """What is plotted of a model; all shares are 0..1, float64 (R,).

    lower     lower bounds, by their labels
    attacked  what the attack leaves; None: there was none
    band      a label, and what is filled: from a lower to an upper bound; None: nothing
    """

    name: str
    accuracy: float
    lower: Mapping[str, Doubles]
    attacked: Doubles | None
    band: tuple[str, Doubles, Doubles] | None


@rc_context({"text.parse_math": False})  # a name with two "$" is not a formula
def plot_over_radius(
    models: Sequence[RadiusPanel], radii: Sequence[float], images: int, attack: str
) -> Figure:
    """Return the figure.

    radii   R of them, in grey levels
    images  how many
    attack  its text, in which E is the radius; "": there was none
    """
    count = len(models)
    figure = Figure(figsize=(max(5.6, 4.4 * count), 4.2), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False, sharey=True)[0]
    order = np.argsort(radii)
    x = np.array(radii)[order]
    for panel, model in zip(panels, models, strict=True):
        if model.attacked is not None:
            shares = 100 * model.attacked[order]
            panel.plot(x, shares, "o-", drawstyle=UPPER, color="0.3", label="under attack")
        for number, (label, bound) in enumerate(model.lower.items()):
            marker = _MARKERS[number % len(_MARKERS)]
            panel.plot(x, 100 * bound[order], f"{marker}--", drawstyle=LOWER, label=label)
        if model.band is not None:
            label, lower, upper = model.band
            band = make_band(x, 100 * lower[order], 100 * upper[order])
            panel.fill_between(*band, color="0.9", label=label)
        panel.axhline(100 * model.accuracy, color="0.6", linewidth=0.8, label="accuracy")
        panel.set_title(model.name, fontsize=10)
        panel.set_xlabel("Linf radius (grey levels)")
        panel.set_ylim(-2, 102)
        panel.grid(alpha=0.3)
    if attack:
        figure.suptitle(f"attack: {attack}, E is the radius", fontsize="small", color="0.35")
    panels[0].set_ylabel(f"share of {pluralize(images, 'image')} (%)")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        fontsize="small",
    )
    return figure
