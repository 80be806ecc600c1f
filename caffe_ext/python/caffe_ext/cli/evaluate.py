"""Report how robust Caffe models are, side by side: attacks in honest readings, PASS, noise.

FGS is given in three readings: in the protocol of the BANG paper, strictly, and along the logits,
which cannot saturate. Where they differ the model masks its gradients, and the report says so.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe_ext.cli.attack_names import add_attack_help
from caffe_ext.cli.attack_program import check_model, check_output, locked_output
from caffe_ext.cli.checkout import ROOT, shown
from caffe_ext.cli.console import Console
from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.hotcold import ranks
from caffe_ext.cli.image_arguments import HELP as IMAGES_HELP
from caffe_ext.cli.image_arguments import (
    add_image_arguments,
    open_source,
    shown_origin,
    tell_images,
)
from caffe_ext.cli.lenet_training import run_training
from caffe_ext.cli.model_arguments import HELP as MODELS_HELP
from caffe_ext.cli.model_arguments import add_model_arguments, find_models
from caffe_ext.cli.noise_curves import COLOUR_LEVELS, GREY_LEVELS
from caffe_ext.cli.parser import add_again, new_parser

if TYPE_CHECKING:
    from caffe_ext.data import ImageSource
    from caffe_ext.evaluation.evaluate import Evaluator
    from caffe_ext.evaluation.report import Report
    from caffe_ext.evaluation.result import ModelEvaluation, Settings
    from caffe_ext.models.description import ModelDescription

# What --quick means, for options that are not given.
QUICK = {"limit": 500, "hot": ["1"], "noise_images": 5, "noise_copies": 20, "probe": 200}
USUAL = {"noise_images": 10, "noise_copies": 100, "probe": 1000}

EPILOG = f"""\
{MODELS_HELP}
{IMAGES_HELP}
what is done
  fgs, margin-s, fgv, hc1 ... hc9   the smallest adversarials of all images that are classified
                                    correctly; more by --attacks (names: --help-attacks)
  noise                             how often Gaussian noise changes the class, per level
  probe                             iterated attacks, held against single steps: signs of masking

what is written to --output
  report.html                       the report: tables, plots, warnings; one file, prints well
  table.csv                         a row a model, in the form of Tables 1 and 2 of the BANG paper
  attacks.csv                       a row for each model, attack and reading
  evaluation.json                   all figures, with all that they depend on
  MODEL/ATTACK.h5                   a row for each image, and the adversarials (HDF5)
  The same command goes on where an earlier one was interrupted, and adds what is new.

examples
  caffe-ext evaluate                               # the models of `make demo`
  caffe-ext evaluate --quick                       # the same in seconds, on 500 images
  caffe-ext evaluate --weights plain.caffemodel bang.caffemodel.h5 --attacks pgd=32+margin
  caffe-ext evaluate --model prototxt/cifar10_quick.yaml --weights my.caffemodel \\
      --images cifar10 --hot 1 9 --noise-images 100 --noise-copies 1000
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = new_parser("evaluate", __doc__, EPILOG, "[options]")
    add_model_arguments(parser, several=True)
    add_image_arguments(parser)
    _add_measurements(parser)
    add = parser.add_argument_group("output").add_argument
    add(
        "--output",
        type=Path,
        metavar="DIR",
        default=ROOT / "build" / "evaluate",
        help="where to write (default: build/evaluate)",
    )
    add_again(parser, "discard earlier results of these models in --output")
    add("--jobs", type=int, metavar="N", help="processes (default: one a core; on a GPU one)")
    add_device_argument(parser)
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they are wrong."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    for name, value in (USUAL | (QUICK if arguments.quick else {})).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    least = {"seed": 0, "probe": 0, "noise_images": 0, "noise_copies": 1, "jobs": 1}
    for name, number in least.items():
        given = getattr(arguments, name)
        if given is not None and given < number:
            parser.error(f"--{name.replace('_', '-')} must be at least {number}, and is {given}")
    radius = arguments.probe_epsilon
    if radius is not None and not (isfinite(radius) and radius > 0):
        parser.error(f"--probe-epsilon must be above 0 grey levels, and is {radius:g}")
    return arguments


