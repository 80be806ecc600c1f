"""The report's Table 1 beside the same measured here, as Markdown, CSV, JSON and a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from caffe_ext.evaluation.plot_style import COLOURS, decorate_axes
from caffe_ext.metrics.distances import FULL_SCALE
from caffe_ext.reporting import format_csv, format_markdown_table, format_table
from caffe_ext.storage.atomic import write_json, write_text
from caffe_ext.storage.figure_file import save_figure
from caffe_ext.studies.robust_training.models import COLUMNS, EPOCH, EPOCHS, REPORT, SIGMA, Radii
from caffe_ext.studies.robust_training.smoothed import find_largest_radius
from caffe_ext.studies.robust_training.study import ALPHA, STRICT, ReportTable, Row, make_record

STEM = "report_table1"
_HEADS = {
    "natural": "natural",
    "fgsm": "FGSM",
    "pgd_linf": "PGD Linf",
    "pgd_l2": "PGD L2",
}
_NONE = "–"
_ABOUT = """\
# Table 1 of Mallam Garba et al., and the same measured here

CIFAR-10 quick, trained once for {length}; the attacks in training have {but}.
Accuracy on {images:,} test images{smoothed}; in italics, the
report's. Its attacks: Linf 0.03 with steps of 0.02, L2 0.045 with steps of 0.03, ten steps, pixels
in [0, 1], real-valued.

{report}

The attacks here follow the gradient of the cross-entropy from the image itself, without restarts.
The report's L2 radius is small for the L2 norm of a whole image, and the report does not say how it
is measured: its figures there are not comparable. An attack gives an upper bound of robustness.

## The literature's radii, and a stricter reading

The same attacks within Linf 8/255 (ten steps of 2/255) and L2 0.5 (ten steps of 0.125), and what
AutoAttack (AA; quick: APGD-CE and targeted APGD) leaves of the first {strict:,} images within these
radii, in real-valued pixels and in whole grey levels, as in image files.

{standard}

{smoothing}

![Accuracy under attack](report_table1.png)
"""
_SMOOTHING = """\
Randomized smoothing: sigma 0.12, {samples:,} samples of each of the first {images:,} images, alpha
{alpha:g}; abstentions count as errors. The attacks see the noisy model, not the smoothed one: they
are no bound for an attacker who knows the defence. What holds against any attack: {report:.1f}% of
the images are certified within L2 0.045, and {standard:.1f}% within L2 0.5. So many samples certify
no radius above {largest:.3f}."""


def write_tables(results: Path, study: ReportTable, rows: Sequence[Row], radii: Radii) -> Path:
    """Write the tables and the picture to a folder; return the path of the Markdown."""
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{STEM}.md"
    write_json(path.with_suffix(".json"), make_record(study, rows, radii))
    write_text(path.with_suffix(".csv"), _format_csv(rows))
    save_figure(draw_bars(rows), path.with_suffix(".png"))
    write_text(path, format_markdown(study, rows, radii))
    return path


def format_console(rows: Sequence[Row]) -> str:
    """Return both tables as text, without the report's figures."""
    return f"""\
Accuracy on {rows[0].report.images:,} images under the attacks of the report: Linf 0.03, L2 0.045

{format_table(_list_report(rows, italics=False))}

Within Linf 8/255 and L2 0.5; AA: what AutoAttack (quick) leaves, in real-valued pixels and in whole
grey levels

{format_table(_list_standard(rows))}"""


def format_markdown(study: ReportTable, rows: Sequence[Row], radii: Radii) -> str:
    """Return the page."""
    smoothed = smoothing = ""
    for row in rows:
        report, standard, images = row.report.certified, row.standard.certified, row.report.images
        if report is not None and standard is not None:
            smoothed = f", of randomized smoothing on the first {images:,}"
            smoothing = _SMOOTHING.format(
                samples=study.samples,
                images=images,
                alpha=ALPHA,
                report=100 * report / images,
                standard=100 * standard / images,
                largest=find_largest_radius(SIGMA, study.samples, ALPHA) / FULL_SCALE,
            )
    trained = {"report": "the report's radii", "standard": "the literature's radii"}[radii]
    return _ABOUT.format(
        length=_format_length(study.trained[0].result.iterations),
        but=trained,
        images=rows[0].report.images,
        smoothed=smoothed,
        strict=study.strict_limit,
        report=format_markdown_table(_list_report(rows, italics=True)),
        standard=format_markdown_table(_list_standard(rows)),
        smoothing=smoothing,
    )


