"""benchmarks/bench_attacks.py: robust accuracy in parts that are kept, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attack_accuracy
import attack_answers
import attack_smallest
import bench_attacks
from attack_accuracy import OTHER, OURS
from attack_tables import format_accuracy, format_smallest
from caffe_ext.errors import RecordError
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.pixels import PixelSpace
from classifier_models import write_model
from data_samples import CHECKOUT

LENET = CHECKOUT / "prototxt" / "lenet_deploy.prototxt"


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the arguments for six images, five of them with the model's own labels, by twos."""
    weights = write_model(tmp_path, LENET.read_text())[1]
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 28, 28), dtype=np.uint8)
    labels = Classifier(LENET, weights, PixelSpace(1 / 256)).predict(images)
    labels[3] = (labels[3] + 1) % 10
    np.savez(tmp_path / "images.npz", images=images, labels=labels)
    monkeypatch.setattr(attack_answers, "PART", 2)
    monkeypatch.setattr(bench_attacks, "name_others", lambda: None)
    return [
        *("--weights", str(weights), "--images", str(tmp_path / "images.npz"), "--accuracy"),
        *("--within", "255", "l2=20of1", "--output", str(tmp_path / "out")),
    ]


def make_record(answers: dict[str, Any]) -> dict[str, Any]:
    """Return a record of these answers, about nothing in particular."""
    facts = dict.fromkeys(("command", "date", "version", "commit", "device"), "-")
    about: dict[str, Any] = {"cpu": "-", "cores": 1, "memory_gib": 1, "system": "-"}
    about |= {"compiler": "-", "blas": {"name": "-", "version": "-", "core": "-"}}
    asked = {"models": {"net": "net.caffemodel"}, "images": "some", "other": "another"}
    return asked | {"answers": answers} | facts | {"machine": about, "load_average": 0.0}


