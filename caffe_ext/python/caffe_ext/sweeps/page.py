"""The page of a sweep, for a browser: maps, any figure over any other, and the table, linked.

A setting that is chosen in one of them is marked in all. The page needs no network.
"""

import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from caffe_ext.reporting import pluralize
from caffe_ext.runs.titles import split_title
from caffe_ext.sweeps.maps import (
    BASELINE_COLOUR,
    COLOURS,
    SurfaceMap,
    find_colour_range,
    is_crossed,
)
from caffe_ext.sweeps.means import NO_MEAN, Repetitions, format_value
from caffe_ext.sweeps.table import is_share

# Bokeh is imported late: it comes with the extra `sweep`.
# ruff: noqa: PLC0415

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource, Model, UIElement

_TOOLS = "tap,box_select,reset,save"
_SIZE = 340
_POINT = "#3d85c6"
_TITLE = 40
_USUAL = ("accuracy", "fgs.strict.rate")
"""What is over what at first."""
_CHOOSE = """
for (const glyph of [dots.glyph, dots.selection_glyph, dots.nonselection_glyph]) {
  glyph.KEY = {field: cb_obj.value};
}
axis.axis_label = titles[cb_obj.value];
"""


def make_page(
    name: str,
    found: Sequence[Repetitions],
    maps: Sequence[SurfaceMap],
    titles: Mapping[str, str],
    chosen: Sequence[str],
) -> str:
    """Return the page as HTML, with all that it needs.

    name    of the sweep
    found   the settings, with means over their seeds; one is finished at least
    maps    of the same settings; those without any value are left out
    titles  of all figures, by name
    chosen  the figures that matter most, which the table and what is under the pointer show
    """
    from bokeh.embed import file_html
    from bokeh.resources import INLINE

    known = {key: text for key, text in titles.items() if any(key in one.figures for one in found)}
    shown = {key: known[key] for key in chosen if key in known}
    drawn_maps = [one for one in maps if np.isfinite(one.values).any()]
    source = _make_source(found, drawn_maps, known)
    drawn: list[UIElement] = [_draw_map(source, one, shown) for one in drawn_maps]
    drawn += [*_draw_scatter(source, known, shown), _make_table(source, shown)]
    about = {
        "points": pluralize(sum(one.count for one in found), "point"),
        "baseline": any(one.baseline for one in found),
        "columns": len(shown) + 2,
    }
    template = (files("caffe_ext.sweeps") / "page.html.j2").read_text()
    return str(file_html(drawn, INLINE, name, template=template, template_variables=about))


def _make_source(
    found: Sequence[Repetitions], maps: Sequence[SurfaceMap], known: Mapping[str, str]
) -> "ColumnDataSource":
    """Return a row for each setting.

    setting, points  its title, and how many of its points are finished
    marker, colour   of it where figures are drawn over each other
    across, down     its place in the maps; NaN: in none
    FIGURE           the mean, shares in %; NaN: unknown
    text FIGURE      the same with its deviation, as text
    """
    from bokeh.models import ColumnDataSource

    columns: dict[str, list[Any]] = {
        "setting": [one.title or "all" for one in found],
        "points": [one.count for one in found],
        "marker": ["diamond" if one.baseline else "circle" for one in found],
        "colour": [BASELINE_COLOUR if one.baseline else _POINT for one in found],
    }
    if maps:
        for key, (axis, values) in (("across", maps[0].across), ("down", maps[0].down)):
            columns[key] = [
                math.nan if one.baseline else values.index(one.values[axis]) for one in found
            ]
    for figure in known:
        factor = 100 if is_share(figure) else 1
        means = [one.figures.get(figure, NO_MEAN) for one in found]
        columns[figure] = [math.nan if one.mean is None else factor * one.mean for one in means]
        columns[f"text {figure}"] = [format_value(figure, one.mean, one.deviation) for one in means]
    return ColumnDataSource(columns)


def _make_hover(shown: Mapping[str, str], drawn: Any) -> "Model":
    """Return the tool that tells the figures of the setting under the pointer."""
    from bokeh.models import HoverTool

    figures = [(title, f"@{{text {figure}}}") for figure, title in shown.items()]
    tips = [("setting", "@setting"), ("points", "@points"), *figures]
    return HoverTool(renderers=[drawn], tooltips=tips)


