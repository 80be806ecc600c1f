"""The pictures of the study: each network's errors, and the errors by the range of PASS."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from caffe_ext.evaluation.plot_style import COLOURS
from caffe_ext.studies.pass_table1.design import PAPER, RANGES, ROWS, TITLES, format_range
from caffe_ext.studies.pass_table1.store import Measurement


@rc_context({"text.parse_math": False})
def draw_table(rows: Mapping[str, Sequence[Measurement]]) -> Figure:
    """Draw each network by its two errors, filled, and the paper's means, hollow."""
    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    axes = figure.subplots()
    names = [name for name in ROWS if name in rows]
    for number, name in enumerate(names):
        colour = (*COLOURS, "#202020")[number % (len(COLOURS) + 1)]
        some = rows[name]
        axes.plot(
            [100 * one.adversarial_error for one in some],
            [100 * one.error for one in some],
            "o",
            color=colour,
            alpha=0.7,
            label=TITLES.get(name, name),
        )
        if name in PAPER:
            error, deviation, adversarial = PAPER[name]
            axes.errorbar(
                adversarial, error, deviation, fmt="o", mfc="none", color=colour, capsize=2, lw=0.8
            )
    axes.plot(
        [],
        [],
        "o",
        mfc="none",
        color="#606060",
        label="the paper's means,\n± deviation on test images",
    )
    axes.set_xlabel("error on adversarials (%)")
    axes.set_ylabel("error on test images (%)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


@rc_context({"text.parse_math": False})
def draw_ranges(
    ranges: Mapping[str, Sequence[Measurement]], basic: Sequence[Measurement]
) -> Figure:
    """Draw the errors on test images and adversarials by the range of PASS, each network a dot.

    basic  the bases, whose mean errors are dashed lines
    """
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    names = [name for name in map(format_range, RANGES) if name in ranges]
    counts = [round(np.mean([one.hard_positives for one in ranges[name]])) for name in names]
    ticks = [f"{name}\n{count:,}" for name, count in zip(names, counts, strict=True)]
    panels = (("error", "test images"), ("adversarial_error", "adversarials"))
    for axes, (key, title), colour in zip(figure.subplots(1, 2), panels, COLOURS, strict=False):
        values = [[100 * getattr(one, key) for one in ranges[name]] for name in names]
        axes.plot(range(len(names)), [np.mean(some) for some in values], "-", color=colour)
        for place, some in enumerate(values):
            axes.plot([place] * len(some), some, "o", ms=4, color=colour)
        if basic:
            level = 100 * float(np.mean([getattr(one, key) for one in basic]))
            axes.axhline(level, color="#606060", ls="--", lw=1, label="basic LeNet")
            axes.legend(frameon=False)
        axes.set_xticks(range(len(names)), ticks, fontsize="small")
        axes.set_xlabel("PASS of the hard positives, and how many they are")
        axes.set_ylabel(f"error on {title} (%)")
        axes.set_ylim(0, 1.06 * axes.get_ylim()[1])  # room for the highest dots
        axes.spines[["top", "right"]].set_visible(False)
    return figure
