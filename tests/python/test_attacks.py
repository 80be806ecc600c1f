"""attacks/registry.py: names and their meaning; file names; which images are attacked."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attack_samples import labels, linear, rows
from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.budget import PerturbationBudget, parse_distance, show_distance
from caffe_ext.attacks.criteria import Misclassification
from caffe_ext.attacks.directions import Direction, FastGradient, HotCold, LogitMargin
from caffe_ext.attacks.minimum_norm import MinimumNormAttack, SingleStep
from caffe_ext.attacks.pgd import ProjectedGradient
from caffe_ext.attacks.registry import parse_attack

pytestmark = pytest.mark.any_device

# Of blobs; "*", "=" and "+" have a meaning of their own in the name of an attack.
BLOBS = st.none() | st.text(min_size=1).filter(
    lambda text: not set(text) & set("*=+") and text == text.strip()
)
COMMON = {"sign": st.booleans(), "through": BLOBS}
DIRECTIONS: st.SearchStrategy[Direction] = st.one_of(
    st.builds(FastGradient, **COMMON),
    st.builds(HotCold, rank=st.integers(1, 999), **COMMON),
    st.builds(HotCold, target=st.integers(0, 999), **COMMON),
    st.builds(LogitMargin, **COMMON),
)
GREY_LEVELS = st.floats(1, 255) | st.integers(1, 255)
BUDGETS = st.builds(PerturbationBudget, st.sampled_from(["linf", "l2"]), GREY_LEVELS)
ATTACKS: st.SearchStrategy[Attack] = st.one_of(
    st.builds(MinimumNormAttack, DIRECTIONS, st.floats(1, 1e3) | st.integers(1, 9)),
    st.builds(SingleStep, DIRECTIONS, GREY_LEVELS),
    st.builds(
        ProjectedGradient,
        DIRECTIONS,
        BUDGETS,
        step=st.floats(1e-3, 1e9) | st.integers(1, 255),
        iterations=st.integers(1, 999),
        random_start=st.booleans(),
        start_seed=st.just(11),
    ),
)


@given(ATTACKS)
def test_a_text_and_back(attack: Attack) -> None:
    again = parse_attack(attack.text, seed=11)
    assert again == attack
    assert again.text == attack.text
    assert type(again) is type(attack)
    assert parse_attack(f"  {attack.text}\n", seed=11) == attack


@given(ATTACKS)
def test_names_of_files_are_plain(attack: Attack) -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.@=+~%_-")
    assert set(attack.file_name) <= allowed
    assert attack.file_name[0].isalpha()


@given(st.lists(ATTACKS, min_size=2, max_size=8))
def test_no_two_attacks_share_a_file(attacks: list[Attack]) -> None:
    assert len({attack.file_name for attack in attacks}) == len({a.text for a in attacks})


def test_names_of_files_that_are_easily_the_same() -> None:
    texts = ["hc1*1.05", "hc1=1.05", "hc1@1.05", "hc1@a*2", "hc1@a=2", "hc1@a~2.0", "hc1@a_2.0"]
    texts += [
        "hc1@a:2",
        "hc1@a(2",
        "hc1@a(2)",
        "hc1@a/2",
        "hc1@a,2",
        "hc1@a 2",
        "hc1@a%2f2",
        "hc1@a%2",
        "hot:7",
        "hc7",
    ]
    texts += ["hc1-s", "hc1@-s", "bim=8/2x4", "bim=8/2x40", "pgd=8/2x4", "bim-l2=8/2x4"]
    texts += ["bim=8/2x4+hc1@x", "hc1@é", "hc1@Ã©", "fgs", "fgv", "margin", "margin-s"]
    names = [parse_attack(text).file_name for text in texts]
    assert len(set(names)) == len(texts)
    assert parse_attack("hc1*1.05").file_name == "hc1~1.05"
    assert parse_attack("fgs=8").file_name == "fgs=8.0"
    assert parse_attack("hot:7-s@ip1").file_name == "hot7-s@ip1"


def iterated(
    direction: Direction, epsilon: float, step: float, iterations: int, **given: Any
) -> ProjectedGradient:
    budget = PerturbationBudget(given.pop("norm", "linf"), epsilon)
    return ProjectedGradient(direction, budget, step, iterations, **given)


@pytest.mark.parametrize(
    ("text", "attack"),
    [
        ("fgs", MinimumNormAttack(FastGradient(sign=True))),
        ("FGV", MinimumNormAttack(FastGradient())),
        ("hc1", MinimumNormAttack(HotCold())),
        ("hc12-s", MinimumNormAttack(HotCold(rank=12, sign=True))),
        ("hot:0", MinimumNormAttack(HotCold(target=0))),
        ("hot:7-S", MinimumNormAttack(HotCold(target=7, sign=True))),
        ("margin-s", MinimumNormAttack(LogitMargin(sign=True))),
        ("HC1@Conv1", MinimumNormAttack(HotCold(through="Conv1"))),
        (
            "hc2@inception_3a/1x1*1.05",
            MinimumNormAttack(HotCold(rank=2, through="inception_3a/1x1"), 1.05),
        ),
        ("hc1*1", MinimumNormAttack(HotCold())),
        ("fgs=8", SingleStep(FastGradient(sign=True), 8)),
        ("fgs=1e1", SingleStep(FastGradient(sign=True), 10)),
        ("fgs=8/255", SingleStep(FastGradient(sign=True), 8)),
        ("bim=8", iterated(FastGradient(), 8, 1, 40)),
        ("pgd=32", iterated(FastGradient(), 32, 2, 40, random_start=True, start_seed=3)),
        ("bim-l2=8+margin", iterated(LogitMargin(), 8, 0.5, 40, norm="l2")),
        ("bim=8/255/2/255x9", iterated(FastGradient(), 8, 2, 9)),
        ("bim=0.2of1/0.01of1x9", iterated(FastGradient(), 51, 2.55, 9)),
        ("bim=8/255.0x9", iterated(FastGradient(), 8, 255, 9)),
        ("bim=8/255/255x9", iterated(FastGradient(), 8, 255, 9)),
        (
            "bim=8/2.5x7+hc3@conv1/a",
            iterated(HotCold(rank=3, through="conv1/a"), 8, 2.5, 7),
        ),
    ],
)
def test_what_names_mean(text: str, attack: Attack) -> None:
    found = parse_attack(text, seed=3)
    if isinstance(found, ProjectedGradient) and not found.random_start:
        found = parse_attack(text)
    assert found == attack


UNKNOWN = """hc fgs-s fgv= hc1* hc1@ hc-1 hot:x hot margin1 pgd= pgd=8/2 pgd=8x40 pgd=8+ cw
    pgd=8+pgd=8 hc1*1.05*2 hc1=8*2 bim=-8 fgs=nan pgd=8+margin/2x40"""


@pytest.mark.parametrize("text", ["", "hc1 hc2", *UNKNOWN.split()])
def test_unknown_names_are_answered_with_the_known_ones(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^unknown attack '.*'.*; known attacks:\n  fgs, fgv, margin, hc1"
    ) as refused:
        parse_attack(text)
    assert max(map(len, str(refused.value).splitlines())) <= 100


@pytest.mark.parametrize(
    ("text", "meant"), [("fgsm", "fgs"), ("dpg=8", "pgd"), ("minimal-l1", "minimal-l2 or minimal")]
)
def test_what_was_probably_meant(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown attack '{text}' \(did you mean {meant}"):
        parse_attack(text)


@pytest.mark.parametrize(
    ("text", "begins", "rest"),
    [
        ("apgd=8+dlrt", "apgd=8", "+dlrt"),
        ("pgd=-3", "pgd", "=-3"),
        ("fgs=8/3", "fgs=8", "/3"),
        ("pgd=8/2x40+margn", "pgd=8/2x40", "+margn"),
    ],
)
def test_the_part_that_is_unknown_is_named(text: str, begins: str, rest: str) -> None:
    with pytest.raises(ValueError, match=r"^unknown attack") as refused:
        parse_attack(text)
    first = str(refused.value).splitlines()[0]
    assert first == (
        f"unknown attack {text!r} ({begins} is known, {rest!r} is not); known attacks:"
    )


@pytest.mark.parametrize("name", ["bim", "pgd", "apgd", "fab", "square", "autoattack"])
def test_a_radius_is_missing(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} needs a radius, e.g. {name}=8 or {name}=8/255$"):
        parse_attack(name)
    with pytest.raises(ValueError, match=f"^{name}-l2 needs a radius, e.g. {name}-l2=400 or "):
        parse_attack(f"{name}-l2")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hc0", "rank of the hot class must be at least 1, not 0"),
        ("hc1*0.5", "scale of a hard positive must be from 1 to 1,000,000, not 0.5"),
        ("hc1*1e308", "scale of a hard positive must be from 1 to 1,000,000, not 1e.308"),
        ("hc1*1e999", "scale of a hard positive must be from 1 to 1,000,000, not inf"),
        ("fgs=0", "epsilon must be above 0 grey levels, not 0"),
        ("fgs=1e999", "epsilon must be above 0 grey levels, not inf"),
        ("bim=0", "epsilon must be above 0 grey levels, not 0"),
        ("pgd=0.3", r"did you mean 76\.5 \(0\.3 of 1\)\?.* 76\.5, 76\.5/255 or 0\.3of1"),
        ("fgs=0.1", r"did you mean 25\.5 \(0\.1 of 1\)\?"),
        ("pgd=0.5/255", r"0\.5/255 is less than one grey level: no image file can hold such a"),
        ("apgd=0.001of1", "0.001of1 is less than one grey level"),
        ("pgd=300", "no pixel changes by more than 255 grey levels, and 300 are asked for"),
        ("fgs=300", "no pixel changes by more than 255"),
        ("bim=8/0x40", "step must be above 0 grey levels, not 0"),
        ("pgd=8/255x40", "^pgd=8/255x40: did you mean pgd=8/255/STEPx40, within 8/255[?]"),
        ("bim=0.5/255x9r2+margin", "did you mean bim=0.5/255/STEPx9, within 0.5/255[?]"),
        ("PGD-L2=128/255x20", "did you mean PGD-L2=128/255/STEPx20, within 128/255[?]"),
        ("bim=8/1x0", "iterations must be a whole number, 1 or more, not 0"),
    ],
)
def test_numbers_that_make_no_sense(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_attack(text)


def test_names_and_threat_models_tell_what_is_done() -> None:
    for text, name, words in (
        ("hc1*1.05", "HC1 x 1.05", "as little as makes the image adversarial, 1.05 times as far"),
        ("fgs", "FGS", "moves all pixels within 0..255 along one direction"),
        ("fgs=8", "FGS, epsilon 8", r"the largest change being 8 grey levels \(0.0314 of 1\)"),
        ("pgd=8/2x40", "PGD Linf 8, 40 x 2 (loss)", "each pixel by at most 8 .* 40 steps of 2"),
        (
            "bim-l2=400+margin",
            "BIM L2 400, 40 x 25 (margin)",
            r"the whole image \(L2\) by at most 400",
        ),
    ):
        attack = parse_attack(text)
        assert attack.name == name
        assert re.search(words, attack.threat_model)
        assert "knows the network and its weights" in attack.threat_model


def test_images_with_the_attack_s_own_target_are_left_out() -> None:
    truth = labels(0, 1, 2, 2)
    for text, expected in (
        ("hc1", [True] * 4),
        ("hot:2", [True, True, False, False]),
        ("hot:0=8", [False, True, True, True]),
        ("pgd=8+hot:0", [False, True, True, True]),
    ):
        assert parse_attack(text).find_applicable(truth).tolist() == expected


def test_distances_in_both_units() -> None:
    assert parse_distance("8") == parse_distance("8/255") == 8
    assert parse_distance("0.5of1") == 127.5
    assert show_distance(8) == "8 grey levels (0.0314 of 1)"
    for text in ("", "8/256", "of1", "8 of 2", "-1", "nan"):
        with pytest.raises(ValueError, match="a distance must be in grey levels"):
            parse_distance(text)


@pytest.mark.parametrize("text", ["hc1", "hc1*1.5", "margin=30", "bim=30/1x40+margin"])
def test_attacks_find_what_their_parts_find(tmp_path: Path, text: str) -> None:
    classifier = linear(tmp_path, [[0, 0], [1, 0]], [100.5, 0])
    images, which = rows([81, 3], [2, 3]), labels(0, 0)
    found = parse_attack(text).run(classifier, images, Misclassification(which), np.arange(2))
    near, far = {
        "hc1": (101, 101),
        "hc1*1.5": (111, 150),  # 20 and 99 grey levels, 1.5 times; halves to the even number
        "margin=30": (111, 2),
        "bim=30/1x40+margin": (101, 2),
    }[text]
    assert found.adversarials[:, 0, 0, 0].tolist() == [near, far]
    assert found.found.tolist() == [True, far != 2]
    assert found.diagnostics is not None
    assert found.diagnostics.targets.tolist() == [1, 1]


def test_a_step_between_grey_levels_is_rounded_down_and_says_so(tmp_path: Path) -> None:
    """Rounded to the nearest, a change of 25.5 would be 26, beyond what was asked for."""
    model = linear(tmp_path, [[0, 0], [0.02, 0.01]], [0, -3.2])
    images = rows([100, 101])
    for text in ("fgs=25.5", "margin-s=25.5", "fgv=25.5"):
        attack = parse_attack(text)
        found = attack.run(model, images, Misclassification(labels(0)), np.arange(1))
        assert found.found.all()
        assert abs(found.adversarials.astype(int) - images).max() == 25
        assert f"{text}: image files hold whole grey levels" in attack.remarks[0]
        assert "being 25 grey levels" in attack.threat_model
    assert parse_attack("fgs=25").remarks == ()


def test_a_radius_is_a_number() -> None:
    for text in ("apgd(epsilon='8')", "fab(epsilon=True)", "square(epsilon=None)"):
        with pytest.raises(ValueError, match=r"epsilon must be a number of grey levels, not"):
            parse_attack(text)
