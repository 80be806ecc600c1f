"""attacks.py: names and what they mean, both ways; names of files; which images are tried."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attack_samples import labels, linear, rows
from caffe_ext.attacks.directions import Direction, FastGradient, HotCold, LogitMargin
from caffe_ext.attacks.pgd import Ball
from caffe_ext.attacks.registry import (
    Attack,
    FixedEpsilon,
    Iterated,
    Minimal,
    attempted,
    parse_attack,
)

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
GREY_LEVELS = st.floats(1e-3, 1e9) | st.integers(1, 255)
BALLS = st.builds(
    Ball,
    norm=st.sampled_from(["linf", "l2"]),
    epsilon=GREY_LEVELS,
    step=GREY_LEVELS,
    iterations=st.integers(1, 999),
    random_start=st.booleans(),
    seed=st.just(11),
)
ATTACKS: st.SearchStrategy[Attack] = st.one_of(
    st.builds(Minimal, DIRECTIONS, st.floats(1, 1e3) | st.integers(1, 9)),
    st.builds(FixedEpsilon, DIRECTIONS, GREY_LEVELS),
    st.builds(Iterated, DIRECTIONS, BALLS),
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
    texts += ["hc1@a:2", "hc1@a/2", "hc1@a,2", "hc1@a 2", "hc1@a%2f2", "hc1@a%2", "hot:7", "hc7"]
    texts += ["hc1-s", "hc1@-s", "bim=8/2x4", "bim=8/2x40", "pgd=8/2x4", "bim-l2=8/2x4"]
    texts += ["bim=8/2x4+hc1@x", "hc1@é", "hc1@Ã©", "fgs", "fgv", "margin", "margin-s"]
    names = [parse_attack(text).file_name for text in texts]
    assert len(set(names)) == len(texts)
    assert parse_attack("hc1*1.05").file_name == "hc1~1.05"
    assert parse_attack("fgs=8").file_name == "fgs=8.0"
    assert parse_attack("hot:7-s@ip1").file_name == "hot7-s@ip1"


@pytest.mark.parametrize(
    ("text", "attack"),
    [
        ("fgs", Minimal(FastGradient(sign=True))),
        ("FGV", Minimal(FastGradient())),
        ("hc1", Minimal(HotCold())),
        ("hc12-s", Minimal(HotCold(rank=12, sign=True))),
        ("hot:0", Minimal(HotCold(target=0))),
        ("hot:7-S", Minimal(HotCold(target=7, sign=True))),
        ("margin-s", Minimal(LogitMargin(sign=True))),
        ("HC1@Conv1", Minimal(HotCold(through="Conv1"))),
        ("hc2@inception_3a/1x1*1.05", Minimal(HotCold(rank=2, through="inception_3a/1x1"), 1.05)),
        ("hc1*1", Minimal(HotCold())),
        ("fgs=8", FixedEpsilon(FastGradient(sign=True), 8)),
        ("fgs=1e1", FixedEpsilon(FastGradient(sign=True), 10)),
        (
            "bim=8",
            Iterated(FastGradient(), Ball(epsilon=8, step=1, iterations=40)),
        ),
        (
            "pgd=32",
            Iterated(
                FastGradient(), Ball(epsilon=32, step=2, iterations=40, random_start=True, seed=3)
            ),
        ),
        (
            "bim-l2=8+margin",
            Iterated(LogitMargin(), Ball(norm="l2", epsilon=8, step=0.5, iterations=40)),
        ),
        (
            "bim=8/2.5x7+hc3@conv1/a",
            Iterated(HotCold(rank=3, through="conv1/a"), Ball(epsilon=8, step=2.5, iterations=7)),
        ),
    ],
)
def test_what_names_mean(text: str, attack: Attack) -> None:
    found = parse_attack(text, seed=3)
    if isinstance(found, Iterated) and not found.ball.random_start:
        found = parse_attack(text)
    assert found == attack


UNKNOWN = """hc fgs-s fgv= hc1* hc1@ hc-1 hot:x hot margin1 bim pgd= pgd=8/2 pgd=8x40 pgd=8+ cw
    pgd=8+pgd=8 hc1*1.05*2 hc1=8*2 bim=-8 fgs=nan pgd=8+margin/2x40"""


@pytest.mark.parametrize("text", ["", "hc1 hc2", *UNKNOWN.split()])
def test_unknown_names_are_answered_with_the_known_ones(text: str) -> None:
    with pytest.raises(ValueError, match=r"^unknown attack '.*'; there are fgs, fgv, margin, hc1"):
        parse_attack(text)


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
        ("bim=8/0x40", "step must be above 0 grey levels, not 0"),
        ("bim=8/1x0", "iterations must be at least 1, not 0"),
    ],
)
def test_numbers_that_make_no_sense(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_attack(text)


def test_names_and_threat_models_tell_what_is_done() -> None:
    for text, name, words in (
        ("hc1*1.05", "HC1 x 1.05", "as little as changes the class, 1.05 times as far"),
        ("fgs", "FGS", "moves all pixels within 0..255 along one direction"),
        ("fgs=8", "FGS, epsilon 8", "the largest change being 8 grey levels"),
        ("pgd=8/2x40", "PGD Linf 8 (FGV)", "each pixel by at most 8 grey levels .* 40 steps of 2"),
        ("bim-l2=400+margin", "BIM L2 400 (margin)", r"the whole image \(L2\) by at most 400"),
    ):
        attack = parse_attack(text)
        assert attack.name == name
        assert re.search(words, attack.threat_model)
        assert "knows the network and its weights" in attack.threat_model


def test_attempted_are_those_that_are_classified_as_their_label() -> None:
    truth, predicted = labels(0, 1, 2, 2), labels(0, 2, 2, 2)
    assert attempted(parse_attack("hc1"), truth, predicted).tolist() == [True, False, True, True]
    assert attempted(parse_attack("hot:2"), truth, predicted).tolist() == [True] + [False] * 3
    assert attempted(parse_attack("hot:0"), truth, predicted).tolist() == [False, False, True, True]
    assert not attempted(parse_attack("pgd=8+hot:0"), truth, predicted)[0]


@pytest.mark.parametrize("text", ["hc1", "hc1*1.5", "margin=30", "bim=30/1x40+margin"])
def test_attacks_find_what_their_parts_find(tmp_path: Path, text: str) -> None:
    classifier = linear(tmp_path, [[0, 0], [1, 0]], [100.5, 0])
    images, which = rows([81, 3], [2, 3]), labels(0, 0)
    attempt = parse_attack(text)(classifier, images, which, np.arange(2))
    near, far = {
        "hc1": (101, 101),
        "hc1*1.5": (111, 150),  # 20 and 99 grey levels, 1.5 times; halves to the even number
        "margin=30": (111, 2),
        "bim=30/1x40+margin": (101, 2),
    }[text]
    assert attempt.result.adversarials[:, 0, 0, 0].tolist() == [near, far]
    assert attempt.result.found.tolist() == [True, far != 2]
    assert attempt.directions.targets.tolist() == [1, 1]


def test_attacks_of_python_without_a_text(tmp_path: Path) -> None:
    class Mine(HotCold):
        pass

    class Other(Direction):
        name = "other"
        omega: Any = None

    assert Minimal(Mine()).text == "hc1"
    with pytest.raises(TypeError, match="no name that can be typed"):
        assert Minimal(Other()).text
