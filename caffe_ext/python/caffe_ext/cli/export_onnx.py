"""Write a Caffe model as an ONNX file, and check with ONNX Runtime that the scores agree."""

# The package, which loads Caffe, is imported late: --help is instant.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from caffe_ext.cli.console import run_program
from caffe_ext.cli.parser import add_again, create_parser, parse_path

EPILOG = """\
what is written
  The network up to the scores before the softmax, for batches of any size. Its input `images` is
  float32 (N, C, H, W) in grey levels 0..255, grey or RGB; mean, scale, crop and channel order are
  inside. With --preprocessing beside, these are in NAME_preprocessing.onnx, and the network's input
  is what the Caffe net takes. The output is `logits` (N, K). Opset 17, float32.

  Before anything is written, the scores are compared with Caffe's on five images. The difference is
  the largest of all; where scores exceed 1, relative to the largest. Above 1e-4, nothing is
  written.

examples
  caffe-ext export-onnx prototxt/lenet.yaml --weights lenet.caffemodel    # lenet.onnx
  caffe-ext export-onnx resnet50.yaml --output models/resnet50.onnx --probabilities
  caffe-ext export-onnx resnet50.yaml --preprocessing beside

The exit status is 0 if the file was written, 1 if the model cannot be exported, 2 if the
arguments are wrong.
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = create_parser("export-onnx", __doc__, EPILOG)
    add = parser.add_argument
    add(
        "positional",
        nargs="?",
        type=parse_path,
        metavar="MODEL.yaml",
        help="the model file (see docs/model-files.md)",
    )
    add("--model", type=parse_path, metavar="YAML", help="the same, as other programs take it")
    add(
        "--weights",
        type=parse_path,
        metavar="FILE",
        help=".caffemodel or .caffemodel.h5, instead of the model file's",
    )
    add(
        "--output",
        type=parse_path,
        metavar="FILE.onnx",
        help="default: the name of the weights, or of the model file, in the current folder",
    )
    add(
        "--preprocessing",
        choices=("inside", "beside"),
        default="inside",
        help="where mean, scale, crop and channel order go (default: %(default)s)",
    )
    add("--probabilities", action="store_true", help="a second output, the softmax of the logits")
    add_again(parser, "replace existing files")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Convert, check, write."""
    from caffe_ext.models.description import read_model, strip_suffixes
    from caffe_ext.reporting import pluralize

    weights = arguments.weights
    name = strip_suffixes(weights) if weights else arguments.model.stem
    path: Path = arguments.output or Path(f"{name}.onnx")
    beside = arguments.preprocessing == "beside"
    try:
        from caffe_ext.exchange.caffe_to_onnx.export import export_model, locate_preprocessing
        from caffe_ext.exchange.caffe_to_onnx.graph import OPSET
    except ModuleNotFoundError as error:
        sys.exit(f"{error}: `pip install caffe_ext[onnx]` brings what export-onnx needs")
    if path.suffix != ".onnx":
        # With --again, another name may be that of the weights, or of any other file.
        sys.exit(f"--output must be a file with the ending .onnx, not {path}")
    if not path.parent.is_dir():
        sys.exit(f"{path.parent} is not a folder: --output names a file in one that exists")
    for file in [path, locate_preprocessing(path)][: 1 + beside]:
        if file.is_dir():
            sys.exit(f"{file} is a folder: --output names a file")
        if file.exists() and not arguments.again:
            sys.exit(f"{file} exists; --again replaces it, --output names another")
    try:
        description = read_model(arguments.model, arguments.weights)
        model = export_model(description, beside=beside, probabilities=arguments.probabilities)
    except ValueError as error:
        sys.exit(f"{error}")
    files = model.write(path)
    print(f"{description.name}: {pluralize(model.nodes, 'node')} of opset {OPSET}")
    print(
        f"largest difference of the logits from Caffe's on {pluralize(model.checked, 'image')}: "
        f"{model.difference:.1e}"
    )
    for file in files:
        size = file.stat().st_size
        shown = f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"
        print(f"  {file}  {shown}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if (arguments.positional is None) == (arguments.model is None):
        parser.error("name one model file, as MODEL.yaml or with --model")
    arguments.model = arguments.model or arguments.positional
    return run_program(run, arguments)
