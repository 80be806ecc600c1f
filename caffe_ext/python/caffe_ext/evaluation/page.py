"""The page of a report: the template report.html.j2 with tables, plots and pictures."""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from typing import get_args

from jinja2 import Environment, StrictUndefined

from caffe_ext.attacks.budget import Norm
from caffe_ext.evaluation import plots
from caffe_ext.evaluation.certificates import SMOOTHING, list_methods
from caffe_ext.evaluation.number_text import NONE, format_both_units, format_of_one, format_percent
from caffe_ext.evaluation.plot_style import DrawnPlot, Plot, draw_for_page, make_keys
from caffe_ext.evaluation.report_contents import (
    Report,
    describe_variants,
    list_table_columns,
    list_table_radii,
)
from caffe_ext.evaluation.result import ModelEvaluation
from caffe_ext.evaluation.robustness import show_real
from caffe_ext.evaluation.verdict import choose_telling_budget, form_verdict
from caffe_ext.reporting import pluralize

COLUMNS_A_TABLE = 4
"""The most attacks in one table of models side by side, limited by a printed page."""


def as_page(report: Report) -> str:
    """Return the page."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": format_percent,
        "pluralize": pluralize,
        "of_one": format_of_one,
        "both_units": format_both_units,
    }
    sources = files("caffe_ext.evaluation")
    template, style = (
        sources.joinpath(name).read_text(encoding="utf-8")
        for name in ("report.html.j2", "report.css")
    )
    columns, titles = list_table_columns(report.models), plots.choose_attack_titles(report.models)
    return environment.from_string(template).render(
        report=report,
        style=style,
        keys=make_keys([model.name for model in report.models]),
        tables=[
            columns[start : start + COLUMNS_A_TABLE]
            for start in range(0, len(columns), COLUMNS_A_TABLE)
        ],
        radii=list_table_radii(report.models),
        titles=titles,
        variants=describe_variants(report.models).values(),
        broken_by=_list_breaking_attacks,
        cascade=list(dict.fromkeys(text for one in report.models for text in one.suite.cascade)),
        verdict=partial(form_verdict, budget=choose_telling_budget(report.models)),
        threats=_group_by_threat(report.models, titles),
        plots=_draw_plots(report),
        certified=list(report.certificates.items()),
        methods=list_methods(report.certificates),
        smoothing=SMOOTHING,
        dash=NONE,
    )


def _list_breaking_attacks(
    model: ModelEvaluation, titles: Mapping[plots.Attacked, str]
) -> list[tuple[str, list[str]]]:
    """Return which attack broke how many images within each budget: a title, and one cell per
    budget.

    First the attacks on all images that broke any; then the cascade, with the images tried; then
    what was found for other budgets. In brackets: in real-valued pixels, where that differs.
    """
    alone = {
        one.attack: titles[one.attack, one.variant]
        for one in model.summaries
        if len(model.suite.find_variants(one.attack)) == 1
    }
    whole: dict[str, list[str]] = {}
    elsewhere: dict[str, list[str]] = {}
    cascade: list[tuple[list[str], list[str]]] = []
    for place, one in enumerate(model.robust):
        for stage in one.stages:
            real = show_real(stage.broken, stage.broken_real)
            if stage.tried is None and (stage.broken or stage.broken_real):
                title, listed = alone.get(stage.attack, stage.name), whole
                if stage.run_for:
                    title, listed = f"{stage.name}, run for {stage.run_for}", elsewhere
                cells = listed.setdefault(title, [NONE] * len(model.robust))
                cells[place] = f"{stage.broken:,}{real}"
        for number, stage in enumerate(stage for stage in one.stages if stage.tried is not None):
            if number == len(cascade):
                cascade.append(([], [NONE] * len(model.robust)))
            names, cells = cascade[number]
            names.append(stage.name)
            real = show_real(stage.broken, stage.broken_real)
            cells[place] = f"{stage.broken:,} of {stage.tried:,}{real}"
    return [
        *whole.items(),
        *((f"then {_find_shared_title(names)}", cells) for names, cells in cascade),
        *elsewhere.items(),
    ]


def _find_shared_title(names: Sequence[str]) -> str:
    """Return what names share, word by word: "PGD Linf … 40 x … (margin)"."""
    words = [name.split() for name in names]
    if len(set(map(len, words))) > 1:
        return names[0]
    return " ".join(
        column[0] if len(set(column)) == 1 else "…" for column in zip(*words, strict=True)
    )


def _group_by_threat(
    models: Sequence[ModelEvaluation], titles: Mapping[plots.Attacked, str]
) -> dict[str, list[str]]:
    """Return which attacks share a threat model."""
    found: dict[str, dict[str, None]] = {}
    for model in models:
        for one in model.summaries:
            found.setdefault(one.threat_model, {})[titles[one.attack, one.variant]] = None
    return {threat: list(those) for threat, those in found.items()}


def _draw_plots(report: Report) -> dict[str, DrawnPlot]:
    """Return the available plots."""
    models = report.models
    robust = [plots.draw_robust_curves(models, norm) for norm in get_args(Norm)]
    panels = [panel for panel in robust if panel]
    found: dict[str, Plot | None] = {
        "robust": Plot(panels, make_keys([model.name for model in models])) if panels else None,
        "certified": plots.draw_certified_bands(report.certificates),
        "broken_linf": plots.draw_broken_curves(models, "linf"),
        "broken_l2": plots.draw_broken_curves(models, "l2"),
        "noise": plots.draw_noise_stability(models),
        "pass": plots.draw_pass_distributions(models),
        "metrics": plots.draw_metrics_by_attack(models),
    }
    return {name: draw_for_page(plot, name) for name, plot in found.items() if plot}
