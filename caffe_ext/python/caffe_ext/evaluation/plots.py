"""The plots of a report: one function each, which returns None if there is nothing to draw.

Colours denote models, the same in all plots; attacks are rows or panels.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from caffe_ext.attacks.budget import NORM_NAMES, Norm
from caffe_ext.certification.steps import LOWER, UPPER, make_band
from caffe_ext.evaluation.certificates import Certificate
from caffe_ext.evaluation.plot_style import (
    BAND,
    INK,
    Key,
    Panel,
    Plot,
    create_figure,
    make_keys,
    use_style,
)
from caffe_ext.evaluation.result import ModelEvaluation
from caffe_ext.evaluation.robustness import (
    Distances,
    compute_robust_curve,
    find_perturbation_sizes,
    find_smallest_sizes,
)
from caffe_ext.metrics.distances import FULL_SCALE
from caffe_ext.runs.summary import AttackSummary, Spread
from caffe_ext.runs.titles import make_titles_distinct, split_title

_CURVES = (3.6, 2.5)  # width and height in inches
_ROWS_WIDE = 4.2
_LINE, _ROW, _AXIS = 0.145, 0.13, 0.62
_LINF_ENDS = (16.0, 64.0, 255.0)
_L2_ENDS = (1.6, 3.2, 4.8, 6.4, 8.0, 9.6, 16.0)
NOTHING = "none found"
Attacked = tuple[str, str]
"""The text of an attack and the name of a variant."""


def draw_robust_curves(models: Sequence[ModelEvaluation], norm: Norm) -> Panel | None:
    """Draw an upper bound on the images that stay correct within each radius, from all attacks.

    Lines are from all known adversarials, as in robust_curve.csv; points are the robust accuracy
    within a budget. Without a budget in the norm, lines are from the attacks on all images. None if
    a model's suite has no curves in the norm.
    """
    if not all(norm in model.suite.norms for model in models):
        return None
    with use_style():
        figure, axes = create_figure(*_CURVES)
        sizes = [find_smallest_sizes(list(model.records.values()), norm) for model in models]
        radii = np.linspace(0, _scale_distance_axis(axes, models, norm, sizes), 256)
        for model, key in _assign_colours(models):
            axes.plot(radii, 100 * _compute_line(model, radii, norm), **key.line)
            points = [
                (one.budget.epsilon, 100 * one.accuracy)
                for one in model.robust
                if one.budget.norm == norm and one.accuracy is not None
            ]
            if points:
                axes.plot(*zip(*points, strict=True), "o", color=key.colour, markersize=4.5)
        axes.set(ylim=(0, 102), ylabel="correct, %, at most")
    return Panel(f"Within each {NORM_NAMES[norm]} radius", figure)


def draw_certified_bands(certificates: Mapping[str, Certificate]) -> Plot | None:
    """Draw between which shares each model's accuracy lies at each radius: a panel for each model
    and norm.

    None without certificates.
    """
    panels = []
    with use_style():
        for key in make_keys(list(certificates)):
            certificate = certificates[key.name]
            norms = dict.fromkeys(one.budget.norm for one in certificate.within)
            for norm in norms:
                title = key.name if len(norms) == 1 else f"{key.name}, {NORM_NAMES[norm]}"
                panels.append(_draw_band(certificate, norm, key, title))
    return Plot(panels) if panels else None


def _draw_band(certificate: Certificate, norm: Norm, key: Key, title: str) -> Panel:
    figure, axes = create_figure(*_CURVES)
    within = sorted(
        (one for one in certificate.within if one.budget.norm == norm),
        key=lambda one: one.budget.epsilon,
    )
    unit = 1 if norm == "linf" else FULL_SCALE
    radii = [0.0, *(one.budget.epsilon / unit for one in within)]
    lower = [certificate.accuracy, *(one.lower for one in within)]
    upper = [certificate.accuracy, *(one.upper for one in within)]
    low, high = (100 * np.array(shares) for shares in (lower, upper))
    axes.fill_between(*make_band(radii, low, high), color=key.colour, alpha=0.2, linewidth=0)
    axes.plot(radii, high, "o-", drawstyle=UPPER, color=key.colour, markersize=4)
    axes.plot(radii, low, "s--", drawstyle=LOWER, color=key.colour, markersize=4)
    axes.set(xlim=(0, max(radii)), ylim=(0, 102), ylabel="correct, %")
    axes.set_xlabel("Linf, grey levels of 255" if norm == "linf" else "L2, pixels in 0..1")
    return Panel(title, figure)


def _compute_line(model: ModelEvaluation, radii: Distances, norm: Norm) -> Distances:
    """Return the share of all images that stay correct within each radius, 0..1."""
    known = compute_robust_curve(model.robust, radii, norm)
    if known is not None:
        return known
    share = float(model.attempted.sum()) / max(model.images, 1)
    return share * (1 - model.compute_curve(None, radii, norm))


def draw_broken_curves(models: Sequence[ModelEvaluation], norm: Norm) -> Plot | None:
    """Draw the share of images broken within each radius: one panel per attack.

    None if a model's suite has no curves in the norm.
    """
    if not all(norm in model.suite.norms for model in models):
        return None
    titles = {
        key: title
        for key, title in choose_attack_titles(models).items()
        if any(key in model.suite.columns or key[0] == "fgv" for model in models)
    }
    panels = [_draw_broken(models, norm, key, title) for key, title in titles.items()]
    panels.append(_draw_broken(models, norm, None, "the best attack for each image"))
    return Plot(panels, _make_legend(models))


def _draw_broken(
    models: Sequence[ModelEvaluation], norm: Norm, attacked: Attacked | None, title: str
) -> Panel:
    """Draw the share of images that one attack breaks, or any attack on all images for None."""
    with use_style():
        figure, axes = create_figure(*_CURVES)
        radii = np.linspace(
            0, _scale_distance_axis(axes, models, norm, _collect_sizes(models, norm)), 256
        )
        for model, key in _assign_colours(models):
            summary = model.find_summary(*attacked) if attacked else None
            if attacked is None or summary:
                axes.plot(radii, 100 * model.compute_curve(summary, radii, norm), **key.line)
        axes.set(ylim=(0, 102), ylabel="images broken, %")
    return Panel(title, figure)


def draw_pass_distributions(models: Sequence[ModelEvaluation]) -> Plot:
    """Draw the distribution of PASS for each attack: one panel per model (2016 paper, Figure 4)."""
    titles = choose_attack_titles(models)
    panels, least = [], 0.0
    with use_style():
        for model, key in _assign_colours(models):
            figure, axes = _create_attack_rows([titles[_identify(one)] for one in model.summaries])
            for place, one in enumerate(model.summaries):
                if one.found and one.pass_scores:
                    scores = model.records[one.attack].pass_scores[model.find_broken(one)]
                    _draw_violin(axes, place, scores, key.colour)
                    least = min(least, float(scores.min()))
                else:
                    text = "images too small for PASS" if one.found else NOTHING
                    axes.text(0.01, place, text, fontsize=8, va="center")
            axes.set_xlabel("PASS (1: the original)")
            panels.append(Panel(model.name, figure))
        for panel in panels:
            panel.axes.set_xlim(least - 0.02, 1.02)
    return Plot(panels)


def draw_metrics_by_attack(models: Sequence[ModelEvaluation]) -> Plot:
    """Draw means and deviations of PASS, Linf and L2: one panel each, one row per attack.

    The quantities of the 2016 paper's Figure 5.
    """
    titles = choose_attack_titles(models)
    measures: tuple[tuple[str, Norm | None, Callable[[AttackSummary], Spread | None]], ...] = (
        ("PASS", None, lambda one: one.pass_scores),
        ("Linf", "linf", lambda one: one.linf),
        ("L2", "l2", lambda one: one.l2),
    )
    panels = []
    for title, norm, measure in measures:
        with use_style():
            figure, axes = _create_attack_rows(list(titles.values()), len(models))
            if norm is None:
                axes.set_xlabel("PASS (1: the original)")
            else:
                _scale_distance_axis(axes, models, norm, _collect_sizes(models, norm))
            for number, (model, key) in enumerate(_assign_colours(models)):
                apart = 0.6 * ((number + 0.5) / len(models) - 0.5)
                for place, attacked in enumerate(titles):
                    summary = model.find_summary(*attacked)
                    found = measure(summary) if summary and summary.found else None
                    if found:
                        _draw_mean(axes, place + apart, found, key.colour)
            if norm is None:
                axes.set_xlim(min(0.0, axes.get_xlim()[0]), 1.02)
            panels.append(Panel(title, figure))
    return Plot(panels, _make_legend(models))


def draw_noise_stability(models: Sequence[ModelEvaluation]) -> Plot | None:
    """Draw the share of noisy copies that change class, by level; None if there was no noise."""
    if not any(model.noise for model in models):
        return None
    with use_style():
        figure, axes = create_figure(_ROWS_WIDE, 2.8)
        for model, key in _assign_colours(models):
            if model.noise:
                levels, rates = model.noise.levels, 100 * model.noise.rates
                axes.plot(levels, rates, marker="o", markersize=4, **key.line)
        axes.set(ylabel="copies that change class, %")
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.locator_params("x", nbins=6)
        axes.xaxis.set_major_formatter(lambda value, _: _format_both_units(value))
        axes.set_xlabel("standard deviation, grey levels of 255 (below: of 1)")
    return Plot([Panel("", figure)], _make_legend(models))


def choose_attack_titles(models: Sequence[ModelEvaluation]) -> dict[Attacked, str]:
    """Return distinct titles for all attacks in all variants."""
    named = {_identify(one): (one.title, one.attack) for model in models for one in model.summaries}
    return dict(zip(named, make_titles_distinct(list(named.values())), strict=True))


def _identify(summary: AttackSummary) -> Attacked:
    return summary.attack, summary.variant


def _assign_colours(models: Sequence[ModelEvaluation]) -> list[tuple[ModelEvaluation, Key]]:
    return list(zip(models, make_keys([model.name for model in models]), strict=True))


def _make_legend(models: Sequence[ModelEvaluation]) -> list[Key]:
    return make_keys([model.name for model in models])


def _collect_sizes(models: Sequence[ModelEvaluation], norm: Norm) -> list[Distances]:
    """Return the sizes of all adversarials, inf where none was found."""
    return [
        find_perturbation_sizes(one, norm) for model in models for one in model.records.values()
    ]


def _scale_distance_axis(
    axes: Axes, models: Sequence[ModelEvaluation], norm: Norm, sizes: Sequence[Distances]
) -> float:
    """Make x a scale of distances that includes the largest one and all radii; return its end.

    A square-root scale has room for small radii, usual for colour images, and for large ones.
    """
    radii = [one.epsilon for model in models for one in model.suite.radii if one.norm == norm]
    found = [float(one[np.isfinite(one)].max(initial=0)) for one in sizes]
    largest = max([*radii, *found, 1.0])
    if norm == "linf":
        end = next(end for end in _LINF_ENDS if largest <= end or end == FULL_SCALE)
    else:
        scale = 10 ** np.floor(np.log10(max(largest, 10)))
        end = float(next(end * scale for end in _L2_ENDS if largest <= end * scale))
    ticks = [round(end * (part / 4) ** 2) for part in range(5)]
    axes.set_xscale("function", functions=(_take_root, np.square))
    axes.set_xlim(0, end)
    axes.set_xticks(ticks, [_format_both_units(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"{NORM_NAMES[norm]}, grey levels of 255\n(below: of 1)")
    return end


def _take_root(values: Any) -> Any:
    return np.sqrt(np.maximum(values, 0))


def _format_both_units(grey_levels: float) -> str:
    """Return a distance in grey levels, and below it of pixels in 0..1."""
    return f"{grey_levels:,.5g}\n{grey_levels / FULL_SCALE:.2g}"


def _create_attack_rows(titles: Sequence[str], points: int = 1) -> tuple[Any, Axes]:
    """Return a figure with one row per attack, with titles of one or more lines.

    points  to be drawn one below the other in each row
    """
    lines = [split_title(title) for title in titles]
    most = max(map(len, lines), default=1)
    row = max(_LINE * most + 0.09, _ROW * points + 0.09)
    figure, axes = create_figure(_ROWS_WIDE, _AXIS + row * max(len(titles), 1))
    axes.set_yticks(range(len(lines)), ["\n".join(one) for one in lines], fontsize=8)
    axes.set_ylim(max(len(lines), 1) - 0.5, -0.5)
    axes.tick_params("y", length=0)
    axes.grid(visible=False, axis="y")
    for place in range(0, len(lines), 2):
        axes.axhspan(place - 0.5, place + 0.5, color=BAND, alpha=0.1, linewidth=0)
    return figure, axes


def _draw_violin(axes: Axes, place: int, values: Any, colour: str) -> None:
    """Draw a distribution: its density, and the median with the middle half."""
    if len(values) > 1 and np.ptp(values) > 0:
        parts: Any = axes.violinplot(
            [values], [place], widths=0.9, showextrema=False, orientation="horizontal"
        )
        for body in parts["bodies"]:
            body.set(facecolor=colour, alpha=0.45, edgecolor=colour)
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    axes.hlines(place, low, high, color=INK, linewidth=2)
    axes.plot([middle], [place], marker="o", markersize=4, color=INK)


def _draw_mean(axes: Axes, place: float, found: Spread, colour: str) -> None:
    """Draw a mean, and a thin line of one standard deviation to each side."""
    axes.hlines(place, found.mean - found.std, found.mean + found.std, color=colour, linewidth=1)
    axes.plot([found.mean], [place], marker="o", markersize=4.5, color=colour)
