"""The picture of means over repetitions: a panel for each figure, a line for each setting."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from caffe_ext.evaluation.plot_style import COLOURS, INK, use_style
from caffe_ext.runs.titles import split_title
from caffe_ext.sweeps.means import Repetitions
from caffe_ext.sweeps.table import is_share

MOST_SETTINGS = 24
_ACROSS = 3
_TITLE = 36
_FAR = 3
"""How many times as far from the others as these reach are values that an axis leaves out."""
_FEW = 1 / 3
_MARGIN, _TEXT_MARGIN = 0.06, 0.4


def draw_means(found: Sequence[Repetitions], titles: Mapping[str, str]) -> Figure:
    """Draw each repetition as a point, means as bars, and published figures as diamonds.

    Values that are far from all others are written at the end of the axis.

    titles  of the figures that are drawn, by name
    """
    with use_style():
        columns = min(_ACROSS, len(titles))
        rows = -(-len(titles) // columns)
        height = 1.3 + 0.27 * len(found)
        figure = Figure(figsize=(1.2 + 3.4 * columns, height * rows + 0.3), layout="constrained")
        figure.set_facecolor("white")
        places = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for place, (name, title) in zip(places.flat, titles.items(), strict=False):
            _draw(place, found, name, title)
        for place in list(places.flat)[len(titles) :]:
            place.set_visible(False)
        shown = {
            text: handle
            for place in places.flat
            for handle, text in zip(*place.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            shown.values(), shown.keys(), loc="outside upper left", ncols=3, frameon=False
        )
    return figure


def find_core(values: Iterable[float]) -> tuple[float, float]:
    """Return the least and the greatest of some values but for a few that are far from the others,
    such as the accuracies of trainings that have failed.
    """
    core = np.sort(np.asarray(list(values), np.float64))
    while len(core) > 2:
        gaps = np.diff(core)
        cut = int(gaps.argmax()) + 1
        kept = core[cut:] if cut <= len(core) / 2 else core[:cut]
        few = len(core) - len(kept) <= _FEW * len(core)
        if not few or not 0 < _FAR * np.ptp(kept) < gaps[cut - 1]:
            break
        core = kept
    return float(core[0]), float(core[-1])


def _draw(axes: Axes, found: Sequence[Repetitions], name: str, title: str) -> None:
    factor = 100 if is_share(name) else 1
    _draw_points(axes, found, name, factor)
    axes.set_yticks(range(len(found)), [one.title for one in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_title("\n".join(split_title(title, _TITLE)), fontsize="medium")
    if factor == 100:
        axes.set_xlabel("%")
        low, high = axes.get_xlim()
        axes.set_xlim(low, min(high, 100 + 0.02 * (high - low)))
    _leave_out_far_values(axes, found, name, factor)
    axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    axes.grid(alpha=0.2)
    axes.tick_params(length=0, colors=INK)


def _leave_out_far_values(
    axes: Axes, found: Sequence[Repetitions], name: str, factor: float
) -> None:
    """Let an axis end before values that are far from all others, and write these at its end."""
    means = {place: one.figures.get(name) for place, one in enumerate(found)}
    measured = {
        place: [factor * value for value in mean.values]
        for place, mean in means.items()
        if mean is not None and mean.mean is not None
    }
    published = {
        place: factor * mean.published
        for place, mean in means.items()
        if place in measured and mean is not None and mean.published is not None
    }
    every = [*(value for some in measured.values() for value in some), *published.values()]
    if not every:
        return
    low, high = find_core(every)
    if (low, high) == (min(every), max(every)):
        return
    left = _TEXT_MARGIN if min(every) < low else _MARGIN
    right = _TEXT_MARGIN if max(every) > high else _MARGIN
    axes.set_xlim(low - left * (high - low), high + right * (high - low))

    def write(place: int, is_far: Callable[[float], bool], end: float, arrow: str) -> None:
        far = list(filter(is_far, measured[place]))
        ends = dict.fromkeys(f"{one:.4g}" for one in (min(far), max(far))) if far else {}
        parts = ["–".join(ends)] * bool(far)
        if place in published and is_far(published[place]):
            parts.append(f"\N{WHITE DIAMOND} {published[place]:.4g}")
        if parts:
            text, where = arrow.format(", ".join(parts)), axes.get_yaxis_transform()
            side: Any = "left" if end < 0.5 else "right"
            style: Any = {"va": "center", "color": INK, "fontsize": "small"}
            axes.text(end, place, text, transform=where, ha=side, **style)

    for place in measured:
        write(place, lambda value: value < low, 0.02, "← {}")
        write(place, lambda value: value > high, 0.98, "{} →")


def _draw_points(axes: Axes, found: Sequence[Repetitions], name: str, factor: float) -> None:
    for place, one in enumerate(found):
        mean = one.figures.get(name)
        if mean is None or mean.mean is None:
            continue
        colour = COLOURS[2] if one.baseline else COLOURS[0]
        values = factor * np.asarray(mean.values)
        axes.plot(
            values,
            [place] * len(values),
            "o",
            color=colour,
            alpha=0.55,
            markersize=5,
            markeredgewidth=0,
            label="a point",
            linestyle="none",
        )
        if len(values) > 1:
            axes.plot(
                [factor * mean.mean],
                [place],
                "|",
                color=INK,
                markersize=13,
                markeredgewidth=1.8,
                label="mean",
                linestyle="none",
            )
        if mean.published is not None:
            axes.plot(
                [factor * mean.published],
                [place],
                "D",
                markerfacecolor="none",
                markeredgecolor=COLOURS[5],
                markersize=6,
                label="published",
                linestyle="none",
            )
