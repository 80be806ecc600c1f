"""The arguments of hotcold.py and fastgradient.py."""

import argparse
import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite, nan
from pathlib import Path

from caffe_ext.cli.checkout import ROOT
from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.image_arguments import HELP as IMAGES_HELP
from caffe_ext.cli.image_arguments import add_image_arguments
from caffe_ext.cli.model_arguments import HELP as MODELS_HELP
from caffe_ext.cli.model_arguments import add_model_arguments

LIMIT = 100
ATTACKS = Path(__file__).parents[1] / "attacks" / "registry.py"


@dataclass(frozen=True)
class Program:
    """What makes one of the programs.

    name         of the program, and of its folder in build/
    description  the head of --help
    examples     lines of --help
    add_options  adds the options that name attacks; none has a default but None and False
    attacks      (arguments, names of the classes) -> names of attacks; raises ValueError
    """

    name: str
    description: str | None
    examples: str
    add_options: Callable[[argparse.ArgumentParser], None]
    attacks: Callable[[argparse.Namespace, Sequence[str]], list[str]]


def epilog(program: Program) -> str:
    """Return the end of --help."""
    names = (ast.get_docstring(ast.parse(ATTACKS.read_text(encoding="utf-8"))) or "").split("\n", 2)
    attacks = "\n".join(f"  {line}".rstrip() for line in names[2].splitlines())
    return f"""\
attacks by name (--attacks)
{attacks}

{MODELS_HELP}
{IMAGES_HELP}
what is written to --output
  summary.json                     of this command: settings, digests; for each attack its rate,
                                   mean and standard deviation of PASS, L2 per pixel, Linf
  figure1.png                      the same images under all models, if there are several
  MODEL/sheet.png                  originals, perturbations, adversarials of the first images
  MODEL/ATTACK.h5                  a row for each image, and the adversarials (HDF5)
  MODEL/ATTACK/00017_7_as_2.png    an adversarial: image 17, a 7, is taken for a 2
  MODEL/ATTACK/00017_7_as_2.json   all about it
  Images that a model gets wrong are not attacked. Each PNG file is read and classified once more.
  The same command goes on where an earlier one was interrupted; what is finished is not done again.

examples
{program.examples}
The exit status is 0 if all was done, 1 with a sentence if something is wrong, 130 if interrupted.
"""


def parse(program: Program, argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they make no sense."""
    parser = argparse.ArgumentParser(
        description=program.description,
        epilog=epilog(program),
        formatter_class=partial(
            argparse.RawDescriptionHelpFormatter, max_help_position=30, width=100
        ),
        usage="%(prog)s [options]",
    )
    before = {action.dest for action in parser._actions}
    program.add_options(parser)
    own = [action.dest for action in parser._actions if action.dest not in before]
    add = parser.add_argument_group("any attacks").add_argument
    add("--attacks", nargs="+", metavar="NAME", help="these, in place of the above; names: below")
    add("--seed", type=int, default=1, metavar="N", help="of PGD's random starts (default: 1)")
    add_model_arguments(parser, several=True)
    add_image_arguments(parser, limit=LIMIT)
    add = parser.add_argument_group("output").add_argument
    folder = f"build/{program.name}"
    add(
        "--output",
        type=Path,
        default=ROOT / folder,
        metavar="DIR",
        help=f"where to write (default: {folder})",
    )
    add("--again", action="store_true", help="throw away what is there of these attacks")
    add_device_argument(parser)
    arguments = parser.parse_args(argv)
    given = [f"--{name.replace('_', '-')}" for name in own if getattr(arguments, name)]
    if arguments.attacks and given:
        parser.error(f"--attacks name attacks completely; {given[0]} does not go with them")
    if arguments.seed < 0:
        parser.error(f"--seed must not be negative, and is {arguments.seed}")
    return arguments


def number_from(least: float, text: str) -> float:
    """Return a number, not below `least`; ArgumentTypeError for others, nan and inf too."""
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not (isfinite(value) and value >= least):
        raise argparse.ArgumentTypeError(f"must be a number from {least:g} on, not {text!r}")
    return value


def number_above_0(text: str) -> float:
    """Return a number above 0; ArgumentTypeError for others, nan and inf too."""
    value = number_from(0, text)
    if not value:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def add_through(group: argparse._ArgumentGroup) -> None:
    """Add --through, the inner blobs that attacks go through."""
    group.add_argument(
        "--through",
        nargs="+",
        type=_blob_name,
        metavar="BLOB",
        help="go through an inner blob: ip1, say",
    )


def _blob_name(text: str) -> str:
    """Return a blob's name; ArgumentTypeError for what names of attacks cannot hold."""
    if not text.strip() or set(text) & set("*=+"):
        raise argparse.ArgumentTypeError(f"must be the name of a blob, without * = +, not {text!r}")
    return text


def class_number(text: str, classes: Sequence[str]) -> int:
    """Return the class that a text means, a number or a name; ValueError if it is neither."""
    numbers = [number for number, name in enumerate(classes) if name == text]
    if len(numbers) > 1:
        several = ", ".join(map(str, numbers))
        raise ValueError(f"several classes are called {text!r}: give the number, of {several}")
    if numbers:
        return numbers[0]
    if text.isdecimal():
        return int(text)
    names = ", ".join(map(repr, classes[:5]))
    known = f"the names are {names} ..." if classes else "the model has no names"
    raise ValueError(f"{text!r} is no class: give its number or its name; {known}")
