"""How an evaluation goes: what is done once and where, after an interruption, and its progress."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.errors import RecordError
from caffe_ext.evaluation import noise as noise_run
from caffe_ext.evaluation import plan, stability
from caffe_ext.evaluation.result import ModelEvaluation, Settings
from caffe_ext.evaluation.stability import NoiseSettings, measure_noise_stability
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.description import ModelDescription
from caffe_ext.reporting import SilentReporter, Step
from caffe_ext.runs import overall_progress
from caffe_ext.runs import runner as attack_run
from caffe_ext.runs.overall_progress import PlannedWork
from caffe_ext.runs.records import COLUMNS
from evaluation_samples import NOISE, evaluated, evaluator

pytestmark = pytest.mark.any_device
Pair = tuple[ModelEvaluation, ...]
PLAIN = Settings(seed=1, probe=0)


def test_what_is_there_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(seed=1, noise=NOISE)
    first = evaluator(tmp_path, settings).evaluate(SilentReporter())

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it is there already")

    monkeypatch.setattr(attack_run, "attack_images", never)
    monkeypatch.setattr(noise_run, "measure_noise_stability", never)
    again = evaluator(tmp_path, settings).evaluate(SilentReporter())
    assert [model.summaries for model in again] == [model.summaries for model in first]
    assert [model.probe for model in again] == [model.probe for model in first]
    more = replace(settings, extra=(parse_attack("fgs=8"),))
    with pytest.raises(AssertionError, match="there already"):
        evaluator(tmp_path, more).evaluate(SilentReporter())
    with pytest.raises(AssertionError, match="there already"):
        evaluator(tmp_path, replace(settings, again=True)).evaluate(SilentReporter())


def test_interrupted_noise_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = evaluated(tmp_path / "whole", replace(PLAIN, noise=NOISE))[0]
    whole, pair_rows = undisturbed.noise, undisturbed.noise_rows.tolist()
    monkeypatch.setattr(stability, "_FORWARDS_AT_A_TIME", 1)
    calls: list[Any] = []

    def stops(*arguments: object, **settings: object) -> object:
        calls.append(settings["indices"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure_noise_stability(*arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(noise_run, "measure_noise_stability", stops)
    with pytest.raises(KeyboardInterrupt):
        evaluated(tmp_path / "parts", replace(PLAIN, noise=NOISE))
    parts = evaluated(tmp_path / "parts", replace(PLAIN, noise=NOISE))[0].noise
    rows = pair_rows
    assert [one.tolist() for one in calls[:4]] == [[rows[0]], [rows[1]], [rows[1]], [rows[2]]]
    assert whole is not None
    assert parts is not None
    assert np.array_equal(parts.changed, whole.changed)


def test_several_processes_do_the_same(tmp_path: Path, pair: Pair) -> None:
    models = evaluator(tmp_path, Settings(seed=1, noise=NOISE), jobs=2).evaluate(SilentReporter())
    for one, other in zip(models, pair, strict=True):
        assert one.summaries == other.summaries
        assert one.probe == other.probe
        for text, records in one.records.items():
            for name in COLUMNS:
                mine, theirs = getattr(records, name), getattr(other.records[text], name)
                assert np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")


class Heard(SilentReporter):
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def show_progress(self, what: str, total: int, unit: str, done: int = 0) -> Iterator[Step]:
        def step(number: int) -> None:
            self.steps += number

        yield step


class Bars(Heard):
    """A reporter that remembers its bars: [title, total, where it is]."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: list[list[Any]] = []

    @contextmanager
    def show_progress(self, what: str, total: int, unit: str, done: int = 0) -> Iterator[Step]:
        bar: list[Any] = [what, total, done]
        self.bars.append(bar)

        def step(number: int) -> None:
            bar[2] += number

        yield step


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_bar_reaches_the_end_and_a_long_run_is_estimated(
    tmp_path: Path, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overall_progress, "_SHARE", 5)
    monkeypatch.setattr(overall_progress, "_LONG", 0.0)
    settings = Settings(ranks=(1,), seed=1, noise=NOISE, radii=(PerturbationBudget("linf", 8.0),))
    bars = Bars()
    evaluator(tmp_path, settings, jobs=jobs).evaluate(bars)
    assert bars.bars == [["evaluation", 10_000, 10_000]]
    assert len(bars.notes) == 1
    assert re.fullmatch(
        r"estimated time: about (\d+ s|a minute)(, on (an idle core|\d+ idle cores))?",
        bars.notes[0],
    )
    # Of what is there already nothing is tried.
    monkeypatch.setattr(plan, "time_attack", None)
    evaluator(tmp_path, settings, jobs=jobs).evaluate(SilentReporter())


