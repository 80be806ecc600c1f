"""Try the adversarials of each model on all others: the transfer matrix of a set of models.

Each model is attacked on the images that it classifies correctly, and the adversarials are tried on
all models. Two rates say how many the target misclassifies: `all`, of all adversarials, as in
Szegedy and others (2014); `strict`, of those whose originals the target classifies correctly.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from caffe_ext.cli.attack_names import EXAMPLES as ATTACK_EXAMPLES
from caffe_ext.cli.attack_names import add_attack_help
from caffe_ext.cli.attack_program import make_campaign
from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.image_arguments import HELP as IMAGES_HELP
from caffe_ext.cli.image_arguments import add_image_arguments
from caffe_ext.cli.model_arguments import HELP as MODELS_HELP
from caffe_ext.cli.model_arguments import add_model_arguments, find_loadable
from caffe_ext.cli.parser import add_again, add_output, create_parser
from caffe_ext.reporting import format_table
from caffe_ext.runtime.checkout import ROOT, shorten_path

if TYPE_CHECKING:
    from caffe_ext.studies.transfer.matrix import TransferMatrix

LIMIT = 500
USUAL = ("fgs", "hc1", "pgd=25+margin")
EPILOG = f"""\
attacks by name (--attacks; all of them: --help-attacks)
  {ATTACK_EXAMPLES}
  The smallest adversarials transfer least, as they lie on the boundary of their own model;
  fgs*1.5 goes half as far again.

{MODELS_HELP}
{IMAGES_HELP}
what is written to --output
  transfer.json            the matrices, the protocol, and all that they depend on
  transfer.csv             one row per attack, source and target
  transfer.png, .svg       the rates as a plot
  attacks/                 the adversarials, as `caffe-ext hotcold` writes them
  crossed/                 each model's classes for the others' adversarials, for resuming

examples
  caffe-ext transfer                               # the models of `make demo`
  caffe-ext transfer --attacks fgs*1.5 pgd=51/5x40+margin
  caffe-ext transfer --model prototxt/lenet.yaml --weights a.caffemodel b.caffemodel c.caffemodel
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = create_parser("transfer", __doc__, EPILOG, "[options]")
    add = parser.add_argument_group("attacks").add_argument
    add(
        "--attacks",
        nargs="+",
        metavar="NAME",
        default=list(USUAL),
        help=f"the attacks (default: {' '.join(USUAL)})",
    )
    add_attack_help(parser)
    add("--seed", type=int, default=1, metavar="N", help="seed of random choices (default: 1)")
    add_model_arguments(parser, several=True)
    add_image_arguments(parser, limit=LIMIT)
    add_output(parser.add_argument_group("output"), ROOT / "build" / "transfer")
    add_again(parser, "discard earlier results of these attacks in --output")
    add_device_argument(parser)
    return parser


def format_tables(matrices: "Sequence[TransferMatrix]") -> str:
    """Return a table for each attack, sources down; see _format_cell."""
    return "\n\n".join(_format_table(one) for one in matrices)


def _format_table(matrix: "TransferMatrix") -> str:
    rates = matrix.to_dict()
    rows = [[matrix.title, "adversarials", *matrix.names]]
    for number, name in enumerate(matrix.names):
        cells = map(_format_cell, rates["rate_strict"][number], rates["rate_all"][number])
        rows.append([name, f"{matrix.adversarials[number, number]:,}", *cells])
    return format_table(rows)


def _format_cell(strict: float | None, everything: float | None) -> str:
    """Return "12.3%", or "12.3% (12.9%)" where the count of all differs."""
    first, second = ("–" if rate is None else f"{rate:.1%}" for rate in (strict, everything))
    return first if first == second else f"{first} ({second})"


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.attacks.registry import parse_attack
    from caffe_ext.data import DataError
    from caffe_ext.errors import RecordError
    from caffe_ext.runtime.quiet import silence_caffe
    from caffe_ext.studies.transfer.study import TransferStudy

    try:
        models = find_loadable(arguments)
        attacks = [parse_attack(name, seed=arguments.seed) for name in arguments.attacks]
        distinct = list({attack.text: attack for attack in attacks}.values())
        study = TransferStudy(make_campaign(arguments, models, distinct))
        with silence_caffe():
            result = study.run(Console())
    except (DataError, RecordError, ValueError) as error:
        sys.exit(f"{error}")
    print(
        "How many adversarials of the model on the left the one above misclassifies: of those whose"
    )
    print("originals it classifies correctly (in brackets: of all, where that differs)\n")
    print(format_tables(result.matrices))
    print(f"\nThe picture and all figures: {shorten_path(arguments.output)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_program(run, make_parser().parse_args(argv))
