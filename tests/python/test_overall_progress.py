"""runs/overall_progress.py: one bar over all pieces of work, and the estimate of their time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from attack_samples import ArraySource, Batch
from caffe_ext.attacks import parse_attack
from caffe_ext.data import open_images
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.description import read_model
from caffe_ext.reporting import SilentReporter, Step
from caffe_ext.runs import overall_progress
from caffe_ext.runs.campaign import AttackCampaign
from caffe_ext.runs.overall_progress import (
    OverallProgress,
    PlannedWork,
    choose_trial_size,
    report_estimate,
    time_attack,
)
from caffe_ext.runs.runner import attack_images
from caffe_ext.runtime.processor_time import Stopwatch
from hotcold_samples import make_setting


class Heard(SilentReporter):
    """A reporter that remembers its bars: title, total, and how far each got."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.bars: list[tuple[str, int]] = []
        self.at: list[int] = []
        self.closed = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def show_progress(self, what: str, total: int, unit: str, done: int = 0) -> Iterator[Step]:
        self.bars.append((what, total))
        self.at.append(done)

        def step(number: int) -> None:
            self.at[-1] += number

        yield step
        self.closed += 1


def test_pieces_move_the_bar_by_their_time() -> None:
    heard = Heard()
    plan = [PlannedWork("a", 100, 0.01), PlannedWork("b", 300, 0.01), PlannedWork("a", 100, 0.04)]
    with OverallProgress(heard, "all", plan) as progress:
        progress.note("said")
        with progress.show_progress("a", 100, "image") as step:  # 1 of 8 seconds
            step(50)
            assert heard.at == [625]
            step(50)
        assert heard.at == [1250]
        with progress.show_progress("nothing of the plan", 7, "image") as step:
            step(7)
        assert heard.at == [1250]
        with progress.show_progress(
            "b", 300, "image", done=200
        ) as step:  # 3 of 8, for what is left
            step(50)
            assert heard.at == [3125]
        assert heard.at == [5000]  # what is left out counts as done
        progress.complete(["a", "unknown"])
        assert heard.at == [10_000]
    assert heard.bars == [("all", 10_000)]
    assert heard.notes == ["said"]
    assert heard.closed == 1


def test_unknown_times_are_those_of_the_others() -> None:
    heard = Heard()
    plan = [PlannedWork("a", 30, 0.2), PlannedWork("b", 10, None)]
    with OverallProgress(heard, "all", plan) as progress, progress.show_progress("b", 0, "image"):
        pass
    assert heard.at == [2500]


def test_without_a_plan_there_is_no_bar() -> None:
    heard = Heard()
    with (
        OverallProgress(heard, "all", []) as progress,
        progress.show_progress("a", 9, "image") as step,
    ):
        step(9)
    assert heard.bars == []


def test_the_bar_is_closed_by_an_error() -> None:
    heard = Heard()
    with (
        pytest.raises(ValueError, match="broken"),
        OverallProgress(heard, "all", [PlannedWork("a", 1, 1.0)]) as progress,
        progress.show_progress("a", 1, "image"),
    ):
        raise ValueError("broken")
    assert heard.closed == 1


@pytest.mark.parametrize(
    ("seconds", "processes", "cores", "notes"),
    [
        (0.5, 1, 1, []),
        (0.6, 1, 1, ["estimated time: about a minute, on an idle core"]),
        (36.0, 2, 4, ["estimated time: about 30 minutes, on 4 idle cores"]),
        (36.0, 8, 2, ["estimated time: about 30 minutes, on 2 idle cores"]),
        (None, 1, 1, []),
    ],
)
def test_only_long_runs_are_estimated(
    seconds: float | None,
    processes: int,
    cores: int,
    notes: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overall_progress, "count_cores", lambda: cores)
    heard = Heard()
    report_estimate([PlannedWork("a", 50, seconds)] * 2, processes, heard)
    assert heard.notes == notes


def test_a_stage_takes_as_long_as_its_longest_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overall_progress, "count_cores", lambda: 4)
    heard = Heard()
    long = [PlannedWork("a", 600, 1.0, "first"), PlannedWork("b", 600, 1.0, "second")]
    report_estimate([*long, PlannedWork("c", 1, 1.0, "second")], 4, heard)
    assert heard.notes == ["estimated time: about 20 minutes, on 4 idle cores"]


def test_the_trial_costs_a_hundredth_at_most() -> None:
    assert [choose_trial_size(count) for count in (0, 99, 100, 500, 10_000)] == [0, 1, 2, 10, 20]


def test_the_time_of_an_attack_is_that_of_the_images_that_are_attacked(
    classifier: Classifier, source: ArraySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TwoSeconds(Stopwatch):
        seconds = 2.0

    batch = source.read(slice(0, 8))
    monkeypatch.setattr(overall_progress, "Stopwatch", TwoSeconds)
    attempted = attack_images(classifier, parse_attack("fgs"), batch)[0].attempted.sum()
    assert 0 < attempted < 8
    trial = time_attack(classifier, parse_attack("fgs"), batch)
    assert trial is not None
    assert trial.seconds == pytest.approx(2 / attempted)
    assert len(trial.records) == 8
    wrong = Batch(batch.images, (classifier.predict(batch.images) + 1) % 4)
    assert time_attack(classifier, parse_attack("fgs"), wrong) is None
    assert time_attack(classifier, parse_attack("fgs"), source.read(slice(0))) is None


def test_a_campaign_has_one_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = make_setting(tmp_path)
    monkeypatch.setattr(overall_progress, "_SHARE", 3)
    monkeypatch.setattr(overall_progress, "_LONG", 0.0)
    source = open_images(str(setting.images))
    attacks = [parse_attack("fgs"), parse_attack("hc1")]
    campaign = AttackCampaign([read_model(setting.model)], attacks, source, setting.output)
    for _ in range(2):
        heard = Heard()
        campaign.run(heard)
        assert ("attacks", 10_000) in heard.bars
        assert heard.at[heard.bars.index(("attacks", 10_000))] == 10_000
        assert {what for what, _ in heard.bars} <= {"attacks", "checking the images"}
        assert sum("estimated time" in note for note in heard.notes) == 1
