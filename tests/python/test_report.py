"""The report's files agree with the records, and nothing of another report is lost."""

import csv
import json
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from caffe_ext.errors import RecordError
from caffe_ext.evaluation.number_text import format_grey_levels, format_pass, format_percent
from caffe_ext.evaluation.report import (
    as_csv,
    as_text,
    check_folder,
    list_attack_rows,
    write_report,
)
from caffe_ext.evaluation.report_contents import Report
from caffe_ext.evaluation.robust_tables import list_curve_rows, list_stage_rows
from caffe_ext.evaluation.robustness import compute_robust_curve
from caffe_ext.runs.summary import Spread
from report_samples import IDENTITY, row_of


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
            assert float(mine[-1]["robust_accuracy"]) == pytest.approx(one.accuracy, abs=1e-6)
            assert float(mine[-1]["robust_accuracy_real"]) == pytest.approx(
                one.accuracy_real, abs=1e-6
            )
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
            assert float(there[0]["robust_accuracy"]) <= one.accuracy + 1e-6
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


def test_shares_have_six_digits(report: Report) -> None:
    """Of seven images, whose sevenths have no end."""
    model = report.models[0]
    seven = [
        replace(
            one,
            robust=np.append(one.robust, [False, False]),
            broken_in=np.append(one.broken_in, [-1, -1]),
            smallest=np.append(one.smallest, [np.inf, np.inf]),
            smallest_real=np.append(one.smallest_real, [np.inf, np.inf]),
        )
        for one in model.robust
    ]
    model = replace(model, robust=tuple(seven))
    shares = {row["robust_accuracy"] for row in [*list_stage_rows(model), *list_curve_rows(model)]}
    assert shares <= {0, 0.142857, 0.285714, 0.428571, 0.571429}
    assert len(shares) > 2


def test_the_share_of_a_curve_is_divided_once(report: Report) -> None:
    """(1 - 0.7) * 10 / 10 is no 0.3."""
    sizes = np.arange(1, 11.0)
    ten = replace(
        report.models[0].robust[0],
        robust=sizes > 10,
        broken_in=np.zeros(10, np.int64),
        smallest=sizes,
    )
    curve = compute_robust_curve([ten], np.arange(11.0), "linf")
    assert curve is not None
    assert curve.tolist() == [left / 10 for left in range(10, -1, -1)]


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
    assert lines[6].split() == ["any", "on", "all", "images", "100.00%"]
    assert "Robust accuracy, at most (grey levels of 255):" in lines
    heads = lines[lines.index("Robust accuracy, at most (grey levels of 255):") + 2]
    assert heads.split() == [*["model", "Linf", "8", "Linf", "25.5", "Linf", "51", "Linf", "76.5"]]
    assert "5.00 ± 1.00" in lines[2]
    assert "<masked> & co: caveats" in text
    assert "\nPASS as in the BANG paper's tables; as defined: report.html\n" in text
    assert "open: caveats" not in text


def test_numbers_as_text() -> None:
    assert format_percent(0.99534) == "99.53%"
    assert format_percent(None) == format_pass(None) == format_grey_levels(None) == "–"
    assert format_pass(Spread(0.40721, 0.10812)) == "0.4072 ± 0.1081"
    assert format_grey_levels(Spread(122.6, 49.456)) == "122.60 ± 49.46"


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
    for row in list_attack_rows(report.models[0]):
        assert not any(isinstance(value, dict | list) for value in row.values())
