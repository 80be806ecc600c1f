"""The command `caffe-ext`: one subcommand for each program in tools/."""

import sys
from collections.abc import Sequence
from importlib import import_module

from caffe_ext import __version__

SUBCOMMANDS = {
    "demo": ("demo", "train a plain and a BANG LeNet, attack both, compare them"),
    "hotcold": ("hotcold", "find smallest adversarials with the hot/cold approach"),
    "fastgradient": ("fastgradient", "find adversarials along the loss gradient: FGS and FGV"),
    "evaluate": ("evaluate", "report how robust models are: attacks, noise, masked gradients"),
    "hardpositives": ("hardpositives", "make a training set of adversarials"),
    "noise-curves": ("noise_curves", "measure stability to noise along a training"),
    "pass": ("pass_score", "measure PASS, SSIM and distances of pairs of images"),
    "table1": ("table1", "train and evaluate the LeNets of the BANG paper's Table 1"),
    "get-data": ("get_data", "find, download and convert MNIST and CIFAR-10"),
}
"""The module of each subcommand in this folder, and what it does in one line."""


def usage() -> str:
    """Return what --help prints."""
    width = max(map(len, SUBCOMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {about}" for name, (_, about) in SUBCOMMANDS.items())
    return f"""\
usage: caffe-ext SUBCOMMAND [options]
       caffe-ext --help | --version

Train robust networks in BVLC Caffe, and measure how fragile a Caffe model is.

subcommands
{lines}

`caffe-ext SUBCOMMAND --help` shows the options of one."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"caffe-ext {__version__}")
        return 0
    return run_subcommand(arguments[0], arguments[1:])


def run_subcommand(name: str, argv: Sequence[str]) -> int:
    """Run one subcommand with its arguments; return its exit status, 2 if there is none."""
    if name not in SUBCOMMANDS:
        print(f"caffe-ext: there is no subcommand {name!r}; see caffe-ext --help", file=sys.stderr)
        return 2
    sys.argv = [f"caffe-ext {name}", *argv]  # as usage messages and provenance show the command
    module = import_module(f"caffe_ext.cli.{SUBCOMMANDS[name][0]}")
    return int(module.main(argv))
