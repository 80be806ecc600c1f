"""Table 1 and Figure 6 beside the paper's, as text, Markdown, CSV, JSON and pictures."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.reporting import format_csv, format_markdown_table, format_table, pluralize
from caffe_ext.storage.atomic import write_json, write_text
from caffe_ext.storage.figure_file import save_figure
from caffe_ext.storage.provenance import collect_provenance
from caffe_ext.studies.pass_table1.design import (
    BASIC,
    DEFORMED,
    FIGURE_6,
    HELD_OUT,
    PAPER,
    RANGES,
    ROWS,
    TITLES,
    StudySettings,
    format_range,
)
from caffe_ext.studies.pass_table1.figure import draw_ranges, draw_table
from caffe_ext.studies.pass_table1.store import Measurement
from caffe_ext.studies.pass_table1.study import Finding, group_by_range, group_by_row

STEM = "pass_table1"
_NONE = "–"
_PAGE = """\
# Table 1 and Figure 6 of "Adversarial Diversity and Hard Positive Generation", measured here

{extent}

Data: {data}. Errors on {images:,} test images, and on {adversarials:,} adversarials of {types}
types; means and standard deviations over networks. In brackets: the paper's, on MNIST (Rozsa, Rudd
and Boult, 2016).

{table}

![Errors of each network](pass_table1.png)

{about}

## By type of adversarials

{types_table}
{figure}"""
_FIGURE = """
## Figure 6: ranges of PASS

Hard positives {row} with a PASS in a range, mixed as in the table.

{table}

![Errors by the range of PASS](pass_table1_ranges.png)
"""
_ABOUT = """\
* *basic LeNet*: the bases themselves. *originals alone*: fine-tuned for as long, without hard
  positives; not in the paper.
{deformed}* Hard positives are {mixed}. The paper does not say whether it mixed them.
* The adversarials are those of all bases, made of test images; no test image occurs twice in a
  type."""
_DEFORMED = """\
* *deformed digits*: networks trained from random weights for {whole:,} iterations, one for each
  base, on {count:,} rotated, shifted, stretched and bent digits in the place of InfiMNIST's.
"""


def write_tables(
    folder: Path, settings: StudySettings, findings: Sequence[Finding], data: str
) -> Path:
    """Write everything to a folder; return the path of the Markdown.

    Removes the picture of an earlier study that this one has none of.

    data  what was trained on, in words
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{STEM}.md"
    write_json(path.with_suffix(".json"), make_record(settings, findings, data))
    write_text(path.with_suffix(".csv"), _format_csv(findings))
    save_figure(draw_table(group_by_row(findings)), path.with_suffix(".png"))
    ranges, basic = group_by_range(findings), group_by_row(findings).get(BASIC, [])
    save_figure(draw_ranges(ranges, basic) if ranges else None, folder / f"{STEM}_ranges.png")
    write_text(path, format_markdown(settings, findings, data))
    return path


def make_record(settings: StudySettings, findings: Sequence[Finding], data: str) -> dict[str, Any]:
    """Return everything, for JSON."""
    return asdict(collect_provenance()) | {
        "data": data,
        "settings": asdict(settings),
        "networks": [asdict(one) | {"id": one.network.id} for one in findings],
    }


def format_console(findings: Sequence[Finding]) -> str:
    """Return the tables as text."""
    parts = [format_table(_list_rows(findings))]
    if group_by_range(findings):
        parts.append(format_table(_list_ranges(findings)))
    return "\n\n".join(parts)


