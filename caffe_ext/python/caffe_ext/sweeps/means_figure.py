"""The picture of means over repetitions: a panel for each figure, a line for each setting."""

from collections.abc import Mapping, Sequence

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


def draw_means(found: Sequence[Repetitions], titles: Mapping[str, str]) -> Figure:
    """Draw each repetition as a point, means as bars, and published figures as diamonds.

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


def _draw(axes: Axes, found: Sequence[Repetitions], name: str, title: str) -> None:
    factor = 100 if is_share(name) else 1
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
    axes.set_yticks(range(len(found)), [one.title for one in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_title("\n".join(split_title(title, _TITLE)), fontsize="medium")
    if factor == 100:
        axes.set_xlabel("%")
        low, high = axes.get_xlim()
        axes.set_xlim(low, min(high, 100 + 0.02 * (high - low)))
    axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    axes.grid(alpha=0.2)
    axes.tick_params(length=0, colors=INK)
