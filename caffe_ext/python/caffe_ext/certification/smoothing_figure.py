"""Certified accuracy against the radius, as curves: by sigma, and by the number of samples.

Cohen, Rosenfeld and Kolter, 2019, Figures 6 to 8; Mallam Garba et al., Figures 1a and 1b.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caffe_ext.reporting import pluralize
from caffe_ext.storage.figure_file import save_png_and_svg

if TYPE_CHECKING:
    from caffe_ext.certification.smoothing_result import SmoothingResult, SmoothingRow


def draw_curves(result: "SmoothingResult", path: Path) -> None:
    """Write path.svg and path.png: a row of panels for each model.

    The left panel has a curve for each sigma, with the most samples; if there are several numbers
    of samples, the right one has a curve for each of them, at the middle sigma.
    """
    save_png_and_svg(plot_smoothing(result), path)


@rc_context({"text.parse_math": False})  # a name with two "$" is not a formula
def plot_smoothing(result: "SmoothingResult") -> Figure:
    """Draw the curves."""
    rows = result.rows
    names = list(dict.fromkeys(row.name for row in rows))
    numbers = sorted({row.samples for row in rows})
    sigmas = sorted({row.sigma for row in rows})
    columns = 2 if len(numbers) > 1 else 1
    figure = Figure(figsize=(5.2 * columns, 3.4 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), columns, squeeze=False, sharey=True)
    middle = sigmas[len(sigmas) // 2]
    for name, line in zip(names, panels, strict=True):
        mine = [row for row in rows if row.name == name]
        _draw_panel(
            line[0],
            result,
            [(f"sigma {row.sigma / 255:.3g}", row) for row in mine if row.samples == numbers[-1]],
        )
        line[0].set_title(f"{name}, n = {numbers[-1]:,}", fontsize=10)
        line[0].set_ylabel("certified accuracy (%)")
        if columns > 1:
            _draw_panel(
                line[1],
                result,
                [(f"n = {row.samples:,}", row) for row in mine if row.sigma == middle],
            )
            line[1].set_title(f"{name}, sigma {middle / 255:.3g}", fontsize=10)
    figure.suptitle(
        f"Randomized smoothing of {pluralize(len(result.labels), 'image')}, "
        f"alpha {result.alpha:g} an image",
        fontsize="small",
        color="0.35",
    )
    return figure


def _draw_panel(
    axes: Axes, result: "SmoothingResult", curves: Sequence[tuple[str, "SmoothingRow"]]
) -> None:
    """Draw curves: at each radius the share of images that are certified there."""
    for number, (label, row) in enumerate(curves):
        correct = row.certificates.find_certified(result.labels, 0)
        radii = np.sort(row.certificates.radii[correct]) / 255
        shares = 100 * np.arange(len(radii), -1, -1) / len(result.labels)
        # A step at each radius, down to 0 after the last.
        axes.step(
            np.concatenate([[0], radii, radii[-1:]]),
            np.concatenate([shares[:1], shares[:-1], [0]]) if len(radii) else shares[:1],
            where="pre",
            label=label,
            linestyle=("-", "--", "-.", ":")[number % 4],
        )
    axes.set_ylim(0, 102)
    axes.set_xlim(left=0)
    axes.set_xlabel("L2 radius (of pixels in 0..1)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