def format_markdown(settings: StudySettings, findings: Sequence[Finding], data: str) -> str:
    """Return the page."""
    first = findings[0].found
    attacked = "all" if settings.attacked is None else f"{settings.attacked:,}"
    often = "once" if settings.orderings == 1 else f"{settings.orderings} times"
    extent = (
        f"{pluralize(settings.bases, 'LeNet')}, trained for {settings.iterations:,} iterations; "
        f"each fine-tuned {often} for {settings.fine_tuning:,} iterations on hard positives of "
        f"{attacked} training images."
    )
    deformed = ""
    if DEFORMED in group_by_row(findings):
        whole = settings.iterations + settings.fine_tuning
        deformed = _DEFORMED.format(whole=whole, count=settings.deformed)
    figure = ""
    if group_by_range(findings):
        table = format_markdown_table(_list_ranges(findings))
        figure = _FIGURE.format(row=FIGURE_6, table=table)
    return _PAGE.format(
        extent=extent,
        images=first.images,
        data=data,
        adversarials=sum(first.adversarials.values()),
        types=len(HELD_OUT),
        table=format_markdown_table(_list_rows(findings)),
        about=_ABOUT.format(
            deformed=deformed,
            mixed="mixed with all originals" if settings.mix else "not mixed with originals",
        ),
        types_table=format_markdown_table(_list_types(findings)),
        figure=figure,
    )


def _list_rows(findings: Sequence[Finding]) -> list[list[str]]:
    lines = [["trained on", "networks", "hard positives", "test images", "adversarials"]]
    rows = group_by_row(findings)
    for name in ROWS:
        if name not in rows:
            continue
        some, paper = rows[name], PAPER.get(name)
        mnist, adversarial = (
            ("", "")
            if paper is None
            else (f" ({paper[0]:.3f} ± {paper[1]:.3f})", f" ({paper[2]:.2f})")
        )
        count, positives, *errors = _format_cells(some)
        positives = _NONE if name in TITLES else positives
        lines.append(
            [TITLES.get(name, name), count, positives, errors[0] + mnist, errors[1] + adversarial]
        )
    return lines


def _list_ranges(findings: Sequence[Finding]) -> list[list[str]]:
    lines = [["PASS", "networks", "hard positives", "test images", "adversarials"]]
    ranges = group_by_range(findings)
    for name in map(format_range, RANGES):
        if name not in ranges:
            continue
        lines.append([name, *_format_cells(ranges[name])])
    return lines


def _format_cells(some: Sequence[Measurement]) -> list[str]:
    """Return the number of networks, their hard positives, and both errors."""
    return [
        f"{len(some)}",
        f"{np.mean([one.hard_positives for one in some]):,.0f}",
        _format_spread([one.error for one in some], 3),
        _format_spread([one.adversarial_error for one in some], 2),
    ]


def _list_types(findings: Sequence[Finding]) -> list[list[str]]:
    """Return the mean error of each row by type."""
    rows = {name: some for name, some in group_by_row(findings).items() if name in ROWS}
    names = [name for name in ROWS if name in rows]
    lines = [["type", "number", *(TITLES.get(name, name) for name in names)]]
    for text in HELD_OUT:
        count = findings[0].found.adversarials[text]
        cells = [
            f"{100 * np.mean([one.wrong_of[text] / count for one in rows[name]]):.2f}%"
            if count
            else _NONE
            for name in names
        ]
        lines.append([text.upper().replace("*", " x "), f"{count:,}", *cells])
    return lines


def _format_spread(errors: Sequence[float], digits: int) -> str:
    """Return mean and standard deviation in %; without the latter if there is one value."""
    values = 100 * np.asarray(errors)
    if np.isnan(values).any():
        return _NONE
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}%{spread}"


def _format_csv(findings: Sequence[Finding]) -> str:
    """Return a line for each network."""
    lines: list[list[Any]] = [
        [
            *("row", "base", "ordering", "least_pass", "greatest_pass", "trained_on"),
            *("hard_positives", "error", "adversarial_error", *HELD_OUT),
        ]
    ]
    for one in findings:
        network, found = one.network, one.found
        ends = network.pass_range or (None, None)
        lines.append(
            [
                *(network.row, network.base, network.ordering),
                *("" if end is None else f"{end:g}" for end in ends),
                *(found.trained_on, found.hard_positives),
                f"{found.error:.6f}",
                "" if np.isnan(found.adversarial_error) else f"{found.adversarial_error:.6f}",
                *(_format_rate(found, name) for name in HELD_OUT),
            ]
        )
    return format_csv(lines)


def _format_rate(found: Measurement, name: str) -> str:
    count = found.adversarials[name]
    return f"{found.wrong_of[name] / count:.6f}" if count else ""
