"""The paper's figures: error over distortion. A dot marks what the paper's Table 2 has."""

from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from caffe_ext.evaluation.plot_style import COLOURS, decorate_axes
from caffe_ext.studies.distortion.models import DEFENCES, FIGURES, SIGN, TABLE_DISTORTIONS
from caffe_ext.studies.distortion.study import Row

_TITLES = {
    3: "Dropout, gradient sign noise",
    4: "Dropout, Gaussian noise",
    5: "Pre-processing, gradient sign noise",
    6: "Pre-processing, Gaussian noise",
    7: "Committees, gradient sign noise",
}
_DASHES = ((4, 2), (1, 1.5))


@rc_context({"text.parse_math": False})
def draw_figure(number: int, rows: Sequence[Row]) -> Figure:
    """Draw one of FIGURES, with the curves that were measured.

    Solid lines: the gradient of the whole defence; dashed and dotted: that of a part of it.
    """
    kind, names = FIGURES[number]
    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    axes = figure.subplots()
    by_id = {row.defence.id: row for row in rows}
    for name, colour in zip(names, COLOURS, strict=False):
        if name not in by_id:
            continue
        row = by_id[name]
        curve = row.find_curve(kind)
        line: dict[str, Any] = {"color": colour, "linewidth": 1.6}
        axes.plot(curve.distortions, 100 * curve.rates, label=row.defence.title, **line)
        if kind == SIGN:
            for part, dashes in zip(row.defence.parts, _DASHES, strict=False):
                other = row.find_curve(kind, part)
                style = line | {"dashes": dashes, "linewidth": 1.1}
                label = f"  gradient of: {DEFENCES[part].title}"
                axes.plot(other.distortions, 100 * other.rates, label=label, **style)
            if row.defence.paper is not None:
                axes.plot(TABLE_DISTORTIONS, row.defence.paper, "o", color=colour, markersize=4.5)
    if kind == SIGN:
        axes.plot([], [], "o", color="#505050", markersize=4.5, label="the paper's Table 2")
    axes.set_title(f"Figure {number}: {_TITLES[number]}", fontsize=10)
    axes.set_xlabel("distortion: mean absolute change of a pixel, 0..1")
    axes.set_ylabel("error (%)")
    axes.set_xlim(left=0)
    axes.set_ylim(-1, 101)
    decorate_axes(axes)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
