"""The report's page: self-contained, valid, and with all numbers."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.evaluation.number_text import format_percent
from caffe_ext.evaluation.page import as_page
from caffe_ext.evaluation.plot_style import GRID, INK
from caffe_ext.evaluation.report import (
    as_text,
)
from caffe_ext.evaluation.report_contents import Report
from caffe_ext.evaluation.result import ModelEvaluation
from caffe_ext.evaluation.strip import Strip, StripEntry
from caffe_ext.evaluation.verdict import choose_telling_budget, form_verdict
from caffe_ext.reporting import pluralize
from parsed_page import Page
from report_samples import row_of


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
        assert format_percent(model.accuracy) in words
        for summary in model.summaries:
            assert format_percent(summary.rate) in words
            assert summary.linf is not None
            assert f"{summary.linf.mean:.2f}" in words
            assert f"± {summary.linf.std:.2f}" in words
        assert model.noise is not None
        assert {format_percent(rate) for rate in model.noise.rates.tolist()} <= words
        for warning in model.warnings:
            assert {warning.measured, warning.meaning, warning.advice} <= words
    for text in ("0" * 64, report.provenance["command"], report.models[0].record["weights_sha256"]):
        assert text in words
    assert any("does not prove that there is none" in text for text in said)


def test_real_valued_pixels_stand_beside_whole_grey_levels(report: Report, page_text: str) -> None:
    """As on the console: where they differ, in each table, and in the verdict."""
    assert "in real-valued pixels" not in Page(page_text).said
    model = report.models[0]
    first = model.robust[0]
    stage = replace(first.stages[-1], tried=5, broken=1, broken_real=2)
    real = replace(first, robust_real=first.robust & False, stages=(*first.stages[:-1], stage))
    assert real.differs
    text = as_page(replace(report, models=[replace(model, robust=(real,)), report.models[1]]))
    said = [one.strip() for one in Page(text).said]
    assert said.count("in real-valued pixels") == 2
    assert "1 of 5 (2)" in said
    assert any("(0.00% in real-valued pixels) stay correct" in one for one in said)


def test_one_copy_is_no_copies(report: Report) -> None:
    noise = dict(report.settings["noise"]) | {"copies": 1}
    text = as_page(replace(report, settings=dict(report.settings) | {"noise": noise}))
    assert "Gaussian noise, 1 noisy copy of each of\n" in text
    images = len(report.models[0].noise_rows)
    assert f"\n{pluralize(images, 'image')} that all models classify correctly" in text


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
    shown = StripEntry(
        "data:image/png;base64,QQ==", "data:image/png;base64,Qg==", "猫", "HC1", 51, 510, 0.9
    )
    strip = Strip(
        [("<dog>", "data:image/png;base64,Qw=="), ("hen", "data:image/png;base64,RA==")],
        [(model.name, [shown, None]) for model in report.models],
        "Not shown: class 8.",
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
    assert any(text.endswith("Not shown: class 8.") for text in said)


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


def test_the_verdict(report: Report) -> None:
    budget = choose_telling_budget(report.models)
    masked, plain = (form_verdict(model, budget) for model in report.models)
    assert masked[0] == "<masked> & co classifies 80.00% of 5 images correctly."
    assert masked[1].startswith(
        "Where each pixel may change by 8 grey levels (0.0314 of 1), at most 40.00% stay correct"
    )
    assert "signs of masked gradients" in masked[2]
    assert "does not prove" in plain[2]
    first = report.models[0].robust[0]
    nobody = replace(
        first, robust=first.robust & False, robust_real=first.robust & False, correct=4
    )
    four = np.array([True, True, True, True, False])
    everybody = replace(nobody, robust=four, robust_real=four)
    for robust, said in (
        (nobody, "0.00% stay correct: the attacks here break all others."),
        (
            everybody,
            "80.00% stay correct: the attacks here break none of them, but stronger ones may.",
        ),
    ):
        assert form_verdict(replace(report.models[0], robust=(robust,)), budget)[1].endswith(said)
    bare = replace(report.models[0], robust=(), correct=None)
    assert form_verdict(bare, None)[0].endswith("without labels: its accuracy is unknown.")
    assert form_verdict(bare, None)[1] == "Attacks without a bound break 100.00% of these."


def test_one_budget_for_all_models(report: Report) -> None:
    """Alone, one model would be told about at 1 grey level, the other at 8."""
    near, far = PerturbationBudget("linf", 1), PerturbationBudget("linf", 8)

    def with_shares(number: int, shares: dict[PerturbationBudget, int]) -> ModelEvaluation:
        first = report.models[number].robust[0]
        robust = (
            replace(first, budget=budget, robust=np.arange(5) < left, correct=5)
            for budget, left in shares.items()
        )
        return replace(report.models[number], robust=tuple(robust))

    models = (with_shares(0, {near: 3, far: 0}), with_shares(1, {near: 4, far: 3}))
    assert [choose_telling_budget([model]) for model in models] == [near, far]
    assert choose_telling_budget(models) == near
    assert all("by 1 grey level (0.00392 of 1)" in form_verdict(one, near)[1] for one in models)
    assert choose_telling_budget([replace(models[0], robust=()), models[1]]) == far
    assert choose_telling_budget([]) is None
