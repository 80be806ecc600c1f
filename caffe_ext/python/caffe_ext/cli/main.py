"""The command `caffe-ext`: one subcommand for each program in tools/."""

import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from caffe_ext import __version__
from caffe_ext.reporting import suggest

SUBCOMMANDS = {
    "demo": ("demo", "train a plain and a BANG LeNet, attack both, compare them"),
    "hotcold": ("hotcold", "find smallest adversarials with the hot/cold approach"),
    "fastgradient": ("fastgradient", "find adversarials along the loss gradient: FGS and FGV"),
    "evaluate": ("evaluate", "report how robust models are: attacks, noise, masked gradients"),
    "transfer": ("transfer", "try the adversarials of each model on all others"),
    "study": ("study", "reproduce experiments of papers: robust training, noisy digits"),
    "certify": ("certify", "prove how robust models are: randomized smoothing, bounds, exact"),
    "hardpositives": ("hardpositives", "make a training set of adversarials"),
    "write-robust-net": ("write_robust_net", "write a training net with a loss for robustness"),
    "noise-curves": ("noise_curves", "measure stability to noise during training"),
    "pass": ("pass_score", "measure PASS, SSIM and distances of pairs of images"),
    "sweep": ("sweep", "train and evaluate a grid of networks, on one machine or a cluster"),
    "table1": ("table1", "train and evaluate the LeNets of the BANG paper's Table 1"),
    "export-onnx": ("export_onnx", "write a Caffe model as an ONNX file, checked"),
    "import-onnx": ("import_onnx", "write an ONNX file as a Caffe model, checked"),
    "get-data": ("get_data", "find, download and convert MNIST and CIFAR-10"),
    "init": ("init", "copy the networks and solvers into a folder"),
    "doctor": ("doctor", "check this installation, and say how to fix what does not work"),
    "completion": ("completion", "print a completion script for the shell"),
}
"""The module of each subcommand in this folder, and what it does in one line.

Each has make_parser(), which returns its argparse parser, and main(argv), which runs it and returns
the exit status.
"""


def format_usage() -> str:
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


def import_subcommand(name: str) -> ModuleType:
    """Import the module of a subcommand; what it computes with is loaded only when it runs."""
    return import_module(f"caffe_ext.cli.{SUBCOMMANDS[name][0]}")


def describe_unknown(name: str) -> str:
    """Return the sentence about a subcommand that does not exist."""
    kind = "option" if name.startswith("-") else "subcommand"
    known = ("--help", "--version") if name.startswith("-") else SUBCOMMANDS
    meant = suggest(name.replace("_", "-"), known, 0.5) or "see caffe-ext --help"
    return f"caffe-ext: there is no {kind} {name!r}; {meant}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit status, 2 if there is none of that name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(format_usage(), file=None if arguments else sys.stderr)
        return 0 if arguments else 2
    name, *options = arguments
    if name == "help":
        return main([*options[:1], "--help"])
    if name == "--version":
        print(f"caffe-ext {__version__}")
        return 0
    if name not in SUBCOMMANDS:
        print(describe_unknown(name), file=sys.stderr)
        return 2
    return int(import_subcommand(name).main(options))