def test_refused_before_anything_is_written(tmp_path: Path) -> None:
    for settings, sentence in (
        (Settings(ranks=(1, 2)), "there is no HC2: the network has 2 classes"),
        (Settings(extra=(parse_attack("hc1@nowhere"),)), "open, hc1@nowhere|masked, hc1@nowhere"),
    ):
        ready = evaluator(tmp_path, settings)
        with pytest.raises(ValueError, match=sentence):
            ready.evaluate(SilentReporter())
        assert not ready.folder.exists()
    with pytest.raises(ValueError, match="copies must be at least 1"):
        NoiseSettings(per_class=1, copies=0, levels=(1,))
    with pytest.raises(ValueError, match="grey levels"):
        NoiseSettings(per_class=1, copies=1, levels=())


def test_each_model_is_loaded_once_and_classifies_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, classified = [], []
    load, predict = ModelDescription.load, Classifier.predict

    def counting_load(self: ModelDescription, *given: Any) -> Classifier:
        loaded.append(self.name)
        return load(self, *given)

    def counting_predict(self: Classifier, images: Any) -> Any:
        if len(images) > 1:
            classified.append(len(images))
        return predict(self, images)

    monkeypatch.setattr(ModelDescription, "load", counting_load)
    monkeypatch.setattr(Classifier, "predict", counting_predict)
    ready = evaluator(tmp_path, Settings(seed=1, noise=None, cascade=()))
    one_model = replace(ready, models=ready.models[:1])
    one_model.evaluate(SilentReporter())
    assert loaded == ["masked"]
    assert classified == [5]


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_damaged_counts_of_noise_are_named(tmp_path: Path, text: str) -> None:
    evaluator(tmp_path, Settings(seed=1, noise=NOISE)).evaluate(SilentReporter())
    damaged = next(tmp_path.rglob("noise-*.json"))
    damaged.write_text(text)
    with pytest.raises(RecordError, match=f"{damaged} is damaged: delete it, or choose another"):
        evaluator(tmp_path, Settings(seed=1, noise=NOISE)).evaluate(SilentReporter())


def test_the_share_left_by_the_attacks_is_estimated_from_those_tried(pair: Pair) -> None:
    records = list(pair[0].records.values())
    first, count = records[0], len(records[0])
    budget = PerturbationBudget("linf", 30.0)
    assert plan.estimate_share_left([], budget) == 1.0
    sizes = np.min([np.where(one.found, one.linf, np.inf) for one in records], axis=0)
    left = (first.attempted & (sizes > 30.0)).sum()
    assert plan.estimate_share_left(records, budget) == pytest.approx((left + 1) / (count + 2))
    everything = plan.estimate_share_left(records, PerturbationBudget("linf", 255.0))
    assert everything < plan.estimate_share_left(records, PerturbationBudget("linf", 1.0))


def test_attacks_with_many_steps_are_timed_by_the_difference_of_two_short_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def timed(_: object, attack: Any, batch: Any, cores: int) -> Any:
        asked.append((attack.iterations, len(batch.images), cores))
        return SimpleNamespace(seconds=0.5 + 0.01 * attack.iterations, records=None)

    monkeypatch.setattr(plan, "time_attack", timed)
    square = parse_attack("square=8x5000")
    cascade = plan.PlannedCascade(PerturbationBudget("linf", 8.0), ((1, square),))
    mine = plan.ModelPlan("m", 1000, (), {}, (cascade,), 0, None, classify=False, cores=3)
    images = np.zeros((1000, 1, 2, 2), np.uint8)
    model: Any = SimpleNamespace(batch_size=50, predict=lambda _: None)
    source: Any = SimpleNamespace(read=lambda rows: SimpleNamespace(images=images[rows]))
    (work,) = mine.measure(model, source)
    assert replace(work, seconds=None) == PlannedWork("m: cascade", 1000, None, "cascade 1")
    assert work.seconds == pytest.approx(50.5)
    assert asked == [(100, 50, 3), (300, 50, 3)]
