"""The report's files agree with the records; the page is self-contained."""

import csv
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import asdict, replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe_ext.errors import RecordError
from caffe_ext.evaluation import plots
from caffe_ext.evaluation.masking import Evidence, find_warnings
from caffe_ext.evaluation.report import (
    Report,
    as_csv,
    as_page,
    as_text,
    attack_rows,
    check_folder,
    grey_levels,
    pass_text,
    percent,
    table_columns,
    table_radii,
    table_row,
    write_report,
)
from caffe_ext.evaluation.result import ModelEvaluation, Settings
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


def test_the_page_stands_alone(report: Report) -> None:
    text = as_page(report)
    page = Page(text)
    assert page.open == []
    assert not re.search(r"https?:|//\w|@import|<script|<link|url\((?!#)", text)
    assert page.addresses
    assert all(address[1:] in page.ids for address in page.addresses)
    assert len(set(page.ids)) == len(page.ids)
    for colour in (plots.INK, plots.GRID):
        assert colour not in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_the_page_says_the_numbers(report: Report) -> None:
    said = Page(as_page(report)).said
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


def test_plots_are_svg(report: Report) -> None:
    for draw in (
        lambda models: plots.broken_curves(models, "linf"),
        lambda models: plots.broken_curves(models, "l2"),
        plots.pass_distributions,
        plots.metrics_by_attack,
        plots.noise_stability,
    ):
        figure = plots.styled(lambda draw=draw: draw(report.models))  # type: ignore[misc]
        assert figure is not None
        text = plots.svg(figure, "name")
        root = ET.fromstring(text.replace("xlink:href", "href"))
        assert root.tag == "svg"
        words = {"".join(one.itertext()).strip() for one in root.iter("text")}
        assert "open" in words
    lines = plots.styled(lambda: plots.broken_curves(report.models, "linf"))
    assert lines is not None
    panel = next(axis for axis in lines.axes if axis.get_title() == "FGS, paper's protocol")
    heights = [float(np.asarray(line.get_ydata())[-1]) for line in panel.lines]
    assert heights == [50, 100]
    assert panel.get_xlim() == (0, 255)
    ticks = panel.transData.transform([(tick, 0) for tick in (0, 4, 16, 64)])[:, 0]
    np.testing.assert_allclose((ticks - ticks[0]) / (ticks[1] - ticks[0]), [0, 1, 2, 4])


@pytest.mark.parametrize("name", ["lr $\\lr{1}$", "cost $5 or $6", "_iter_5000"])
def test_names_are_drawn_as_they_are(report: Report, name: str) -> None:
    named = [replace(model, name=name) for model in report.models[:1]]
    for draw in (
        lambda models: plots.broken_curves(models, "linf"),
        lambda models: plots.broken_curves(models, "l2"),
        plots.pass_distributions,
        plots.metrics_by_attack,
        plots.noise_stability,
    ):
        figure = plots.styled(lambda draw=draw: draw(named))  # type: ignore[misc]
        assert figure is not None
        root = ET.fromstring(plots.svg(figure, "name").replace("xlink:href", "href"))
        assert name in {"".join(one.itertext()).strip() for one in root.iter("text")}


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
        *("attacks.csv", "evaluation.json", "report.html", "table.csv")
    ]
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
