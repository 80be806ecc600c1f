"""The report of an evaluation: a page (HTML), tables (CSV), all figures (JSON), and as text.

report.html       for reading; a single self-contained file
table.csv         one row per model, in the form of Tables 1 and 2 of Rozsa, Günther and Boult, 2018
attacks.csv       one row per model, attack and protocol variant
robust.csv        one row per model, budget and attack: the images broken within the budget
robust_curve.csv  one row per model, norm and radius: the robust accuracy within the radius
certified.csv     one row per model and radius: what is certified, and what attacks leave; only if
                  images were certified
evaluation.json   everything, with settings, digests and provenance
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.errors import RecordError
from caffe_ext.evaluation.certificates import Certificate, list_certified_rows
from caffe_ext.evaluation.number_text import format_grey_levels, format_pass, format_percent
from caffe_ext.evaluation.page import as_page
from caffe_ext.evaluation.report_contents import (
    Column,
    Report,
    describe_variants,
    list_table_columns,
    list_table_radii,
)
from caffe_ext.evaluation.result import ModelEvaluation
from caffe_ext.evaluation.robust_tables import (
    describe_cascades,
    list_curve_rows,
    list_stage_rows,
    make_robust_record,
)
from caffe_ext.reporting import format_csv, format_table, pluralize
from caffe_ext.runs.summary import MEASURES, AttackSummary, Spread
from caffe_ext.runs.variants import ALL, FGS
from caffe_ext.storage.atomic import write_json, write_text
from caffe_ext.storage.description import check_same
from caffe_ext.storage.json_file import Object, read_json

PAGE, TABLE, ATTACKS, RECORD = "report.html", "table.csv", "attacks.csv", "evaluation.json"
ROBUST, CURVES, CERTIFIED = "robust.csv", "robust_curve.csv", "certified.csv"
FILES = (PAGE, TABLE, ATTACKS, ROBUST, CURVES, CERTIFIED, RECORD)
_RADII = np.array([*range(0, 241, 16), 255], np.float64)
FORMAT = 2
_COLUMNS_WIDE = 100


@dataclass(frozen=True)
class _SavedRecord:
    """The part of evaluation.json that is read back: what it is about."""

    identity: Object


def check_folder(folder: Path, identity: Mapping[str, Any]) -> None:
    """Raise RecordError if the folder holds a report about something else, or files of other
    programs.

    Reports with other attacks, probes or noise are about the same.
    """
    path = folder / RECORD
    if not path.exists():
        for other in (folder / name for name in (TABLE, ATTACKS, PAGE)):
            if other.exists():
                raise RecordError(
                    f"{other} exists, but {RECORD}, which describes it, is missing; choose "
                    "another folder, or replace it with --again"
                )
        return
    advice = "choose another folder, or replace it with --again"
    found = read_json(path, _SavedRecord, advice).identity
    check_same(identity, found, f"{folder} holds the report of another evaluation", advice)


def write_report(folder: Path, report: Report) -> None:
    """Write all files, each complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    # First: without it the others are not taken for this program's.
    write_json(folder / RECORD, as_record(report))
    columns, radii = list_table_columns(report.models), list_table_radii(report.models)
    rows = [make_table_row(model, columns, radii) for model in report.models]
    write_text(folder / TABLE, as_csv(rows))
    rows = [row for model in report.models for row in list_attack_rows(model)]
    write_text(folder / ATTACKS, as_csv(rows))
    stages = [row for model in report.models for row in list_stage_rows(model)]
    write_text(folder / ROBUST, as_csv(stages))
    curves = [row for model in report.models for row in list_curve_rows(model)]
    write_text(folder / CURVES, as_csv(curves))
    if report.certificates:
        write_text(folder / CERTIFIED, as_csv(list_certified_rows(report.certificates)))
    else:  # an earlier one is of another report
        (folder / CERTIFIED).unlink(missing_ok=True)
    # Last: if something cannot be drawn, the figures are on the disk by now.
    write_text(folder / PAGE, as_page(report))


def make_table_row(
    model: ModelEvaluation, columns: Sequence[Column], radii: Sequence[PerturbationBudget]
) -> dict[str, Any]:
    """Return a model's row of the table; PASS as in the BANG paper's tables."""
    row: dict[str, Any] = {
        "model": model.name,
        "images": model.images,
        "accuracy": model.accuracy,
    }
    for column in columns:
        summary = model.find_summary(column.attack, column.variant)
        name = column.attack if column.variant == ALL else f"fgs_{column.variant}"
        row[f"{name}_rate"] = summary.rate if summary else None
        for measure, field in (("pass", "pass_published"), ("linf", "linf")):
            found: Spread | None = getattr(summary, field, None)
            row[f"{name}_{measure}_mean"] = found.mean if found else None
            row[f"{name}_{measure}_std"] = found.std if found else None
    strict = model.find_summary(FGS, "strict")
    row["saturated"] = strict.saturated if strict else None
    row["zero_gradient"] = strict.zero_gradient if strict else None
    within = {one.budget: one.accuracy for one in model.robust}
    real = {one.budget: one.accuracy_real for one in model.robust}
    for budget in radii:
        name = f"robust_accuracy_{budget.norm}_{budget.epsilon:g}"
        row |= {name: within.get(budget), f"{name}_real": real.get(budget)}
    return row | {"broken_by_any": model.broken, "warnings": len(model.warnings)}


