"""The report's files agree with the records; the page is self-contained."""

import csv
import json
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import asdict, replace
from html.parser import HTMLParser
from io import StringIO
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.transforms import Bbox

from caffe_ext.errors import RecordError
from caffe_ext.evaluation import plots
from caffe_ext.evaluation.masking import Evidence, find_warnings
from caffe_ext.evaluation.number_text import grey_levels, pass_text, percent
from caffe_ext.evaluation.page import as_page
from caffe_ext.evaluation.plot_style import GRID, INK, Panel, Plot, drawn
from caffe_ext.evaluation.report import (
    as_csv,
    as_text,
    attack_rows,
    check_folder,
    table_row,
    write_report,
)
from caffe_ext.evaluation.report_contents import Report, table_columns, table_radii
from caffe_ext.evaluation.result import ModelEvaluation, Settings
from caffe_ext.evaluation.strip import Shown, Strip
from caffe_ext.evaluation.verdict import verdict
from caffe_ext.reporting import Silent, pluralize
from caffe_ext.runs.summary import Spread
from caffe_ext.storage.provenance import provenance
from data_samples import CHECKOUT
from evaluation_samples import NOISE, evaluator

VOID = {"meta", "br", "link", "img", "hr"}
IDENTITY = {"models": {"masked": 1}, "limit": None, "seed": 1}


