"""Parts of a picture: images scaled to a legible size, and text.

Images are uint8 (C, H, W), C 1 (grey) or 3 (RGB), and are only read.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.font_manager import get_font
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

Pixels = NDArray[np.uint8]
Font = ImageFont.FreeTypeFont
Picture = Image.Image

PAPER, INK, FAINT, EMPTY = "#ffffff", "#1f1f1f", "#6b6b6b", "#f1f1f1"
_SMALL, _LARGE = 80, 208
_GOOD = 136
_LEFT_TO_RIGHT = "\u200e"


def compute_tile_size(height: int, width: int) -> tuple[int, int]:
    """Return (height, width) of an image's tile.

    Small images grow by a whole number, to about 136 pixels; large ones shrink to 208; those
    between stay as they are.
    """
    side = max(height, width)
    if side <= _SMALL:
        factor = max(1, round(_GOOD / side))
        return factor * height, factor * width
    if side <= _LARGE:
        return height, width
    return max(1, round(height * _LARGE / side)), max(1, round(width * _LARGE / side))


def draw_tile(image: Pixels) -> Picture:
    """Return an image as its tile: enlarged pixel by pixel, or shrunk by averaging."""
    height, width = compute_tile_size(*image.shape[1:])
    picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    method = Image.Resampling.NEAREST if height >= image.shape[1] else Image.Resampling.BOX
    return picture.convert("RGB").resize((width, height), method)


def show_perturbation(adversarial: Pixels, original: Pixels) -> Pixels:
    """Return the change d of an image as an image: grey where there is no change.

        round(127.5 + 127.5 d / max |d|)        black: -1, white: +1

    The largest change fills the scale, so pictures cannot be compared in size of change.
    """
    change = adversarial.astype(np.float64) - original
    largest = np.abs(change).max(initial=0)
    return np.asarray(np.rint(127.5 + 127.5 * change / max(largest, 1)), np.uint8)


@cache
def load_font(size: int = 13, *, bold: bool = False) -> Font:
    """Return DejaVu Sans, which comes with matplotlib and has arrows and the sign of infinity."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / name), size)


def transliterate(text: str, face: Font) -> str:
    """Return a text in characters that a font has: others are written in Latin letters.

    A letter or syllable becomes the last word of its Unicode name: "ネ" (KATAKANA LETTER NE), "ne".
    Characters without such a name, such as Chinese ones, become their number, "U+732B".
    """
    return "".join(char if _has_glyph(char, face) else _to_latin(char) for char in text).strip()


def _has_glyph(char: str, face: Font) -> bool:
    return not char.isprintable() or ord(char) in _read_characters(str(face.path))


@cache
def _read_characters(path: str) -> frozenset[int]:
    """Return the code points that a font file has glyphs for."""
    return frozenset(get_font(path).get_charmap())


def _to_latin(char: str) -> str:
    name = unicodedata.name(char, "")
    if re.search(r" (LETTER|SYLLABLE|VOWEL SIGN) ", f"{name} "):
        return name.split()[-1].lower()
    return "" if unicodedata.combining(char) else f"U+{ord(char):04X} "


def truncate(text: str, width: float, face: Font) -> str:
    """Return a line of text, cut off so that it is no wider than `width` pixels."""
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip(" ,") + "…"


def wrap(text: str, width: float, face: Font) -> list[str]:
    """Return text as lines no wider than `width` pixels.

    Long words are broken after "_", "-" or "/"; words without these are shortened in the middle.
    """
    lines: list[str] = []
    for word in transliterate(text, face).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines += _split_word(word, width, face)
    return lines


def _split_word(word: str, width: float, face: Font) -> list[str]:
    """Return a word as lines that are no wider than `width` pixels."""
    lines = [""]
    for part in re.split(r"(?<=[_/-])", word):
        if face.getlength(lines[-1] + part) <= width:
            lines[-1] += part
        else:
            lines.append(part)
    return [_shorten_in_middle(line, width, face) for line in lines if line]


def _shorten_in_middle(text: str, width: float, face: Font) -> str:
    """Return text no wider than `width` pixels, with its end: similar names often differ there."""
    short = text
    for kept in range(len(text) - 1, -1, -1):
        if face.getlength(short) <= width:
            break
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return short


def draw_label(  # noqa: PLR0913  they are independent of each other
    lines: Sequence[str],
    width: int,
    face: Font,
    colour: str = INK,
    *,
    paper: str = PAPER,
    centred: bool = True,
) -> Picture:
    """Return lines of text as a picture of this width; longer text is cut off."""
    lines = [transliterate(line, face) for line in lines]
    step = round(face.size * 1.4)
    picture = Image.new("RGB", (width, step * len(lines)), paper)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        short = truncate(line, width, face)
        left = (width - face.getlength(short)) / 2 if centred else 0
        if any(unicodedata.bidirectional(char) in ("R", "AL") for char in short):
            short = f"{_LEFT_TO_RIGHT}{short}"  # an arrow before an Arabic name stays before it
        draw.text((round(left), number * step + (step - face.size) // 2), short, colour, face)
    return picture


def stack_vertically(parts: Sequence[Picture], gap: int = 0, align: float = 0.5) -> Picture:
    """Return pictures one above the other; align: 0 left, 0.5 centred."""
    width = max(part.width for part in parts)
    size = width, sum(part.height for part in parts) + gap * (len(parts) - 1)
    picture, top = Image.new("RGB", size, PAPER), 0
    for part in parts:
        picture.paste(part, (round((width - part.width) * align), top))
        top += part.height + gap
    return picture


def stack_horizontally(parts: Sequence[Picture], gap: int = 0, align: float = 0.5) -> Picture:
    """Return pictures side by side; align: 0 at the top, 0.5 centred."""
    height = max(part.height for part in parts)
    size = sum(part.width for part in parts) + gap * (len(parts) - 1), height
    picture, left = Image.new("RGB", size, PAPER), 0
    for part in parts:
        picture.paste(part, (left, round((height - part.height) * align)))
        left += part.width + gap
    return picture


def add_margin(part: Picture, margin: int) -> Picture:
    """Return a picture with a margin."""
    return ImageOps.expand(part, margin, PAPER)