def _format_length(iterations: int) -> str:
    """Return how long training was, and whether the report's was longer or shorter."""
    if iterations == EPOCHS * EPOCH:
        return f"{iterations:,} iterations, {EPOCHS} epochs"
    epochs = f"{iterations / EPOCH:.3g} epochs"
    return f"{iterations:,} iterations ({epochs}; the report: {EPOCHS})"


def _list_report(rows: Sequence[Row], *, italics: bool) -> list[list[str]]:
    """Return the cells of the table in the report's protocol."""
    lines = [["model", *(_HEADS[name] for name in COLUMNS)]]
    for row in rows:
        lines.append([row.title, *(f"{row.report.compute_rate(name):.2%}" for name in COLUMNS)])
        if italics:
            lines.append(["", *(f"*{value:.2f}%*" for value in REPORT[row.id])])
    return lines


def _list_standard(rows: Sequence[Row]) -> list[list[str]]:
    """Return the cells of the table with the literature's radii."""
    heads = [_HEADS[name] for name in COLUMNS[1:]]
    lines = [["model", *heads, "AA Linf, real", "whole", "AA L2, real", "whole"]]
    for row in rows:
        cells = [f"{row.standard.compute_rate(name):.2%}" for name in COLUMNS[1:]]
        for budget in STRICT:
            both = None if row.strict is None else row.strict[f"{budget}"]
            cells += [_NONE, _NONE] if both is None else [f"{one:.1%}" for one in both]
        lines.append([row.title, *cells])
    return lines


def _format_csv(rows: Sequence[Row]) -> str:
    """Return a line for each model, radii and attack."""
    lines: list[list[Any]] = [
        ["model", "radii", "attack", "images", "correct", "accuracy", "report"]
    ]
    for row in rows:
        for radii, found in (("report", row.report), ("standard", row.standard)):
            for name, paper in zip(COLUMNS, REPORT[row.id], strict=True):
                given = f"{paper / 100:.4f}" if radii == "report" else ""
                rate = f"{found.compute_rate(name):.6f}"
                lines.append([row.id, radii, name, found.images, found.correct[name], rate, given])
    return format_csv(lines)


@rc_context({"text.parse_math": False})
def draw_bars(rows: Sequence[Row]) -> Figure:
    """Draw the accuracies of each model: the report's attacks above, the literature's radii below.

    A dash marks the report's figure.
    """
    figure = Figure(figsize=(8.4, 6.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    places = np.arange(len(rows))
    width = 0.8 / len(COLUMNS)
    for axes, radii in ((upper, "report"), (lower, "standard")):
        for number, name in enumerate(COLUMNS):
            left = places + (number - (len(COLUMNS) - 1) / 2) * width
            heights = [100 * getattr(row, radii).compute_rate(name) for row in rows]
            axes.bar(left, heights, 0.92 * width, color=COLOURS[number], label=_HEADS[name])
            if radii == "report":
                marks = [REPORT[row.id][number] for row in rows]
                label = "the report's" if number == 0 else None
                axes.hlines(
                    marks, left - width / 2, left + width / 2, color="#202020", lw=1.6, label=label
                )
        axes.set_ylabel("accuracy (%)")
        axes.set_ylim(0, 100)
        decorate_axes(axes, "y")
    upper.set_title("The report's radii: Linf 0.03, L2 0.045", fontsize=10)
    lower.set_title("The literature's radii: Linf 8/255, L2 0.5", fontsize=10)
    upper.legend(ncols=5, frameon=False, fontsize=8, loc="upper center")
    lower.set_xticks(places, [row.title.replace(", ", ",\n") for row in rows], fontsize=9)
    return figure