def test_accuracy_goes_on_where_it_was(
    tmp_path: Path,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[int] = []
    ours = attack_accuracy.ask_ours

    def counted(question: Any) -> Any:
        asked.append(len(question.images))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ours(question)

    monkeypatch.setattr(attack_accuracy, "ask_ours", counted)
    assert bench_attacks.main(arguments) == 130
    path = tmp_path / "out" / "accuracy.json"
    first = json.loads(path.read_text())["answers"]
    assert len(first) == 2
    assert bench_attacks.main(arguments) == 0
    assert asked == [2, 1, 2, 2, 2, 1, 2]  # the third of them twice
    record = json.loads(path.read_text())
    assert len(record["answers"]) == 6
    assert {name: record["answers"][name] for name in first} == first
    table = (tmp_path / "out" / "accuracy.md").read_text()
    assert table in capsys.readouterr().out
    (name,) = record["models"]
    rows = [line.split("|") for line in table.splitlines() if line.startswith(f"| {name} ")]
    assert [[cell.strip() for cell in row[2:5]] for row in rows] == [
        ["Linf 255", "6", "0.0%"],
        ["L2 5100", "6", "0.0%"],
    ]
    net = tmp_path / "images.npz"
    with np.load(net) as saved:
        np.savez(net, images=255 - saved["images"], labels=saved["labels"])
    says = r"is about other .* \(it differs in: images_sha256\); --again begins anew"
    with pytest.raises(SystemExit, match=says):
        bench_attacks.main(arguments)
    assert json.loads(path.read_text()) == record
    path.write_text(json.dumps({"depends": record["depends"]}))
    with pytest.raises(SystemExit, match=r"is damaged: --again begins anew .*`answers`"):
        bench_attacks.main(arguments)


def test_answers_depend_on_the_models_settings_and_on_the_libraries(
    tmp_path: Path, arguments: list[str]
) -> None:
    survey = bench_attacks.Survey.open(bench_attacks.parse(arguments))
    depends = replace(survey, other="Foolbox 3").identify()
    path = tmp_path / "accuracy.json"
    path.write_text(json.dumps({"depends": depends, "answers": {}}))
    assert attack_answers.read_answers(path, depends, attack_accuracy.KIND) == {}
    ((name, model),) = depends["models"].items()
    for change, key in (
        ({"other": "Foolbox 4"}, "other"),
        ({"models": {name: model | {"scale": 1}}}, f"models.{name}.scale"),
    ):
        with pytest.raises(RecordError, match=rf"differs in: {key}\)"):
            attack_answers.read_answers(path, depends | change, attack_accuracy.KIND)


def test_without_the_other_libraries_the_times_are_skipped(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`make bench` goes on with the next program."""
    arguments.remove("--accuracy")
    assert bench_attacks.main(arguments) == 0
    said = capsys.readouterr().out
    absent = "PyTorch, torchattacks, Foolbox, numba or pyautoattack is not installed"
    assert f"the times are skipped, as {absent}" in said
    assert "pip install -e '.[bench]'" in said
    assert not (tmp_path / "out").exists()


def test_the_smallest_go_on_where_they_were(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments[arguments.index("--accuracy")] = "--smallest"
    asked: list[int] = []
    ours = attack_smallest.ask_ours

    def counted(question: Any) -> Any:
        asked.append(len(question.images))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ours(question)

    monkeypatch.setattr(attack_smallest, "ask_ours", counted)
    assert bench_attacks.main(arguments) == 130
    assert bench_attacks.main(arguments) == 0
    assert asked == [2, 1, 2, 2, 2, 1, 2]  # the third of them twice
    answers = json.loads((tmp_path / "out" / "smallest.json").read_text())["answers"]
    assert len(answers) == 6
    for name, answer in answers.items():
        for real, whole in zip(answer["real"], answer["whole"], strict=True):
            assert 0 < real <= whole, name
            assert "linf" not in name or whole == round(whole)


def test_the_table_of_the_smallest() -> None:
    name = attack_smallest.name_answer
    answers = {
        name("net", "linf", attack_smallest.OURS, 0): ([3.5, 7.5], [4, 8]),
        name("net", "linf", attack_smallest.OURS, 250): ([2.5, None], [3, None]),
        name("net", "linf", "FMN", 0): ([3, 9], [None, 9]),
        name("net", "linf", "FMN", 250): ([None, None], [None, None]),
        name("net", "linf", "BB", 0): ([3.75, 8], [4, 9]),
        name("net", "linf", "BB", 250): ([2, None], [2, None]),
        name("net", "l2", attack_smallest.OURS, 0): ([3.5, 7.5], [4, 8]),
        name("net", "l2", attack_smallest.OURS, 250): ([2.5, None], [3, None]),
        name("net", "l2", "DDN", 0): ([3, 9], [None, 9]),
    }
    record = make_record(
        {
            key: {"real": real, "whole": whole, "seconds": 2.0}
            for key, (real, whole) in answers.items()
        }
    )
    rows = [
        [cell.strip() for cell in line.split("|")[2:-1]]
        for line in format_smallest(record).splitlines()
        if line.startswith("| net ")
    ]
    assert rows == [
        ["Linf", "`minimal-linf`", "3 of 4", "4.50", "3 of 4", "5.00", "4"],
        ["Linf", "Foolbox FMN", "2 of 4", "6.00", "1 of 4", "9.00", "4"],
        ["Linf", "Foolbox BB", "3 of 4", "4.58", "3 of 4", "5.00", "4"],
        ["L2", "`minimal-l2`", "3 of 4", "4.50", "3 of 4", "5.00", "4"],
        ["L2", "Foolbox DDN", "2 of 2", "6.00", "1 of 2", "9.00", "2"],
        ["Linf", "whole", "3", "5.00", "5.00", "66.7%"],
        ["Linf", "real", "3", "4.33", "4.50", "33.3%"],
    ]


def test_the_table_has_what_is_complete() -> None:
    def answer(images: int, real: int, whole: int) -> dict[str, float]:
        return {"images": images, "real": real, "whole": whole, "seconds": 2.0}

    name = attack_accuracy.name_answer
    answers = {
        name("net", "Linf 8", OURS, 0): answer(250, 50, 60),
        name("net", "Linf 8", OTHER, 0): answer(250, 49, 80),
        name("net", "Linf 8", OURS, 250): answer(150, 30, 40),
        name("net", "Linf 8", OTHER, 250): answer(150, 31, 40),
        name("net", "Linf 9", OURS, 0): answer(250, 10, 10),
    }
    table = format_accuracy(make_record(answers))
    rows = [line for line in table.splitlines() if line.startswith("| net ")]
    whole, part = ([cell.strip() for cell in row.split("|")[3:-1]] for row in rows)
    assert whole == ["400", "20.0%", "20.0%", "25.0%", "30.0%", "4", "4"]
    assert part == ["250", "4.0%", "–", "4.0%", "–", "2", "–"]
