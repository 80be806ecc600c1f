"""Contact sheets and figure 1: the figures show the right pixels and change nothing."""

from collections.abc import Iterable
from math import nan
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from caffe_ext.runs.pictures.images import FinishedAttack, choose_rows, describe_unshown_classes
from caffe_ext.runs.pictures.sheet import Adversarial, Case, draw_contact_sheet, draw_figure1
from caffe_ext.runs.pictures.tiles import (
    EMPTY,
    FAINT,
    compute_tile_size,
    draw_label,
    draw_tile,
    load_font,
    show_perturbation,
    transliterate,
    truncate,
    wrap,
)
from caffe_ext.runs.titles import make_titles_distinct, split_title

Pixels = NDArray[np.uint8]
RANDOM = np.random.default_rng(0)


def image(*shape: int) -> Pixels:
    return RANDOM.integers(0, 256, shape, np.uint8)


def found(pixels: Pixels, name: str = "2") -> Adversarial:
    return Adversarial(pixels, name, 0.9123, 12.34, 130)


def places(picture: Image.Image, part: Image.Image) -> list[tuple[int, int]]:
    """Return (left, top) wherever a picture holds a part, pixel by pixel."""
    errors = cv2.matchTemplate(np.asarray(picture), np.asarray(part), cv2.TM_SQDIFF)
    height, width = part.height, part.width
    return [
        (int(left), int(top))
        for top, left in np.argwhere(errors < 1)
        if np.array_equal(
            np.asarray(picture)[top : top + height, left : left + width], np.asarray(part)
        )
    ]


def place(picture: Image.Image, part: Image.Image) -> tuple[int, int]:
    (only,) = places(picture, part)
    return only


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_grow_pixel_by_pixel(channels: int) -> None:
    pixels = image(channels, 28, 14)
    before = pixels.copy()
    shown = np.asarray(draw_tile(pixels))
    assert shown.shape == (140, 70, 3)
    rgb = np.broadcast_to(pixels, (3, 28, 14)).transpose(1, 2, 0)
    assert np.array_equal(shown, rgb.repeat(5, axis=0).repeat(5, axis=1))
    assert np.array_equal(pixels, before)


def test_large_images_shrink_by_averages() -> None:
    pixels = image(3, 416, 208)
    shown = np.asarray(draw_tile(pixels))
    assert shown.shape == (208, 104, 3)
    means = pixels.reshape(3, 208, 2, 104, 2).mean(axis=(2, 4)).transpose(1, 2, 0)
    assert np.abs(shown - means).max() <= 1  # rounded twice
    assert compute_tile_size(150, 100) == (150, 100)
    assert compute_tile_size(3000, 2) == (208, 1)


def test_perturbation() -> None:
    original = np.full((1, 2, 2), 100, np.uint8)
    changed = np.array([[[100, 110], [90, 105]]], np.uint8)
    assert show_perturbation(changed, original).tolist() == [[[128, 255], [0, 191]]]
    assert set(show_perturbation(original, original).flat) == {128}
    far = show_perturbation(np.full((3, 1, 1), 255, np.uint8), np.zeros((3, 1, 1), np.uint8))
    assert far.tolist() == [[[255]]] * 3


def test_text_fits() -> None:
    face = load_font(13)
    assert truncate("goldfish", 200, face) == "goldfish"
    short = truncate("loggerhead, loggerhead turtle, Caretta caretta", 90, face)
    assert short.endswith("…")
    assert face.getlength(short) <= 90
    lines = wrap("a line that is longer than it may be " + "x" * 60, 100, face)
    assert all(face.getlength(line) <= 100 for line in lines)
    assert wrap("", 100, face) == []
    assert wrap("quick_bang_iter_10500", 100, face) == ["quick_bang_", "iter_10500"]
    long = "x" * 40
    (one,), (other,) = (wrap(f"{long}{end}", 100, face) for end in "12")
    assert (one[-1], other[-1]) == ("1", "2")
    assert "…" in one


def test_metrics() -> None:
    assert found(image(1, 2, 2)).metrics == "(0.912, 12.3, 130)"
    assert Adversarial(image(1, 2, 2), "2", nan, 1, 2).metrics == "(–, 1.0, 2)"


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 120, 90), (3, 260, 300)])
def test_one_attack(shape: tuple[int, ...]) -> None:
    pairs = [(image(*shape), image(*shape)) for _ in range(5)]
    before = [(x.copy(), y.copy()) for x, y in pairs]
    cases = [Case(x, "goldfish", (found(y, "starfish"),)) for x, y in pairs]
    sheet = draw_contact_sheet("A model", ["HC1"], cases)
    for x, y in pairs:
        left, top = place(sheet, draw_tile(x))
        middle = place(sheet, draw_tile(show_perturbation(y, x)))
        below = place(sheet, draw_tile(y))
        assert left == middle[0] == below[0]
        assert top < middle[1] < below[1]
    assert all(
        np.array_equal(new, old)
        for a, b in zip(pairs, before, strict=True)
        for new, old in zip(a, b, strict=True)
    )