def _add_measurements(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is measured."""
    add = parser.add_argument_group("measurements").add_argument
    add("--quick", action="store_true", help="a first look: 500 images, HC1, little noise")
    add(
        "--hot",
        nargs="+",
        metavar="K",
        help="the HC-k: ranks of the hot class, 1-9 for each of these (default: 1-9; always 1)",
    )
    add("--attacks", nargs="+", default=[], metavar="NAME", help="more attacks: bim=8, hc1-s, ...")
    add_attack_help(parser)
    add("--seed", type=int, default=1, metavar="N", help="of all random choices (default: 1)")
    add(
        "--probe",
        type=int,
        metavar="N",
        help="iterated attacks against single steps on the first N images; 0: none (default: 1000)",
    )
    add(
        "--probe-epsilon",
        type=float,
        metavar="E",
        help="their radius, grey levels (default: the median Linf of FGS on the logits)",
    )
    add(
        "--noise-images",
        type=int,
        metavar="N",
        help="images of each class for noise; 0: no noise (default: 10; the paper: 100)",
    )
    add(
        "--noise-copies",
        type=int,
        metavar="N",
        help="noisy copies of each at each level (default: 100; the paper: 1000)",
    )
    add(
        "--noise-levels",
        type=float,
        nargs="+",
        metavar="SIGMA",
        help="standard deviations, grey levels (default: 10 ... 100; for colour 4 8 ... 40)",
    )


def open_images(arguments: argparse.Namespace, classes: Mapping[str, int]) -> "ImageSource":
    """Return the images that are evaluated; in other processes, too."""
    return open_source(arguments, classes).sample(arguments.limit, arguments.sample_seed)


def read_settings(arguments: argparse.Namespace, *, colour: bool) -> "Settings":
    """Return what is asked for; ValueError if it makes no sense."""
    from caffe_ext.attacks.registry import parse_attack
    from caffe_ext.evaluation.noise import NoiseSettings
    from caffe_ext.evaluation.result import Settings

    levels = arguments.noise_levels or (COLOUR_LEVELS if colour else GREY_LEVELS)
    noise = NoiseSettings(
        per_class=max(1, arguments.noise_images),
        copies=arguments.noise_copies,
        levels=tuple(map(float, levels)),
    )
    hot = {rank for text in arguments.hot or () for rank in ranks(text)}
    return Settings(
        ranks=tuple(sorted({1, *hot})) if hot else None,
        extra=tuple(parse_attack(name, seed=arguments.seed) for name in arguments.attacks),
        limit=arguments.limit,
        seed=arguments.seed,
        probe=arguments.probe,
        probe_epsilon=arguments.probe_epsilon,
        noise=noise if arguments.noise_images else None,
        again=arguments.again,
    )


def prepare(arguments: argparse.Namespace, console: Console) -> tuple["Evaluator", dict[str, Any]]:
    """Return what is to be done, checked; and where the images come from."""
    from caffe_ext.evaluation.evaluate import Evaluator, Images, Resources
    from caffe_ext.evaluation.report import ATTACKS, PAGE, RECORD, TABLE
    from caffe_ext.models.description import class_numbers
    from caffe_ext.runs.export import model_folders

    check_output(arguments.output)
    models = find_models(arguments)
    classes = class_numbers(models)
    source = open_images(arguments, classes)
    settings = read_settings(arguments, colour=source.image_shape[0] == 3)
    model_folders([model.name for model in models], (ATTACKS, PAGE, RECORD, TABLE))
    tell_images(source, console)
    for model in models:
        check_model(model, (), source, arguments.batch_size)
    digest = source.digest(console)
    images = {
        "origin": shown_origin(source),
        "count": len(open_source(arguments, classes)),
        "limit": arguments.limit,
        "selection": source.selection,
        "labelled": source.labelled,
        "sha256": digest,
    }
    evaluator = Evaluator(
        models,
        Images(partial(open_images, arguments, classes), digest, labelled=source.labelled),
        settings,
        arguments.output,
        Resources(arguments.batch_size, arguments.jobs),
    )
    return evaluator, images


def make_report(
    models: "Sequence[ModelEvaluation]",
    evaluator: "Evaluator",
    images: dict[str, Any],
    identity: dict[str, Any],
) -> "Report":
    """Return the report, with all that it depends on."""
    from caffe_ext.evaluation.report import Report
    from caffe_ext.metrics.pass_score import PUBLISHED, STANDARD
    from caffe_ext.storage.provenance import provenance

    settings = evaluator.settings
    return Report(
        models=[
            shown_model(model, one) for model, one in zip(evaluator.models, models, strict=True)
        ],
        images=images,
        settings={
            "seed": settings.seed,
            "limit": settings.limit,
            "batch_size": evaluator.resources.batch_size,
            "probe": settings.probe,
            "probe_epsilon": settings.probe_epsilon,
            "noise": asdict(settings.noise) if settings.noise else None,
            "pass_protocols": {"standard": asdict(STANDARD), "published": asdict(PUBLISHED)},
        },
        provenance=asdict(provenance(ROOT)),
        identity=identity,
    )


def shown_model(model: "ModelDescription", evaluation: "ModelEvaluation") -> "ModelEvaluation":
    """Return the evaluation with the model's paths as records have them."""
    from dataclasses import replace

    paths = {"deploy": shown(model.deploy), "weights": shown(model.weights)}
    return replace(evaluation, record=evaluation.record | paths)


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError
    from caffe_ext.errors import RecordError, WorkerError
    from caffe_ext.evaluation.report import PAGE, as_text, check_folder, write_report
    from caffe_ext.runtime.quiet import quiet_caffe

    console = Console()
    try:
        with quiet_caffe():
            evaluator, images = prepare(arguments, console)
            evaluator.attacks()  # all that can be wrong with them is found before the work begins
            identity = evaluator.identity()
            if not arguments.again:
                check_folder(arguments.output, identity)
            with locked_output(arguments.output):
                models = evaluator.evaluate(console)
                report = make_report(models, evaluator, images, identity)
                write_report(arguments.output, report)
    except (DataError, RecordError, ValueError, WorkerError) as error:
        sys.exit(f"{error}")
    print(f"\n{as_text(models)}\n\nThe report: {shown(arguments.output / PAGE)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_training(run, parse(argv))
