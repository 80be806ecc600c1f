"""Table 2 beside the paper's, the curves, and what everything took, as Markdown, CSV and JSON."""

import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from caffe_ext.evaluation.number_text import format_percent
from caffe_ext.evaluation.report import as_csv
from caffe_ext.reporting import format_markdown_table, format_minutes, format_table
from caffe_ext.storage.atomic import write_json, write_text
from caffe_ext.storage.figure_file import save_figure
from caffe_ext.studies.distortion.figure import draw_figure
from caffe_ext.studies.distortion.measure import DistortionCurve
from caffe_ext.studies.distortion.models import (
    DEFENCES,
    EPSILON,
    FIGURES,
    GAUSSIAN,
    GRADIENT_SCALE,
    SIGN,
    TABLE_DISTORTIONS,
    list_networks,
)
from caffe_ext.studies.distortion.study import Attack, DistortionStudy, Row, make_record

STEM = "distortion"
_NONE = "–"
_WIDTH = 120
_ABOUT = """\
# LeNets on distorted digits: Uličný, Lundström and Byttner, 2016

Errors on {images:,} test images ({data}), distorted by the mean absolute change d of a pixel, for
pixels in [0, 1] (the paper's Eq. 2), at {levels} levels; tables are interpolated between them.
Noise is clipped to [0, 1]: at d = {d:.3f}, the gradient sign noise of {first} has epsilon
{epsilon_there:.3f}.

## Table 2

Error in %; in italics, the paper's. *Gradient of*: whose gradient sign is added. The paper does not
say whether it is the whole defence's, or that of the classifier behind a filter or an autoencoder,
or of a member of a committee. Nor does it say which filter and which dropout its rows are of: they
are shown beside those of the 5x5 filter and of dropout on all layers.

{table}

{figures}## Gaussian noise

Error in % at the same distortions; the paper has no numbers.

{gaussian}

## Settings that the paper does not give

* Low-pass filters: noise of 64 grey levels before them.
* Autoencoder: dropout of 0.2 on its input; the settings of Caffe's example (examples/mnist) for
Nesterov's method, which has 65,000 iterations, solvers/mnist_autoencoder.prototxt 15,000.
* Dropout of convolutions comes after their pooling.
* Stages of adversarial training (Eq. 3): epsilon {epsilon:g}, c {scale:g}; images are rounded to
grey levels; each batch of a stage has equal shares of the clean images and of each stage's.
* Gradient sign noise is a single step from the clean image: other attacks may find more errors.

## Networks

{networks}

## What it took

Training: elapsed time; measuring: processor time.

{costs}
"""


def write_tables(results: Path, study: DistortionStudy, rows: Sequence[Row]) -> Path:
    """Write tables and pictures to a folder; return the path of the Markdown.

    Removes the pictures of an earlier study that this one has none of.
    """
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{STEM}.md"
    write_json(path.with_suffix(".json"), make_record(study, rows))
    write_text(path.with_suffix(".csv"), as_csv(list(_list_points(rows))))
    drawn = _list_figures(rows)
    for number in FIGURES:
        figure = draw_figure(number, rows) if number in drawn else None
        save_figure(figure, results / f"figure{number}.png")
    write_text(path, format_markdown(study, rows))
    return path


def format_console(study: DistortionStudy, rows: Sequence[Row]) -> str:
    """Return Table 2 and what everything took, as text."""
    table = format_table(_list_table(rows, SIGN, italics=False))
    return f"""\
Errors (%) at distortions {", ".join(f"{d:g}" for d in TABLE_DISTORTIONS)}, interpolated between \
{study.levels:,} levels: gradient sign noise

{table}

{format_table(_list_costs(study, rows))}"""


def format_markdown(study: DistortionStudy, rows: Sequence[Row]) -> str:
    """Return the page."""
    curve = rows[0].find_curve(SIGN)
    pictures = [f"![Figure {number}](figure{number}.png)" for number in _list_figures(rows)]
    shown = min(TABLE_DISTORTIONS[-1], curve.distortions[-1])
    text = _ABOUT.format(
        images=curve.images,
        levels=len(curve.strengths),
        data=study.data,
        d=shown,
        first=rows[0].defence.title,
        epsilon_there=float(np.interp(shown, curve.distortions, curve.strengths)),
        table=format_markdown_table(_list_table(rows, SIGN, italics=True)),
        figures="\n\n".join(["## Figures", *pictures, ""]) if pictures else "",
        gaussian=format_markdown_table(_list_table(rows, GAUSSIAN, italics=False)),
        epsilon=EPSILON,
        scale=GRADIENT_SCALE,
        networks=format_markdown_table(_list_networks(study)),
        costs=format_markdown_table(_list_costs(study, rows)),
    )
    return "\n\n".join(_wrap_part(part) for part in text.split("\n\n"))


