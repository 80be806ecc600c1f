"""Metrics over training: a panel for each, a line for each training run, of its snapshots."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from caffe_ext.certification.metrics_result import MetricsResult, Summary
from caffe_ext.reporting import pluralize

_SNAPSHOT = re.compile(r"(.+)_iter_(\d+)")
_SHARES = ("err", "adv_err")
_WIDE = ("ce", "sense", "adv_loss")  # over several orders of magnitude
Runs = Mapping[str, Sequence[tuple[int, Summary]]]


def group_snapshots(result: MetricsResult) -> Runs:
    """Return the metrics of models named NAME_iter_N by NAME, with N ascending.

    Only of those names that have two or more.
    """
    runs: dict[str, list[tuple[int, Summary]]] = {}
    for model in result.models:
        if found := _SNAPSHOT.fullmatch(model.name):
            runs.setdefault(found[1], []).append((int(found[2]), model.summarize()))
    return {
        name: sorted(points, key=lambda point: point[0])
        for name, points in runs.items()
        if len(points) > 1
    }


@rc_context({"text.parse_math": False})  # a name with two "$" is not a formula
def plot_training(runs: Runs, images: int) -> Figure:
    """Return the figure.

    images  how many were measured
    """
    names = ("ce", "err", "sense", "jacob", "spectral", "adv_loss", "adv_err")
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    panels = figure.subplots(2, 4).ravel()
    for panel, name in zip(panels, names, strict=False):
        for run, points in runs.items():
            values = [getattr(summary, name) for _, summary in points]
            factor = 100 if name in _SHARES else 1
            shown = [np.nan if value is None else factor * value for value in values]
            panel.plot([iteration for iteration, _ in points], shown, "o-", ms=3, label=run)
        if name in _WIDE:
            panel.set_yscale("log")
        panel.set_title(name.upper() + (" (%)" if name in _SHARES else ""), fontsize=10)
        panel.grid(alpha=0.3)
    for panel in panels[3:7]:
        panel.set_xlabel("iteration")
    panels[7].axis("off")
    panels[7].legend(
        *panels[0].get_legend_handles_labels(),
        loc="center",
        fontsize="small",
        title=f"on {pluralize(images, 'image')}",
    )
    return figure
