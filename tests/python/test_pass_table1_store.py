"""The study of the PASS paper's Table 1: what is kept, and what is trained and measured again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from caffe_ext.errors import RecordError
from caffe_ext.runtime.checkout import ROOT
from caffe_ext.studies.pass_table1 import study as study_module
from caffe_ext.studies.pass_table1 import training as training_module
from caffe_ext.studies.pass_table1.design import (
    StudySettings,
)
from pass_table1_samples import SMALL, run_study
from training_samples import Listener


class Interrupting(Listener):
    """The Ctrl-C when a certain work begins."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def show_progress(self, what: str, total: int, unit: str, done: int = 0) -> Any:
        if what.startswith(self.what):
            raise KeyboardInterrupt
        return super().show_progress(what, total, unit, done)


def test_an_interrupted_study_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SMALL, orderings=1, rows=("FGS", "basic"))
    whole = run_study(tmp_path / "whole", settings)
    part = tmp_path / "part"
    for what in ("base1", "HC5", "writing train_lmdb", "FGS-1.1"):
        with pytest.raises(KeyboardInterrupt):
            run_study(part, settings, reporter=Interrupting(what))
    assert run_study(part, settings) == whole
    # What is there is neither trained nor measured again.
    monkeypatch.setattr(study_module._Run, "_train", None)
    monkeypatch.setattr(study_module._Run, "_measure", None)
    assert run_study(part, settings) == whole
    point = next((part / "points").glob("FGS-1.1-*.json"))
    record = json.loads(point.read_bytes())
    network = next((part / "networks").glob("FGS-1.1-*.json"))
    trained = network.read_bytes()
    network.write_text(json.dumps(json.loads(trained) | {"depends": {}}))
    measured = point.read_bytes()
    point.unlink()
    with pytest.raises(RecordError, match=r"is of another network .*remove it, and run the same"):
        run_study(part, settings)
    network.write_bytes(trained)
    point.write_bytes(measured)
    other = next((part / "points").glob("basic-*.json"))
    point.write_bytes(other.read_bytes())
    with pytest.raises(RecordError, match=r"holds other results .*remove it, and run the same"):
        run_study(part, settings)
    record["found"]["wrong"] = record["found"]["images"] + 1
    point.write_text(json.dumps(record))
    with pytest.raises(RecordError, match=r"is damaged.*remove it, and run the same command again"):
        run_study(part, settings)


def test_more_networks_need_no_new_attack(tmp_path: Path) -> None:
    # The seeds of the networks are larger, and more than a solver takes.
    settings = replace(SMALL, orderings=1, rows=("FGS",), seed=2**32 - 1)
    first = run_study(tmp_path, settings)
    weights = {path: path.read_bytes() for path in (tmp_path / "networks").iterdir()}
    listener = Listener()
    both = run_study(tmp_path, replace(settings, orderings=2), reporter=listener)
    assert both[0] == first[0]
    bars = [bar for bar, *_ in listener.bars]
    assert "writing train_lmdb" in bars
    assert not {"FGS", "HC1"} & set(bars)
    # Another test set, more bases, and other bases, are measured beside what is there.
    (finding,) = run_study(tmp_path, replace(settings, held_out=4))
    assert finding.found.adversarials["hc1"] == 4
    assert len(run_study(tmp_path, replace(settings, bases=2))) == 2
    assert len(run_study(tmp_path, replace(settings, iterations=50))) == 1
    assert run_study(tmp_path, settings) == first
    assert {path: path.read_bytes() for path in weights} == weights
    # Each point has the name of its network.
    names = {path.stem.rpartition("-")[0] for path in (tmp_path / "points").iterdir()}
    assert {path.stem for path in (tmp_path / "networks").glob("*.caffemodel")} == names


TRAININGS = replace(
    SMALL, orderings=1, rows=("HC-S-5", "deformed", "originals"), iterations=30, fine_tuning=5
)


class Trainings(Listener):
    """Names the networks that were trained, without the bases."""

    @property
    def names(self) -> list[str]:
        started = (text.split(": training") for text in self.notes if ": training" in text)
        return [name for name, _ in started if not name.startswith("base")]


def list_trained(folder: Path, settings: StudySettings) -> list[str]:
    listener = Trainings()
    run_study(folder, settings, reporter=listener)
    return listener.names


def test_networks_are_trained_again_only_if_their_training_is_another(tmp_path: Path) -> None:
    every = ["HC-S-5-1.1", "deformed-1.1", "originals-1.1"]
    assert list_trained(tmp_path, TRAININGS) == every
    # Other test sets, rows and bases.
    assert list_trained(tmp_path, replace(TRAININGS, held_out=4)) == []
    assert list_trained(tmp_path, replace(TRAININGS, rows=("basic", *TRAININGS.rows))) == []
    others = [name.replace("1.1", "2.1") for name in every]
    assert list_trained(tmp_path, replace(TRAININGS, bases=2)) == others
    # Each setting, where it matters.
    assert list_trained(tmp_path, replace(TRAININGS, attacked=30)) == every[:1]
    assert list_trained(tmp_path, replace(TRAININGS, mix=False)) == every[:1]
    assert list_trained(tmp_path, replace(TRAININGS, deformed=40)) == every[1:2]
    # Deformed digits are trained on from random weights, for as long as both together.
    longer = replace(TRAININGS, iterations=25, fine_tuning=10)
    assert list_trained(tmp_path, longer) == [every[0], every[2]]
    assert list_trained(tmp_path, replace(longer, fine_tuning=6)) == every
    # Whatever there was, it is still there.
    assert list_trained(tmp_path, TRAININGS) == []


def test_networks_of_another_solver_are_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(TRAININGS, rows=("deformed",))
    assert list_trained(tmp_path, settings) == ["deformed-1.1"]

    def write_solver(old: str, new: str) -> Path:
        path = tmp_path / "solver.prototxt"
        text = (ROOT / "solvers" / "lenet_finetune.prototxt").read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return path

    for old, new, trained in (
        ("display: 100", "display: 3  # not of the weights", []),
        ("test_iter: 100", "test_iter: 50", []),
        ("momentum: 0.9", "momentum: 0.8", ["deformed-1.1"]),
    ):
        monkeypatch.setattr(training_module, "SOLVER", write_solver(old, new))
        assert list_trained(tmp_path, settings) == trained


def test_weights_that_are_gone_or_changed(tmp_path: Path) -> None:
    settings = replace(TRAININGS, rows=("originals",))
    first = run_study(tmp_path, settings)
    (weights,) = (tmp_path / "networks").glob("*.caffemodel")
    kept = weights.read_bytes()
    # What was measured needs no weights; another test set does.
    weights.unlink()
    assert run_study(tmp_path, settings) == first
    assert list_trained(tmp_path, replace(settings, held_out=4)) == ["originals-1.1"]
    assert weights.read_bytes() == kept
    weights.write_bytes(kept[:-1])
    with pytest.raises(RecordError, match=r"caffemodel is damaged: remove it, and run"):
        run_study(tmp_path, replace(settings, held_out=3))
