"""The arguments of hotcold.py and fastgradient.py."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, nan

from caffe_ext.cli.attack_names import EXAMPLES, add_attack_help
from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.image_arguments import HELP as IMAGES_HELP
from caffe_ext.cli.image_arguments import add_image_arguments
from caffe_ext.cli.model_arguments import HELP as MODELS_HELP
from caffe_ext.cli.model_arguments import add_model_arguments
from caffe_ext.cli.parser import add_again, add_output, check_at_least, create_parser
from caffe_ext.runtime.checkout import ROOT

LIMIT = 100


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


def format_epilog(program: Program) -> str:
    """Return the end of --help."""
    return f"""\
attacks by name (--attacks; all of them: --help-attacks)
  {EXAMPLES}

{MODELS_HELP}
{IMAGES_HELP}
what is written to --output
  summary.json                     of this command: settings, digests; for each attack its rate,
                                   mean and standard deviation of PASS, L2 per pixel, Linf
  figure1.png                      the same images under all models, if there are several
  MODEL/sheet.png                  originals, perturbations, adversarials of the first images
  MODEL/ATTACK.h5                  one row per image, and the adversarials (HDF5)
  MODEL/ATTACK/00017_7_as_2.png    an adversarial: image 17, a 7, classified as a 2
  MODEL/ATTACK/00017_7_as_2.json   its classes, distances, PASS and digests, as JSON
  MODEL/ATTACK/originals/          the original images under the same names, for `caffe-ext pass`
  Images that a model gets wrong are not attacked. Each PNG file is read and classified once more.
  The same command resumes an interrupted run; what is finished is not done again.

examples
{program.examples}
The exit status is 0 if all was done, 1 after an error, 130 if interrupted.
"""


def make_program_parser(program: Program) -> argparse.ArgumentParser:
    """Return the parser of one of the programs."""
    parser = create_parser(program.name, program.description, format_epilog(program), "[options]")
    program.add_options(parser)
    add = parser.add_argument_group("any attacks").add_argument
    add("--attacks", nargs="+", metavar="NAME", help="run these instead of the above; names: below")
    add_attack_help(parser)
    add(
        "--criterion",
        default="misclassified",
        metavar="WHAT",
        help="what makes an image adversarial: misclassified (default), targeted=7, top-k=5",
    )
    add("--seed", type=int, default=1, metavar="N", help="seed of PGD's random starts (default: 1)")
    add_model_arguments(parser, several=True)
    add_image_arguments(parser, limit=LIMIT)
    add_output(parser.add_argument_group("output"), ROOT / "build" / program.name)
    add_again(parser, "discard earlier results of these attacks in --output")
    add_device_argument(parser)
    return parser


def list_own_options(program: Program) -> list[str]:
    """Return the destinations of the options that name attacks of this program."""
    parser = argparse.ArgumentParser(add_help=False)
    program.add_options(parser)
    return [action.dest for action in parser._actions]


def parse(program: Program, argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they are wrong."""
    parser = make_program_parser(program)
    arguments = parser.parse_args(argv)
    own = list_own_options(program)
    given = [f"--{name.replace('_', '-')}" for name in own if getattr(arguments, name)]
    if arguments.attacks and given:
        parser.error(
            f"--attacks and {given[0]} cannot be combined: names of attacks include all settings"
        )
    check_at_least(parser, arguments, 0, "seed")
    return arguments


def parse_at_least(least: float, text: str) -> float:
    """Return a number, not below `least`; ArgumentTypeError for others, nan and inf too."""
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not (isfinite(value) and value >= least):
        raise argparse.ArgumentTypeError(f"must be a number of at least {least:g}, not {text!r}")
    return value


def add_through(group: argparse._ArgumentGroup) -> None:
    """Add --through, the inner blobs through which attacks go."""
    group.add_argument(
        "--through",
        nargs="+",
        type=_parse_blob_name,
        metavar="BLOB",
        help="attack through an inner blob, such as ip1",
    )


def list_through_suffixes(arguments: argparse.Namespace) -> list[str]:
    """Return what --through appends to the names of attacks: "@ip1", say, or nothing."""
    return [f"@{blob}" for blob in arguments.through or ()] or [""]


def _parse_blob_name(text: str) -> str:
    """Return a blob's name; ArgumentTypeError for what names of attacks cannot hold."""
    if not text.strip() or set(text) & set("*=+"):
        raise argparse.ArgumentTypeError(f"must be the name of a blob, without * = +, not {text!r}")
    return text


def parse_class(text: str, classes: Sequence[str]) -> int:
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
    known = f"the names are {names} ..." if classes else "the model has no names of classes"
    raise ValueError(f"{text!r} is not a class: give its number or its name; {known}")
