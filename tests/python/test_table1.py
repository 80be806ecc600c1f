"""caffe-ext table1 as a user sees it: the models, their snapshots, and models.json."""

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from caffe_ext import __version__
from caffe_ext.cli import table1
from caffe_ext.data import open_images
from caffe_ext.storage.provenance import hash_file
from caffe_ext.studies.table1 import comparison
from caffe_ext.studies.table1.comparison import (
    ABOUT,
    Table1Comparison,
    describe_departure,
    format_markdown,
)
from caffe_ext.studies.table1.training import MODELS, TABLE_1, Table1Training, read_models
from caffe_ext.training.lenet import LeNetTraining
from data_samples import CHECKOUT

TOOL = CHECKOUT / "tools" / "table1.py"
SHORT = ("--digits", "--iterations", "4", "--snapshots", "2", "--seed", "7")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, TOOL, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def models(output: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((output / "models.json").read_text())["models"]
    return entries


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table1")


@pytest.fixture(scope="module")
def first(output: Path) -> subprocess.CompletedProcess[str]:
    ran = run(*SHORT, "--models", "B3", "R0", "--output", output)
    assert ran.returncode == 0, ran.stderr
    return ran


@pytest.fixture(scope="module")
def entries(first: subprocess.CompletedProcess[str], output: Path) -> list[dict[str, Any]]:
    return models(output)


def test_the_models_of_the_paper() -> None:
    settings = {model.id: (model.beta, model.epsilon) for model in TABLE_1}
    assert settings == {
        "R0": (None, None),
        "R1": (None, None),
        "B0": (1.0, 0.785),
        "B1": (1.0, 0.815),
        "B2": (1.2, 0.81),
        "B3": (1.35, 0.78),
        "B4": (1.5, 0.84),
        "B5": (1.6, 0.78),
    }
    assert [model.choose_seed(1) for model in TABLE_1] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_the_table(first: subprocess.CompletedProcess[str], output: Path) -> None:
    lines = first.stdout.splitlines()
    assert lines[0].startswith("data: scikit-learn's handwritten digits, in ")
    heads, rule, bang, plain = lines[2:6]
    assert heads.split()[:4] == ["model", "beta", "epsilon", "seed"]
    assert len({len(heads), len(rule), len(plain), len(bang)}) == 1
    # In the order in which they were asked for, each with the seed of its place in the paper.
    assert re.fullmatch(r"B3 +1\.35 +0\.78 +12 +[\d.]+% +\d+ min +\d+ s", bang)
    assert re.fullmatch(r"R0 +– +– +7 +[\d.]+% +\d+ min +\d+ s", plain)
    assert lines[-1].endswith(f": {output / 'models.json'}")


def test_the_record(entries: list[dict[str, Any]], output: Path) -> None:
    assert [entry["id"] for entry in entries] == ["R0", "B3"], "in the order of the paper"
    plain, bang = entries
    assert (plain["beta"], plain["epsilon"], plain["seed"]) == (None, None, 7)
    assert (bang["beta"], bang["epsilon"], bang["seed"]) == (1.35, 0.78, 12)
    for entry in entries:
        weights = Path(entry["weights"])
        assert weights == output / entry["id"] / f"{entry['id']}_iter_4.caffemodel"
        assert entry["sha256"] == hash_file(weights)
        assert 0 <= entry["accuracy"] <= 1
        assert entry["seconds"] > 0
        assert entry["iterations"] == 4
        # A sixth of the training images is kept apart, as of MNIST in the paper.
        assert entry["data"]["images"] == {"train_lmdb": 1247, "val_lmdb": 250, "test_lmdb": 300}
        assert entry["provenance"]["version"] == __version__
        assert "tools/table1.py --digits" in entry["provenance"]["command"]
    solvers = [Path(entry["solver"]).read_text() for entry in entries]
    assert "random_seed: 7" in solvers[0]
    assert 'type: "SGD"' in solvers[0]
    for text in ("random_seed: 12", 'type: "BANG"', "beta: 1.35", "epsilon: 0.78"):
        assert text in solvers[1]


def test_snapshots_are_kept(entries: list[dict[str, Any]], output: Path) -> None:
    for entry in entries:
        kept = sorted(path.name for path in (output / entry["id"]).glob("*.caffemodel"))
        assert kept == [f"{entry['id']}_iter_{iteration}.caffemodel" for iteration in (2, 4)]


def test_more_models_join_those_that_are_there(entries: list[dict[str, Any]], output: Path) -> None:
    ran = run(*SHORT, "--models", "R0", "R1", "--output", output)
    assert ran.returncode == 0, ran.stderr
    assert "R0: trained before, accuracy " in ran.stderr
    assert re.findall(r"^(\w+): training, 4 iterations", ran.stderr, re.MULTILINE) == ["R1"]
    plain, other, bang = models(output)
    # What was trained before keeps what is known of its training.
    assert [plain, bang] == entries
    assert (other["id"], other["seed"]) == ("R1", 8)
    assert other["sha256"] != plain["sha256"]


def test_an_entry_gives_way_to_another_training(tmp_path: Path) -> None:
    command = ("--digits", "--iterations", "2", "--models", "R1", "--output", tmp_path)
    assert run(*command).returncode == 0
    (first,) = models(tmp_path)
    assert run(*command, "--validation", "0").returncode == 0
    (second,) = models(tmp_path)
    assert second["data"]["images"] == {"train_lmdb": 1497, "test_lmdb": 300}
    assert second["settings"] != first["settings"]
    # Weights that are gone are listed no more.
    Path(second["weights"]).unlink()
    assert read_models(tmp_path / "models.json") == {}


def test_attacks_go_where_no_other_weights_had_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compared: list[Table1Comparison] = []

    def evaluate(comparison: Table1Comparison, _: object) -> None:
        compared.append(comparison)
        raise ValueError("enough")

    def evaluated(*more: str) -> Path:
        given = ["--digits", "--iterations", "2", *more]
        with pytest.raises(SystemExit, match="enough"):
            table1.run(table1.parse([*given, "--output", f"{output}", "--evaluate", "results"]))
        return compared[-1].work

    monkeypatch.setattr(Table1Comparison, "evaluate", evaluate)
    output = tmp_path / "out"
    one = evaluated("--models", "R0")
    assert re.fullmatch(r"R0-[0-9a-f]{8}", one.name)
    assert one.parent == output / "attacks"
    assert len(compared[-1].opener()) == 300
    assert compared[-1].departures.startswith("on scikit-learn's digits and for 2 iterations")
    both = evaluated("--models", "B1", "R0")
    assert re.fullmatch(r"R0-B1-[0-9a-f]{8}", both.name)
    assert [model.name for model in compared[-1].models] == ["B1", "R0"]
    other = evaluated("--models", "R0", "--seed", "5")
    assert len({one, both, other}) == 3
    assert evaluated("--models", "R0", "B1") == both
    assert evaluated("--models", "R0") == one
    assert not any(comparison.again for comparison in compared)
    evaluated("--models", "R0", "--again")
    assert compared[-1].again


def test_wrong_arguments() -> None:
    for arguments, reason in (
        (("--models", "B6"), "argument --models: invalid choice: 'B6'"),
        (("--validation", "-1"), "--validation must be at least 0, not -1"),
        (("--snapshots", "-1"), "--snapshots must be at least 0, not -1"),
        (("--iterations", "0"), "--iterations must be at least 1, not 0"),
        (("--iterations", f"{2**31}"), "--iterations must be at most 2,147,483,647"),
        (("--snapshots", f"{2**31}"), "--snapshots must be at most 2,147,483,647"),
        (("--seed", f"{2**32}"), "--seed must be at most 4,294,967,295"),
    ):
        ran = run(*arguments)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert reason in ran.stderr


def test_what_broke_each_image_stays_out_of_the_results(tmp_path: Path) -> None:
    report = json.loads((CHECKOUT / "results" / "table1" / "evaluation.json").read_text())
    (tmp_path / "work" / "evaluation").mkdir(parents=True)
    for model in report["models"]:
        model["robust_accuracy"][0]["broken_in"] = [0, -1]
    (tmp_path / "work" / "evaluation" / "evaluation.json").write_text(json.dumps(report))
    (tmp_path / "figure1.png").write_text("a picture of other models")
    written = Table1Comparison(
        [], partial(open_images, "mnist"), tmp_path / "work", tmp_path
    ).write()
    assert written.read_text().startswith("# Table 1 of the BANG paper")
    assert not (tmp_path / "figure1.png").exists()
    found = json.loads((tmp_path / "evaluation.json").read_text())
    for model in report["models"]:
        del model["robust_accuracy"][0]["broken_in"]
    assert found == report


def test_the_table_says_how_the_training_departs_from_the_papers() -> None:
    report: dict[str, Any] = {"models": [{"images": 10_000}], "images": {"origin": "MNIST"}}
    committed = (CHECKOUT / "results" / "table1" / "table1.md").read_text()
    usual = ABOUT.format(
        what="the same measured here",
        but="",
        n=10_000,
        origin="mnist, test images: data/mnist",
    )
    assert usual.splitlines()[:3] == committed.splitlines()[:3]
    assert (
        describe_departure(None, 10_000, digits=False)
        == describe_departure(10_000, 10_000, digits=False)
        == ""
    )
    assert (
        describe_departure(200, 10_000, digits=False)
        == "for 200 iterations, where the paper has 10,000"
    )
    assert describe_departure(200, 0, digits=False) == (
        "with none of the images kept apart for validation in place of the paper's 10,000 and "
        "for 200 iterations, where the paper has 10,000"
    )
    assert "with 5,000 of the images kept apart" in describe_departure(None, 5000, digits=False)
    other = describe_departure(2000, 250, digits=True)
    assert other == (
        "on scikit-learn's digits and for 2,000 iterations, where the paper has 10,000"
    )
    row = ["x"] * 10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "_format_row", lambda _: row)
        report["models"][0]["name"] = "A"
        said = format_markdown(report, other)
        assert "the same measured here" in format_markdown(report)
    assert f"of the paper, but {other}: not comparable with the paper's figures, once" in said
    assert "the same measured here" not in said


def test_defaults() -> None:
    arguments = table1.parse([])
    assert tuple(MODELS) == table1.IDS
    for digits, kept in ((False, 10_000), (True, 250)):
        training = Table1Training(LeNetTraining(Path(), digits=digits), arguments.validation)
        assert training.validation_images == kept
    assert arguments.snapshots == 500
    assert arguments.output == CHECKOUT / "build" / "table1"
    assert arguments.models == ["R0", "R1", "B0", "B1", "B2", "B3", "B4", "B5"]


def test_help_fits_a_terminal() -> None:
    command = [sys.executable, "-S", str(TOOL), "--help"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert max(map(len, ran.stdout.splitlines())) <= 100
