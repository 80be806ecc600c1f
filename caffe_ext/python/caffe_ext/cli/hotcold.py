"""Find the smallest adversarials of a Caffe model's images with the hot/cold approach.

It follows the gradient of the scores before the softmax with respect to the pixels: towards a hot
class, away from the cold one, just far enough to change the class (Rozsa, Rudd and Boult, 2016).
The results have 8 bits per channel, are saved as PNG files, and are read and classified again.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from itertools import product

from caffe_ext.cli.attack_arguments import (
    Program,
    add_through,
    list_through_suffixes,
    make_program_parser,
    parse_at_least,
    parse_class,
)
from caffe_ext.cli.attack_names import parse_ranks
from caffe_ext.cli.attack_program import run_attack_program

EXAMPLES = """\
  caffe-ext hotcold                                # the models of `make demo`, HC1
  caffe-ext hotcold --hot 1-9                      # towards each other class in turn
  caffe-ext hotcold --target 7 --limit 0           # towards class 7, on all images
  caffe-ext hotcold --scale 1 1.05 1.10            # hard positives, to train with
  caffe-ext hotcold --attacks fgs fgv hc1 hc2      # side by side on one sheet
  caffe-ext hotcold --weights plain.caffemodel bang.caffemodel.h5    # two LeNets, figure 1
  caffe-ext hotcold --model googlenet.yaml --images photos/ --labels labels.txt \\
      --resize 224x224 --hot 1 13                        # your own model, your own images
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the hot/cold approach."""
    group = parser.add_argument_group("hot/cold")
    add = group.add_argument
    add(
        "--hot",
        nargs="+",
        metavar="K",
        help="hot class: the one with the K-th closest score; 1-9: each in turn (default: 1)",
    )
    add(
        "--target",
        nargs="+",
        metavar="CLASS",
        help="use this class as the hot class: its number or name",
    )
    add("--sign", action="store_true", help='use the derivative\'s sign ("S" in the paper)')
    add_through(group)
    add(
        "--scale",
        nargs="+",
        type=partial(parse_at_least, 1),
        metavar="FACTOR",
        help="hard positives: go FACTOR times as far as the smallest adversarial (1: the smallest)",
    )


def list_attack_names(arguments: argparse.Namespace, classes: Sequence[str]) -> list[str]:
    """Return the names of the attacks that the options mean; ValueError for other options."""
    if arguments.hot and arguments.target:
        raise ValueError("--hot and --target both choose the hot class: give only one of them")
    hot = [f"hot:{parse_class(name, classes)}" for name in arguments.target or ()]
    hot = hot or [f"hc{rank}" for text in arguments.hot or ["1"] for rank in parse_ranks(text)]
    sign = "-s" if arguments.sign else ""
    scales = ["" if scale == 1 else f"*{scale!r}" for scale in arguments.scale or [1.0]]
    return [
        "".join(parts) for parts in product(hot, [sign], list_through_suffixes(arguments), scales)
    ]


PROGRAM = Program("hotcold", __doc__, EXAMPLES, add_options, list_attack_names)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    return make_program_parser(PROGRAM)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_attack_program(PROGRAM, argv)
