"""evaluation/masking.py: each sign of gradient masking by itself, and its warning."""

from dataclasses import replace

import pytest

from caffe_ext.evaluation.masking import Evidence, NoiseLevel, Probe, clear, find_warnings

SOUND = Evidence(
    images=1000, paper=0.95, strict=0.99, logit=1.0, saturated=0.03, zero_gradient=0.0, unbroken=0.0
)
PROBE = Probe(
    epsilon=32,
    images=991,
    single_loss=0.4,
    single_margin=0.41,
    iterated_loss=0.8,
    iterated_margin=0.82,
)


def signs(evidence: Evidence) -> list[str]:
    return [warning.sign for warning in find_warnings(evidence)]


def test_a_sound_model_gets_no_warning() -> None:
    noise = (NoiseLevel(10, 0.001, 0.02, 100), NoiseLevel(100, 0.2, 1.0, 100))
    assert signs(replace(SOUND, probe=PROBE, noise=noise)) == []


def test_nothing_measured_gives_no_warning() -> None:
    assert signs(Evidence(0, None, None, None, None, None, None)) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"paper": 0.017, "saturated": 0.01}, "paper-below-others"),
        ({"strict": 0.80, "paper": 0.78}, "strict-below-logit"),
        ({"saturated": 0.12}, "saturated-softmax"),
        ({"zero_gradient": 0.213}, "zero-gradient"),
        ({"unbroken": 0.05}, "unbroken"),
        ({"noise": (NoiseLevel(60, 0.12, 0.05, 100),)}, "noise-above-gradient"),
        ({"probe": replace(PROBE, iterated_loss=0.3, iterated_margin=0.34)}, None),
        ({"probe": replace(PROBE, iterated_loss=0.7)}, "iterated-loss-below-margin"),
    ],
)
def test_signs(changes: dict[str, object], expected: str | None) -> None:
    evidence = replace(SOUND, **changes)  # type: ignore[arg-type]
    if expected is None:
        assert signs(evidence) == ["iterated-below-single-loss", "iterated-below-single-margin"]
    else:
        assert expected in signs(evidence)
        assert set(signs(evidence)) <= {expected, "paper-below-others"}


def test_the_gravest_comes_first_and_says_the_numbers() -> None:
    found = find_warnings(
        replace(SOUND, paper=0.017, strict=0.773, saturated=0.96, zero_gradient=0.213)
    )
    assert [one.sign for one in found] == [
        "paper-below-others",
        "strict-below-logit",
        "saturated-softmax",
        "zero-gradient",
    ]
    for number in ("1.7%", "77.3%", "100.0%"):
        assert number in found[0].measured
    assert "96.0%" in found[2].measured
    assert "21.3%" in found[3].measured
    for one in found:
        for text in (one.measured, one.meaning, one.advice):
            assert text[0].isupper()
            assert text.endswith(".")
        assert str(one) == f"{one.measured} {one.meaning} {one.advice}"


def test_the_worst_level_of_noise_is_named() -> None:
    levels = tuple(
        NoiseLevel(*level, images=100)
        for level in ((20, 0.05, 0.01), (40, 0.30, 0.02), (60, 0.5, 0.9))
    )
    (found,) = find_warnings(replace(SOUND, noise=levels))
    assert "40 grey levels" in found.measured
    assert "30.0%" in found.measured


def test_few_images_say_little() -> None:
    probe = replace(PROBE, images=15, iterated_loss=8 / 15, iterated_margin=9 / 15)
    assert signs(replace(SOUND, probe=probe)) == []
    probe = replace(probe, iterated_loss=3 / 15, single_loss=3 / 15)
    assert signs(replace(SOUND, probe=probe)) == ["iterated-loss-below-margin"]
    few = {"paper": 0.0, "strict": 0.5, "saturated": 1.0, "zero_gradient": 1.0, "unbroken": 1.0}
    assert signs(replace(SOUND, images=9, **few)) == []  # type: ignore[arg-type]
    assert len(signs(replace(SOUND, images=10, **few))) == 5  # type: ignore[arg-type]
    assert signs(replace(SOUND, noise=(NoiseLevel(60, 0.12, 0.05, 20),))) == []


def test_from_500_images_on_the_thresholds_alone_decide() -> None:
    assert all(clear(least + 1e-4, least, 500) for least in (0.01, 0.02, 0.05, 0.1))
    assert not any(clear(least, least, 10**6) for least in (0.01, 0.02, 0.05, 0.1))


def test_what_only_attacks_within_a_radius_break_counts_as_unbroken() -> None:
    (found,) = find_warnings(replace(SOUND, unbroken=0.05))
    assert "withstand every attack that was run on all images," in found.measured


def test_one_grey_level() -> None:
    (found,) = find_warnings(replace(SOUND, probe=replace(PROBE, epsilon=1, iterated_loss=0.7)))
    assert found.measured.startswith("Within 1 grey level, on 991 images, BIM breaks 70.0%")
