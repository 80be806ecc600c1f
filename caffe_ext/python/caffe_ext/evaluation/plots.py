"""The plots of a report, as Matplotlib figures without a background: svg() makes them inline SVG.

Lines, text and grids are drawn in INK and GRID, which svg() replaces by the page's own colours, so
that a plot can be read on light and on dark pages, and on paper.
"""

import re
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caffe_ext.attacks.budget import NORM_NAMES, Norm
from caffe_ext.evaluation.result import ModelEvaluation
from caffe_ext.runs.summary import AttackSummary, Spread

INK, GRID = "#1a2b3c", "#1a2b3d"
COLOURS = (
    "#3d85c6",
    "#e07b39",
    "#3a9d6e",
    "#b45fae",
    "#c79a1e",
    "#d0515d",
    "#4aa5b5",
    "#8a8a8a",
)
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # a name with two "$" is no formula
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
}
_UNNAMED = re.compile(r"_child\d+|_container\d+|_nolegend_|")
_WIDTH, _ROW = 9.6, 2.5
_LINF_TICKS = (0, 4, 16, 36, 64, 100, 144, 196, 255)
_MOST_PANELS = 8


def broken_curves(models: Sequence[ModelEvaluation], norm: Norm) -> Figure | None:
    """Draw the share of images broken within each radius: a panel for each way of attacking.

    None if a model's suite has no curves in the norm.
    """
    if not all(norm in model.suite.norms for model in models):
        return None
    panels: list[tuple[str, tuple[str, str] | None]] = []
    for model in models:
        for one in model.summaries:
            shown = (one.attack, one.variant) in model.suite.columns or one.attack == "fgv"
            panel = (one.title, (one.attack, one.variant))
            if shown and panel not in panels:
                panels.append(panel)
    panels = [*panels[:_MOST_PANELS], ("the best attack for each image", None)]
    figure, axes = _panels(len(panels), columns=3)
    ticks = _TICKS[norm](models)
    radii = np.linspace(0, ticks[-1], 256)
    for axis, (title, key) in zip(axes, panels, strict=True):
        for model, colour in _coloured(models):
            summary = model.summary(*key) if key else None
            if key is None or summary:
                broken = 100 * model.curve(summary, radii, norm)
                axis.plot(radii, broken, color=colour, label=model.name)
        # Roots give room to small radii, usual for colour images, and to the largest.
        axis.set_xscale("function", functions=(np.sqrt, np.square))
        axis.set(title=title, xlim=(0, ticks[-1]), ylim=(0, 102), xticks=ticks)
    _outer_labels(axes, 3, f"{NORM_NAMES[norm]}, grey levels", "images broken, %")
    _legend(figure, axes[0])
    return figure


def _l2_ticks(models: Sequence[ModelEvaluation]) -> tuple[int, ...]:
    """Return ticks up to where all models are broken as far as they are at all."""
    found = [one.l2[one.found] for model in models for one in model.records.values()]
    largest = max((float(values.max()) for values in found if len(values)), default=1.0)
    step = 10 ** np.floor(np.log10(max(largest, 10)))
    end = step * np.ceil(largest / step)
    return tuple(dict.fromkeys(round(end * (part / 5) ** 2) for part in range(6)))


_TICKS: dict[str, Callable[[Sequence[ModelEvaluation]], tuple[int, ...]]] = {
    "linf": lambda _: _LINF_TICKS,
    "l2": _l2_ticks,
}


def pass_distributions(models: Sequence[ModelEvaluation]) -> Figure:
    """Draw how PASS is distributed for each attack: a panel a model (2016 paper, Figure 4)."""
    figure, axes = _panels(len(models), columns=1, row=2.3)
    least = 0.0
    for axis, (model, colour) in zip(axes, _coloured(models), strict=True):
        shown = [one for one in model.summaries if one.found and one.pass_scores]
        values = [model.records[one.attack].pass_scores[model.counted(one)] for one in shown]
        for place, scores in enumerate(values):
            _violin(axis, place, scores, colour)
            least = min(least, float(scores.min()))
        axis.set(title=model.name, ylabel="PASS")
        _names(axis, shown)
        axis.grid(visible=False, axis="x")
    for axis in axes:
        axis.set_ylim(least - 0.02, 1.02)
    return figure


