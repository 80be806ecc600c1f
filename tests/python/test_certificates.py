"""caffe-ext evaluate --certify: lower and upper bounds of the accuracy, side by side."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.cli import certify, evaluate
from caffe_ext.data import open_images
from caffe_ext.evaluation.certificates import (
    Certificate,
    CertifiedAccuracy,
    describe_contradictions,
)
from caffe_ext.evaluation.page import as_page
from caffe_ext.evaluation.plots import draw_certified_bands
from caffe_ext.evaluation.report import as_text
from caffe_ext.evaluation.report_contents import Report
from evaluation_samples import MASKED, OPEN, write_brightness, write_images

BUDGET = PerturbationBudget("linf", 2.0)


def run(folder: Path, *more: object, labels: bool = True) -> None:
    models = [write_brightness(folder, n, g) for n, g in (("masked", MASKED), ("open", OPEN))]
    images, labels_file = write_images(folder)
    options = ["--images", images, "--output", folder / "out", "--noise-images", 0, "--jobs", 1]
    options += ["--labels", labels_file] if labels else []
    evaluate.main([*map(str, ["--model", *models, *options, "--probe", 0, *more])])


def test_bounds_of_a_linear_network_leave_no_gap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--within", 3, 5, 20, "--certify", "interval", "crown", "--certify-images", 4]
    run(tmp_path, *more)
    printed = capsys.readouterr().out
    assert "Between the bounds, on 4 images" in printed
    assert "masked  Linf 3    100.00%    100.00%       100.00%  0.00%" in printed
    # Whole grey levels from a class's end: 6, 21, 81 and 4.
    with (tmp_path / "out" / "certified.csv").open() as file:
        rows = list(csv.DictReader(file))
    shares = [1.0, 0.75, 0.5] * 2
    assert [row["epsilon"] for row in rows] == ["3.0", "5.0", "20.0"] * 2
    for column in ("certified_interval", "certified_crown", "certified_accuracy"):
        assert [float(row[column]) for row in rows] == shares
    assert [float(row["robust_accuracy_real"]) for row in rows] == shares
    assert {row["gap"] for row in rows} == {"0.0"}
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [row["certified_accuracy"] for row in record["certificates"]] == shares
    settings = record["settings"]["certificates"]
    assert (settings["methods"], settings["images"]) == (["interval", "crown"], 4)
    assert "<h2>Between the bounds</h2>" in (tmp_path / "out" / "report.html").read_text()
    run(tmp_path, *more)  # reads what is there
    assert "Between the bounds" in capsys.readouterr().out
    run(tmp_path, "--within", 3)
    assert "Between the bounds" not in capsys.readouterr().out
    assert not (tmp_path / "out" / "certified.csv").exists()


def test_smoothed_models_beside_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The certificates are those of `certify smoothing`; Linf e counts as L2 e sqrt(d)."""
    plain = write_brightness(tmp_path, "open", OPEN)
    keys = yaml.safe_load(plain.read_text())
    smooth = plain.with_name("smooth.yaml")
    noise = {"sigma": 8, "samples": 21}
    smooth.write_text(yaml.safe_dump({**keys, "name": "smooth", "smoothing": noise}))
    images, labels = write_images(tmp_path)
    common = ["--images", images, "--labels", labels]
    options = ["--model", plain, smooth, *common, "--output", tmp_path / "out", "--jobs", 1]
    more = ["--noise-images", 0, "--probe", 0, "--within", 1, "l2=3", "--certify", "crown"]
    evaluate.main([*map(str, [*options, *more, "--certify-samples", 200])])
    printed = capsys.readouterr().out
    with (tmp_path / "out" / "certified.csv").open() as file:
        rows = {(row["model"], row["norm"]): row for row in csv.DictReader(file)}
    assert set(rows) == {("open", "linf"), ("smooth", "linf"), ("smooth", "l2")}
    argv = ["smoothing", "--model", plain, *common, "--output", tmp_path / "alone"]
    certify.main([*map(str, [*argv, "--sigma", 8, "--n", 200])])
    with (tmp_path / "alone" / "smoothing.csv").open() as file:
        alone = list(csv.DictReader(file))
    values = 12 * 12
    for norm, radius in (("linf", 1 * values**0.5), ("l2", 3)):
        certified = [
            row["certified_class"] == row["label"] and float(row["l2_radius"]) > radius
            for row in alone
        ]
        row = rows["smooth", norm]
        assert float(row["certified_smoothing"]) == pytest.approx(np.mean(certified))
        assert row["certified_crown"] == ""
        assert float(row["robust_accuracy_real"]) >= float(row["certified_accuracy"])
    assert 0 < float(rows["smooth", "l2"]["certified_smoothing"]) < 1
    assert rows["open", "linf"]["certified_smoothing"] == ""
    assert "smooth  Linf 1" in printed
    assert "infinitely many noisy copies" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("more", "labels", "sentence"),
    [
        (["--certify", "crown", "--within", "none"], True, "no radius in --within is"),
        (["--certify", "crown", "--within", "l2=1"], True, "certificates are for Linf"),
        (["--certify", "crown"], False, "certificates need images with labels"),
        (["--certify", "smoothing"], True, "masked: smoothing certifies models whose file has"),
        (["--certify", "exact"], True, "invalid choice: 'exact'"),
        (
            ["--certify", "crown", "--certify-samples", 3 << 30],
            True,
            "(--certify-samples) must be 1 to 2,147,483,648, not 3,221,225,472",
        ),
        (["--certify", "crown", "--certify-images", 0], True, "--certify-images must be at least"),
    ],
)
def test_refused(
    more: list[object],
    labels: bool,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        run(tmp_path, *more, labels=labels)
    assert sentence in f"{end.value.code} {capsys.readouterr().err}"
    assert not (tmp_path / "out" / "masked").exists()


def test_a_layer_without_bounds_is_named_before_the_work(tmp_path: Path) -> None:
    model = write_brightness(tmp_path, "masked", MASKED)
    deploy = next((tmp_path / "masked").glob("*.prototxt"))
    tanh = "layer { name: 'tanh' type: 'TanH' bottom: 'data' top: 'tanh' }\n"
    score = "layer { name: 'score'"
    text = deploy.read_text().replace(score, tanh + score)
    deploy.write_text(text.replace("bottom: 'data' top: 'score'", "bottom: 'tanh' top: 'score'"))
    images, labels = write_images(tmp_path)
    options = ["--images", images, "--labels", labels, "--output", tmp_path / "out"]
    with pytest.raises(SystemExit, match=r"tanh.*TanH"):
        evaluate.main([*map(str, ["--model", model, *options, "--certify", "crown"])])
    assert not (tmp_path / "out" / "masked").exists()


def certificate(certified: list[bool], real: list[bool]) -> Certificate:
    of = CertifiedAccuracy(BUDGET, {"crown": np.array(certified)}, np.array(real), np.array(real))
    return Certificate(np.arange(len(real)), np.ones(len(real), bool), (of,))


def test_a_broken_image_that_is_certified_is_reported() -> None:
    sound = certificate([True, False, False], [True, True, False])
    within = sound.within[0]
    assert (within.lower, within.upper, within.contradictions) == (1 / 3, 2 / 3, 0)
    wrong = certificate([True, False, True], [True, True, False])
    (sentence,) = describe_contradictions({"sound": sound, "wrong": wrong})
    assert sentence.startswith("wrong: 1 image certified within Linf 2, and broken")


def test_methods_add_up() -> None:
    one = certificate([True, False], [True, True]).within[0]
    both = replace(one, certified={"a": np.array([True, False]), "b": np.array([False, True])})
    assert both.lower == 1.0


def test_the_report(report: Report) -> None:
    models = {model.name: certificate([True, False], [True, True]) for model in report.models}
    page = as_page(replace(report, certificates=models))
    assert "Between the bounds" in page
    assert "Between the bounds" not in as_page(report)
    assert "Between the bounds" in as_text(report.models, models)
    plot = draw_certified_bands(models)
    assert plot is not None
    assert [panel.title for panel in plot.panels] == list(models)
    lower, upper = (line.get_ydata() for line in reversed(plot.panels[0].axes.get_lines()))
    assert np.asarray(lower).tolist() == [100, 50]
    assert np.asarray(upper).tolist() == [100, 100]
    assert draw_certified_bands({}) is None


def test_rows_of_a_sample(tmp_path: Path) -> None:
    for label in ("0", "1", "2"):
        (tmp_path / label).mkdir()
        for number in range(6):
            path = tmp_path / label / f"{number}.png"
            assert cv2.imwrite(str(path), np.full((4, 4), 9 * number, np.uint8))
    source = open_images(tmp_path)
    rows = source.choose_sample_rows(5, 3)
    whole, some = source.read(slice(0, 18)), source.sample(5, 3).read(slice(0, 5))
    assert some.names == tuple(whole.names[row] for row in rows)
    assert list(source.choose_sample_rows(99)) == list(range(18))
