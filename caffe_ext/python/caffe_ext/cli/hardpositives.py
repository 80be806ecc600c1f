"""Make hard positives, adversarials with their originals' labels, for fine-tuning a network."""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from caffe_ext.cli.attack_names import EXAMPLES, add_attack_help
from caffe_ext.cli.attack_report import format_speed
from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.image_arguments import add_image_arguments, open_source
from caffe_ext.cli.model_arguments import HELP, add_model_arguments, find_loadable
from caffe_ext.cli.parser import add_again, add_output, create_parser
from caffe_ext.reporting import format_table, pluralize
from caffe_ext.runtime.checkout import ROOT, shorten_path, shorten_paths

if TYPE_CHECKING:
    from caffe_ext.data import ImageSource
    from caffe_ext.models.loadable import LoadableModel
    from caffe_ext.training.hard_positives.folder import HardPositiveSet
    from caffe_ext.training.hard_positives.presets import Recipe

OUTPUT = ROOT / "data" / "mnist_hardpositives"
IMAGES = "mnist:train"
SOLVER = "solvers/lenet_finetune.prototxt"

EPILOG = f"""\
{HELP}  One model is attacked; of those of `make demo`, the plain LeNet.

which hard positives
  --preset names a training set of Table 1 in Rozsa, Rudd and Boult, 2016:
    HC-D-9-1.05  HC-1 to HC-9, each 1.05 times as far as needed; best in the paper, the default
    HC-D-9       HC-1 to HC-9                  HC-D-5  HC-1 to HC-5
    HC-S-5       HC-1 to HC-5, their signs     FGV, FGS
    With fewer than ten classes, HC-1 to HC-(K-1) of these. That of Section 5.3, for ImageNet:
    HC-D-20      HC-1 to HC-20
  --attacks names others; --help-attacks lists all of them:
    {EXAMPLES}
  --limit N attacks only N images, for a trial; --per-class N the first N of each class that the
  model classifies correctly. The mix still has all originals.

what is written
  data/mnist_hardpositives/train_lmdb            shuffled, as Caffe reads in order
  data/mnist_hardpositives/hard_positives.json   counts of each kind, PASS, digests, settings
  data/mnist_hardpositives/attacks               what the attacks found
  An interrupted run resumes. Another range of PASS, seed or mix needs no new attack, only --again.

examples
  caffe-ext hardpositives
  caffe-ext hardpositives --preset FGV --min-pass 0.8 --alone --output data/fgv
  caffe-ext hardpositives --weights build/table1/R0/R0_iter_10000.caffemodel --limit 5000
  caffe-ext hardpositives --model googlenet.yaml --images ilsvrc12_train_lmdb \\
      --image-order BGR --crop 224x224 --preset HC-D-20 --per-class 15 --min-pass 0.99 \\
      --batch-size 10 --output data/imagenet_hardpositives         # Section 5.3 of the paper
  caffe train --solver={SOLVER} \\
      --weights=build/demo/lenet_sgd/lenet_sgd_iter_10000.caffemodel
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = create_parser("hardpositives", __doc__, EPILOG)
    add = parser.add_argument
    kinds = parser.add_mutually_exclusive_group().add_argument
    kinds("--preset", metavar="NAME", help="a training set of the paper (default: HC-D-9-1.05)")
    kinds("--attacks", nargs="+", metavar="ATTACK", help="attacks by name; see below")
    add_attack_help(parser)
    add("--min-pass", type=float, metavar="X", help="discard hard positives with a lower PASS")
    add("--max-pass", type=float, metavar="X", help="discard hard positives with a higher PASS")
    add(
        "--per-class",
        type=int,
        metavar="N",
        help="attack N images of each class that are classified correctly",
    )
    mixed = parser.add_mutually_exclusive_group().add_argument
    mixed("--mix", action="store_true", default=True, help="mix them with all originals (default)")
    mixed("--alone", dest="mix", action="store_false", help="hard positives only")
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the shuffling (default: %(default)s)",
    )
    add_output(parser, OUTPUT)
    add_again(parser, "build the set again; attacks with the same settings are reused")
    add_model_arguments(parser, several=False)
    add_image_arguments(parser, images=IMAGES)
    add_device_argument(parser)
    return parser


def read_recipe(arguments: argparse.Namespace, classes: int) -> "Recipe":
    """Return what the arguments say about the hard positives of a model with so many classes.

    Raises ValueError if it makes no sense.
    """
    from caffe_ext.training.hard_positives.presets import BEST, Recipe, make_presets

    preset, presets = arguments.preset or BEST, make_presets(classes)
    if preset not in presets:
        raise ValueError(f"unknown preset {preset!r}; known presets: {', '.join(presets)}")
    return Recipe(
        attacks=tuple(arguments.attacks or presets[preset]),
        min_pass=arguments.min_pass,
        max_pass=arguments.max_pass,
        mix=arguments.mix,
        limit=arguments.limit or None,
        seed=arguments.seed,
        per_class=arguments.per_class,
    )


def describe_origin(model: "LoadableModel", source: "ImageSource") -> dict[str, Any]:
    """Return where the hard positives come from, for their record."""
    from caffe_ext.metrics.pass_score import STANDARD
    from caffe_ext.storage.provenance import collect_provenance

    return {
        "pass_protocol": asdict(STANDARD),
        "model": model.as_shown_record(),
        "source": {"origin": shorten_paths(source.origin), "images": len(source)},
        "provenance": asdict(collect_provenance()),
    }


def format_yields(record: dict[str, Any]) -> str:
    """Return what each attack has given."""
    heads = ("attack", "tried on", "found", "dropped", "kept", "mean PASS", "least", "greatest")
    rows = [
        (
            one["name"],
            f"{one['attempted']:,}",
            f"{one['found']:,}",
            f"{one['found'] - one['kept']:,}",
            f"{one['kept']:,}",
            *(f"{score:.3f}" for score in _reorder_scores(one["pass_scores"])),
        )
        for one in record["attacks"]
    ]
    return format_table([heads, *[(*row, *("–",) * (len(heads) - len(row))) for row in rows]])


def _reorder_scores(scores: Sequence[float] | None) -> Sequence[float]:
    return () if scores is None else (scores[1], scores[0], scores[2])


def report(made: "HardPositiveSet", model: "LoadableModel") -> str:
    """Return the lines to print."""
    from caffe_ext.models.description import ModelDescription

    record, folder = made.record, shorten_path(made.folder)
    lines = [] if made.made else [f"{folder} is up to date"]
    lines += [format_yields(record), ""]
    if made.made:
        lines.append(
            f"{pluralize(made.attacked, 'attack')} on single images: "
            f"{format_speed(made.attacked, made.seconds)}"
        )
    lines.append(
        f"{shorten_path(made.database)}: "
        f"{pluralize(record['hard_positives'], 'hard positive')} and "
        f"{pluralize(record['originals'], 'original')}, shuffled"
    )
    # A committee has no weights to go on from.
    if made.folder.absolute() == OUTPUT and isinstance(model, ModelDescription):
        lines += ["", f"caffe train --solver={SOLVER} --weights={shorten_path(model.weights)}"]
    else:
        lines.append("To train a network on it, name this folder as the source of its Data layer.")
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError
    from caffe_ext.errors import RecordError
    from caffe_ext.runtime.quiet import silence_caffe
    from caffe_ext.training.hard_positives.training_set import SetRequest, make_set

    console = Console()
    try:
        model = find_loadable(arguments)[0]
        with silence_caffe():
            recipe = read_recipe(arguments, model.load(1).classes)
        source = open_source(arguments, model.class_numbers)
        console.note(f"{model.name} ({model.shown_file}) on {shorten_paths(source.origin)}")
        request = SetRequest(
            model,
            source,
            recipe,
            arguments.output,
            batch_size=arguments.batch_size,
            again=arguments.again,
            sample_seed=arguments.sample_seed,
            about=describe_origin(model, source),
        )
        with silence_caffe():
            made = make_set(request, console)
    except (DataError, RecordError, ValueError) as error:
        sys.exit(f"{error}")
    print(report(made, model))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_program(run, make_parser().parse_args(argv))