def list_attack_rows(model: ModelEvaluation) -> list[dict[str, Any]]:
    """Return the rows of all attacks on a model, as flat dictionaries."""
    rows = []
    for summary in model.summaries:
        row = {"model": model.name} | asdict(summary)
        for name in MEASURES:
            found = row.pop(name) or {"mean": None, "std": None}
            row |= {f"{name}_mean": found["mean"], f"{name}_std": found["std"]}
        rows.append(row)
    return rows


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows with equal keys as CSV, see format_csv()."""
    head = list(rows[0]) if rows else []
    return format_csv([head, *([row[key] for key in head] for row in rows)])


def as_record(report: Report) -> dict[str, Any]:
    """Return everything, for JSON."""
    return {
        "provenance": report.provenance,
        "identity": report.identity,
        "images": report.images,
        "settings": report.settings,
        "format": FORMAT,
        "variants": {name: text for name, (_, text) in describe_variants(report.models).items()},
        "models": [_make_model_record(model) for model in report.models],
        "certificates": list_certified_rows(report.certificates),
    }


def _make_model_record(model: ModelEvaluation) -> dict[str, Any]:
    summaries = [
        asdict(one) | {"broken_within": _compute_broken_shares(model, one)}
        for one in model.summaries
    ]
    robust = [
        make_robust_record(one) | {"stages": [asdict(stage) for stage in one.stages]}
        for one in model.robust
    ]
    noise = model.noise and {
        "images": len(model.noise_rows),
        "rows": model.noise_rows.tolist(),
        "copies": model.noise.copies,
        "levels": model.noise.levels.tolist(),
        "rates": model.noise.rates.tolist(),
    }
    return {
        "name": model.name,
        "model": model.record,
        "images": model.images,
        "correct": model.correct,
        "accuracy": model.accuracy,
        "attempted": int(model.attempted.sum()),
        "attacks": summaries,
        "robust_accuracy": robust,
        "robust_curve": list_curve_rows(model),
        "attackability": asdict(model.attackability) if model.attackability else None,
        "broken_by_any": model.broken,
        "broken_by_any_within": _compute_broken_shares(model, None),
        "probe": asdict(model.probe) if model.probe else None,
        "noise": noise,
        "warnings": [asdict(one) for one in model.warnings],
    }


def _compute_broken_shares(
    model: ModelEvaluation, summary: AttackSummary | None
) -> dict[str, dict[str, float]]:
    """Return the share of images broken within some radii, by norm."""
    shares: dict[str, dict[str, float]] = {}
    for norm in model.suite.norms:
        found = model.compute_curve(summary, _RADII, norm)
        shares[norm] = {f"{r:g}": float(one) for r, one in zip(_RADII, found, strict=True)}
    return shares


def as_text(
    models: Sequence[ModelEvaluation], certificates: Mapping[str, Certificate] | None = None
) -> str:
    """Return the tables and the warnings for a terminal of 100 columns."""
    rows = [("model", "accuracy", "attack", "rate", "PASS", "Linf")]
    for model in models:
        first = model.name, format_percent(model.accuracy)
        for column in list_table_columns(models):
            summary = model.find_summary(column.attack, column.variant)
            if summary:
                cells = format_percent(summary.rate), format_pass(summary.pass_published)
                rows.append((*first, column.title, *cells, format_grey_levels(summary.linf)))
                first = "", ""
        rows.append((*first, "any on all images", format_percent(model.broken), "", ""))
    lines = _align(rows, (0, 2))
    lines += ["", f"PASS as in the BANG paper's tables; as defined: {PAGE}"]
    if radii := list_table_radii(models):
        heads = ("model", *(f"{budget}" for budget in radii))
        found = [{one.budget: one.accuracy for one in model.robust} for model in models]
        robust = [
            (model.name, *(format_percent(mine.get(budget)) for budget in radii))
            for model, mine in zip(models, found, strict=True)
        ]
        for row, model in reversed(list(enumerate(models))):
            real = {one.budget: one.accuracy_real for one in model.robust}
            if real != found[row]:
                shares = (format_percent(real.get(budget)) for budget in radii)
                robust.insert(row + 1, ("  in real-valued pixels", *shares))
        lines += ["", "Robust accuracy, at most (grey levels of 255):", ""]
        lines += _align([heads, *robust])
        if cascade := list(describe_cascades(models)):
            lines += [
                "",
                "Broken by each attack of the cascade (in brackets: in real-valued pixels)",
            ]
            for line in cascade:
                lines += wrap(line, _COLUMNS_WIDE, subsequent_indent="  ")
    if certificates:
        lines += ["", *_format_certificates(certificates)]
    for model in models:
        if model.warnings:
            lines.append(f"\n{model.name}: caveats")
        for one in model.warnings:
            lines += wrap(f"- {one.measured} {one.meaning}", _COLUMNS_WIDE, subsequent_indent="  ")
    return "\n".join(lines)


def _format_certificates(certificates: Mapping[str, Certificate]) -> list[str]:
    """Return what is known from both sides, as a table."""
    rows: list[tuple[str, ...]] = []
    rows.append(("model", "within", "accuracy", "certified", "under attack", "gap"))
    for name, certificate in certificates.items():
        first = name, format_percent(certificate.accuracy)
        for one in certificate.within:
            shares = map(format_percent, (one.lower, one.upper, one.upper - one.lower))
            rows.append((first[0], f"{one.budget}", first[1], *shares))
            first = "", ""
    images = pluralize(max(len(one.rows) for one in certificates.values()), "image")
    return [
        f"Between the bounds, on {images}, real-valued pixels: at least certified, at most what no "
        "attack breaks",
        "",
        *_align(rows, (0, 1)),
    ]


def _align(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """Return the lines of a table, without spaces at their ends."""
    return [line.rstrip() for line in format_table(rows, left).split("\n")]
