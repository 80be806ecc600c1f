"""NoiseCurves as a figure: a map for each training run, and for each difference from the first."""

from dataclasses import dataclass

import numpy as np
from matplotlib import colors as mpl_colors
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Bbox

from caffe_ext.metrics.distances import FULL_SCALE
from caffe_ext.runs.titles import split_title
from caffe_ext.studies.noise_curves.curves import NoiseCurves, Rates

# Lines of equal rates, in %, and of equal differences, in percentage points.
_RATE_LINES = (1, 5, 10, 20, 40, 60, 80)
_TITLE = 34
_DIFFERENCE_LINES = (-40, -20, -10, -5, -1, 1, 5, 10, 20, 40)


@dataclass(frozen=True)
class _Paint:
    """The colours of values, and the contour lines drawn over them."""

    scale: Normalize
    colours: str
    lines: tuple[float, ...]

    @property
    def mappable(self) -> ScalarMappable:
        """Return the mappable for colour bars."""
        return ScalarMappable(self.scale, self.colours)


@rc_context({"text.parse_math": False})  # a name with two "$" is not a formula
def plot_noise_curves(curves: NoiseCurves, subtitle: str = "") -> Figure:
    """Draw rates over iteration and noise level, with one colour scale for all training runs.

    Only the contour lines are interpolated.
    """
    count = len(curves.names)
    rates = 100 * curves.rates
    differences = [100 * curves.compute_improvements(number)[0] for number in range(1, count)]
    rows = 1 if count <= 2 else 2
    columns = count + len(differences) if rows == 1 else count
    figure = Figure(figsize=(0.9 + 3.7 * columns, 0.8 + 3.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    first = list(axes[0, :count])
    # The square root shows what happens at low rates, where the better networks are.
    paint = _Paint(PowerNorm(0.5, 0, max(1.0, rates.max())), "inferno", _RATE_LINES)
    for place, name, values in zip(first, curves.names, rates, strict=True):
        _draw_map(place, curves, values, paint)
        place.set_title("\n".join(split_title(name, _TITLE)), fontsize="medium")
    figure.colorbar(paint.mappable, ax=first, label="classified differently (%)", pad=0.02)
    if differences:
        second = list(axes[0, count:] if rows == 1 else axes[1, 1:])
        most = max(1.0, *(np.abs(apart).max() for apart in differences))
        paint = _Paint(Normalize(-most, most), "RdBu", _DIFFERENCE_LINES)
        for place, name, values in zip(second, curves.names[1:], differences, strict=True):
            _draw_map(place, curves, values, paint)
            title = f"{curves.names[0]} − {name}"
            place.set_title("\n".join(split_title(title, _TITLE)), fontsize="medium")
        label = "difference (percentage points)"
        figure.colorbar(paint.mappable, ax=second, label=label, pad=0.02)
    if rows == 2:
        axes[1, 0].set_visible(False)
    for row in range(rows):
        left = axes[row, row]
        left.set_ylabel("standard deviation of the noise,\ngrey levels of 255 (in brackets: of 1)")
        left.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:g} ({value / FULL_SCALE:.2g})")
        )
    if subtitle:
        figure.suptitle(subtitle, fontsize="small", color="0.2")
    figure.draw_without_rendering()
    for place in axes.flat:
        _remove_crowded_labels(place)
    return figure


def _draw_map(axes: Axes, curves: NoiseCurves, values: Rates, paint: _Paint) -> None:
    """Draw values (T, L) as fields of colour, with lines of equal values."""
    iterations, levels = curves.iterations.astype(np.float64), curves.levels
    axes.pcolormesh(
        _compute_edges(iterations),
        _compute_edges(levels),
        values.T,
        norm=paint.scale,
        cmap=paint.colours,
        rasterized=True,
    )
    inside = [line for line in paint.lines if values.min() < line < values.max()]
    if min(values.shape) > 1 and inside:
        shade = paint.mappable.to_rgba(np.array(inside))[:, :3].mean(axis=1)
        drawn = axes.contour(
            iterations,
            levels,
            values.T,
            levels=inside,
            colors=["black" if light > 0.5 else "white" for light in shade],
            linewidths=0.8,
            linestyles="solid",
        )
        # Not inline: a label that has no room is taken away, and leaves no gap in its line.
        labels = axes.clabel(drawn, fmt="%g", fontsize="small", inline=False)
        for label in labels:
            halo = "white" if mpl_colors.to_rgb(label.get_color())[0] < 0.5 else "black"
            label.set_path_effects([Stroke(linewidth=2, foreground=halo, alpha=0.7), Normal()])
    axes.set_xlabel("iteration")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _remove_crowded_labels(axes: Axes) -> None:
    """Remove labels that cover an earlier one or extend beyond the map."""
    kept: list[Bbox] = []
    for label in list(axes.texts):
        box = label.get_window_extent()
        if axes.bbox.count_contains(box.corners()) < 4 or box.padded(1).count_overlaps(kept):
            label.remove()
        else:
            kept.append(box)


def _compute_edges(centres: Rates) -> Rates:
    """Return the borders of the fields around ascending values, one more than there are values."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middles = (centres[1:] + centres[:-1]) / 2
    return np.array([2 * centres[0] - middles[0], *middles, 2 * centres[-1] - middles[-1]])
