"""Evaluations of models whose adversarials are known in closed form (evaluation_samples.py)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.errors import RecordError
from caffe_ext.evaluation import noise as noise_run
from caffe_ext.evaluation import plan, stability
from caffe_ext.evaluation.noise import pick_images
from caffe_ext.evaluation.probe import compare_with_single_steps, iterated_attacks, probe_radius
from caffe_ext.evaluation.result import ModelEvaluation, Settings
from caffe_ext.evaluation.robustness import broken_within, robust_curve, smallest_sizes
from caffe_ext.evaluation.stability import NoiseSettings, noise_stability
from caffe_ext.evaluation.suite import Suite, default_suite, parse_radius
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.description import ModelDescription
from caffe_ext.reporting import Silent, Step
from caffe_ext.runs import overall_progress
from caffe_ext.runs import runner as attack_run
from caffe_ext.runs.records import COLUMNS
from caffe_ext.runs.summary import Spread, share, spread, summarize
from evaluation_samples import LINF, NOISE, VALUES, evaluated, evaluator

pytestmark = pytest.mark.any_device

Pair = tuple[ModelEvaluation, ...]
PLAIN = Settings(seed=1, probe=0)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return evaluated(tmp_path_factory.mktemp("pair"))


def deviations(*linf: int) -> Spread:
    return Spread(float(np.mean(linf)), float(np.std(linf)))


def test_accuracy_and_attacks(pair: Pair) -> None:
    for model in pair:
        assert (model.images, model.correct, model.accuracy) == (5, 4, 0.8)
        assert list(model.records) == ["fgs", "margin-s", "fgv", "hc1"]  # two classes: no HC2
        assert model.attempted.tolist() == [True, True, True, True, False]
        assert model.broken == 1


def test_the_three_readings_of_fgs(pair: Pair) -> None:
    paper, strict, logit, fgv, hc1 = pair[0].summaries
    assert [one.variant for one in pair[0].summaries] == ["paper", "strict", "logit", "all", "all"]
    assert (paper.attempted, paper.found, paper.rate) == (4, 2, 0.5)
    assert (strict.found, strict.rate) == (3, 0.75)
    assert (logit.found, logit.rate) == (4, 1)
    assert (strict.saturated, strict.zero_gradient) == (0.5, 0.25)
    assert (logit.saturated, logit.zero_gradient) == (0.5, 0)
    # Each reading has the means of what it counts.
    assert paper.linf == deviations(LINF[0], LINF[3])
    assert strict.linf == deviations(LINF[0], LINF[1], LINF[3])
    assert logit.linf == hc1.linf == deviations(*LINF)
    assert fgv.linf == strict.linf
    # Flat images: every pixel is changed alike, and there is nothing to align.
    assert strict.l2_per_pixel == strict.linf
    assert strict.ecc_failed == strict.ecc_failed_published == 3
    assert strict.unverified == 0


def test_nothing_is_masked_where_nothing_saturates(pair: Pair) -> None:
    model = pair[1]
    assert [one.rate for one in model.summaries] == [1] * 5
    assert {one.linf for one in model.summaries} == {deviations(*LINF)}
    assert {(one.saturated, one.zero_gradient) for one in model.summaries} == {(0, 0)}
    assert model.warnings == ()


def test_warnings(pair: Pair, tmp_path: Path) -> None:
    assert pair[0].warnings == ()  # of four images
    settings = Settings(ranks=(1,), seed=1, probe=0)
    masked, plain = evaluator(tmp_path, settings, times=8).evaluate(Silent())
    assert plain.warnings == ()
    signs = {warning.sign for warning in masked.warnings}
    assert {
        "paper-below-others",
        "strict-below-logit",
        "saturated-softmax",
        "zero-gradient",
    } <= signs


def test_probe(pair: Pair) -> None:
    masked, plain = pair[0].probe, pair[1].probe
    assert masked is not None
    assert plain is not None
    # The median of 4, 6, 21, 81 is 13.5, in whole grey levels 14: within it lie two.
    assert (masked.epsilon, masked.images) == (14, 4)
    assert (masked.single_loss, masked.single_margin) == (0.5, 0.5)
    assert (plain.iterated_loss, plain.iterated_margin) == (0.5, 0.5)


def test_no_probe_where_nothing_is_tried(pair: Pair) -> None:
    margin = pair[0].records["margin-s"]
    nothing = replace(margin, attempted=margin.attempted & False, found=margin.found & False)
    for epsilon in (None, 8):
        assert probe_radius(nothing, 1000, epsilon) is None


def test_probe_of_a_given_radius(pair: Pair) -> None:
    records = pair[0].records
    assert probe_radius(records["margin-s"], 1000, 30) == 30
    assert probe_radius(records["margin-s"], 1) == 6
    assert probe_radius(records["margin-s"], 0) is None
    texts = [attack.text for attack in iterated_attacks(30.0)]
    assert texts == ["bim=30.0/3.75x20+fgv", "bim=30.0/3.75x20+margin"]
    margin = records["margin-s"]
    within = replace(margin, found=margin.linf <= 30)
    found = compare_with_single_steps(30, pair[0].suite, records, records["fgs"], within)
    assert (found.single_loss, found.single_margin) == (0.75, 0.75)
    assert (found.iterated_loss, found.iterated_margin) == (0.75, 0.75)


def test_noise(pair: Pair) -> None:
    for model in pair:
        assert model.noise is not None
        # Two dark images out of three, and the only bright one that is classified correctly.
        assert len(model.noise_rows) == 3
        assert 3 in model.noise_rows
        assert 4 not in model.noise_rows
        assert model.noise.levels.tolist() == [10, 60]
    assert pair[0].noise_rows.tolist() == pair[1].noise_rows.tolist()
    # The gain changes no class, and the noise is the same.
    one, other = (model.noise.changed.tolist() for model in pair if model.noise)
    assert one == other
    assert sum(row[1] for row in one) > 0


def test_noise_is_that_of_noise_stability(tmp_path: Path) -> None:
    ready = evaluator(tmp_path, replace(PLAIN, noise=NOISE))
    model = ready.evaluate(Silent())[0]
    rows = model.noise_rows
    batch = ready.images.opener().read(slice(None))
    assert batch.labels is not None
    expected = noise_stability(
        ready.models[0].load(),
        batch.images[rows],
        batch.labels[rows],
        (10, 60),
        30,
        seed=1,
        indices=rows,
    )
    assert model.noise is not None
    assert np.array_equal(model.noise.changed, expected.changed)


def test_curves(pair: Pair) -> None:
    budgets = np.array([0, 4, 5, 6, 21, 80, 81, 255.0])
    masked = pair[0]
    paper, logit = masked.summary("fgs", "paper"), masked.summary("margin-s", "logit")
    assert masked.curve(logit, budgets, "linf").tolist() == [0, 0.25, 0.25, 0.5, 0.75, 0.75, 1, 1]
    assert masked.curve(paper, budgets, "linf").tolist() == [0, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert (
        masked.curve(None, budgets, "linf").tolist()
        == masked.curve(logit, budgets, "linf").tolist()
    )
    assert masked.summary("hc2") is None


def test_what_is_there_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(seed=1, noise=NOISE)
    first = evaluator(tmp_path, settings).evaluate(Silent())

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it is there already")

    monkeypatch.setattr(attack_run, "attack_images", never)
    monkeypatch.setattr(noise_run, "noise_stability", never)
    again = evaluator(tmp_path, settings).evaluate(Silent())
    assert [model.summaries for model in again] == [model.summaries for model in first]
    assert [model.probe for model in again] == [model.probe for model in first]
    more = replace(settings, extra=(parse_attack("fgs=8"),))
    with pytest.raises(AssertionError, match="there already"):
        evaluator(tmp_path, more).evaluate(Silent())
    with pytest.raises(AssertionError, match="there already"):
        evaluator(tmp_path, replace(settings, again=True)).evaluate(Silent())


def test_interrupted_noise_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = evaluated(tmp_path / "whole", replace(PLAIN, noise=NOISE))[0]
    whole, pair_rows = undisturbed.noise, undisturbed.noise_rows.tolist()
    monkeypatch.setattr(stability, "_FORWARDS_AT_A_TIME", 1)
    calls: list[Any] = []

    def stops(*arguments: object, **settings: object) -> object:
        calls.append(settings["indices"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return noise_stability(*arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(noise_run, "noise_stability", stops)
    with pytest.raises(KeyboardInterrupt):
        evaluated(tmp_path / "parts", replace(PLAIN, noise=NOISE))
    parts = evaluated(tmp_path / "parts", replace(PLAIN, noise=NOISE))[0].noise
    rows = pair_rows
    assert [one.tolist() for one in calls[:4]] == [[rows[0]], [rows[1]], [rows[1]], [rows[2]]]
    assert whole is not None
    assert parts is not None
    assert np.array_equal(parts.changed, whole.changed)


def test_several_processes_do_the_same(tmp_path: Path, pair: Pair) -> None:
    models = evaluator(tmp_path, Settings(seed=1, noise=NOISE), jobs=2).evaluate(Silent())
    for one, other in zip(models, pair, strict=True):
        assert one.summaries == other.summaries
        assert one.probe == other.probe
        for text, records in one.records.items():
            for name in COLUMNS:
                mine, theirs = getattr(records, name), getattr(other.records[text], name)
                assert np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")


class Heard(Silent):
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def progress(self, what: str, total: int, unit: str, done: int = 0) -> Iterator[Step]:
        def step(number: int) -> None:
            self.steps += number

        yield step


class Bars(Heard):
    """A reporter that remembers its bars: [title, total, where it is]."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: list[list[Any]] = []

    @contextmanager
    def progress(self, what: str, total: int, unit: str, done: int = 0) -> Iterator[Step]:
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
    assert re.fullmatch(r"estimated time: up to \d+ s", bars.notes[0])
    # Of what is there already nothing is tried.
    monkeypatch.setattr(plan, "time_attack", None)
    evaluator(tmp_path, settings, jobs=jobs).evaluate(Silent())