def metrics_by_attack(models: Sequence[ModelEvaluation]) -> Figure:
    """Draw mean PASS, L2 and Linf of each attack, distances scaled to their largest mean.

    A panel a model (2016 paper, Figure 5); the scale is the same for all.
    """
    bars: tuple[tuple[str, str, Callable[[AttackSummary], Spread | None]], ...] = (
        ("PASS", COLOURS[0], lambda one: one.pass_scores),
        ("L2", COLOURS[1], lambda one: one.l2),
        ("Linf", COLOURS[2], lambda one: one.linf),
    )
    figure, axes = _panels(len(models), columns=1, row=2.3)
    for offset, (title, colour, measure) in enumerate(bars):
        found = [[measure(one) for one in model.summaries if one.found] for model in models]
        largest = max([one.mean for row in found for one in row if one] or [1.0])
        scale = 1.0 if title == "PASS" else largest
        for axis, row in zip(axes, found, strict=True):
            means = [one.mean / scale if one else np.nan for one in row]
            label = title if title == "PASS" else f"{title} (1: {largest:,.0f} grey levels)"
            places = np.arange(len(row)) + (offset - 1) * 0.27
            axis.bar(places, means, 0.25, color=colour, label=label)
    for axis, model in zip(axes, models, strict=True):
        axis.set(title=model.name, ylim=(0, 1.05))
        _names(axis, [one for one in model.summaries if one.found])
        axis.grid(visible=False, axis="x")
    _legend(figure, axes[0])
    return figure


def noise_stability(models: Sequence[ModelEvaluation]) -> Figure | None:
    """Draw the share of noisy copies that change class, by level; None if there was no noise."""
    if not any(model.noise for model in models):
        return None
    figure, (axis,) = _panels(1, columns=1, row=3.2, width=6.0)
    for model, colour in _coloured(models):
        if model.noise:
            levels, rates = model.noise.levels, 100 * model.noise.rates
            axis.plot(levels, rates, color=colour, marker="o", markersize=4, label=model.name)
    axis.set(
        xlabel="standard deviation of the noise, grey levels",
        ylabel="noisy copies that change class, %",
    )
    axis.set_ylim(bottom=0)
    axis.set_xlim(left=0)
    _legend(figure, axis)
    return figure


def styled(draw: Callable[[], Figure | None]) -> Figure | None:
    """Return what a function draws, in the report's style."""
    with mpl.rc_context(_STYLE):
        return draw()


def svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG to put into an HTML page.

    name  of the plot: goes before each id, since a page's ids must differ
    """
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        stream = StringIO()
        figure.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # HTML knows the namespaces; without them the page names no address at all.
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    # A hundredth of a point is finer than any eye, and the page half as long.
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    # Its width is the page's business.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace(INK, "var(--ink)").replace(GRID, "var(--rule)")


def _panels(
    count: int, *, columns: int, row: float = _ROW, width: float = _WIDTH
) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels, row by row."""
    rows = -(-count // columns)
    figure = Figure(figsize=(width, row * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = list(grid.flat)
    for axis in axes[count:]:
        axis.remove()
    return figure, axes[:count]


def _coloured(models: Sequence[ModelEvaluation]) -> list[tuple[ModelEvaluation, str]]:
    return [(model, COLOURS[place % len(COLOURS)]) for place, model in enumerate(models)]


def _outer_labels(axes: Sequence[Axes], columns: int, below: str, left: str) -> None:
    """Label the axes at the left and at the bottom only."""
    for place, axis in enumerate(axes):
        if place % columns == 0:
            axis.set_ylabel(left)
        if place + columns >= len(axes):
            axis.set_xlabel(below)


def _legend(figure: Figure, axis: Axes) -> None:
    """Put the legend of one panel above all."""
    # Matplotlib's own choice leaves out what begins with "_", as do snapshots of prefix "folder/".
    drawn: list[Any] = [*axis.lines, *axis.containers]
    named = {one.get_label(): one for one in drawn if not _UNNAMED.fullmatch(one.get_label())}
    if named:
        figure.legend(named.values(), named.keys(), loc="outside upper left", ncols=4)


def _names(axis: Axes, summaries: Sequence[AttackSummary]) -> None:
    """Write the attacks' names below the places 0, 1, ..."""
    names = [
        one.title.replace(", ", "\n").replace("paper's protocol", "paper") for one in summaries
    ]
    axis.set_xticks(range(len(names)), names, fontsize=8)
    axis.set_xlim(-0.6, max(len(names), 1) - 0.4)


def _violin(axis: Axes, place: int, values: Any, colour: str) -> None:
    """Draw a distribution: its density, and the median with the middle half."""
    if len(values) > 1 and np.ptp(values) > 0:
        parts: Any = axis.violinplot([values], [place], widths=0.85, showextrema=False)
        for body in parts["bodies"]:
            body.set(facecolor=colour, alpha=0.45, edgecolor=colour)
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    axis.vlines(place, low, high, color=INK, linewidth=2)
    axis.plot([place], [middle], marker="o", markersize=4, color=INK)
