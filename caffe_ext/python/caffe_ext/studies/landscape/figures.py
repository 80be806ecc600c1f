"""The study's figures: sensitivity over energy, the dual bound's overestimate, and the tree."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from caffe_ext.evaluation.plot_style import COLOURS, decorate_axes
from caffe_ext.reporting import pluralize
from caffe_ext.studies.landscape.correlation import Correlations
from caffe_ext.studies.landscape.samples import load_iris_samples
from caffe_ext.studies.landscape.study import LandscapeResult
from caffe_ext.studies.landscape.tree import Branch, build_tree

_CERTAIN, _BOUND = COLOURS[5], "#606060"


def draw_sensitivity(result: LandscapeResult, samples: int) -> Figure:
    """Draw Figure 5: a panel for each sigma, a dot for each minimum.

    samples  how many there are in all
    """
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    few = len(load_iris_samples().few)
    energies = np.array([it.point.energy for it in result.minima])
    panels = np.atleast_1d(figure.subplots(1, len(result.sensitivities)))
    for panel, found in zip(panels, result.sensitivities, strict=True):
        for count, values, correlations, colour in (
            (few, found.few, found.few_correlations, COLOURS[0]),
            (samples, found.all, found.all_correlations, COLOURS[1]),
        ):
            panel.plot(
                energies, values, "o", ms=4, mew=0, alpha=0.7, color=colour,
                label=f"{count} samples{_describe(correlations)}",
            )  # fmt: skip
        panel.set_yscale("log")
        panel.set_xlabel(f"energy of the minimum (σ = {found.sigma:g})")
        panel.legend(fontsize=7.5, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
        decorate_axes(panel)
    panels[0].set_ylabel("sensitivity S, mean of the samples")
    return figure


def draw_overestimates(result: LandscapeResult) -> Figure:
    """Draw Figure 4, (S_dual - S_exact) / S_exact over the minima, its distribution, and both S."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(4, 2, 4))
    found = result.overestimates
    relative = 100 * np.array([it.relative for it in found])
    left.plot([it.number for it in found], relative, "o", ms=4, color=COLOURS[0])
    left.set_xlabel("minimum, by energy")
    left.set_ylabel("(S dual − S exact) / S exact (%)")
    left.set_ylim(0, None)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    middle.hist(relative, bins=min(20, max(5, len(relative) // 3)), color=COLOURS[0])
    middle.axvline(float(np.median(relative)), color="#202020", lw=1)
    middle.set_title(f"median {np.median(relative):.0f}%", fontsize=9)
    middle.set_xlabel("%")
    middle.set_ylabel("minima")
    middle.yaxis.set_major_locator(MaxNLocator(integer=True))
    settings = result.settings
    left.set_title(
        f"{pluralize(len(found), 'minimum', 'minima')}, σ = {settings.exact_sigma:g}, "
        f"{found[0].samples} samples, exact by {settings.method}",
        fontsize=9,
    )
    energies = [result.minima[it.number].point.energy for it in found]
    right.plot(energies, [it.dual for it in found], "o", ms=4, color=COLOURS[0], label="dual bound")
    right.plot(energies, [it.exact for it in found], "s", ms=4, color=COLOURS[2], label="exact")
    right.set_yscale("log")
    right.set_xlabel("energy of the minimum")
    right.set_ylabel("sensitivity S")
    right.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    for panel in (left, middle, right):
        decorate_axes(panel)
    return figure


def draw_tree(result: LandscapeResult) -> Figure:
    """Draw the disconnectivity graph: minima meet at the energy at which they are connected."""
    energies = [it.point.energy for it in result.minima]
    figure = Figure(figsize=(9, 5), layout="constrained")
    panel = figure.subplots()
    place = 0.0
    for branch in build_tree(energies, result.edges):
        if len(branch.minima) > 1:
            place = _draw_branch(panel, branch, place)[1] + 1
    panel.plot([], [], color=_BOUND, label="connected by a path: an upper bound")
    panel.plot([], [], color=_CERTAIN, label="connected by a transition state")
    panel.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    panel.set_xticks([])
    panel.set_ylabel("energy")
    decorate_axes(panel)
    return figure


def _draw_branch(panel: Axes, branch: Branch, place: float) -> tuple[float, float]:
    """Draw a branch and what is below it from a place on; return its own place and the next."""
    if not branch.parts:
        return place, place + 1
    tops = []
    for part in branch.parts:
        top, place = _draw_branch(panel, part, place)
        tops.append(top)
    colour = _CERTAIN if branch.certain else _BOUND
    for part, top in zip(branch.parts, tops, strict=True):
        panel.plot([top, top], [part.energy, branch.energy], color=colour, lw=0.9)
    panel.plot([min(tops), max(tops)], [branch.energy] * 2, color=colour, lw=0.9)
    return sum(tops) / len(tops), place


def _describe(correlations: Correlations | None) -> str:
    if correlations is None:
        return ""
    rank = correlations.spearman
    return f", ρ = {rank.coefficient:+.2f} ({rank.low:+.2f} to {rank.high:+.2f})"
