"""The arguments that name models, the same for all programs that use trained networks."""

# The package, which loads Caffe, is imported late: --help is instant.
# ruff: noqa: PLC0415

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from caffe_ext.cli.parser import parse_path
from caffe_ext.runtime.checkout import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from caffe_ext.models.description import ModelDescription
    from caffe_ext.models.loadable import LoadableModel, Named

LENET = ROOT / "prototxt" / "lenet.yaml"
# What `make demo` trains, and its record.
DEMO = {
    "LeNet": ROOT / "build" / "demo" / "lenet_sgd",
    "LeNet with BANG": ROOT / "build" / "demo" / "lenet_bang",
}
DEMO_RECORD = ROOT / "build" / "demo" / "result.json"

HELP = """\
models
  A model is a YAML file (prototxt/lenet.yaml is one; all keys: --help-model), or weights for such a
  file: --model prototxt/lenet.yaml --weights a.caffemodel b.caffemodel.h5 names two models. Without
  either, the models that `make demo` has trained are used. A file with `members:` is a committee of
  several networks, one model.
"""


MODEL_FILE = """\
The YAML file of a model says how to use a Caffe network: its prototxt, its weights, and how pixels
become its input. Only `deploy` is required, and `weights` unless --weights names them. Paths are
relative to the file.

name: LeNet                       # in tables and figures; default: the name of the weights' file
deploy: lenet_deploy.prototxt     # deploy prototxt with one input
weights: lenet.caffemodel.h5      # .caffemodel or .caffemodel.h5; or use --weights
scale: 0.00390625                 # input = (pixels - mean) * scale; default 1; a number, or one
                                  # per channel in the network's order
std: [58.4, 57.1, 57.4]           # instead of scale: 1 / scale, a number or one per channel
mean: [104, 117, 123]             # a number, one per channel in the network's order, or a mean file
channel_order: BGR                # or RGB, the default
crop: 227                         # side of the central square; default: the whole image
logits: ip2                       # blob with the scores; default: the input of the softmax, or of a
                                  # sigmoid with one output, which makes two classes
classes: synset_words.txt         # names of the classes, one per line, or a list; folders and
                                  # listings of images may use them, or the WordNet ids before them,
                                  # as labels

With this key beside them it is a smoothed model: the class that most noisy copies get.

smoothing: {sigma: 63.75, samples: 100, seed: 1}    # in grey levels; the last two are the defaults

A committee is a file with these two keys; the programs treat it as one model.

name: committee             # in tables and figures; default: the name of the file
members:                    # two or more; their predictions (softmax) are averaged
  - first.yaml              # the YAML file of a model, with its weights
  - deploy: lenet_deploy.prototxt          # or the keys of such a file themselves
    weights: second.caffemodel
    scale: 0.00390625
"""


def add_model_arguments(
    parser: argparse.ArgumentParser, *, several: bool, weights: bool = True
) -> None:
    """Add --model, --batch-size, --help-model, and --weights unless they are named otherwise."""
    add = parser.add_argument_group("model").add_argument
    number = "+" if several else None
    add(
        "--model",
        type=parse_path,
        nargs=number,
        metavar="YAML",
        help="description of a Caffe model",
    )
    if weights:
        add(
            "--weights",
            type=parse_path,
            nargs=number,
            metavar="FILE",
            help=".caffemodel or .caffemodel.h5, for the network of --model (default: LeNet)",
        )
    add(
        "--batch-size",
        type=int,
        default=100,
        metavar="N",
        help="images per forward pass; bounds the memory (default: %(default)s)",
    )
    add("--help-model", action=_HelpModel, nargs=0, help="describe the keys of a model's YAML file")


class _HelpModel(argparse.Action):
    """Describe the YAML file."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print and end."""
        print(MODEL_FILE, end="")
        parser.exit()


def as_list(value: Path | list[Path] | None) -> list[Path]:
    """Return what argparse has found as a list."""
    return value if isinstance(value, list) else [] if value is None else [value]


def find_models(arguments: argparse.Namespace) -> "list[ModelDescription]":
    """Return the networks that the arguments name, with names that differ.

    Raises FileNotFoundError and ValueError, each with a sentence for the user; also for a
    committee, which find_loadable() takes.
    """
    from caffe_ext.models.description import read_model

    return _find(arguments, read_model)


def find_loadable(arguments: argparse.Namespace) -> "list[LoadableModel]":
    """Return the networks and committees that the arguments name, with names that differ.

    Raises FileNotFoundError and ValueError, each with a sentence for the user.
    """
    from caffe_ext.models.loadable_file import read_loadable

    return _find(arguments, read_loadable)


def _find(arguments: argparse.Namespace, read: "Callable[..., Named]") -> "list[Named]":
    """Return what the arguments name, as `read` reads a YAML file, with weights or without."""
    from caffe_ext.models.description import make_names_distinct

    if arguments.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, not {arguments.batch_size}")
    models, weights = as_list(arguments.model), as_list(arguments.weights)
    if weights:
        if len(models) > 1:
            raise ValueError("--weights needs exactly one --model, the network that they belong to")
        return make_names_distinct([read((models or [LENET])[0], file) for file in weights])
    if models:
        return make_names_distinct([read(path) for path in models])
    found = {name: find_newest_weights(folder) for name, folder in DEMO.items()}
    if None in found.values():
        raise FileNotFoundError(
            "no model found: run `make demo` to train two, or name yours with --model and --weights"
        )
    return [read(LENET, file).with_name(name) for name, file in found.items()]


def uses_demo(arguments: argparse.Namespace) -> bool:
    """Return whether the arguments name no model, so that those of the demo are taken."""
    named = ("first",) if hasattr(arguments, "first") else ("model", "weights")
    return not any(getattr(arguments, name, None) for name in named)


def find_newest_weights(folder: Path) -> Path | None:
    """Return the weights of a training folder after most iterations; None if there are none."""
    found = (
        (re.search(r"_iter_(\d+)\.caffemodel(?:\.h5)?$", path.name), path)
        for path in sorted(folder.glob("*"))
    )
    files = {int(number[1]): path for number, path in found if number}
    return files[max(files)] if files else None
