"""Evaluations of models whose adversarials are known in closed form (evaluation_samples.py)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from caffe_ext.evaluation.noise import pick_images
from caffe_ext.evaluation.probe import (
    choose_probe_radius,
    compare_with_single_steps,
    make_iterated_attacks,
)
from caffe_ext.evaluation.result import ModelEvaluation, Settings
from caffe_ext.evaluation.robustness import compute_share_broken
from caffe_ext.evaluation.stability import measure_noise_stability
from caffe_ext.reporting import SilentReporter
from caffe_ext.runs.summary import Spread, compute_share, compute_spread
from evaluation_samples import LINF, NOISE, VALUES, evaluator

pytestmark = pytest.mark.any_device
Pair = tuple[ModelEvaluation, ...]
PLAIN = Settings(seed=1, probe=0)


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
    masked, plain = evaluator(tmp_path, settings, times=8).evaluate(SilentReporter())
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
        assert choose_probe_radius(nothing, 1000, epsilon) is None


def test_probe_of_a_given_radius(pair: Pair) -> None:
    records = pair[0].records
    assert choose_probe_radius(records["margin-s"], 1000, 30) == 30
    assert choose_probe_radius(records["margin-s"], 1) == 6
    assert choose_probe_radius(records["margin-s"], 0) is None
    texts = [attack.text for attack in make_iterated_attacks(30.0)]
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
    model = ready.evaluate(SilentReporter())[0]
    rows = model.noise_rows
    batch = ready.images.opener().read(slice(None))
    assert batch.labels is not None
    expected = measure_noise_stability(
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


def test_without_labels(tmp_path: Path) -> None:
    model = evaluator(tmp_path, PLAIN, labelled=False).evaluate(SilentReporter())[0]
    assert (model.correct, model.accuracy) == (None, None)
    assert model.attempted.all()


def test_limit(tmp_path: Path) -> None:
    model = evaluator(tmp_path, replace(PLAIN, limit=2)).evaluate(SilentReporter())[0]
    assert (model.images, model.accuracy) == (2, 1)


def test_small_functions() -> None:
    yes, no = np.ones(2, np.bool_), np.zeros(2, np.bool_)
    assert compute_share(yes, no) is None
    assert compute_spread(np.empty(0)) is None
    assert compute_spread(np.array([1, np.nan])) is None
    assert compute_spread(np.array([1.0, 3])) == Spread(2, 1)
    assert compute_share_broken(
        np.array([3, np.nan, np.inf]), np.ones(3, np.bool_), np.array([9.0])
    ) == [pytest.approx(1 / 3)]
    assert len(VALUES) == 5


def test_pick_images() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    rows = pick_images(labels, np.array([0, 1, 2, 4]), 2, seed=0)
    assert len(rows) == 3
    assert 4 in rows
    assert rows.tolist() == sorted(rows.tolist())
    picks = {tuple(pick_images(labels, np.arange(3), 1, seed=s).tolist()) for s in range(20)}
    assert picks == {(0,), (1,), (2,)}
    assert pick_images(labels, np.empty(0, np.int64), 2, seed=0).tolist() == []
