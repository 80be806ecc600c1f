"""Figures over two axes of a sweep, flat and in three dimensions, beside those of the baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from caffe_ext.evaluation.plot_style import INK, use_style
from caffe_ext.runs.titles import split_title
from caffe_ext.sweeps.choices import DATA, NET, SEED
from caffe_ext.sweeps.table import DONE, Row, is_share

BASELINE_COLOUR = "#2ca02c"
"""Green, as in the figures of the BANG paper."""
COLOURS = "YlOrBr"
_ACROSS = 3
_TITLE = 34


@dataclass(frozen=True, eq=False)
class SurfaceMap:
    """A figure over two axes.

    figure    its name in the table
    down      name and values of the first axis; across: of the second
    values    float64 (len(down), len(across)): means over repetitions; NaN where nothing is done
    baseline  the level of regular training, its mean over repetitions; None: there is none, or one
              for each network or data set
    """

    figure: str
    title: str
    down: tuple[str, tuple[Any, ...]]
    across: tuple[str, tuple[Any, ...]]
    values: NDArray[np.float64]
    baseline: float | None


def find_map_axes(axes: Mapping[str, Sequence[Any]]) -> tuple[str, str] | None:
    """Return the two axes of maps; None unless exactly two, besides the seed, have several values.

    axes  values by name
    """
    wide = [name for name, values in axes.items() if len(values) > 1 and name != SEED]
    return (wide[0], wide[1]) if len(wide) == 2 else None


def make_maps(
    rows: Sequence[Row], axes: Mapping[str, Sequence[Any]], figures: Mapping[str, str]
) -> list[SurfaceMap]:
    """Return a map of each figure; none if find_map_axes() finds no axes.

    axes     values by name, as they are in the rows
    figures  titles by name
    """
    found = find_map_axes(axes)
    if found is None:
        return []
    down, across = found
    maps = []
    for figure, title in figures.items():
        values = np.full((len(axes[down]), len(axes[across])), np.nan)
        for place in np.ndindex(*values.shape):
            wanted = {down: axes[down][place[0]], across: axes[across][place[1]]}
            values[place] = _average(
                [
                    row
                    for row in rows
                    if not row["baseline"]
                    and all(row[name] == value for name, value in wanted.items())
                ],
                figure,
            )
        shared = not {DATA, NET}.intersection(found)
        level = _average([row for row in rows if row["baseline"] and shared], figure)
        maps.append(
            SurfaceMap(
                figure,
                title,
                (down, tuple(axes[down])),
                (across, tuple(axes[across])),
                values,
                None if np.isnan(level) else level,
            )
        )
    return maps


def _average(rows: Sequence[Row], figure: str) -> float:
    """Return the mean of a figure over finished points, NaN if there are none."""
    values = [row[figure] for row in rows if row["state"] == DONE and row.get(figure) is not None]
    return float(np.mean(values)) if values else float("nan")


def draw_maps(maps: Sequence[SurfaceMap]) -> Figure:
    """Draw maps side by side: rates and accuracies in %, other figures as they are."""
    with use_style():
        columns = min(_ACROSS, len(maps))
        rows = -(-len(maps) // columns)
        figure = Figure(figsize=(4.2 * columns, 3.5 * rows), layout="constrained")
        figure.set_facecolor("white")
        places = figure.subplots(rows, columns, squeeze=False)
        for place, one in zip(places.flat, maps, strict=False):
            _draw(figure, place, one)
        for place in list(places.flat)[len(maps) :]:
            place.set_visible(False)
    return figure


def draw_surfaces(maps: Sequence[SurfaceMap]) -> Figure:
    """Draw the same in three dimensions, as the BANG paper does, with the level of the baseline as
    a green line on the walls.
    """
    with use_style():
        columns = min(_ACROSS, len(maps))
        rows = -(-len(maps) // columns)
        figure = Figure(figsize=(4.4 * columns, 4 * rows), layout="constrained")
        figure.set_facecolor("white")
        for number, one in enumerate(maps, 1):
            _draw_surface(figure.add_subplot(rows, columns, number, projection="3d"), one)
    return figure


def _draw_surface(axes: Any, one: SurfaceMap) -> None:
    percent = is_share(one.figure)
    values = (100 if percent else 1) * one.values
    down, across = (np.arange(len(labels)) for _, labels in (one.down, one.across))
    x, y = np.meshgrid(across, down)
    if np.isfinite(values).any():
        axes.plot_surface(
            x, y, values, cmap=COLOURS, rstride=1, cstride=1, edgecolor=INK, linewidth=0.3
        )
    if one.baseline is not None:
        level = (100 if percent else 1) * one.baseline
        for edge in ((across, np.full(len(across), down[-1])), (np.full(len(down), 0), down)):
            axes.plot(*edge, level, color=BASELINE_COLOUR, linewidth=2)
    _write_labels(axes, one, most_ticks=5)
    if percent:  # matplotlib makes room around a constant
        axes.set_zlim(top=min(axes.get_zlim()[1], 100))
    axes.set_zlabel("%" if percent else "")


def _write_labels(axes: Any, one: SurfaceMap, most_ticks: int) -> None:
    """Write the title, with the level of the baseline, and the values of both axes."""
    title = split_title(one.title, _TITLE)
    if one.baseline is not None:
        level = f"{100 * one.baseline:.2f}%" if is_share(one.figure) else f"{one.baseline:.4g}"
        title.append(f"regular training: {level}")
    axes.set_title("\n".join(title), fontsize="medium")
    for (name, labels), set_ticks, set_label in (
        (one.across, axes.set_xticks, axes.set_xlabel),
        (one.down, axes.set_yticks, axes.set_ylabel),
    ):
        places = range(0, len(labels), -(-len(labels) // most_ticks))
        set_ticks(list(places), [f"{labels[place]}" for place in places])
        set_label(name.rpartition(".")[2])


def _draw(figure: Figure, axes: Axes, one: SurfaceMap) -> None:
    """Draw fields without interpolation, the level of the baseline as a contour between them."""
    percent = is_share(one.figure)
    factor = 100 if percent else 1
    values = np.ma.masked_invalid(factor * one.values)
    axes.patch.set(facecolor="#e4e4e4", edgecolor="#a8a8a8", hatch="////")  # where there is none
    image = axes.imshow(values, cmap=COLOURS, origin="lower", aspect="auto")
    if values.count():
        image.set_clim(find_colour_range(values.compressed(), percent=percent))
    bar = figure.colorbar(image, ax=axes, label="%" if percent else "")
    bar.ax.ticklabel_format(axis="y", style="plain", useOffset=False)
    if one.baseline is not None:
        level = factor * one.baseline
        _draw_level(axes, one.values * factor, level)
        bar.ax.axhline(level, color=BASELINE_COLOUR, linewidth=2)
    _write_labels(axes, one, most_ticks=7)
    axes.grid(visible=False)
    axes.tick_params(length=0, colors=INK)


def _draw_level(axes: Axes, values: NDArray[np.float64], level: float) -> None:
    """Draw where the surface crosses a level, if it does."""
    if is_crossed(values, level):
        axes.contour(
            np.ma.masked_invalid(values), levels=[level], colors=[BASELINE_COLOUR], linewidths=1.8
        )


def find_colour_range(values: NDArray[np.float64], *, percent: bool) -> tuple[float, float]:
    """Return the least and the greatest of some values, or a range around a constant.

    percent  there is nothing above 100
    """
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low == high:
        return low - 1, min(high + 1, 100) if percent else high + 1
    return low, high


def is_crossed(values: NDArray[np.float64], level: float) -> bool:
    """Tell whether a surface crosses a level; values: NaN where nothing is known."""
    known = values[np.isfinite(values)]
    return min(values.shape) > 1 and len(known) > 0 and bool(known.min() < level < known.max())
