"""Pictures of adversarials: a contact sheet, and the paper's Figure 1.

contact_sheet   original, perturbation, adversarial of some images; several attacks side by side
                (Figures 2 and 3 of Rozsa, Rudd and Boult, 2016)
figure1         the same images under several models, one row each
                (Figure 1 of Rozsa, Günther and Boult, 2018)

Both return a Pillow image. tiles.py enlarges images and draws perturbations. Arguments are not
changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isnan

from PIL import Image

from caffe_ext.runs.pictures.tiles import (
    EMPTY,
    FAINT,
    INK,
    PAPER,
    Font,
    Picture,
    Pixels,
    add_margin,
    compute_tile_size,
    draw_label,
    draw_tile,
    load_font,
    show_perturbation,
    stack_horizontally,
    stack_vertically,
    wrap,
)

_GAP, _BETWEEN, _MARGIN = 4, 26, 24
_NARROWEST = 124  # what a caption such as (0.912, 12.3, 130) needs
_SHAPE = 1.5  # width to height of a sheet, about
_LEGEND = (
    "Perturbation: grey no change, black −1, white +1; the largest change of each image is "
    "stretched to fill the scale. In brackets: (PASS, L₂ norm per pixel, L∞), the norms in grey "
    "levels of 0..255."
)
_NOTHING_FOUND = "No adversarial was found for these images; they are the originals."
_ORIGINALS = "originals"
_PARTS = "perturbation", "adversarial"


@dataclass(frozen=True, eq=False)
class Adversarial:
    """An adversarial uint8 (C, H, W), its class, and its distance from the original.

    pass_score is NaN for images that are too small for PASS.
    """

    image: Pixels
    class_name: str
    pass_score: float
    l2_per_pixel: float
    linf: float

    @property
    def metrics(self) -> str:
        """Return (PASS, L2 per pixel, Linf), as the 2016 paper shows them below images."""
        score = "–" if isnan(self.pass_score) else f"{self.pass_score:.3f}"
        return f"({score}, {self.l2_per_pixel:.1f}, {self.linf:.0f})"


@dataclass(frozen=True, eq=False)
class Case:
    """An original uint8 (C, H, W), its class, and what each attack found; None: nothing."""

    image: Pixels
    class_name: str
    found: tuple[Adversarial | None, ...]


def draw_contact_sheet(title: str, attacks: Sequence[str], cases: Sequence[Case]) -> Picture:
    """Return originals, perturbations and adversarials as one picture.

    title    of the sheet
    attacks  their names, in the order of the adversarials of each case; one or more
    cases    one or more, images of one size

    Raises ValueError if there are no cases, or if a case has not one entry for each attack.
    """
    if not cases or not attacks or any(len(case.found) != len(attacks) for case in cases):
        raise ValueError("a sheet needs cases, each with one adversarial or None for each attack")
    if len(attacks) == 1:
        title = f"{title}, {attacks[0]}"
    if not any(one for case in cases for one in case.found):
        return _draw_page(
            title, _arrange_in_grid([_draw_original(case) for case in cases]), _NOTHING_FOUND
        )
    if len(attacks) == 1:
        blocks = [_draw_column(case) for case in cases]
        side = _draw_side(("original", *_PARTS), cases[0].image)
    else:
        blocks, side = [_draw_row(case, attacks) for case in cases], None
    return _draw_page(title, _arrange_in_grid(blocks, side), _LEGEND)


def draw_figure1(
    title: str,
    originals: Sequence[tuple[str, Pixels]],
    models: Sequence[tuple[str, Sequence[Adversarial | None]]],
    note: str = "",
) -> Picture:
    """Return raw images on top, and below them a row of adversarials for each model.

    originals  class and image uint8 (C, H, W): the columns
    models     name, and what was found for each of the originals: the rows
    note       text below: classes without a column

    Raises ValueError if there are no columns, or a row has another number of them.
    """
    if not originals or any(len(found) != len(originals) for _, found in models):
        raise ValueError("a figure needs images, and one adversarial or None for each in each row")
    bold = load_font(14, bold=True)
    longest = max(bold.getlength(name) for name in (_ORIGINALS, *(name for name, _ in models)))
    side, width = ceil(min(longest, 180)) + 12, _choose_width(originals[0][1])

    def draw_row(name: str, cells: Sequence[Picture]) -> Picture:
        words = draw_label(wrap(name, side, bold) or [""], side, bold, centred=False)
        return stack_horizontally([words, *cells], 2 * _GAP)

    rows = [
        draw_row("", _draw_names([name for name, _ in originals], width)),
        draw_row(_ORIGINALS, [_centre(draw_tile(image), width) for _, image in originals]),
    ]
    for name, found in models:
        cells = [
            stack_vertically(
                [_draw_adversarial(one, image), _draw_prediction(one, width, load_font(12), FAINT)]
            )
            for one, (_, image) in zip(found, originals, strict=True)
        ]
        rows.append(draw_row(name, cells))
    return _draw_page(title, stack_vertically(rows, 2 * _GAP), note)


def _draw_column(case: Case) -> Picture:
    """Return a case under one attack: original, perturbation, adversarial, captions."""
    (one,), width = case.found, _choose_width(case.image)
    change = f"{case.class_name} → {one.class_name}" if one else case.class_name
    texts = [change] if load_font(bold=True).getlength(change) <= width or not one else []
    texts = texts or [case.class_name, f"→ {one.class_name}" if one else ""]
    captions = draw_label(texts, width, load_font(bold=True))
    parts = [
        draw_tile(case.image),
        _draw_perturbation(one, case.image),
        _draw_adversarial(one, case.image),
        stack_vertically([captions, _draw_caption(one.metrics if one else "", width)]),
    ]
    return stack_vertically(parts, _GAP)


def _draw_row(case: Case, attacks: Sequence[str]) -> Picture:
    """Return a case under several attacks: original | perturbation over adversarial for each."""
    width = _choose_width(case.image)
    columns = []
    titles = [wrap(attack, width, load_font(12)) for attack in attacks]
    most = max(map(len, titles))
    for lines, one in zip(titles, case.found, strict=True):
        texts = stack_vertically(
            [
                _draw_prediction(one, width, load_font(bold=True), INK),
                _draw_caption(one.metrics if one else "", width),
            ]
        )
        pictures = [_draw_perturbation(one, case.image), _draw_adversarial(one, case.image)]
        title = draw_label([""] * (most - len(lines)) + lines, width, load_font(12), FAINT)
        columns.append(stack_vertically([title, *pictures, texts], _GAP))
    side = stack_vertically(
        [Image.new("RGB", (1, title.height), PAPER), _draw_side(_PARTS, case.image)], _GAP, 0
    )
    original = _draw_original(case)
    # At the height of the two rows, not in the middle of titles and captions.
    centre = title.height + _GAP + compute_tile_size(*case.image.shape[1:])[0] + _GAP // 2
    top = max(0, centre - original.height // 2)
    lowered = stack_vertically([Image.new("RGB", (1, top), PAPER), original])
    return stack_horizontally([lowered, side, *columns], 2 * _GAP, align=0)


def _draw_original(case: Case) -> Picture:
    """Return an original over the name of its class."""
    width, face = _choose_width(case.image), load_font(bold=True)
    name = draw_label(wrap(case.class_name, width, face), width, face)
    return stack_vertically([draw_tile(case.image), name], _GAP)


def _draw_side(texts: Sequence[str], image: Pixels) -> Picture:
    """Return the labels of the rows of tiles, each centred on its row."""
    height = compute_tile_size(*image.shape[1:])[0]
    width = ceil(max(load_font(12).getlength(text) for text in texts)) + 2
    rows = []
    for text in texts:
        row = Image.new("RGB", (width, height), PAPER)
        words = draw_label([text], width, load_font(12), FAINT)
        row.paste(words, (0, (height - words.height) // 2))
        rows.append(row)
    return stack_vertically(rows, _GAP)


def _draw_names(names: Sequence[str], width: int) -> list[Picture]:
    """Return the names of columns, each with as many lines as the longest needs."""
    face = load_font(14, bold=True)
    lines = [wrap(name, width, face) for name in names]
    most = max(map(len, lines))
    return [draw_label([""] * (most - len(one)) + one, width, face) for one in lines]


def _draw_adversarial(one: Adversarial | None, original: Pixels) -> Picture:
    """Return the tile of an adversarial, or an empty tile that says that there is none."""
    return draw_tile(one.image) if one else _draw_empty_tile(original, "none found")


def _draw_perturbation(one: Adversarial | None, original: Pixels) -> Picture:
    """Return the tile of a perturbation."""
    return (
        draw_tile(show_perturbation(one.image, original)) if one else _draw_empty_tile(original, "")
    )


def _draw_empty_tile(original: Pixels, text: str) -> Picture:
    """Return an empty tile of an image's size with a centred text."""
    height, width = compute_tile_size(*original.shape[1:])
    empty = Image.new("RGB", (width, height), EMPTY)
    if text:
        words = draw_label([text], min(width, 80), load_font(), FAINT, paper=EMPTY)
        empty.paste(words, ((width - words.width) // 2, (height - words.height) // 2))
    return empty


def _draw_prediction(one: Adversarial | None, width: int, face: Font, colour: str) -> Picture:
    """Return the class of an adversarial, in one line or two."""
    lines = wrap(f"→ {one.class_name}" if one else "", width, face) or [""]
    return draw_label([lines[0], *filter(None, [" ".join(lines[1:])])], width, face, colour)


def _draw_caption(text: str, width: int) -> Picture:
    """Return a line in grey."""
    return draw_label([text], width, load_font(12), FAINT)


def _choose_width(image: Pixels) -> int:
    """Return the width of the column of an image: its tile's, or what captions need."""
    return max(compute_tile_size(*image.shape[1:])[1], _NARROWEST)


def _centre(picture: Picture, width: int) -> Picture:
    """Return a picture in the middle of a column."""
    return stack_vertically([picture, Image.new("RGB", (width, 1), "white")])


def _arrange_in_grid(blocks: Sequence[Picture], side: Picture | None = None) -> Picture:
    """Return blocks in as many columns as give the sheet a suitable shape.

    side  shown in front of each row of blocks
    """
    before = [] if side is None else [side]
    width = max(block.width for block in blocks) + _BETWEEN
    height = max(block.height for block in blocks) + _BETWEEN

    def measure_distance_to_square(columns: int) -> float:
        rows = ceil(len(blocks) / columns)
        shape = columns * width / (rows * height)
        holes = columns * rows / len(blocks)
        return max(shape / _SHAPE, _SHAPE / shape) * holes**2

    columns = min(range(1, len(blocks) + 1), key=measure_distance_to_square)
    lines = [
        stack_horizontally([*before, *blocks[start : start + columns]], _BETWEEN, align=0)
        for start in range(0, len(blocks), columns)
    ]
    return stack_vertically(lines, _BETWEEN, align=0)


def _draw_page(title: str, content: Picture, legend: str) -> Picture:
    """Return a picture with a title above, a legend below, and a margin."""
    width = max(content.width, 420)
    parts = [
        draw_label(wrap(title, width, load_font(20, bold=True)), width, load_font(20, bold=True))
    ]
    parts.append(content)
    if legend:
        parts.append(draw_label(wrap(legend, width, load_font(12)), width, load_font(12), FAINT))
    return add_margin(stack_vertically(parts, 16), _MARGIN)
