"""TransferMatrices as a figure: a map for each attack, sources down, targets across."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from caffe_ext.runs.titles import split_title
from caffe_ext.studies.transfer.matrix import ALL, COUNTS, STRICT, Rates, TransferMatrix

_TITLE, _NAME = 30, 16
_COLOURS = "YlOrBr"
_ROWS = {
    STRICT: "strict: the target classifies the original correctly",
    ALL: "all adversarials of the source",
}


@rc_context({"text.parse_math": False})  # a name with two "$" is not a formula
def plot_transfer(matrices: Sequence[TransferMatrix]) -> Figure:
    """Draw the rates in %: a column of maps for each attack and variant, a row for each count."""
    names = matrices[0].names
    cell = 0.75 if len(names) < 8 else 0.5
    side = max(1.6, cell * len(names))
    width, height = len(matrices) * (side + 0.45) + 2.4, len(COUNTS) * (side + 0.9) + 0.8
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(len(COUNTS), len(matrices), squeeze=False)
    scale = Normalize(0, 100)
    for row, count in enumerate(COUNTS):
        for column, matrix in enumerate(matrices):
            place = axes[row, column]
            _draw_map(place, 100 * matrix.find_rates(count), names, scale)
            if row == 0:
                place.set_title("\n".join(split_title(matrix.title, _TITLE)), fontsize="medium")
            if column == 0:
                place.set_ylabel("\n".join(split_title(_ROWS[count], 24)) + "\n\nsource")
            else:
                place.set_yticklabels([])
            if row == len(COUNTS) - 1:
                place.set_xlabel("target")
            else:
                place.set_xticklabels([])
    label = "misclassified by the target (%)"
    figure.colorbar(
        ScalarMappable(scale, _COLOURS), ax=list(axes.flat), label=label, pad=0.02, shrink=0.8
    )
    return figure


def _draw_map(axes: Axes, rates: Rates, names: Sequence[str], scale: Normalize) -> None:
    """Draw rates (S, S) in % as fields with their numbers; without adversarials a dash."""
    axes.imshow(rates, cmap=_COLOURS, norm=scale)
    for place in np.ndindex(*rates.shape):
        rate = float(rates[place])
        dark = not np.isnan(rate) and rate > 60
        text = "–" if np.isnan(rate) else f"{rate:.1f}" if rate < 99.95 else "100"
        source, target = place
        axes.text(
            target,
            source,
            text,
            ha="center",
            va="center",
            color="white" if dark else "black",
            fontsize="small",
        )
    ticks = range(len(names))
    labels = ["\n".join(split_title(name, _NAME)) for name in names]
    axes.set_xticks(ticks, labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, labels)
    axes.tick_params(labelsize="small", length=0)
    for side in axes.spines.values():
        side.set_visible(False)
