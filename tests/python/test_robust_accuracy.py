"""Suites, robust accuracy within budgets, and its curves, on models with known adversarials."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from caffe_ext.attacks.budget_texts import insert_radius
from caffe_ext.attacks.criteria import MISCLASSIFIED
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.cli.evaluate import read_radii
from caffe_ext.evaluation.result import ModelEvaluation, Settings
from caffe_ext.evaluation.robust_tables import describe_cascades, list_stage_rows
from caffe_ext.evaluation.robustness import compute_robust_curve, find_smallest_sizes
from caffe_ext.evaluation.suite import Suite, make_default_suite, parse_radius
from caffe_ext.reporting import SilentReporter
from caffe_ext.runs.summary import summarize
from evaluation_samples import LINF, evaluator

pytestmark = pytest.mark.any_device
Pair = tuple[ModelEvaluation, ...]
PLAIN = Settings(seed=1, probe=0)


def test_curves(pair: Pair) -> None:
    budgets = np.array([0, 4, 5, 6, 21, 80, 81, 255.0])
    masked = pair[0]
    paper, logit = masked.find_summary("fgs", "paper"), masked.find_summary("margin-s", "logit")
    assert masked.compute_curve(logit, budgets, "linf").tolist() == [
        0,
        0.25,
        0.25,
        0.5,
        0.75,
        0.75,
        1,
        1,
    ]
    assert masked.compute_curve(paper, budgets, "linf").tolist() == [
        0,
        0.25,
        0.25,
        0.5,
        0.5,
        0.5,
        0.5,
        0.5,
    ]
    assert (
        masked.compute_curve(None, budgets, "linf").tolist()
        == masked.compute_curve(logit, budgets, "linf").tolist()
    )
    assert masked.find_summary("hc2") is None


def test_the_best_attack_for_each_image(pair: Pair) -> None:
    records = pair[0].records
    assert find_smallest_sizes(list(records.values()), "linf").tolist() == [*LINF, np.inf]
    assert find_smallest_sizes([records["fgs"]], "linf").tolist() == [6, 21, np.inf, 4, np.inf]
    assert summarize(parse_attack("fgv"), records["fgv"], MISCLASSIFIED)[0].title == "FGV"


def test_robust_accuracy_by_hand(tmp_path: Path) -> None:
    # Linf of 4, 6, 21 and 81 break the four images that are classified correctly, of five.
    radii = tuple(map(parse_radius, ("5", "21", "100", "l2=100")))
    settings = Settings(ranks=(1,), seed=1, probe=0, radii=radii, cascade=("bim=E/4x40+margin",))
    for model in evaluator(tmp_path, settings).evaluate(SilentReporter()):
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
        assert set(model.compute_curve(None, np.array([100.0, 252, 972]), "l2")) == {0.5, 0.75, 1}
    assert (tmp_path / "results" / "open" / "within-linf-5").is_dir()


def test_a_cascade_breaks_what_single_steps_leave(tmp_path: Path) -> None:
    """Along the loss FGS does not break the image of 20; the margin does, within 81."""
    suite = Suite(
        (parse_attack("fgs"),), radii=(parse_radius("90"),), cascade=("fgs", "bim=E/9x40+margin")
    )
    settings = Settings(seed=1, probe=0, own_suite=suite)
    masked, plain = evaluator(tmp_path, settings).evaluate(SilentReporter())
    stages = [(one.attack, one.tried, one.broken) for one in masked.robust[0].stages]
    assert stages == [("fgs", None, 3), ("fgs", 1, 0), ("bim=90.0/9.0x40+margin", 1, 1)]
    assert [one.accuracy for one in (*masked.robust, *plain.robust)] == [0, 0]
    assert masked.warnings == ()  # the suite names no attacks whose difference shows masking
    assert [one.variant for one in masked.summaries] == ["all"]


def test_what_is_found_within_one_budget_counts_within_all(tmp_path: Path) -> None:
    # Thirty steps of 3 reach 21 in Linf; 90 in L2 are only 7.5 of each of 144 pixels.
    radii = (parse_radius("25"), parse_radius("l2=300"))
    suite = Suite((parse_attack("fgs=1"),), radii=radii, cascade=("bim=E/3x30+margin",))
    for model in evaluator(tmp_path, Settings(seed=1, own_suite=suite)).evaluate(SilentReporter()):
        linf, l2 = model.robust
        assert linf.robust.tolist() == l2.robust.tolist() == [False, False, True, False, False]
        assert [(one.tried, one.broken, one.run_for) for one in linf.stages] == [
            (None, 0, None),
            (4, 3, None),
        ]
        assert [(one.tried, one.broken, one.run_for) for one in l2.stages] == [
            (None, 0, None),
            (4, 2, None),
            (None, 1, "Linf 25"),
        ]
        assert l2.broken_in.tolist() == [1, 2, -1, 1, -1]
        assert l2.smallest[1] == 252
        curve = compute_robust_curve(model.robust, np.array([251.9, 252]), "l2")
        assert curve is not None
        assert curve.tolist() == [0.4, 0.2]
        rows = list_stage_rows(model)
        assert [row["run_for"] for row in rows] == [None, None, None, None, "Linf 25"]
        assert rows[-1]["robust_accuracy"] == l2.accuracy == 0.2
        assert list(describe_cascades([model])) == [
            f"{model.name}, within L2 300, by attacks run for something else: 1"
        ]


def test_the_comparison_with_single_steps_counts_within_all_budgets(tmp_path: Path) -> None:
    suite = Suite(
        (parse_attack("fgs=1"), parse_attack("margin-s=1")),
        radii=(parse_radius("l2=300"),),
        loss="fgs=1.0",
        margin="margin-s=1.0",
    )
    settings = Settings(seed=1, probe=2, probe_epsilon=25, own_suite=suite)
    masked, _ = evaluator(tmp_path, settings).evaluate(SilentReporter())
    found = masked.robust[0]
    # Of the five, it tries the first two, which are 6 and 21 away.
    assert found.robust.tolist() == [False, False, True, True, False]
    assert {one.run_for for one in found.stages[2:]} == {"the comparison with single steps"}


def test_default_radii_are_a_note_and_no_warning(tmp_path: Path) -> None:
    ready = evaluator(tmp_path, Settings(seed=1, probe=0, ranks=(1,)))
    assert ready.remarks == ()
    assert ready.default_note == (
        "default radii 25.5 (0.1 of 1) and 76.5 (0.3 of 1): in whole grey levels, as image files "
        "have them, 25 and 76"
    )
    chosen = replace(ready.settings, radii=(parse_radius("25.5"),))
    asked = evaluator(tmp_path / "asked", chosen)
    assert asked.default_note == ""
    assert [one.split(":")[0] for one in asked.remarks] == ["Linf 25.5"]
    extra = replace(ready.settings, extra=(parse_attack("pgd=25.5"),))
    assert len(evaluator(tmp_path / "extra", extra).remarks) == 1


def test_autoattack_in_a_cascade_is_taken_apart(tmp_path: Path) -> None:
    # Two classes: APGD-CE, APGD on the margin, FAB and Square.
    suite = Suite((parse_attack("fgs=1"),), radii=(parse_radius("5.4"),), cascade=("autoattack",))
    suite = replace(suite, classes=2)
    texts = [attack.text for attack in suite.make_cascade(parse_radius("l2=50"))]
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
        "Linf 5.4: image files hold whole grey levels, so within this radius they differ by "
        "5 at most; in real-valued pixels it is 5.4",
    )
    masked, _ = ready.evaluate(SilentReporter())
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
    curve = compute_robust_curve(masked.robust, np.array([0.0, 3, 4, 5.4]), "linf")
    assert curve is not None
    assert curve.tolist() == [0.8, 0.8, 0.6, 0.6]
    real = compute_robust_curve(masked.robust, np.array([3.5, 3.6]), "linf", real=True)
    assert real is not None
    assert real.tolist() == pytest.approx([0.8, 0.6])
    assert compute_robust_curve(masked.robust, np.array([1.0]), "l2") is None
    assert masked.attackability is not None
    assert masked.attackability.zero_gradient == masked.attackability.randomised == 0
    assert not masked.attackability.probabilities


def test_an_attack_of_a_cascade_within_another_radius_is_remarked(tmp_path: Path) -> None:
    """Whoever writes pgd=8 for pgd=E would read a robust accuracy that nothing was tried for."""
    suite = Suite(
        (parse_attack("fgs=1"),),
        radii=(parse_radius("8"), parse_radius("25")),
        cascade=("pgd=8+margin", "apgd=E", "apgd-l2=Ex5", "hc1"),
    )
    remarks = evaluator(tmp_path, Settings(seed=1, probe=0, own_suite=suite)).remarks
    sentence = "and so may leave images that an attack within {} breaks: in its text, E stands for"
    assert remarks == tuple(
        f"--cascade: {text} searches within {own}, {sentence.format(radius)} the radius"
        for text, own, radius in (
            ("apgd-l2=8.0x5", "L2 8", "Linf 8"),
            ("pgd=8.0/1.0x40+margin", "Linf 8", "Linf 25"),
            ("apgd-l2=25.0x5", "L2 25", "Linf 25"),
        )
    )


def test_only_an_e_on_its_own_is_the_radius() -> None:
    suite = Suite((parse_attack("fgs=1"),), cascade=("apgd=Ex20r2+CE", "PGD=E/1E0x9r2", "fgs=E"))
    texts = [attack.text for attack in suite.make_cascade(parse_radius("12.5"))]
    assert texts == ["apgd=12.5x20r2", "pgd=12.5/1.0x9r2+fgv", "fgs=12.5"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pgd=E/0.25Ex40+margin", "pgd=8.0/2.0x40+margin"),
        ("pgd=E/0.5Ex40", "pgd=8.0/4.0x40"),
        ("pgd=E/.5Er2", "pgd=8.0/4.0r2"),
        ("pgd=2E/E", "pgd=16.0/8.0"),
        ("apgd=Ex20+CE", "apgd=8.0x20+CE"),
        ("x(most=E, least=1E1, E2=3E-1)", "x(most=8.0, least=1E1, E2=3E-1)"),
        ("pgd=E1", "pgd=E1"),
        ("hc1", "hc1"),
    ],
)
def test_the_radius_and_its_multiples(text: str, expected: str) -> None:
    assert insert_radius(text, 8) == expected


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
    assert parse_radius("l2=300").epsilon == 300
    for text, says in (
        ("0.5/255", r"--within: 0\.5/255 is less than one grey level: no image file"),
        ("l2=0.001of1", r"--within: 0\.001of1 is less than one grey level"),
        ("0.5", r"--within: a radius is in grey levels, .* did you mean 127\.5"),
        ("300", "--within: no pixel changes by more than 255 grey levels"),
    ):
        with pytest.raises(ValueError, match=says):
            read_radii([text])
    texts = [attack.text for attack in make_default_suite(3, extra=[parse_attack("fgs=8")]).attacks]
    assert texts == ["fgs", "margin-s", "fgv", "hc1", "hc2", "fgs=8.0"]