def test_several_attacks() -> None:
    x, y, z = (image(1, 28, 28) for _ in range(3))
    sheet = draw_contact_sheet(
        "A model", ["FGS", "FGV", "HC1"], [Case(x, "7", (found(y), None, found(z)))]
    )
    original = place(sheet, draw_tile(x))
    columns = []
    for adversarial in (y, z):
        above = place(sheet, draw_tile(show_perturbation(adversarial, x)))
        below = place(sheet, draw_tile(adversarial))
        assert above[0] == below[0]
        assert above[1] < original[1] < below[1]
        columns.append(below[0])
    assert original[0] < columns[0] < columns[1]
    other = draw_contact_sheet(
        "A model", ["FGS", "FGV", "HC1"], [Case(x, "7", (found(y), None, None))]
    )
    assert places(other, draw_tile(z)) == []
    assert other.size == sheet.size


@pytest.mark.parametrize("attacks", [["HC1"], ["FGS", "HC1"]])
def test_where_nothing_is_found_only_originals_are_shown(attacks: list[str]) -> None:
    """Without empty tiles, and without the legend of perturbations."""
    x, y = image(1, 28, 28), image(1, 28, 28)
    nothing = (None,) * len(attacks)
    sheet = draw_contact_sheet("A model", attacks, [Case(x, "7", nothing), Case(y, "2", nothing)])
    assert place(sheet, draw_tile(x))[1] == place(sheet, draw_tile(y))[1]
    assert places(sheet, Image.new("RGB", (140, 140), EMPTY)) == []
    says = "No adversarial was found for these images; they are the originals."
    (line,) = wrap(says, 420, load_font(12))
    assert places(sheet, draw_label([line], 420, load_font(12), FAINT))


def test_what_stands_below() -> None:
    x, y = image(1, 28, 28), image(1, 28, 28)

    def sheet(**changes: object) -> bytes:
        settings = {"class_name": "2", "pass_score": 0.5, "l2_per_pixel": 3.0, "linf": 9.0}
        one = Adversarial(y, **(settings | changes))  # type: ignore[arg-type]
        return draw_contact_sheet("A model", ["HC1"], [Case(x, "7", (one,))]).tobytes()

    plain = sheet()
    assert sheet() == plain
    for change in ({"class_name": "3"}, {"pass_score": 0.6}, {"l2_per_pixel": 4}, {"linf": 8}):
        assert sheet(**change) != plain


def test_many_images_make_a_sheet_of_pleasant_shape() -> None:
    for count in (1, 2, 7, 12):
        cases = [Case(image(1, 28, 28), "7", (found(image(1, 28, 28)),)) for _ in range(count)]
        sheet = draw_contact_sheet("A model", ["HC1"], cases)
        assert 0.5 < sheet.width / sheet.height < 3.5


def test_figure1() -> None:
    raw = [("7", image(1, 28, 28)), ("2", image(1, 28, 28))]
    plain, bang = ([found(image(1, 28, 28)) for _ in raw] for _ in range(2))
    figure = draw_figure1("HC1", raw, [("LeNet", plain), ("LeNet with BANG", [bang[0], None])])
    (first, top), (second, same) = (place(figure, draw_tile(x)) for _, x in raw)
    assert top == same
    assert first < second
    rows = [place(figure, draw_tile(one.image)) for one in (plain[0], bang[0])]
    assert [left for left, _ in rows] == [first, first]
    assert top < rows[0][1] < rows[1][1]
    assert place(figure, draw_tile(plain[1].image)) == (second, rows[0][1])
    assert places(figure, draw_tile(bang[1].image)) == []
    noted = draw_figure1("HC1", raw, [("LeNet", plain)], "Not shown: class 8.")
    assert noted.height > draw_figure1("HC1", raw, [("LeNet", plain)]).height


