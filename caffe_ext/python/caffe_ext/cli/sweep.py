"""Train and evaluate a grid of networks: any settings of a solver, on one machine or a cluster.

A YAML file names the solver, the axes of the grid and what is measured on each trained network.
Each point is computed once: whatever interrupts a sweep, the same command again continues it.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from caffe_ext.cli.console import run_stoppable
from caffe_ext.cli.parser import check_at_least, check_at_most, create_parser, parse_path
from caffe_ext.cli.sweep_display import SweepDisplay
from caffe_ext.reporting import format_table, pluralize
from caffe_ext.runtime.checkout import ROOT, shorten_path

if TYPE_CHECKING:
    from caffe_ext.sweeps.run import SweepResult

MOST_WORKERS = 1000

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_MOST_ROWS = 30

EPILOG = """\
sweep file
  solver: ../lenet_bang.prototxt                      # paths are relative to the file
  model: ../../prototxt/lenet.yaml
  data: mnist                                         # or cifar10, digits
  axes:
    bang_param.beta: {from: 1.0, to: 1.6, step: 0.05}
    random_seed: [1, 2, 3]
  baseline: {solver: ../lenet_sgd.prototxt}
  evaluation: {attacks: [fgs, hc1], limit: 1000, radii: [8, l2=100]}
  docs/sweeps.md explains all keys.

clusters
  Without --scheduler, there is one worker process for each core of this machine. With it, the
  workers of a Dask cluster are used; they need the same version of this package, and find or
  download the data sets.

what is written to --output
  sweep.csv, sweep.json       all points with all figures
  sweep.html                  maps and table for a browser, in which settings can be marked
  maps.png, maps.svg          figures over two axes, with the level of regular training
  surfaces.png, surfaces.svg  the same in three dimensions
  means.csv, means.md         with several seeds or variants: means and standard deviations over
                              the seeds, beside published figures
  means.png, means.svg        the same as a picture
  points/DIGEST.json          a finished point, and beside it its weights, DIGEST.caffemodel
  failed/DIGEST.json          why a point failed, with the end of its log

examples
  caffe-ext sweep solvers/sweeps/bang_lenet.yaml
  caffe-ext sweep solvers/sweeps/bang_lenet.yaml --scheduler tcp://10.0.0.1:8786
  caffe-ext sweep mine.yaml --retry --time-limit 30m
  caffe-ext sweep solvers/sweeps/bang_lenet.yaml --reuse results/sweeps/bang_lenet_7x7/sweep.json
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = create_parser("sweep", __doc__, EPILOG, "FILE.yaml [options]")
    add = parser.add_argument
    add("file", type=parse_path, metavar="FILE.yaml", help="the sweep file")
    add(
        "--output",
        type=parse_path,
        metavar="DIR",
        help="where to write the results (default: build/sweeps/NAME)",
    )
    add("--workers", type=int, metavar="N", help="worker processes here (default: one per core)")
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="the scheduler of your Dask cluster, such as tcp://HOST:8786",
    )
    add(
        "--gpu",
        dest="on_gpu",
        action="store_true",
        help="compute on GPUs: with one worker for each GPU of this machine, or on those workers "
        "of a cluster that have the resource GPU",
    )
    add(
        "--time-limit",
        type=parse_seconds,
        metavar="TIME",
        help="end a point that takes longer, such as 90, 30m or 2h; it counts as failed",
    )
    add("--retry", action="store_true", help="compute failed points again")
    add(
        "--reuse",
        nargs="+",
        action="extend",
        type=parse_path,
        default=[],
        metavar="TABLE.json",
        help="sweep.json of other sweeps, whose finished points are not computed again; their "
        "weights stay where they are",
    )
    return parser


def parse_seconds(text: str) -> float:
    """Return the seconds of "90", "90s", "30m" or "2h"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"must be a time such as 90, 30m or 2h, not {text!r}")
    return float(found[1]) * _SECONDS[found[2]]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they are wrong."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    check_at_least(parser, arguments, 1, "workers")
    check_at_most(parser, arguments, MOST_WORKERS, "workers")
    if arguments.scheduler and arguments.workers:
        parser.error("--workers is for this machine; the cluster of --scheduler has its own")
    return arguments


def format_results(result: "SweepResult") -> str:
    """Return the table of the main figures: means over seeds, or the first of the points."""
    if result.means:
        more = len(result.means) - 1 - _MOST_ROWS
        return format_table(result.means[: _MOST_ROWS + 1]) + _tell_of_more(more, "row")
    from caffe_ext.sweeps.means import format_setting, format_value
    from caffe_ext.sweeps.table import DONE, choose_figures

    figures = choose_figures(result.rows)
    axes = list(result.rows[0])[1 : list(result.rows[0]).index("state")]
    whole = all(row["state"] == DONE for row in result.rows)
    heads = [name.rpartition(".")[2] for name in axes] + ["state"] * (not whole)
    rows = [[*heads, *figures]]
    for row in result.rows[:_MOST_ROWS]:
        named = format_setting([row[name] for name in axes], baseline=row["baseline"])
        state = [row["state"]] * (not whole)
        rows.append([*named, *state, *(format_value(name, row.get(name)) for name in figures)])
    more = len(result.rows) - _MOST_ROWS
    return format_table(rows) + _tell_of_more(more, "point")


def _tell_of_more(count: int, what: str) -> str:
    return f"\n... and {pluralize(count, f'more {what}')}" if count > 0 else ""


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError
    from caffe_ext.errors import RecordError
    from caffe_ext.sweeps.file import read_sweep
    from caffe_ext.sweeps.reuse import read_table
    from caffe_ext.sweeps.run import MISSING, SweepOptions, run_sweep
    from caffe_ext.sweeps.sweep import Sweep

    display = SweepDisplay()
    try:
        import bokeh  # noqa: F401
        import distributed  # noqa: F401
    except ImportError:
        sys.exit(MISSING)
    from caffe_ext.sweeps.cluster import ClusterError

    try:
        file = read_sweep(arguments.file)
        output: Path = arguments.output or ROOT / "build" / "sweeps" / arguments.file.stem
        options = SweepOptions(
            scheduler=arguments.scheduler,
            workers=arguments.workers,
            gpus=_count_gpus(arguments),
            time_limit=arguments.time_limit,
            retry=arguments.retry,
        )
        sweep = Sweep(file, output, reuse=[read_table(path) for path in arguments.reuse])
        result = run_sweep(sweep, options, display, display)
    except (ClusterError, DataError, RecordError, ValueError) as error:
        display.clear()
        sys.exit(f"{error}")
    finally:
        display.clear()
    print(
        f"\n{format_results(result)}\n\nAll figures: {', '.join(map(shorten_path, result.files))}"
    )
    if result.failed:
        sys.exit(
            f"{result.failed} of {len(result.rows)} points failed; {shorten_path(output)}/failed "
            "says why, and --retry computes them again"
        )


def _count_gpus(arguments: argparse.Namespace) -> int | None:
    """Return how many GPUs are used here; None: CPUs only."""
    from caffe_ext.runtime.device import Device, count_gpus

    if not arguments.on_gpu:
        return None
    if arguments.scheduler:
        return 1  # each worker uses its first one
    Device(0).check()
    return count_gpus()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_stoppable(run, parse(argv))
