"""Measure how stable networks are under random noise, throughout their training.

Images that all networks classify correctly at all iterations get Gaussian noise of several levels;
the rate of noisy images that are classified differently, over iteration and level, is what Figures
3 and 5 of the BANG paper show (Rozsa, Günther and Boult, 2018).
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.image_arguments import HELP as IMAGES_HELP
from caffe_ext.cli.image_arguments import add_image_arguments, open_source
from caffe_ext.cli.model_arguments import DEMO, LENET, add_model_arguments, as_list
from caffe_ext.cli.parser import add_again, add_output, check_at_least, create_parser
from caffe_ext.reporting import format_table
from caffe_ext.runtime.checkout import ROOT, shorten_path

if TYPE_CHECKING:
    from caffe_ext.models.description import ModelDescription
    from caffe_ext.studies.noise_curves.curves import NoiseCurves
    from caffe_ext.studies.noise_curves.study import NoiseCurvesStudy

EPILOG = f"""\
training runs
  A training run is a folder with Caffe's snapshots, *_iter_N.caffemodel or .caffemodel.h5, or these
  files themselves. Without --first, the two runs of `make demo`. All are measured at the iterations
  of which each has a snapshot, on the same images with the same noise.

{IMAGES_HELP}
  The first --per-class images of each class that all networks classify correctly are used.

what is written
  build/noise_curves/noise_curves.json    rates, standard errors, and all that they depend on
  build/noise_curves/noise_curves.csv     one row per training run, iteration and level
  build/noise_curves/noise_curves.png     and .svg: maps of the rates, and of their difference
  build/noise_curves/pieces               what an interrupted run resumes from

examples
  caffe-ext noise-curves
  caffe-ext noise-curves --first build/table1/R0 --second build/table1/B1
  caffe-ext noise-curves --first build/table1/R0 --second build/table1/B1 \\
      --copies 1000                                  # as in the paper: 400,000,000 noisy images
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = create_parser("noise-curves", __doc__, EPILOG)
    add = parser.add_argument_group("training runs").add_argument
    path: dict[str, Any] = {"type": Path, "nargs": "+", "metavar": "PATH"}
    add("--first", **path, help="a training run: its folder, or its snapshots")
    add("--second", **path, help="the training run to compare it with")
    add("--more", **path, action="append", default=[], help="another training run; repeatable")
    add("--names", nargs="+", metavar="NAME", help="names of the training runs in the results")
    add(
        "--every",
        type=int,
        metavar="N",
        help="only iterations that are multiples of N, and the last",
    )
    add_model_arguments(parser, several=False, weights=False)
    add_image_arguments(parser)
    add = parser.add_argument_group("noise").add_argument
    add(
        "--levels",
        type=float,
        nargs="+",
        metavar="SIGMA",
        help="standard deviations in grey levels (default: 10 20 ... 100; for colour 4 8 ... 40)",
    )
    add(
        "--per-class",
        type=int,
        metavar="N",
        help="images of each class (default: 100, as in the paper, or half of the smallest class)",
    )
    add(
        "--copies",
        type=int,
        default=2,
        metavar="N",
        help="noisy copies per image and level (default: %(default)s; the paper: 1000)",
    )
    add("--seed", type=int, default=1, metavar="N", help="seed of the noise (default: %(default)s)")
    add_output(parser.add_argument_group("output"), ROOT / "build" / "noise_curves")
    add_again(parser, "discard earlier results in --output and measure again")
    add_device_argument(parser)
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they are wrong."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.first is None and (arguments.second or arguments.more):
        parser.error("--second and --more need --first")
    check_at_least(parser, arguments, 1, "every", "batch_size")
    return arguments


def find_trainings(arguments: argparse.Namespace) -> "dict[str, dict[int, ModelDescription]]":
    """Return the networks of each training by its name and their iteration.

    Raises FileNotFoundError and ValueError, each with a sentence for the user.
    """
    from caffe_ext.models.description import read_model
    from caffe_ext.reporting import escape_text, is_showable, pluralize
    from caffe_ext.studies.noise_curves.snapshots import find_common_iterations, find_snapshots

    given = [paths for paths in (arguments.first, arguments.second, *arguments.more) if paths]
    names = arguments.names
    if not given:
        if not all(folder.is_dir() for folder in DEMO.values()):
            raise FileNotFoundError(
                "no training found: `make demo` trains two, --first and --second name yours"
            )
        given, names = [[folder] for folder in DEMO.values()], names or list(DEMO)
    trainings = [find_snapshots(paths) for paths in given]
    names = names or [escape_text(training.name) for training in trainings]
    wrong = [name for name in names if not name or not is_showable(name)]
    if wrong:
        raise ValueError(f"--names: {wrong[0]!a} is no name that can be shown")
    if len(names) != len(trainings):
        have = f"there {'is' if len(names) == 1 else 'are'} {len(names)} --names"
        raise ValueError(f"{have} for {pluralize(len(trainings), 'training')}")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two training runs are called {twice[0]}; rename them with --names")
    iterations = find_common_iterations(trainings, arguments.every)
    network = (as_list(arguments.model) or [LENET])[0]
    return {
        name: {number: read_model(network, training.weights[number]) for number in iterations}
        for name, training in zip(names, trainings, strict=True)
    }


def make_study(arguments: argparse.Namespace) -> "NoiseCurvesStudy":
    """Return what the arguments say is to be measured.

    Raises DataError, FileNotFoundError and ValueError, each with a sentence for the user.
    """
    from caffe_ext.models.description import collect_class_numbers
    from caffe_ext.studies.noise_curves.study import NoiseCurvesStudy

    trainings = find_trainings(arguments)
    networks = [network for training in trainings.values() for network in training.values()]
    return NoiseCurvesStudy(
        trainings,
        open_source(arguments, collect_class_numbers(networks)),
        arguments.output,
        levels=tuple(map(float, arguments.levels)) if arguments.levels else None,
        per_class=arguments.per_class,
        copies=arguments.copies,
        seed=arguments.seed,
        limit=arguments.limit,
        batch_size=arguments.batch_size,
        again=arguments.again,
        sample_seed=arguments.sample_seed,
    )


def format_summary(curves: "NoiseCurves") -> str:
    """Return the table of the last iteration's rates, and of their differences, in %."""
    first, *others = curves.names
    apart = [curves.compute_improvements(number) for number in range(1, len(curves.names))]
    rows = [["noise", *curves.names, *(f"{first} − {name}" for name in others)]]
    for level, sigma in enumerate(curves.levels):
        rates = (f"{rate:.2%}" for rate in curves.rates[:, -1, level])
        differences = (
            f"{100 * values[-1, level]:.2f} ± {100 * errors[-1, level]:.2f}"
            for values, errors in apart
        )
        rows.append([f"{sigma:g}", *rates, *differences])
    return format_table(rows)


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError
    from caffe_ext.errors import RecordError

    try:
        result = make_study(arguments).run(Console())
    except (DataError, RecordError, ValueError) as error:
        sys.exit(f"{error}")
    curves, remark = result.curves, result.protocol.remark
    print(f"noise: rates at iteration {curves.iterations[-1]:,}\n\n{format_summary(curves)}\n")
    print("; ".join(filter(None, ("±: standard error, over the images", remark))))
    print(f"All iterations, the pictures and the settings: {shorten_path(arguments.output)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_program(run, parse(argv))