def test_refused_before_anything_is_written(tmp_path: Path) -> None:
    for settings, sentence in (
        (Settings(ranks=(1, 2)), "there is no HC2: the network has 2 classes"),
        (Settings(extra=(parse_attack("hc1@nowhere"),)), "open, hc1@nowhere|masked, hc1@nowhere"),
    ):
        ready = evaluator(tmp_path, settings)
        with pytest.raises(ValueError, match=sentence):
            ready.evaluate(Silent())
        assert not ready.folder.exists()
    with pytest.raises(ValueError, match="copies must be at least 1"):
        NoiseSettings(per_class=1, copies=0, levels=(1,))
    with pytest.raises(ValueError, match="grey levels"):
        NoiseSettings(per_class=1, copies=1, levels=())


def test_without_labels(tmp_path: Path) -> None:
    model = evaluator(tmp_path, PLAIN, labelled=False).evaluate(Silent())[0]
    assert (model.correct, model.accuracy) == (None, None)
    assert model.attempted.all()


def test_limit(tmp_path: Path) -> None:
    model = evaluator(tmp_path, replace(PLAIN, limit=2)).evaluate(Silent())[0]
    assert (model.images, model.accuracy) == (2, 1)


def test_small_functions() -> None:
    yes, no = np.ones(2, np.bool_), np.zeros(2, np.bool_)
    assert share(yes, no) is None
    assert spread(np.empty(0)) is None
    assert spread(np.array([1, np.nan])) is None
    assert spread(np.array([1.0, 3])) == Spread(2, 1)
    assert broken_within(np.array([3, np.nan, np.inf]), np.ones(3, np.bool_), np.array([9.0])) == [
        pytest.approx(1 / 3)
    ]
    assert len(VALUES) == 5


