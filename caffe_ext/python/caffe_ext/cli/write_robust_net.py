"""Write a training net whose loss makes a network robust, from a stock train_test prototxt."""

# The package, which loads Caffe, is imported late: --help is instant.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from caffe_ext.cli.console import run_program
from caffe_ext.cli.distance_arguments import read_distances
from caffe_ext.cli.import_onnx import parse_shape
from caffe_ext.cli.parser import add_again, create_parser, parse_path

METHODS = ("sm", "kw", "jacob", "spectral")

EPILOG = """\
methods
  sm        sensitivity: the volume of the box that bounds the scores of all images within epsilon
  kw        the loss of the worst scores within epsilon, in place of the stock net's
  jacob     the squared Frobenius norm of the Jacobian of the scores
  spectral  half the squared spectral norm of each layer's weights

  docs/robust-training.md explains them. The net may consist of Convolution (strided), InnerProduct
  and ReLU; the new layers share its weights by name and are in the training phase only. A snapshot
  is that of the stock net with copies of shared weights, and works with its deploy prototxt.

examples
  caffe-ext write-robust-net prototxt/mnist_conv2_train_test.prototxt --method sm --shape 1,28,28
  caffe-ext write-robust-net net.prototxt --method kw --epsilon 0.1of1 --shape 1,28,28 \\
      --output net_kw.prototxt

The exit status is 0 if the file was written, 1 if the net has a layer that does not fit, 2 if the
arguments are wrong.
"""

ENDING = "_train_test"
_LEAST_WEIGHT, _MOST_WEIGHT = 1e-30, 1e30
"""Caffe computes with them in float32."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = create_parser("write-robust-net", __doc__, EPILOG)
    add = parser.add_argument
    add("net", type=parse_path, metavar="NET.prototxt", help="the stock net, with a data layer")
    add("--method", choices=METHODS, required=True, help="the loss")
    add("--shape", type=parse_shape, metavar="C,H,W", required=True, help="of the images")
    add(
        "--epsilon",
        metavar="DISTANCE",
        help="Linf, for sm and kw: in grey levels (12.75), or 0.05of1 (default: 0.05of1)",
    )
    add(
        "--weight",
        type=float,
        metavar="NUMBER",
        help="of the new loss (default: sm 1e-6, kw 1, jacob 0.1, spectral 0.01)",
    )
    add(
        "--output",
        type=parse_path,
        metavar="FILE",
        help="default: the net's file with the method in its name",
    )
    add_again(parser, "replace an existing file")
    return parser


def name_output(net: Path, method: str) -> Path:
    """Return NAME_METHOD_train_test.prototxt for NAME_train_test.prototxt."""
    stem = net.stem.removesuffix(ENDING)
    return net.with_name(f"{stem}_{method}{ENDING if stem != net.stem else ''}{net.suffix}")


def run(arguments: argparse.Namespace) -> None:
    """Read, write."""
    from caffe_ext.storage.atomic import write_text
    from caffe_ext.training.robust_net import RobustLoss, read_chain, write_robust_net

    path: Path = arguments.output or name_output(arguments.net, arguments.method)
    if path.is_dir():
        sys.exit(f"{path} is a folder: --output names a file")
    if not path.parent.is_dir():
        sys.exit(f"{path.parent} is not a folder: --output names a file in one that exists")
    if path.exists() and arguments.net.exists() and path.samefile(arguments.net):
        sys.exit(f"{path} is the stock net: --output names another file")
    if path.exists() and not arguments.again:
        sys.exit(f"{path} exists; --again replaces it, --output names another")
    loss = RobustLoss(arguments.method, arguments.epsilon, arguments.weight)
    distance = "" if loss.epsilon is None else f" --epsilon {loss.epsilon:g}"
    heading = (
        f"Written by caffe-ext write-robust-net from {arguments.net.name}:\n"
        f"--method {loss.method}{distance} --weight {loss.loss_weight:g}"
    )
    try:
        chain = read_chain(arguments.net, arguments.shape)
        text = write_robust_net(chain, loss, heading)
    except ValueError as error:
        sys.exit(f"{error}")
    write_text(path, text)
    print(f"{path}: {text.count(chr(10) + 'layer {')} layers")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.weight is not None and not _LEAST_WEIGHT <= arguments.weight <= _MOST_WEIGHT:
        parser.error(
            f"--weight must be a number from {_LEAST_WEIGHT:g} to {_MOST_WEIGHT:g}, not "
            f"{arguments.weight}"
        )
    if arguments.method in ("sm", "kw"):
        given = ["0.05of1" if arguments.epsilon is None else arguments.epsilon]
        (arguments.epsilon,) = read_distances(parser, "epsilon", given, small=True, linf=True)
    elif arguments.epsilon is not None:
        parser.error(f"the method {arguments.method} has no --epsilon")
    return run_program(run, arguments)
