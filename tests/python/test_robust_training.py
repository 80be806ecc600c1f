"""The study of the report's Table 1: its attacks, its training requests, and its tables."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from attack_samples import linear
from caffe_ext.cli import study as program
from caffe_ext.data import cifar
from caffe_ext.models.classifier import Classifier
from caffe_ext.reporting import SilentReporter
from caffe_ext.studies.robust_training import protocol, smoothed
from caffe_ext.studies.robust_training.models import COLUMNS, MODELS, REPORT, TABLE_1, Pgd
from caffe_ext.studies.robust_training.study import Measurement, ReportTable, Row, _SmoothedModel
from caffe_ext.studies.robust_training.table import format_console
from caffe_ext.studies.robust_training.training import RobustTraining
from caffe_ext.training.settings import read_settings
from classifier_models import write_model
from data_samples import cifar_batches

WEIGHTS = np.array([[1.0, -2.0, 0.5], [-1.0, 1.0, 0.25]])


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    return linear(tmp_path, WEIGHTS, shape=(1, 1, 3), batch_size=4)


def attack_slowly(images: Any, labels: Any, pgd: Pgd) -> Any:
    """Attack a linear model of two classes, one image at a time, in float64."""
    found = []
    for image, label in zip(images.astype(np.float64), labels, strict=True):
        gradient = WEIGHTS[1 - label] - WEIGHTS[label]
        point = image.ravel().copy()
        for _ in range(pgd.steps):
            if pgd.norm == "linf":
                point += pgd.step * np.sign(gradient)
                point = np.clip(point, image.ravel() - pgd.epsilon, image.ravel() + pgd.epsilon)
            else:
                point += pgd.step * gradient / np.linalg.norm(gradient)
                apart = point - image.ravel()
                length = np.linalg.norm(apart)
                point = image.ravel() + apart * min(1, pgd.epsilon / length)
            point = np.clip(point, 0, 255)
        found.append(point)
    return np.reshape(found, images.shape)


@pytest.mark.parametrize("pgd", [Pgd("linf", 7.65, 5.1), Pgd("l2", 20, 7), Pgd("linf", 9, 9, 1)])
def test_the_attacks_are_the_report_s(classifier: Classifier, pgd: Pgd) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 1, 1, 3), np.uint8)
    labels = classifier.predict(images)
    seen: list[int] = []
    points = protocol.attack(classifier, images, labels, pgd, seen.append)
    assert points == pytest.approx(attack_slowly(images, labels, pgd), abs=1e-3)
    assert sum(seen) == 9 * pgd.steps
    found = protocol.measure(classifier, images, labels, {"x": pgd})
    assert found == {"natural": 9, "x": int((classifier.predict(points) == labels).sum())}


def test_smoothing_counts_the_same_samples_however_they_are_batched(
    classifier: Classifier, tmp_path: Path
) -> None:
    images = np.random.default_rng(1).integers(100, 120, (5, 1, 1, 3), np.uint8)
    counts = smoothed.count_classes(classifier, images, 20.0, range(40))
    assert (counts.sum(axis=1) == 40).all()
    halves = [
        smoothed.count_classes(classifier, images, 20.0, part)
        for part in (range(15), range(15, 40))
    ]
    assert (halves[0] + halves[1] == counts).all()
    assert (halves[0] * 25 != halves[1] * 15).any()  # other samples, not the same again
    sure = np.zeros((1, 3), np.int64)
    sure[0, 1] = 100
    assert smoothed.predict_smoothed(sure)[0] == 1
    assert smoothed.predict_smoothed(np.array([[50, 50, 0]]))[0] == -1
    assert smoothed.find_largest_radius(1, 10_000, 0.001) == pytest.approx(3.20, abs=0.005)
    assert smoothed.find_largest_radius(1, 1, 0.001) == 0


def test_what_is_certified_is_the_radius_of_the_attacks(
    classifier: Classifier, tmp_path: Path
) -> None:
    """All samples have the label, but so few of them cannot certify the larger radius."""
    images = np.zeros((4, 1, 1, 3), np.uint8)
    images[..., 0] = 255
    labels = np.zeros(4, np.int64)
    description: Any = SimpleNamespace(load=lambda: classifier)
    opener: Any = None
    study = ReportTable([], opener, tmp_path, samples=100)
    one = _SmoothedModel(description, images, 100, SilentReporter())
    assert study._measure_smoothed(one, labels, "report").certified == 4
    assert study._measure_smoothed(one, labels, "standard").certified == 0


def test_the_solver_files_have_the_standard_radii(tmp_path: Path) -> None:
    for model in TABLE_1:
        settings = read_settings(Path("solvers") / f"{model.solver}.prototxt", root=Path())
        changed = read_settings(
            Path("solvers") / f"{model.solver}.prototxt",
            model.format_overrides("report"),
            root=Path(),
        )
        before, after = (one.solver.adversarial_param.attack for one in (settings, changed))
        names = ("type", "steps")
        assert [[getattr(a, n) for n in names] for a in before] == [
            [getattr(a, n) for n in names] for a in after
        ]
        if not model.attacks:
            assert before == after
            continue
        assert [a.epsilon for a in before] == [
            pytest.approx({"linf": 8, "l2": 127.5}[norm]) for norm in model.attacks
        ]
        assert [a.epsilon for a in after] == [
            pytest.approx({"linf": 7.65, "l2": 11.475}[norm]) for norm in model.attacks
        ]
        assert changed.solver.adversarial_param.alpha == settings.solver.adversarial_param.alpha


def write_cifar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "RECORDS", 100)
    folder.mkdir()
    for name, content in cifar_batches(100).items():
        (folder / name).write_bytes(content)


def test_the_schedule_follows_the_iterations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path / "raw", monkeypatch)
    training = RobustTraining(tmp_path / "out", data_dir=tmp_path / "raw")
    data = training.prepare_data()
    last = replace(training, seed=2**32 - 1).make_request(data, MODELS["noisy"])
    assert "random_seed: 0 " in last.overrides  # which is the next one
    for length in (None, 30):
        request = replace(training, iterations=length).make_request(data, MODELS["mixed"])
        settings = read_settings(
            request.solver, request.overrides, request.sources, request.root
        ).solver
        expected = length or 15_000
        assert settings.max_iter == expected
        assert list(settings.stepvalue) == [expected * 90 // 100, expected * 95 // 100]
        assert settings.max_iter % settings.test_interval == 0
        assert settings.random_seed == 5


def test_a_study_from_the_training_to_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cifar(tmp_path / "raw", monkeypatch)
    arguments = [
        *("report-table1", "--models", "noisy", "at-linf", "--iterations", "3"),
        *("--data-dir", f"{tmp_path / 'raw'}", "--output", f"{tmp_path / 'out'}"),
        *("--limit", "30", "--strict-limit", "10", "--samples", "20"),
        *("--results", f"{tmp_path / 'results'}"),
    ]
    assert program.main(arguments) == 0
    record = json.loads((tmp_path / "results" / "report_table1.json").read_text())
    assert [row["id"] for row in record["rows"]] == ["noisy", "at-linf", "smoothing"]
    assert [row["report"]["images"] for row in record["rows"]] == [30, 30, 10]
    for row in record["rows"]:
        assert list(row["report"]["correct"]) == list(COLUMNS)
    page = (tmp_path / "results" / "report_table1.md").read_text()
    assert "| adversarial, PGD Linf | " in page
    assert "*54.41%*" in page
    assert "trained once for 3 iterations (0.006 epochs; the report: 30);" in page
    assert "0.0% within L2 0.5. So many samples certify\nno radius above 0.066." in page
    assert (tmp_path / "results" / "report_table1.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert "AA Linf, real" in said
    # The same command finds everything there.
    monkeypatch.setattr(protocol, "measure", None)
    assert program.main(arguments) == 0
    again = json.loads((tmp_path / "results" / "report_table1.json").read_text())
    assert again["rows"] == record["rows"]
    monkeypatch.undo()
    monkeypatch.setattr(cifar, "RECORDS", 100)
    # Other models and other images have reports of their own.
    others = ["basic" if one == "noisy" else one for one in arguments]
    assert program.main([*others, "--strict-limit", "5"]) == 0
    reports = list((tmp_path / "out" / "evaluation").glob("*/report.html"))
    assert {one.parent.name[:-13] for one in reports} == {"noisy-at-linf", "basic-at-linf"}
    assert program.main(arguments) == 0
    damaged = next((tmp_path / "out" / "protocol").glob("noisy-report-*.json"))
    other = next((tmp_path / "out" / "protocol").glob("at-linf-report-*.json"))
    good = json.loads(damaged.read_text())
    fewer = dict(good, found=good["found"] | {"correct": {"natural": 1}})
    for text, says in (
        ("{", "is damaged"),
        (json.dumps(fewer), "is damaged: .*the counts are not those of natural"),
        (other.read_text(), r"holds other results \(it differs in: model\..*"),
    ):
        damaged.write_text(text)
        with pytest.raises(SystemExit, match=rf"noisy-report-.*{says}") as end:
            program.main(arguments)
        assert "remove it, or use --again" in f"{end.value}"


def test_a_model_with_another_scale_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy, weights = write_model(tmp_path)
    description = tmp_path / "model.yaml"
    trained: Any = [SimpleNamespace(model=MODELS["noisy"], description=description)]
    source: Any = SimpleNamespace(compute_digest=lambda _: "digest")
    opener: Any = None
    images, labels = np.zeros((4, 1, 2, 2), np.uint8), np.zeros(4, np.int64)
    measured: list[float] = []

    def measure(_: ReportTable, model: Any, *__: object) -> Measurement:
        measured.append(model.pixel_space.scale)
        return Measurement(4, dict.fromkeys(COLUMNS, 4))

    monkeypatch.setattr(ReportTable, "_measure", measure)
    for scale in (0.5, 0.25, 0.5):
        description.write_text(f"deploy: {deploy}\nweights: {weights}\nscale: {scale}\n")
        study = ReportTable(trained, opener, tmp_path / "work")
        study._measure_rows(images, labels, source, SilentReporter())
    assert measured == [0.5, 0.5, 0.25, 0.25]


def test_tables_say_where_nothing_was_measured() -> None:
    counts = dict.fromkeys(COLUMNS, 5)
    measured = Measurement(10, counts)
    strict = {"Linf 8": (0.25, 0.3), "L2 127.5": (0.35, 0.4)}
    rows = [
        Row("noisy", "noisy", measured, measured, strict),
        Row("smoothing", "randomized smoothing", measured, replace(measured, certified=2), None),
    ]
    lines = [line.split() for line in format_console(rows).splitlines()]
    assert ["noisy", "50.00%", "50.00%", "50.00%", "25.0%", "30.0%", "35.0%", "40.0%"] in lines
    assert ["randomized", "smoothing", *["50.00%"] * 3, *["–"] * 4] in lines


@pytest.mark.parametrize(
    ("correct", "certified"),
    [({"natural": 4}, None), (dict.fromkeys(COLUMNS, 6), None), (dict.fromkeys(COLUMNS, 5), 6)],
)
def test_counts_that_nothing_can_have(correct: dict[str, int], certified: int | None) -> None:
    with pytest.raises(ValueError, match=r"not those of natural, fgsm|more are correct"):
        Measurement(5, correct, certified)


def test_the_report_s_rows_are_complete() -> None:
    assert list(REPORT) == [*MODELS, "smoothing"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["report-table2"], "did you mean report-table1?"),
        (["report-table1", "--models", "nosy"], "did you mean noisy?"),
        (["report-table1", "--strict-limit", "0"], "--strict-limit must be at least 1"),
        (["report-table1", "--seed", f"{2**32}"], "--seed must be at most 4,294,967,295"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