def test_the_best_attack_for_each_image(pair: Pair) -> None:
    records = pair[0].records
    assert smallest_sizes(list(records.values()), "linf").tolist() == [*LINF, np.inf]
    assert smallest_sizes([records["fgs"]], "linf").tolist() == [6, 21, np.inf, 4, np.inf]
    assert summarize(parse_attack("fgv"), records["fgv"])[0].title == "FGV"


def test_robust_accuracy_by_hand(tmp_path: Path) -> None:
    # Linf of 4, 6, 21 and 81 break the four images that are classified correctly, of five.
    radii = tuple(map(parse_radius, ("5", "21", "100", "l2=100")))
    settings = Settings(ranks=(1,), seed=1, probe=0, radii=radii, cascade=("bim=E/4x40+margin",))
    for model in evaluator(tmp_path, settings).evaluate(Silent()):
        assert [one.budget for one in model.robust] == list(radii)
        # L2 of flat images of 144 pixels: 12 times the change, 48, 72, 252, 972.
        assert [one.accuracy for one in model.robust] == [3 / 5, 1 / 5, 0, 2 / 5]
        five, twenty, hundred, l2 = model.robust
        assert five.robust.tolist() == [True, True, True, False, False]
        assert five.correct == twenty.correct == 4
        for one, broken in ((five, 1), (twenty, 3), (hundred, 4), (l2, 2)):
            found = [stage.broken for stage in one.stages if stage.tried is None]
            assert sum(found) == broken
        assert [(s.tried, s.broken) for s in five.stages[4:]] == [(3, 0)]
        assert five.stages[4].attack == "bim=5.0/4.0x40+margin"
        assert l2.stages[4].attack == "bim-l2=100.0/4.0x40+margin"
        assert len(hundred.stages) == 4  # nothing was left to try
        assert set(model.curve(None, np.array([100.0, 252, 972]), "l2")) == {0.5, 0.75, 1}
    assert (tmp_path / "results" / "open" / "within-linf-5").is_dir()


def test_a_cascade_breaks_what_single_steps_leave(tmp_path: Path) -> None:
    """Along the loss FGS does not break the image of 20; the margin does, within 81."""
    suite = Suite(
        (parse_attack("fgs"),), radii=(parse_radius("90"),), cascade=("fgs", "bim=E/9x40+margin")
    )
    settings = Settings(seed=1, probe=0, own_suite=suite)
    masked, plain = evaluator(tmp_path, settings).evaluate(Silent())
    stages = [(one.attack, one.tried, one.broken) for one in masked.robust[0].stages]
    assert stages == [("fgs", None, 3), ("fgs", 1, 0), ("bim=90.0/9.0x40+margin", 1, 1)]
    assert [one.accuracy for one in (*masked.robust, *plain.robust)] == [0, 0]
    assert masked.warnings == ()  # the suite names no attacks whose difference shows masking
    assert [one.variant for one in masked.summaries] == ["all"]