def test_rows_are_labelled() -> None:
    """Beside the tiles of each row stands what it shows."""
    x, y = image(1, 28, 28), image(1, 28, 28)
    one = draw_contact_sheet("A model", ["HC1"], [Case(x, "7", (found(y),))])
    two = draw_contact_sheet("A model", ["HC1", "FGS"], [Case(x, "7", (found(y), found(y)))])
    face = load_font(12)
    for sheet, rows in (
        (one, {"original": x, "perturbation": show_perturbation(y, x), "adversarial": y}),
        (two, {"perturbation": show_perturbation(y, x), "adversarial": y}),
    ):
        width = max(map(face.getlength, rows))
        for text, pixels in rows.items():
            words = draw_label([text], int(-(-width // 1)) + 2, face, FAINT)
            (left, top), *_ = places(sheet, words)
            assert left + words.width <= min(place[0] for place in places(sheet, draw_tile(pixels)))
            middles = [
                below + draw_tile(pixels).height / 2
                for _, below in places(sheet, draw_tile(pixels))
            ]
            assert min(abs(top + words.height / 2 - middle) for middle in middles) <= 1


def test_long_names_of_attacks_are_told_apart() -> None:
    x, y = image(1, 28, 28), image(1, 28, 28)
    names = [f"PGD Linf 25.5, 40 x {step} (margin)" for step in ("1.59375", "2")]
    both = [
        draw_contact_sheet("A model", ["HC1", name], [Case(x, "7", (found(y),) * 2)])
        for name in names
    ]
    assert both[0].tobytes() != both[1].tobytes()
    for name in names:
        assert " ".join(wrap(name, 136, load_font(12))) == name  # nothing is cut off


def test_letters_that_the_font_lacks() -> None:
    face = load_font(13)
    assert transliterate("naïve кошка → L₂ ∞", face) == "naïve кошка → L₂ ∞"
    assert transliterate("ネコ 고양이", face) == "neko goyangi"
    assert transliterate("猫", face) == "U+732B"
    assert wrap("ネコ 고양이", 200, face) == ["neko goyangi"]
    assert draw_label(["ネコ"], 90, face).tobytes() == draw_label(["neko"], 90, face).tobytes()


def test_titles() -> None:
    named = [("PGD", "pgd=8"), ("PGD", "pgd=16"), ("HC1", "hc1"), ("PGD", "pgd=8")]
    assert make_titles_distinct(named) == ["PGD [pgd=8]", "PGD [pgd=16]", "HC1", "PGD [pgd=8]"]
    assert split_title("PGD Linf 25.5, 40 x 2 (margin)") == ["PGD Linf 25.5,", "40 x 2 (margin)"]
    assert split_title("HC1") == ["HC1"]
    assert max(map(len, split_title("x" * 50))) == 20


def test_classes_without_a_column_are_named() -> None:
    attack = finished_attack(labels=(0, 1, 1, 3), classes=("a", "b", "c", "d", "e"))
    assert describe_unshown_classes(attack, np.array([0, 1])) == (
        "Not shown: classes c, d, e, of which there is no image that all models classify correctly."
    )
    assert describe_unshown_classes(attack, np.array([0, 1, 3])).startswith(
        "Not shown: classes c, e,"
    )
    everything = finished_attack(labels=(0, 1), classes=())
    assert describe_unshown_classes(everything, np.array([0, 1])) == ""
    many = finished_attack(labels=range(43), classes=())
    assert describe_unshown_classes(many, np.arange(10)) == "10 of 43 classes are shown."
    unlabelled = finished_attack(labels=(0, 3), classes=(), labelled=False)
    assert describe_unshown_classes(unlabelled, np.array([0])) == ""


def finished_attack(
    labels: Iterable[int], classes: tuple[str, ...], *, labelled: bool = True
) -> FinishedAttack:
    """Return what pictures need of an attack: labels and names of classes."""
    numbers = np.array(list(labels))
    described = SimpleNamespace(
        classes=classes,
        name_class=lambda number: classes[number] if number < len(classes) else str(number),
    )
    records = SimpleNamespace(labels=numbers, predicted=numbers)
    run = SimpleNamespace(labelled=labelled)
    return FinishedAttack(described, run, records)  # type: ignore[arg-type]


def test_no_class_gets_a_second_column_before_all_have_one() -> None:
    labels = np.array([0, 0, 0, 1, 2, 1])
    everything = np.ones(6, np.bool_)
    assert choose_rows(everything, everything, labels, 2).tolist() == [0, 3]
    found_ = np.array([False, True, False, True, False, False])
    assert choose_rows(everything, found_, labels, 3).tolist() == [1, 3, 4]


def test_refused() -> None:
    case = Case(image(1, 28, 28), "7", (None,))
    for attacks, cases in ((["HC1"], []), ([], [case]), (["HC1", "FGS"], [case])):
        with pytest.raises(ValueError, match="one adversarial or None for each attack"):
            draw_contact_sheet("A model", attacks, cases)
    with pytest.raises(ValueError, match="a figure needs images"):
        draw_figure1("HC1", [], [])
    with pytest.raises(ValueError, match="a figure needs images"):
        draw_figure1("HC1", [("7", image(1, 28, 28))], [("LeNet", [])])