def _draw_map(source: "ColumnDataSource", one: SurfaceMap, shown: Mapping[str, str]) -> "UIElement":
    """Draw fields in the colours of draw_maps(), and the level of regular training between them."""
    from bokeh.models import ColorBar, LinearColorMapper
    from bokeh.plotting import figure
    from bokeh.transform import transform

    factor = 100 if is_share(one.figure) else 1
    values = factor * one.values
    title = split_title(one.title, _TITLE)
    if one.baseline is not None:
        title.append(f"regular training: {format_value(one.figure, one.baseline)}")
    plot = figure(
        name="map",
        width=_SIZE,
        height=_SIZE,
        title="\n".join(title),
        tools=_TOOLS,
        active_drag=None,
        x_axis_label=one.across[0].rpartition(".")[2],
        y_axis_label=one.down[0].rpartition(".")[2],
        x_range=(-0.5, len(one.across[1]) - 0.5),
        y_range=(-0.5, len(one.down[1]) - 0.5),
    )
    low, high = find_colour_range(values, percent=factor == 100)
    mapper = LinearColorMapper(
        palette=[to_hex(colour) for colour in colormaps[COLOURS](np.linspace(0, 1, 256))],
        low=low,
        high=high,
    )
    fields = plot.rect(
        "across",
        "down",
        width=1,
        height=1,
        source=source,
        fill_color=transform(one.figure, mapper),
        line_color="white",
        nonselection_fill_alpha=0.35,
        selection_line_color="black",
    )
    if one.baseline is not None and is_crossed(values, factor * one.baseline):
        down, across = (np.arange(count) for count in values.shape)
        plot.contour(
            across,
            down,
            np.ma.masked_invalid(values),
            levels=[factor * one.baseline],
            line_color=BASELINE_COLOUR,
            line_width=2,
        )
    plot.add_layout(ColorBar(color_mapper=mapper, title="%" if factor == 100 else None), "right")
    for axis, (_, labels) in ((plot.xaxis, one.across), (plot.yaxis, one.down)):
        axis.ticker = list(range(len(labels)))
        axis.major_label_overrides = {place: f"{label}" for place, label in enumerate(labels)}
    plot.xaxis.major_label_orientation = "vertical"
    plot.grid.visible = False
    plot.add_tools(_make_hover(shown, fields))
    return plot


def _draw_scatter(
    source: "ColumnDataSource", known: Mapping[str, str], shown: Mapping[str, str]
) -> "list[UIElement]":
    """Draw any figure over any other, with a list of them for each axis."""
    from bokeh.models import CustomJS, Select
    from bokeh.plotting import figure

    units = {key: f"{title}, %" if is_share(key) else title for key, title in known.items()}
    first = [key for key in _USUAL if key in known] + list(shown)
    x, y = first[0], next((key for key in first[1:] if key != first[0]), first[0])
    plot = figure(
        name="scatter",
        height=_SIZE,
        sizing_mode="stretch_width",
        max_width=2 * _SIZE,
        tools=_TOOLS + ",wheel_zoom,pan",
        active_drag=None,
        x_axis_label=units[x],
        y_axis_label=units[y],
    )
    dots = plot.scatter(
        x,
        y,
        source=source,
        marker="marker",
        color="colour",
        size=10,
        nonselection_alpha=0.2,
        selection_line_color="black",
    )
    plot.add_tools(_make_hover(shown, dots))
    choices = []
    for title, start, axis, key in (
        ("x-axis", x, plot.xaxis[0], "x"),
        ("y-axis", y, plot.yaxis[0], "y"),
    ):
        choice = Select(name="choice", title=title, value=start, options=list(units.items()))
        choice.js_on_change(
            "value",
            CustomJS(
                args={"dots": dots, "axis": axis, "titles": units},
                code=_CHOOSE.replace("KEY", key),
            ),
        )
        choices.append(choice)
    return [*choices, plot]


def _make_table(source: "ColumnDataSource", shown: Mapping[str, str]) -> "UIElement":
    """Return the table, which can be sorted by each column."""
    from bokeh.models import DataTable, NumberFormatter, TableColumn

    columns = [
        TableColumn(field="setting", title="setting"),
        TableColumn(field="points", title="points"),
    ]
    for key, title in shown.items():
        percent = is_share(key)
        columns.append(
            TableColumn(
                field=key,
                title=f"{title}, %" if percent else title,
                formatter=NumberFormatter(format="0.00" if percent else "0.0000", nan_format="–"),
            )
        )
    return DataTable(
        name="table",
        source=source,
        columns=columns,
        sizing_mode="stretch_width",
        height=_SIZE,
        index_position=None,
    )