def _wrap_part(part: str) -> str:
    """Return a paragraph or a list in lines of at most _WIDTH; anything else as it is."""
    if part.startswith(("#", "|", "!")):
        return part
    return "\n".join(
        textwrap.fill(
            item.replace("\n", " "), _WIDTH, subsequent_indent="  " if item[0] == "*" else ""
        )
        for item in re.split(r"\n(?=\* )", part)
    )


def _list_figures(rows: Sequence[Row]) -> list[int]:
    """Return the figures of which there is a curve."""
    there = {row.defence.id for row in rows}
    return [number for number, (_, names) in FIGURES.items() if there.intersection(names)]


def _list_table(rows: Sequence[Row], kind: str, *, italics: bool) -> list[list[str]]:
    """Return the cells of a table: a line for each defence and attack of this kind."""
    heads = [f"{distortion:g}" for distortion in TABLE_DISTORTIONS]
    gradient = ["gradient of"] if kind == SIGN else []
    lines = [["defence", *gradient, *heads]]
    for row in rows:
        for attack, curve in row.curves.items():
            if attack.kind != kind:
                continue
            found = [curve.interpolate(distortion) for distortion in TABLE_DISTORTIONS]
            cells = [_NONE if rate is None else f"{100 * rate:.2f}" for rate in found]
            whole = attack.part is None
            if kind == SIGN:
                cells.insert(0, DEFENCES[attack.part].title if attack.part else "the whole")
            lines.append([row.defence.title if whole else "", *cells])
        if italics and row.defence.paper is not None:
            lines.append(["", "*the paper's*", *(f"*{rate:g}*" for rate in row.defence.paper)])
    return lines


def _list_networks(study: DistortionStudy) -> list[list[str]]:
    lines = [["network", "solver", "iterations", "test accuracy"]]
    for name, one in study.trained.items():
        cells = [f"{one.result.iterations:,}", format_percent(one.result.accuracy)]
        lines.append([name, one.network.solver, *cells])
    return lines


def _list_costs(study: DistortionStudy, rows: Sequence[Row]) -> list[list[str]]:
    """Return what each figure took: training the networks, and measuring the curves."""
    lines = [["", "networks", "training", "curves", "measuring"]]
    for number in _list_figures(rows):
        kind, names = FIGURES[number]
        mine = [row for row in rows if row.defence.id in names]
        curves = [
            curve for row in mine for attack, curve in row.curves.items() if attack.kind == kind
        ]
        lines.append([f"Figure {number}", *_format_costs(study, mine, curves)])
    everything = [curve for row in rows for curve in row.curves.values()]
    return [*lines, ["everything", *_format_costs(study, rows, everything)]]


def _format_costs(
    study: DistortionStudy, rows: Sequence[Row], curves: Sequence[DistortionCurve]
) -> list[str]:
    networks = list_networks(row.defence for row in rows)
    training = sum(study.trained[one.id].result.seconds for one in networks)
    measuring = sum(curve.seconds for curve in curves)
    return [
        *(f"{len(networks)}", format_minutes(training)),
        *(f"{len(curves)}", format_minutes(measuring)),
    ]


def _list_points(rows: Sequence[Row]) -> Iterable[dict[str, object]]:
    """Yield each point of each curve, for CSV."""
    for row in rows:
        for attack, curve in row.curves.items():
            points = zip(curve.strengths, curve.distortions, curve.errors, strict=True)
            for strength, distortion, errors in points:
                yield {
                    "defence": row.defence.id,
                    "noise": attack.kind,
                    "gradient_of": _name_gradient(attack),
                    "strength": f"{strength:.6f}",
                    "distortion": f"{distortion:.6f}",
                    "images": curve.images,
                    "errors": errors,
                    "error": f"{errors / curve.images:.6f}",
                }


def _name_gradient(attack: Attack) -> str:
    return "" if attack.kind == GAUSSIAN else attack.part or "whole"
