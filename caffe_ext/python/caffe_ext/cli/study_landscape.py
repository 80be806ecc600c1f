"""Search the loss landscape of a small net on Iris, and measure the sensitivity of its minima.

Wang et al. (Towards Robust Deep Neural Networks, 2019), Section 4, Figures 4 and 5: a net with
three hidden layers of 25 ReLUs, cross-entropy + 0.001 ||p||^2. Basin hopping finds minima, paths
between them show at which energy they are connected, and the sensitivity S is the volume of the box
that bounds the logits of all inputs near a sample. Everything goes to build/landscape, and the same
command resumes an interrupted run; with more --starts, --hops, --pairs or --exact, it adds to
what was found.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse

from caffe_ext.cli.console import Console
from caffe_ext.cli.parser import add_again, add_output, add_results, check_at_least
from caffe_ext.runtime.checkout import ROOT, shorten_path

METHODS = ("milp", "branch", "marabou")
EPILOG = """\
methods of --exact
  milp     mixed-integer linear programs, solved by HiGHS
  branch   branch and bound over the inputs
  marabou  bisection by queries to Marabou (`pip install maraboupy==2.0.0`)

time (one core of a current server)
  A hop takes 2 to 5 seconds, a path about 5, and the exact widths of a minimum 8 to 35.

examples
  caffe-ext study landscape
  caffe-ext study landscape --starts 100 --hops 20 --exact 50 --results results/landscape
  caffe-ext study landscape --exact 10 --method marabou
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument_group("search").add_argument
    add(
        "--starts",
        type=int,
        default=40,
        metavar="N",
        help="random nets to start from (default: %(default)s)",
    )
    add(
        "--hops",
        type=int,
        default=12,
        metavar="N",
        help="hops of each, after its first minimum (default: %(default)s)",
    )
    add("--seed", type=int, default=1, metavar="N", help="of all random numbers (default: 1)")
    add(
        "--hidden",
        type=int,
        nargs="+",
        default=[25, 25, 25],
        metavar="N",
        help="units of each hidden layer (default: 25 25 25)",
    )
    add(
        "--penalty",
        type=float,
        default=0.001,
        metavar="X",
        help="the factor of ||p||^2 (default: %(default)s)",
    )
    add(
        "--pairs",
        type=int,
        metavar="N",
        help="most pairs of minima to connect (default: until all are connected)",
    )
    add = parser.add_argument_group("exact widths").add_argument
    add(
        "--exact",
        type=int,
        default=0,
        metavar="N",
        help="minima whose exact widths are found, on 30 samples (default: %(default)s)",
    )
    add(
        "--method",
        choices=METHODS,
        default="milp",
        help="how the exact widths are found (default: %(default)s)",
    )
    add(
        "--sigma",
        type=float,
        default=0.1,
        metavar="X",
        help="size of their boxes, over the features' ranges (default: %(default)s)",
    )
    add(
        "--time-limit",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds for each extreme of a logit (default: %(default)g)",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--jobs", type=int, metavar="N", help="processes (default: one per core)")
    add_results(output)
    add_again(output, "discard earlier results and search again")
    add_output(output, ROOT / "build" / "landscape")


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the program with a sentence if the arguments make no sense."""
    check_at_least(parser, arguments, 1, "starts", "jobs")
    check_at_least(parser, arguments, 0, "hops", "seed", "pairs", "exact")
    if min(arguments.hidden) < 1:
        parser.error(f"--hidden: a layer needs 1 unit or more, not {min(arguments.hidden)}")
    for name in ("penalty", "sigma", "time_limit"):
        value = getattr(arguments, name)
        if not 0 < value < float("inf"):
            parser.error(f"--{name.replace('_', '-')} must be above 0, not {value}")


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.studies.landscape.study import LandscapeSettings, LandscapeStudy
    from caffe_ext.studies.landscape.tables import format_console, save_results

    settings = LandscapeSettings(
        seed=arguments.seed,
        starts=arguments.starts,
        hops=arguments.hops,
        hidden=tuple(arguments.hidden),
        penalty=arguments.penalty,
        pairs=arguments.pairs,
        exact=arguments.exact,
        exact_sigma=arguments.sigma,
        method=arguments.method,
        seconds=arguments.time_limit,
    )
    study = LandscapeStudy(arguments.output, settings, arguments.jobs, arguments.again)
    result = study.run(Console())
    print(f"{format_console(result)}\n")
    for folder in (arguments.output, arguments.results):
        if folder is not None:
            save_results(folder, result)
            print(f"Tables and pictures: {shorten_path(folder)}")
