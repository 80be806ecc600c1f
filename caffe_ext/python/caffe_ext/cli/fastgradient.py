"""Find the smallest adversarials of a Caffe model's images along the gradient of its loss.

FGS goes along the gradient's sign (Goodfellow, Shlens and Szegedy, 2015), FGV along the gradient
itself (Rozsa, Rudd and Boult, 2016), just far enough to change the class. Where the softmax is
exactly 1, the loss is 0 and its gradient says little: FGS is counted twice, with such images as
failures, as in the BANG paper, and without. --logits adds an objective that cannot saturate.
"""

import argparse
from collections.abc import Sequence
from itertools import product

from caffe_ext.cli.attack_arguments import (
    Program,
    add_through,
    list_through_suffixes,
    make_program_parser,
)
from caffe_ext.cli.attack_program import run_attack_program

EXAMPLES = """\
  caffe-ext fastgradient                           # the models of `make demo`, FGS and FGV
  caffe-ext fastgradient --logits                  # and along the margin of the logits
  caffe-ext fastgradient --epsilon 8 16 32         # fixed steps, no search
  caffe-ext fastgradient --attacks fgs bim=8 pgd=8/2x40 pgd-l2=400
  caffe-ext fastgradient --weights plain.caffemodel bang.caffemodel.h5 --limit 0
"""


def parse_epsilon(text: str) -> float:
    """Return a positive distance in grey levels, or raise ArgumentTypeError."""
    from caffe_ext.attacks.budget import parse_change  # noqa: PLC0415  --help is instant

    try:
        distance = parse_change(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}") from None
    if not distance > 0:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return distance


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the fast gradient methods."""
    group = parser.add_argument_group("fast gradient")
    add = group.add_argument
    add(
        "--epsilon",
        nargs="+",
        type=parse_epsilon,
        metavar="E",
        help="step exactly E grey levels (8), or 8/255 or 0.03of1, without searching for the "
        "smallest adversarial",
    )
    add_through(group)
    add(
        "--logits",
        action="store_true",
        help="also attack along the gradient of the logit margin, and along its sign",
    )


def list_attack_names(arguments: argparse.Namespace, _: Sequence[str]) -> list[str]:
    """Return the names of the attacks that the options mean."""
    directions = ["fgs", "fgv", *(["margin-s", "margin"] if arguments.logits else [])]
    epsilons = [f"={epsilon!r}" for epsilon in arguments.epsilon or ()] or [""]
    parts = product(directions, list_through_suffixes(arguments), epsilons)
    return ["".join(one) for one in parts]


PROGRAM = Program("fastgradient", __doc__, EXAMPLES, add_options, list_attack_names)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    return make_program_parser(PROGRAM)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_attack_program(PROGRAM, argv)
