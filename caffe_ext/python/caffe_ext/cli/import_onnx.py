"""Write an ONNX file as a Caffe model, and check that its output agrees with ONNX Runtime's."""

# The package, which loads Caffe, is imported late: --help is instant.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caffe_ext.cli.console import run_program
from caffe_ext.cli.parser import add_again, create_parser, parse_path

EPILOG = """\
what is written
  NAME_deploy.prototxt, NAME.caffemodel and NAME.yaml, the model file that all other commands take
  as --model. ONNX files do not say how pixels become the network's input. Without an option,
  pixels are divided by 255; a file from export-onnx takes them as they are. The options are those
  of a model file, in grey levels 0..255: what PyTorch calls mean=0.5, std=0.25 is --mean 127.5
  --std 63.75.

  Before anything is written, Caffe's output is compared with ONNX Runtime's on five images. The
  difference is the largest of all; where values exceed 1, relative to the largest. Above 1e-4,
  nothing is written. The error for an operator that Caffe has no layers for names its node.

examples
  caffe-ext import-onnx net.onnx                    # net.yaml, net.caffemodel, ...
  caffe-ext import-onnx resnet18.onnx --mean 123.675 116.28 103.53 --std 58.395 57.12 57.375
  caffe-ext hotcold --model net.yaml --images photos/

The exit status is 0 if the files were written, 1 if the file cannot be imported, 2 if the
arguments are wrong.
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = create_parser("import-onnx", __doc__, EPILOG)
    add = parser.add_argument
    add("file", type=parse_path, metavar="FILE.onnx", help="the network, float32 (N, C, H, W) in")
    add(
        "--output",
        type=parse_path,
        default=Path(),
        metavar="FOLDER",
        help="where to write (default: the current folder)",
    )
    add("--name", help="of the model and its files (default: that of FILE)")
    add("--scores", metavar="NAME", help="which output has the scores, if there are several")
    add("--shape", type=parse_shape, metavar="C,H,W", help="of the images, if FILE leaves it open")
    group = parser.add_argument_group("from pixels to the input: input = (pixels - mean) * scale")
    add = group.add_argument
    scales = group.add_mutually_exclusive_group()
    scales.add_argument("--scale", type=float, nargs="+", help="one, or one per channel")
    scales.add_argument("--std", type=float, nargs="+", help="instead of the scale, 1 / scale")
    add("--mean", type=float, nargs="+", help="one, or one per channel, in the network's order")
    add("--channel-order", choices=("RGB", "BGR"), help="of the network (default: RGB)")
    add_again(parser, "replace existing files")
    return parser


def parse_shape(text: str) -> tuple[int, ...]:
    """Return C, H and W."""
    sides = text.split(",")
    if len(sides) != 3 or not all(side.isdecimal() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(f"a shape is C,H,W, such as 3,224,224, and not {text!r}")
    return tuple(map(int, sides))


def _collect_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the options say, by the keys of a model file."""
    settings: dict[str, Any] = {}
    for key in ("scale", "std", "mean", "channel_order"):
        value = getattr(arguments, key)
        if value is not None:
            settings[key] = value[0] if isinstance(value, list) and len(value) == 1 else value
    return settings


def run(arguments: argparse.Namespace) -> None:
    """Convert, check, write."""
    from caffe_ext.reporting import pluralize
    from caffe_ext.runs.output_folder import check_writable

    try:
        from caffe_ext.exchange.onnx_to_caffe.importer import (
            PER_UNIT,
            import_model,
            make_file_names,
        )
    except ModuleNotFoundError as error:
        sys.exit(f"{error}: `pip install caffe_ext[onnx]` brings what import-onnx needs")
    name, folder = arguments.name or arguments.file.stem, arguments.output
    if not name or Path(name).name != name:
        sys.exit(f"--name is the beginning of the files' names, without a folder, not {name!r}")
    check_writable(folder)
    for file in (folder / one for one in make_file_names(name)):
        if file.is_dir() or (file.exists() and file.samefile(arguments.file)):
            sys.exit(f"{file} would be replaced: --name and --output name another")
        if file.exists() and not arguments.again:
            sys.exit(f"{file} exists; --again replaces it, --name and --output name another")
    settings = _collect_settings(arguments)
    try:
        model = import_model(
            arguments.file, name, settings, output=arguments.scores, sides=arguments.shape
        )
    except ValueError as error:
        sys.exit(f"{error}")
    folder.mkdir(parents=True, exist_ok=True)
    files = model.write(folder)
    print(f"{name}: {pluralize(model.layers, 'layer')}")
    print(
        f"largest difference of Caffe's output from ONNX Runtime's on "
        f"{pluralize(model.checked, 'image')}: {model.difference:.1e}"
    )
    if "scale" not in settings and model.settings.get("scale") == PER_UNIT:
        print("pixels are divided by 255; --mean, --std and --channel-order say it otherwise")
    for file in files:
        print(f"  {file}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_program(run, make_parser().parse_args(argv))
