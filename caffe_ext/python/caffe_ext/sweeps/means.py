"""Means over the repetitions of a sweep, its seeds, beside published figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from caffe_ext.reporting import escape_markdown, format_markdown_table
from caffe_ext.sweeps.choices import SEED, VARIANT
from caffe_ext.sweeps.table import DONE, Row, is_share

DEVIATION, PUBLISHED = ".deviation", ".published"


@dataclass(frozen=True)
class Mean:
    """A figure over repetitions.

    values     float (n,), of the finished ones
    published  the same figure from elsewhere; None: unknown
    """

    values: Sequence[float]
    published: float | None = None

    @property
    def mean(self) -> float | None:
        """Return the mean; None for n = 0."""
        return float(np.mean(self.values)) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Return the standard deviation of the sample, divided by n - 1; None for n = 1."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


NO_MEAN = Mean(())


@dataclass(frozen=True)
class Repetitions:
    """The repetitions of one setting.

    values   of the axes other than the seed, by name; the baseline's are "baseline"
    count    how many are finished
    figures  by name; without those that none of them has
    """

    values: Mapping[str, Any]
    baseline: bool
    count: int
    figures: Mapping[str, Mean] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Return the values as a line, "B0" or "1.2, 0.8"."""
        shown = [f"{value}" for value in self.values.values() if value is not None]
        return ", ".join(["baseline"] * self.baseline + shown)


def average_rows(
    rows: Sequence[Row],
    axes: Mapping[str, Sequence[Any]],
    figures: Sequence[str],
    published: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Repetitions]:
    """Return the repetitions of each setting, in the order of the rows.

    rows       of table.make_rows()
    axes       values by name, as they are in the rows
    figures    names of columns
    published  figures by the names of variants
    """
    settings: dict[tuple[Any, ...], list[Row]] = {}
    names = [name for name in axes if name != SEED]
    for row in rows:
        key = (row["baseline"], *(repr(row[name]) for name in names))  # a value may be a list
        settings.setdefault(key, []).append(row)
    found = []
    for same in settings.values():
        shown = {name: same[0][name] for name in names}
        elsewhere = (published or {}).get(shown.get(VARIANT, ""), {})
        done = [row for row in same if row["state"] == DONE]
        means = {
            figure: Mean(known, elsewhere.get(figure))
            for figure in figures
            if (known := [row[figure] for row in done if row.get(figure) is not None])
        }
        found.append(Repetitions(shown, same[0]["baseline"], len(done), means))
    return found


def list_mean_rows(found: Sequence[Repetitions], figures: Sequence[str]) -> list[Row]:
    """Return a flat row for each setting: axes, `points`, and for each figure its mean, its
    `.deviation` and what is `.published`; a column that is empty in all rows is left out.
    """
    rows = []
    for one in found:
        row: Row = {"baseline": one.baseline, **one.values, "points": one.count}
        for figure in figures:
            mean = one.figures.get(figure, NO_MEAN)
            row[figure], row[figure + DEVIATION] = mean.mean, mean.deviation
            row[figure + PUBLISHED] = mean.published
        rows.append(row)
    used = {key for row in rows for key, value in row.items() if value is not None}
    return [{key: value for key, value in row.items() if key in used} for row in rows]


def format_value(figure: str, value: float | None, deviation: float | None = None) -> str:
    """Return a figure as text, shares in %: "97.31 ± 0.24%"."""
    if value is None:
        return "–"
    if is_share(figure):
        spread = "" if deviation is None else f" ± {100 * deviation:.2f}"
        return f"{100 * value:.2f}{spread}%"
    return f"{value:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")


def format_setting(values: Sequence[Any], *, baseline: bool) -> list[str]:
    """Return the values of the axes as text; the first one names the baseline, too."""
    shown = ["–" if value is None else f"{value}" for value in values]
    if baseline and shown:
        shown[0] = "baseline" if values[0] is None else f"baseline, {shown[0]}"
    return shown


def make_cells(found: Sequence[Repetitions], figures: Sequence[str]) -> list[list[str]]:
    """Return the table as text, its head first; published figures are in a row of their own."""
    names = list(dict.fromkeys(name for one in found for name in one.values))
    heads = [name.rpartition(".")[2] for name in names]
    if not names and any(one.baseline for one in found):
        heads = ["training"]
    cells = [[*heads, "points", *figures]]
    for one in found:
        known = [one.figures.get(figure, NO_MEAN) for figure in figures]
        setting = [one.values[name] for name in names] or [None] * len(heads)
        values = format_setting(setting, baseline=one.baseline)
        measured = (
            format_value(figure, mean.mean, mean.deviation)
            for figure, mean in zip(figures, known, strict=True)
        )
        cells.append([*values, f"{one.count}", *measured])
        if any(mean.published is not None for mean in known):
            published = (
                format_value(figure, mean.published)
                for figure, mean in zip(figures, known, strict=True)
            )
            cells.append(["published", *[""] * len(values), *published])
    return cells


def format_markdown(name: str, cells: Sequence[Sequence[str]], titles: Mapping[str, str]) -> str:
    """Return the table as a page; published figures are in italics.

    name    of the sweep
    titles  of the figures, by name
    """
    head, *rows = cells
    lines = [[escape_markdown(titles.get(cell, cell)) for cell in head]]
    for row in rows:
        italic = row[0] == "published"
        texts = map(escape_markdown, row)
        lines.append([f"*{text}*" if italic and text else text for text in texts])
    return (
        f"# {escape_markdown(name)}\n\n"
        "Means over the finished points of each setting, which differ in the random seed, and "
        "their sample\nstandard deviations (divided by n - 1). The points are in `sweep.csv`.\n\n"
        f"{format_markdown_table(lines)}\n"
    )
