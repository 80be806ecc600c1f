"""The report's plots: what they show, and that no text covers another."""

import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from matplotlib.transforms import Bbox

from caffe_ext.evaluation import plots
from caffe_ext.evaluation.page import as_page
from caffe_ext.evaluation.plot_style import Panel, Plot, draw_for_page
from caffe_ext.evaluation.report_contents import Report
from caffe_ext.evaluation.result import ModelEvaluation
from caffe_ext.evaluation.robustness import compute_robust_curve
from parsed_page import Page


def all_plots(models: Sequence[ModelEvaluation]) -> dict[str, Plot]:
    found = {
        "linf": plots.draw_broken_curves(models, "linf"),
        "l2": plots.draw_broken_curves(models, "l2"),
        "pass": plots.draw_pass_distributions(models),
        "metrics": plots.draw_metrics_by_attack(models),
        "noise": plots.draw_noise_stability(models),
    }
    robust = plots.draw_robust_curves(models, "linf")
    assert robust is not None
    return {name: plot for name, plot in found.items() if plot} | {"robust": Plot([robust])}


def test_plots_are_svg(report: Report) -> None:
    for name, plot in all_plots(report.models).items():
        for one in draw_for_page(plot, name).panels:
            root = ET.fromstring(one.svg.replace("xlink:href", "href"))
            assert root.tag == "svg"
    lines = plots.draw_broken_curves(report.models, "linf")
    assert lines is not None
    panel = next(one for one in lines.panels if one.title == "FGS, paper's protocol")
    heights = [float(np.asarray(line.get_ydata())[-1]) for line in panel.axes.lines]
    assert heights == [50, 100]
    assert panel.axes.get_xlim() == (0, 255)
    ticks = panel.axes.transData.transform([(tick, 0) for tick in (0, 4, 16, 64)])[:, 0]
    np.testing.assert_allclose((ticks - ticks[0]) / (ticks[1] - ticks[0]), [0, 1, 2, 4])
    labels = [one.get_text() for one in panel.axes.get_xticklabels()]
    assert labels == ["0\n0", "16\n0.063", "64\n0.25", "143\n0.56", "255\n1"]


def test_the_robust_accuracy_is_drawn(report: Report) -> None:
    """The line begins at the accuracy; the points are the robust accuracy, at its radii."""
    panel = plots.draw_robust_curves(report.models, "linf")
    assert panel is not None
    line, points = panel.axes.lines[:2]
    assert np.asarray(line.get_ydata())[0] == 80
    expected = [[one.budget.epsilon, 100 * (one.accuracy or 0)] for one in report.models[0].robust]
    np.testing.assert_allclose(np.asarray(points.get_xydata()), expected)


def test_the_line_counts_what_attacks_within_a_budget_have_found(report: Report) -> None:
    """It is the curve of robust_curve.csv, by all attacks, and does not pass above the points."""
    model = report.models[0]
    first = model.robust[0]
    found = replace(  # an attack within 8 breaks all that is left, at 7
        first,
        robust=first.robust & False,
        broken_in=np.where(first.robust, len(first.stages), first.broken_in),
        smallest=np.where(first.robust, 7.0, first.smallest),
    )
    model = replace(model, robust=(found, *model.robust[1:]))
    panel = plots.draw_robust_curves([model], "linf")
    assert panel is not None
    radii, line = np.asarray(panel.axes.lines[0].get_xydata()).T
    assert (line[radii < 7] > 0).all()
    assert (line[radii >= 7] == 0).all()
    expected = compute_robust_curve(model.robust, radii, "linf")
    assert expected is not None
    np.testing.assert_allclose(line, 100 * expected, rtol=1e-12)


def test_without_a_budget_the_line_is_of_the_attacks_on_all_images(report: Report) -> None:
    model = replace(report.models[0], robust=())
    panel = plots.draw_robust_curves([model], "linf")
    assert panel is not None
    radii, line = np.asarray(panel.axes.lines[0].get_xydata()).T
    np.testing.assert_allclose(line, 80 * (1 - model.compute_curve(None, radii, "linf")))


@pytest.mark.parametrize("many", [1, 9])
def test_no_text_of_a_plot_covers_another(report: Report, many: int) -> None:
    """Whatever the attacks are called, and however many models there are."""
    long = {"hc1": "PGD Linf 25.5, 40 x 1.59375 (margin)", "fgv": "W" * 50}
    models = [
        replace(
            report.models[0],
            name=f"model {number}",
            summaries=tuple(
                replace(one, title=long.get(one.attack, one.title))
                for one in report.models[0].summaries
            ),
        )
        for number in range(many)
    ]
    for plot in all_plots(models).values():
        for panel in [*plot.panels[:1], *plot.panels[1:][-1:]]:
            boxes = text_boxes(panel)
            assert len(boxes) > 6
            assert all(not one.overlaps(other) for one, other in combinations(boxes, 2))
            whole = panel.figure.bbox.padded(1)
            assert all(whole.contains(*one.min) and whole.contains(*one.max) for one in boxes)


def text_boxes(panel: Panel) -> list[Bbox]:
    """Return where all text that is seen stands, in pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "constrained layout not applied": there is no room
        panel.figure.draw_without_rendering()
    texts = list(panel.axes.texts)
    for axis in (panel.axes.xaxis, panel.axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        ticks = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
        texts += [axis.label, *(label for place, label in ticks if low <= place <= high)]
    return [one.get_window_extent() for one in texts if one.get_text()]


@pytest.mark.parametrize("names", [("lr $\\lr{1}$", "模型"), ("_iter_5000", "x" * 60)])
def test_names_are_shown_as_they_are(report: Report, names: tuple[str, str]) -> None:
    models = [replace(one, name=name) for one, name in zip(report.models, names, strict=True)]
    text = as_page(replace(report, models=models))
    said = Page(text).said
    legends = re.findall(r'<ul class="legend">.*?</ul>', text, re.DOTALL)
    assert len(legends) == 5
    for name in names:
        assert said.count(name) >= 10
        assert all(name in Page(legend).said for legend in legends)


def test_attacks_of_one_name_are_told_apart(report: Report) -> None:
    same = tuple(replace(one, title="PGD") for one in report.models[0].summaries)
    models = [replace(model, summaries=same) for model in report.models]
    titles = plots.choose_attack_titles(models)
    assert len(set(titles.values())) == len({attack for attack, _ in titles})
    assert "PGD [hc1]" in titles.values()
    said = [text.strip() for text in Page(as_page(replace(report, models=models))).said]
    assert {"PGD [hc1]", "PGD [fgv]"} <= set(said)