class Page(HTMLParser):
    """What a page says, and that its tags are closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.said: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "data", "action"):
                self.addresses.append(value or "")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    ready = evaluator(tmp_path_factory.mktemp("report"), Settings(seed=1, noise=NOISE))
    models = list(ready.evaluate(Silent()))
    # Four images are too few for warnings; the names are to be escaped.
    warnings = find_warnings(Evidence(1000, 0.5, 0.75, 1.0, 0.5, 0.25, 0.0))
    models[0] = replace(models[0], name="<masked> & co", warnings=warnings)
    return Report(
        models=models,
        images={"origin": "five flat images", "count": 5, "limit": None, "sha256": "0" * 64}
        | {"selection": "all 5", "labelled": True},
        settings={"seed": 1, "noise": asdict(NOISE)},
        provenance=asdict(provenance(CHECKOUT)),
        identity=IDENTITY,
    )


@pytest.fixture(scope="module")
def page_text(report: Report) -> str:
    return as_page(report)


def test_the_page_stands_alone(page_text: str) -> None:
    text = page_text
    page = Page(text)
    assert page.open == []
    pictures = [one for one in page.addresses if one.startswith("data:image/png;base64,")]
    links = [one for one in page.addresses if one not in pictures]
    for picture in pictures:
        text = text.replace(picture, "")
    assert not re.search(r"https?:|//\w|@import|<script|<link|url\((?!#)", text)
    assert links
    assert all(address[1:] in page.ids for address in links)
    assert len(set(page.ids)) == len(page.ids)
    for colour in (INK, GRID):
        assert colour not in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_the_page_says_the_numbers(report: Report, page_text: str) -> None:
    said = Page(page_text).said
    words = {text.strip() for text in said}
    assert {"<masked> & co", "open"} <= words
    for model in report.models:
        assert percent(model.accuracy) in words
        for summary in model.summaries:
            assert percent(summary.rate) in words
            assert summary.linf is not None
            assert f"{summary.linf.mean:.2f}" in words
            assert f"± {summary.linf.std:.2f}" in words
        assert model.noise is not None
        assert {percent(rate) for rate in model.noise.rates.tolist()} <= words
        for warning in model.warnings:
            assert {warning.measured, warning.meaning, warning.advice} <= words
    for text in ("0" * 64, report.provenance["command"], report.models[0].record["weights_sha256"]):
        assert text in words
    assert any("no proof that there are none" in text for text in said)


def test_one_copy_is_no_copies(report: Report) -> None:
    noise = dict(report.settings["noise"]) | {"copies": 1}
    text = as_page(replace(report, settings=dict(report.settings) | {"noise": noise}))
    assert "Gaussian noise, 1 noisy copy of each of\n" in text
    images = len(report.models[0].noise_rows)
    assert f"\n{pluralize(images, 'image')} that all models classify correctly" in text


def all_plots(models: Sequence[ModelEvaluation]) -> dict[str, Plot]:
    found = {
        "linf": plots.broken_curves(models, "linf"),
        "l2": plots.broken_curves(models, "l2"),
        "pass": plots.pass_distributions(models),
        "metrics": plots.metrics_by_attack(models),
        "noise": plots.noise_stability(models),
    }
    robust = plots.robust_curves(models, "linf")
    assert robust is not None
    return {name: plot for name, plot in found.items() if plot} | {"robust": Plot([robust])}


def test_plots_are_svg(report: Report) -> None:
    for name, plot in all_plots(report.models).items():
        for one in drawn(plot, name).panels:
            root = ET.fromstring(one.svg.replace("xlink:href", "href"))
            assert root.tag == "svg"
    lines = plots.broken_curves(report.models, "linf")
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
    panel = plots.robust_curves(report.models, "linf")
    assert panel is not None
    line, points = panel.axes.lines[:2]
    assert np.asarray(line.get_ydata())[0] == 80
    expected = [[one.budget.epsilon, 100 * (one.accuracy or 0)] for one in report.models[0].robust]
    np.testing.assert_allclose(np.asarray(points.get_xydata()), expected)


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
    titles = plots.attack_titles(models)
    assert len(set(titles.values())) == len({attack for attack, _ in titles})
    assert "PGD [hc1]" in titles.values()
    said = [text.strip() for text in Page(as_page(replace(report, models=models))).said]
    assert {"PGD [hc1]", "PGD [fgv]"} <= set(said)


def test_tables_have_a_cell_for_each_column(report: Report) -> None:
    """However many attacks there are: in tables of four each, one below the other."""
    first = report.models[0]
    columns = tuple((one.attack, one.variant) for one in first.summaries)
    assert len(columns) == 5
    models = [replace(one, suite=replace(one.suite, columns=columns)) for one in report.models]
    text = as_page(replace(report, models=models))
    tables = re.findall(r"<table>.*?</table>", text, re.DOTALL)
    for table in tables:
        widths = {row_width(row) for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)}
        rows = len(re.findall(r"<tr", table))
        assert rows > 1
        if 'rowspan="2"' not in table:
            assert len(widths) == 1
    side_by_side = [table for table in tables if table.count('colspan="3"')]
    assert [table.count('colspan="3"') for table in side_by_side] == [4, 1]
    for table in side_by_side:
        cells = table.count("<td")
        assert cells == len(models) * (1 + 3 * table.count('colspan="3"'))
    # Tables scroll within the page.
    assert text.count('<div class="wide"') == text.count("<table")


def row_width(row: str) -> int:
    spans = [int(found) for found in re.findall(r'colspan="(\d+)"', row)]
    return len(re.findall(r"<t[hd]", row)) - len(spans) + sum(spans)


def test_what_broke_the_images(report: Report, page_text: str) -> None:
    tables = re.findall(r"images broken by.*?</table>", page_text, re.DOTALL)
    assert len(tables) == len(report.models)
    for table, model in zip(tables, report.models, strict=True):
        assert "then PGD Linf … 40 x … (margin)" in table
        for one in model.robust:
            assert f"{one.robust.sum()} of {one.correct}" in table


def test_the_strip(report: Report) -> None:
    """A picture for each original, and two for each model; what is not found is said."""
    shown = Shown(
        "data:image/png;base64,QQ==", "data:image/png;base64,Qg==", "猫", "HC1", 51, 510, 0.9
    )
    strip = Strip(
        [("<dog>", "data:image/png;base64,Qw=="), ("hen", "data:image/png;base64,RA==")],
        [(model.name, [shown, None]) for model in report.models],
        "Without a column: class 8.",
    )
    page = Page(as_page(replace(report, strip=strip)))
    assert page.open == []
    pictures = [one for one in page.addresses if one.startswith("data:image/png;base64,")]
    assert len(pictures) == 2 + 2 * len(report.models)
    said = [text.strip() for text in page.said]
    assert {
        "<dog>",
        "hen",
        "→ 猫",
        "none found",
        "Linf 51 (0.2)",
        "L2 510 (2)",
        "PASS 0.900",
    } <= set(said)
    assert said.count("perturbation") == said.count("adversarial") == len(report.models)
    assert any(text.endswith("Without a column: class 8.") for text in said)


def test_without_noise_and_probe(report: Report) -> None:
    bare = [replace(model, noise=None, probe=None) for model in report.models]
    text = as_page(replace(report, models=bare, settings={"seed": 1, "noise": None}))
    assert "Random noise" not in text
    assert Page(text).open == []


def test_nothing_found(report: Report) -> None:
    """A model that no attack breaks has no means, and a report all the same."""
    hard = unbroken(report.models[1])
    text = as_page(replace(report, models=[hard]))
    assert Page(text).open == []
    assert "0.00%" in text
    assert row_of(hard)["hc1_linf_mean"] is None
    assert "–" in as_text([hard])


def row_of(model: ModelEvaluation) -> dict[str, Any]:
    return table_row(model, table_columns([model]), table_radii([model]))


def unbroken(model: ModelEvaluation) -> ModelEvaluation:
    nothing: dict[str, Any] = dict.fromkeys(
        ("linf", "l2", "l2_per_pixel", "mean_absolute", "pass_scores", "pass_published")
    )
    summaries = tuple(replace(one, found=0, rate=0.0, **nothing) for one in model.summaries)
    records = {
        text: replace(one, found=one.found & False, linf=one.linf * float("nan"))
        for text, one in model.records.items()
    }
    return replace(model, summaries=summaries, records=records)


def test_table(report: Report) -> None:
    row = row_of(report.models[0])
    assert list(row)[:8] == [
        *("model", "images", "accuracy", "fgs_paper_rate", "fgs_paper_pass_mean"),
        *("fgs_paper_pass_std", "fgs_paper_linf_mean", "fgs_paper_linf_std"),
    ]
    assert (row["accuracy"], row["fgs_paper_rate"], row["fgs_strict_rate"]) == (0.8, 0.5, 0.75)
    assert (row["fgs_paper_linf_mean"], row["fgs_paper_linf_std"]) == (5, 1)
    assert (row["hc1_rate"], row["hc1_linf_mean"]) == (1, 28)
    records = report.models[0].records["hc1"]
    assert row["hc1_pass_mean"] == records.pass_published[records.found].mean()
    assert (row["saturated"], row["zero_gradient"]) == (0.5, 0.25)


def test_csv_and_json_agree_with_the_records(report: Report, tmp_path: Path) -> None:
    write_report(tmp_path, report)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("attacks.csv", "evaluation.json", "report.html", "robust.csv", "robust_curve.csv"),
        "table.csv",
    ]
    with (tmp_path / "robust.csv").open() as file:
        stages = list(csv.DictReader(file))
    for model in report.models:
        for one in model.robust:
            mine = [
                row
                for row in stages
                if (row["model"], row["norm"], float(row["epsilon"]))
                == (model.name, one.budget.norm, one.budget.epsilon)
            ]
            assert len(mine) == len(one.stages)
            assert float(mine[-1]["robust_accuracy"]) == pytest.approx(one.accuracy)
            assert float(mine[-1]["robust_accuracy_real"]) == pytest.approx(one.accuracy_real)
    with (tmp_path / "robust_curve.csv").open() as file:
        curve = list(csv.DictReader(file))
    for model in report.models:
        for one in model.robust:
            there = [
                row
                for row in curve
                if (row["model"], row["norm"], float(row["radius"]))
                == (model.name, one.budget.norm, one.budget.epsilon)
            ]
            assert len(there) == 1
            assert one.accuracy is not None
            assert float(there[0]["robust_accuracy"]) <= one.accuracy + 1e-9
    with (tmp_path / "attacks.csv").open() as file:
        rows = list(csv.DictReader(file))
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert len(rows) == 10
    for model, written in zip(report.models, record["models"], strict=True):
        mine = [row for row in rows if row["model"] == model.name]
        for row, one in zip(mine, written["attacks"], strict=True):
            records = model.records[row["attack"]]
            found = records.found & ~(records.saturated & (row["variant"] == "paper"))
            assert int(row["found"]) == one["found"] == found.sum()
            mean = records.l2_per_pixel[found].mean()
            assert float(row["l2_per_pixel_mean"]) == one["l2_per_pixel"]["mean"] == mean
            assert float(row["linf_std"]) == one["linf"]["std"] == records.linf[found].std()
            assert one["broken_within"]["linf"]["255"] == float(row["rate"]) == one["rate"]
            assert one["threat_model"].startswith("knows the network")
        assert written["warnings"] == [asdict(one) for one in model.warnings]
        assert written["model"]["weights_sha256"] == model.record["weights_sha256"]
    assert record["provenance"]["machine"]["cores"] >= 1
    assert record["images"]["sha256"] == "0" * 64
    assert set(record["variants"]) == {"paper", "strict", "logit"}


def test_the_verdict(report: Report) -> None:
    masked, plain = (verdict(model) for model in report.models)
    assert masked[0] == "<masked> & co classifies 80.00% of 5 images correctly."
    assert masked[1].startswith(
        "Where each pixel may change by 8 grey levels (0.0314 of 1), at most 40.00% stay correct"
    )
    assert "signs of masked gradients" in masked[2]
    assert "no proof" in plain[2]
    first = report.models[0].robust[0]
    nobody = replace(first, robust=first.robust & False, correct=4)
    everybody = replace(nobody, robust=np.array([True, True, True, True, False]))
    for robust, said in (
        (nobody, "0.00% stay correct: the attacks here break all others."),
        (
            everybody,
            "80.00% stay correct: the attacks here break none of them, but stronger ones may.",
        ),
    ):
        assert verdict(replace(report.models[0], robust=(robust,)))[1].endswith(said)
    bare = replace(report.models[0], robust=(), correct=None)
    assert verdict(bare)[0].endswith("without labels: its accuracy is unknown.")
    assert verdict(bare)[1] == "Attacks without a bound break 100.00% of these."


def test_csv() -> None:
    assert as_csv([]) == "\n"
    text = as_csv([{"a": 1, "b": None}, {"a": "x,y", "b": 0.1}])
    assert list(csv.reader(StringIO(text))) == [["a", "b"], ["1", ""], ["x,y", "0.1"]]
    text = as_csv([{"a": "=1+1", "b": -1}, {"a": "@SUM(A1)", "b": "a=b"}])
    rows = list(csv.reader(StringIO(text)))
    assert rows == [["a", "b"], ["'=1+1", "-1"], ["'@SUM(A1)", "a=b"]]


def test_text(report: Report) -> None:
    text = as_text(report.models)
    lines = text.splitlines()
    assert lines[0].split() == ["model", "accuracy", "attack", "rate", "PASS", "Linf"]
    assert all(len(line) <= 100 for line in lines)
    assert lines[2].split()[:4] == ["<masked>", "&", "co", "80.00%"]
    assert [line.split("FGS")[1].split("  ")[0] for line in lines[2:5]] == [
        *(", paper's protocol", ", strict", " on the logit margin")
    ]
    assert "Robust accuracy, at most (grey levels of 255):" in lines
    heads = lines[lines.index("Robust accuracy, at most (grey levels of 255):") + 2]
    assert heads.split() == [*["model", "Linf", "8", "Linf", "25.5", "Linf", "51", "Linf", "76.5"]]
    assert "5.00 ± 1.00" in lines[2]
    assert "<masked> & co: what to be wary of" in text
    assert "\nPASS as in the BANG paper's tables; as defined: report.html\n" in text
    assert "open: what to be wary of" not in text


def test_numbers_as_text() -> None:
    assert percent(0.99534) == "99.53%"
    assert percent(None) == pass_text(None) == grey_levels(None) == "–"
    assert pass_text(Spread(0.40721, 0.10812)) == "0.4072 ± 0.1081"
    assert grey_levels(Spread(122.6, 49.456)) == "122.60 ± 49.46"


def test_a_report_about_something_else_stays(report: Report, tmp_path: Path) -> None:
    check_folder(tmp_path / "nowhere", IDENTITY)
    write_report(tmp_path, report)
    check_folder(tmp_path, IDENTITY)
    with pytest.raises(RecordError, match=r"differs in: limit, seed\); choose another folder"):
        check_folder(tmp_path, IDENTITY | {"limit": 3, "seed": 2})
    for text in ("{", '{"identity": ["a"]}'):
        (tmp_path / "evaluation.json").write_text(text)
        with pytest.raises(RecordError, match="damaged"):
            check_folder(tmp_path, IDENTITY)


def test_a_report_that_was_cut_short_can_be_written_again(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_, count = Path.replace, 0

    def interrupted(path: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        return replace_(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_report(tmp_path, report)
    check_folder(tmp_path, IDENTITY)


def test_json_is_valid_or_not_written(report: Report, tmp_path: Path) -> None:
    broken = replace(report, settings=dict(report.settings) | {"seed": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(tmp_path, broken)
    assert list(tmp_path.iterdir()) == []


def test_rows_have_no_nesting(report: Report) -> None:
    for row in attack_rows(report.models[0]):
        assert not any(isinstance(value, dict | list) for value in row.values())
