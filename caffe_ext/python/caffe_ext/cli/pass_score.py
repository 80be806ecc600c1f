"""Measure how far images are from their originals: PASS, SSIM and distances."""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from caffe_ext.cli.console import run_program
from caffe_ext.cli.parser import create_parser, parse_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
# Images of one size are measured together, but not so many that they fill the memory.
BATCH = 256

EPILOG = """\
what is printed
  PASS, SSIM       similarity with and without alignment, 1: the same (Rozsa et al., 2016, Eq. 4)
  L0, L1, L2       pixels that differ; sum of the differences, root of the sum of their squares
  L2 per pixel     root mean square of the differences, 0..255
  Linf             largest difference, 0..255
  mean abs. dist.  mean absolute distortion, 0..1                     (Ulicny et al., 2016, Eq. 2)
  A star after a PASS: no alignment was found, or one with a lower correlation than without any.

examples
  caffe-ext pass adversarial.png original.png --json
  caffe-ext pass a1.png o1.png a2.png o2.png          # several pairs: a table, and the means
  caffe-ext pass adversarials/ originals/             # images with equal names in two folders

The exit status is 0 if all was measured, 1 if an image cannot be, 2 if the arguments are wrong.
"""


class RefusedError(Exception):
    """What cannot be measured, in one sentence."""


@dataclass(frozen=True)
class Pair:
    """Two files, and what lies between them; the fields' names are those in the JSON."""

    adversarial: str
    original: str
    pass_score: float
    ecc_failed: bool
    ssim: float
    l0: int
    l1: int
    l2: float
    l2_per_pixel: float
    linf: int
    mean_absolute: float


TITLES = {
    "pass_score": "PASS",
    "ssim": "SSIM",
    "l0": "L0",
    "l1": "L1",
    "l2": "L2",
    "l2_per_pixel": "L2 per pixel",
    "linf": "Linf",
    "mean_absolute": "mean abs. dist.",
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    usage = "[--json] [--published] ADVERSARIAL ORIGINAL [ADVERSARIAL ORIGINAL ...]"
    parser = create_parser("pass", __doc__, EPILOG, usage)
    add = parser.add_argument
    add(
        "paths",
        nargs="+",
        type=parse_path,
        metavar="ADVERSARIAL ORIGINAL",
        help="pairs of image files, grey or colour, 8 bits per channel; or two folders",
    )
    add("--json", action="store_true", help="print JSON")
    add(
        "--published",
        action="store_true",
        help="as in the BANG paper's tables: warp the original, count border pixels too",
    )
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they are wrong."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if len(arguments.paths) % 2:
        parser.error(
            f"{len(arguments.paths)} image{'s' if len(arguments.paths) > 1 else ''} given: images "
            "are compared in pairs, each adversarial followed by its original"
        )
    return arguments


def find_pairs(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return the pairs of files that the paths name."""
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        return list(zip(paths[::2], paths[1::2], strict=True))
    if folders != paths or len(paths) != 2:
        raise RefusedError(f"{folders[0]} is a folder: give either pairs of files, or two folders")
    first, second = (
        {path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES}
        for folder in paths
    )
    if not first & second:
        raise RefusedError(f"no image in {paths[0]} has the name of one in {paths[1]}")
    alone = sorted(first ^ second)
    if alone:
        names = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
        print(f"left out, as only one folder has them: {names} ({len(alone)})", file=sys.stderr)
    return [(paths[0] / name, paths[1] / name) for name in sorted(first & second)]


def read(path: Path) -> "Image":
    """Return an image as uint8 (C, H, W), C = 1 or 3 (RGB)."""
    from caffe_ext.data import DataError, read_image

    try:
        return read_image(path)
    except DataError as error:
        raise RefusedError(str(error)) from error


def read_pair(adversarial: Path, original: Path) -> tuple["Image", "Image"]:
    """Return both images, which have one size and are both grey or both colour."""
    pair = read(adversarial), read(original)
    if pair[0].shape != pair[1].shape:
        one, other = (
            f"{image.shape[2]} x {image.shape[1]} {'grey' if len(image) == 1 else 'colour'}"
            for image in pair
        )
        raise RefusedError(
            f"{adversarial} is {one} and {original} is {other}; both must have the same size and "
            "channels"
        )
    return pair


def measure(paths: Sequence[tuple[Path, Path]], published: bool) -> Iterator[Pair]:
    """Yield what lies between the images of each pair."""
    import numpy as np

    from caffe_ext.metrics.distances import compute_distances
    from caffe_ext.metrics.pass_score import PUBLISHED, STANDARD, compute_pass_scores
    from caffe_ext.metrics.ssim import compute_ssim_scores

    protocol = PUBLISHED if published else STANDARD
    for start in range(0, len(paths), BATCH):
        loaded = [(names, *read_pair(*names)) for names in paths[start : start + BATCH]]
        for _, same_size in groupby(loaded, key=lambda one: one[1].shape):
            names, *sides = zip(*same_size, strict=True)
            adversarials, originals = (np.stack(side) for side in sides)
            try:
                scores = compute_pass_scores(adversarials, originals, protocol=protocol)
                plain = compute_ssim_scores(adversarials, originals, average=protocol.average)
            except ValueError as error:
                raise RefusedError(f"{names[0][0]}: {error}") from error
            columns = asdict(compute_distances(adversarials, originals)) | {
                "pass_score": scores.scores,
                "ecc_failed": scores.ecc_failed,
                "ssim": plain,
            }
            for row, pair in enumerate(names):
                numbers = {name: column[row].item() for name, column in columns.items()}
                yield Pair(str(pair[0]), str(pair[1]), **numbers)


def compute_means(pairs: Sequence[Pair]) -> dict[str, float]:
    """Return the mean of each measure."""
    return {name: fmean(getattr(pair, name) for pair in pairs) for name in TITLES}


def format_number(number: float) -> str:
    """Return a number as text, with no more digits than serve."""
    if isinstance(number, int):
        return f"{number:,}"
    return f"{number:.4f}" if abs(number) <= 1 else f"{number:,.2f}"


def report(pairs: Sequence[Pair]) -> str:
    """Return the lines to print: a column for one pair, a table and the means for several."""
    stars = ["*" if pair.ecc_failed else "" for pair in pairs]
    if len(pairs) == 1:
        lines = [f"{title:<17}{format_number(getattr(pairs[0], n))}" for n, title in TITLES.items()]
        return "\n".join([lines[0] + stars[0], *lines[1:]])
    rows = [["adversarial", *TITLES.values()]]
    for pair, star in zip(pairs, stars, strict=True):
        first, *others = (format_number(getattr(pair, name)) for name in TITLES)
        rows.append([pair.adversarial, first + star, *others])
    rows.append([f"mean of {len(pairs):,}", *map(format_number, compute_means(pairs).values())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    try:
        pairs = list(measure(find_pairs(arguments.paths), arguments.published))
    except RefusedError as error:
        sys.exit(f"{error}")
    if arguments.json:
        failed = sum(pair.ecc_failed for pair in pairs)
        record = {"pairs": [asdict(pair) for pair in pairs], "means": compute_means(pairs)}
        print(json.dumps(record | {"ecc_failed": failed}, indent=2))
    else:
        print(report(pairs))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_program(run, parse(argv))