def test_autoattack_in_a_cascade_is_taken_apart(tmp_path: Path) -> None:
    # Two classes: APGD-CE, APGD on the margin, FAB and Square.
    suite = Suite((parse_attack("fgs=1"),), radii=(parse_radius("5.4"),), cascade=("autoattack",))
    suite = replace(suite, classes=2)
    texts = [attack.text for attack in suite.cascade_within(parse_radius("l2=50"))]
    assert texts == [
        "apgd-l2=50.0x100",
        "apgd-l2=50.0x100+margin",
        "fab(epsilon=50.0, norm='l2', targets=1)",
        "square-l2=50.0x5000",
    ]
    short = replace(suite, cascade=("apgd=Ex9", "autoattack=Ex5"))
    settings = Settings(seed=1, probe=0, own_suite=short)
    ready = evaluator(tmp_path, settings)
    assert ready.remarks == (
        "Linf 5.4: image files hold whole grey levels, so that within this radius they differ by "
        "5 at most; in real-valued pixels it is 5.4",
    )
    masked, _ = ready.evaluate(Silent())
    found = masked.robust[0]
    assert [stage.attack for stage in found.stages[1:]] == [
        "apgd=5.4x9",
        "apgd=5.4x5",
        "apgd=5.4x5+margin",
        "fab(epsilon=5.4, iterations=5, targets=1)",
        "square=5.4x250",
    ]
    # The boundary is at 100.5: 3.5 from the image of 104, and 5.5 from that of 95.
    assert found.stages[1].tried == 4
    assert found.robust.tolist() == [True, True, True, False, False]
    assert found.broken_in.tolist() == [-1, -1, -1, 1, -1]
    assert found.smallest[3] == 4
    assert 3.5 < found.smallest_real[3] <= 3.53
    curve = robust_curve(masked.robust, np.array([0.0, 3, 4, 5.4]), "linf")
    assert curve is not None
    assert curve.tolist() == [0.8, 0.8, 0.6, 0.6]
    real = robust_curve(masked.robust, np.array([3.5, 3.6]), "linf", real=True)
    assert real is not None
    assert real.tolist() == pytest.approx([0.8, 0.6])
    assert robust_curve(masked.robust, np.array([1.0]), "l2") is None
    assert masked.attackability is not None
    assert masked.attackability.zero_gradient == masked.attackability.randomised == 0
    assert not masked.attackability.probabilities


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
    one_model.evaluate(Silent())
    assert loaded == ["masked"]
    assert classified == [5]


def test_suites_that_make_no_sense() -> None:
    fgs = parse_attack("fgs")
    for given, sentence in (
        ({"attacks": ()}, "needs at least one attack"),
        ({"attacks": (fgs, fgs)}, "fgs is listed twice"),
        ({"attacks": (fgs,), "loss": "fgv"}, "fgv is not in the suite"),
        (
            {"attacks": (fgs,), "radii": (parse_radius("8"),), "cascade": ("cw=E",)},
            "unknown attack 'cw=8.0'",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            Suite(**given)
    for text in ("", "l1=3", "0.5", "l2"):
        with pytest.raises(ValueError, match=r"a radius must be|a distance must be|did you mean"):
            parse_radius(text)
    texts = [attack.text for attack in default_suite(3, extra=[parse_attack("fgs=8")]).attacks]
    assert texts == ["fgs", "margin-s", "fgv", "hc1", "hc2", "fgs=8.0"]


def test_pick_images() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    rows = pick_images(labels, np.array([0, 1, 2, 4]), 2, seed=0)
    assert len(rows) == 3
    assert 4 in rows
    assert rows.tolist() == sorted(rows.tolist())
    picks = {tuple(pick_images(labels, np.arange(3), 1, seed=s).tolist()) for s in range(20)}
    assert picks == {(0,), (1,), (2,)}
    assert pick_images(labels, np.empty(0, np.int64), 2, seed=0).tolist() == []


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_damaged_counts_of_noise_are_named(tmp_path: Path, text: str) -> None:
    evaluator(tmp_path, Settings(seed=1, noise=NOISE)).evaluate(Silent())
    damaged = next(tmp_path.rglob("noise-*.json"))
    damaged.write_text(text)
    with pytest.raises(RecordError, match=f"{damaged} is damaged: delete it, or choose another"):
        evaluator(tmp_path, Settings(seed=1, noise=NOISE)).evaluate(Silent())
