"""Measure how stable networks are under random noise, all along their training.

Images that all networks classify correctly at all iterations get Gaussian noise of several levels;
the rate of noisy images that are classified differently, over iteration and level, is what figures
3 and 5 of the BANG paper show (Rozsa, Günther and Boult, 2018).
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe_ext.cli.checkout import ROOT, shown
from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.image_arguments import HELP as IMAGES_HELP
from caffe_ext.cli.image_arguments import add_image_arguments, open_source, shown_origin
from caffe_ext.cli.lenet_training import aligned
from caffe_ext.cli.model_arguments import DEMO, LENET, add_model_arguments, as_list
from caffe_ext.cli.parser import add_again, new_parser
from caffe_ext.storage.atomic import write_json, write_text

if TYPE_CHECKING:
    from caffe_ext.models.description import ModelDescription
    from caffe_ext.studies.noise_curves.curves import NoiseCurves
    from caffe_ext.studies.noise_curves.images import Chosen
    from caffe_ext.studies.noise_curves.run import NoiseCurvesRun

# The paper's: up to 100 grey levels on MNIST, up to 40 on CIFAR-10.
GREY_LEVELS, COLOUR_LEVELS = range(10, 101, 10), range(4, 41, 4)
RESULTS, PIECES = "noise_curves", "pieces"

EPILOG = f"""\
trainings
  A training is a folder with Caffe's snapshots, *_iter_N.caffemodel or .caffemodel.h5, or these
  files themselves. Without --first, the two trainings of `make demo`. All are measured at those
  iterations of which each has a snapshot, on the same images with the same noise.

{IMAGES_HELP}
  Of each class the first --per-class images are taken that are classified correctly by all.

what is written
  build/noise_curves/{RESULTS}.json    rates, standard errors, and all that they depend on
  build/noise_curves/{RESULTS}.csv     a line for each training, iteration and level
  build/noise_curves/{RESULTS}.png     and .svg: maps of the rates, and of their difference
  build/noise_curves/pieces               what goes on after an interruption: by network and image

examples
  caffe-ext noise-curves
  caffe-ext noise-curves --first build/table1/R0 --second build/table1/B1
  caffe-ext noise-curves --first build/table1/R0 --second build/table1/B1 \\
      --copies 1000                                  # as in the paper: 400,000,000 noisy images
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = new_parser("noise-curves", __doc__, EPILOG)
    add = parser.add_argument_group("trainings").add_argument
    path: dict[str, Any] = {"type": Path, "nargs": "+", "metavar": "PATH"}
    add("--first", **path, help="a training: its folder, or its snapshots")
    add("--second", **path, help="the training that is compared with it")
    add("--more", **path, action="append", default=[], help="one more; may be given again")
    add("--names", nargs="+", metavar="NAME", help="what the trainings are called in the results")
    add(
        "--every",
        type=int,
        metavar="N",
        help="only iterations that are multiples of N, and the last",
    )
    add_model_arguments(parser, several=False, weights=False)
    add_image_arguments(parser)
    add = parser.add_argument_group("noise").add_argument
    add(
        "--levels",
        type=float,
        nargs="+",
        metavar="SIGMA",
        help="standard deviations, in grey levels (default: 10 20 ... 100; for colour 4 8 ... 40)",
    )
    add(
        "--per-class",
        type=int,
        metavar="N",
        help="images of each class (default: 100, as in the paper, or half of the smallest class)",
    )
    add(
        "--copies",
        type=int,
        default=2,
        metavar="N",
        help="noisy copies of each image at each level (default: %(default)s; the paper: 1000)",
    )
    add("--seed", type=int, default=1, metavar="N", help="of the noise (default: %(default)s)")
    add = parser.add_argument_group("output").add_argument
    add(
        "--output",
        type=Path,
        metavar="DIR",
        default=ROOT / "build" / "noise_curves",
        help="where to write (default: build/noise_curves)",
    )
    add_again(parser, "discard earlier results in --output and measure again")
    add_device_argument(parser)
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they are wrong."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.first is None and (arguments.second or arguments.more):
        parser.error("--second and --more go with --first")
    for name in ("every", "batch_size"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            option = name.replace("_", "-")
            parser.error(f"--{option} must be at least 1, and is {getattr(arguments, name)}")
    return arguments


def find_trainings(arguments: argparse.Namespace) -> "dict[str, dict[int, ModelDescription]]":
    """Return the networks of each training by its name and their iteration.

    Raises FileNotFoundError and ValueError, each with a sentence for the user.
    """
    from caffe_ext.models.description import read_model
    from caffe_ext.reporting import pluralize
    from caffe_ext.studies.noise_curves.snapshots import common_iterations, find_snapshots

    given = [paths for paths in (arguments.first, arguments.second, *arguments.more) if paths]
    names = arguments.names
    if not given:
        if not all(folder.is_dir() for folder in DEMO.values()):
            raise FileNotFoundError(
                "there is no training: `make demo` trains two, --first and --second name others"
            )
        given, names = [[folder] for folder in DEMO.values()], names or list(DEMO)
    trainings = [find_snapshots(paths) for paths in given]
    names = names or [training.name for training in trainings]
    if len(names) != len(trainings):
        have = f"there {'is' if len(names) == 1 else 'are'} {len(names)} --names"
        raise ValueError(f"{have} for {pluralize(len(trainings), 'training')}")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two trainings are called {twice[0]}; --names can give them others")
    iterations = common_iterations(trainings, arguments.every)
    network = (as_list(arguments.model) or [LENET])[0]
    return {
        name: {number: read_model(network, training.weights[number]) for number in iterations}
        for name, training in zip(names, trainings, strict=True)
    }


def make_run(arguments: argparse.Namespace, console: Console) -> "NoiseCurvesRun":
    """Return what the arguments say is to be measured.

    Raises DataError, FileNotFoundError and ValueError, each with a sentence for the user.
    """
    import numpy as np

    from caffe_ext.models.description import class_numbers
    from caffe_ext.studies.noise_curves.curves import PAPER_PER_CLASS, NoiseProtocol
    from caffe_ext.studies.noise_curves.images import read_labels
    from caffe_ext.studies.noise_curves.run import NoiseCurvesRun

    models = find_trainings(arguments)
    networks = [network for training in models.values() for network in training.values()]
    whole = open_source(arguments, class_numbers(networks))
    source = whole.sample(arguments.limit, arguments.sample_seed)
    console.note(f"images: {source.selection}, {shown_origin(source)}")
    labels = read_labels(source)
    # Images tell more than copies of them; half of a class leaves room for those not correct.
    most = min(PAPER_PER_CLASS, max(1, int(np.unique(labels, return_counts=True)[1].min()) // 2))
    per_class = most if arguments.per_class is None else arguments.per_class
    defaults = GREY_LEVELS if source.image_shape[0] == 1 else COLOUR_LEVELS
    levels = tuple(map(float, arguments.levels or defaults))
    return NoiseCurvesRun(
        models=models,
        source=source,
        labels=labels,
        images={"digest": source.digest(console)},
        protocol=NoiseProtocol(levels, per_class, arguments.copies, arguments.seed),
        folder=arguments.output / PIECES,
        batch_size=arguments.batch_size,
    )


def check_output(folder: Path) -> None:
    """Raise ValueError if results would be written over that this program cannot tell apart."""
    if any(folder.glob(f"{RESULTS}.*")) and not (folder / PIECES).is_dir():
        raise ValueError(
            f"{shown(folder)} holds results without the folder {PIECES}, which says what they are "
            "of; choose another --output, or throw them away with --again"
        )


def plan(run: "NoiseCurvesRun", finished: int, seconds: float) -> str:
    """Say how much is to be done and how long it will take.

    finished  how many of the chosen images are done, all networks together
    seconds   that an image takes in a network
    """
    from caffe_ext.reporting import pluralize

    protocol, networks, images = run.protocol, len(run.networks), run.chosen
    total = (networks * images - finished) * protocol.copies * len(protocol.levels)
    copies = pluralize(protocol.copies, "noisy copy", "noisy copies")
    each = f"{pluralize(images, 'image')} x {copies} x {pluralize(len(protocol.levels), 'level')}"
    left = f"{pluralize(total, 'image')} {'is' if total == 1 else 'are'}"
    done = f", {finished / (networks * images):.0%} of it is done" if finished else ""
    return (
        f"{pluralize(networks, 'network')} x {each}{done}; {left} left to classify: about "
        f"{duration(total * seconds)} at {1 / seconds:,.0f} images a second"
    )


def duration(seconds: float) -> str:
    """Return a time in words, with no more digits than an estimate has."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1, round(seconds))} s"


def summary(curves: "NoiseCurves") -> str:
    """Return the table of the last iteration's rates, and of their differences, in %."""
    first, *others = curves.names
    apart = [curves.improvements(number) for number in range(1, len(curves.names))]
    rows = [["noise", *curves.names, *(f"{first} − {name}" for name in others)]]
    for level, sigma in enumerate(curves.levels):
        rates = (f"{rate:.2%}" for rate in curves.rates[:, -1, level])
        differences = (
            f"{100 * values[-1, level]:.2f} ± {100 * errors[-1, level]:.2f}"
            for values, errors in apart
        )
        rows.append([f"{sigma:g}", *rates, *differences])
    return aligned(rows)


def record(run: "NoiseCurvesRun", chosen: "Chosen", curves: "NoiseCurves") -> dict[str, Any]:
    """Return the results with all that they depend on, for JSON."""
    from caffe_ext.storage.provenance import provenance
    from caffe_ext.studies.noise_curves.measure import seconds_taken

    trainings = [
        {"name": name, "networks": [listed(number, model) for number, model in models.items()]}
        for name, models in run.models.items()
    ]
    protocol = asdict(run.protocol) | {
        "noise": "clip(round(x + sigma z), 0, 255), z standard normal, sigma in grey levels",
        "threat_model": "none: the noise is random, it knows nothing of the networks",
        "differs_from_paper": run.protocol.remark,
    }
    images = {
        "origin": shown_origin(run.source),
        "candidates": len(run.labels),
        "chosen": chosen.indices.tolist(),
    }
    return asdict(provenance(ROOT)) | {
        "protocol": protocol,
        "images": dict(run.images) | images,
        "trainings": trainings,
        "seconds": round(seconds_taken(run), 1),
        **curves.to_dict(),
    }


def listed(iteration: int, model: "ModelDescription") -> dict[str, Any]:
    """Return what the record says of a network."""
    paths = {"deploy": shown(model.deploy), "weights": shown(model.weights)}
    return {"iteration": iteration} | model.record() | paths


def save(
    arguments: argparse.Namespace, run: "NoiseCurvesRun", chosen: "Chosen", curves: "NoiseCurves"
) -> None:
    """Write the files with the results."""
    from caffe_ext.reporting import pluralize
    from caffe_ext.studies.noise_curves.figure import noise_figure, save_figure

    path = arguments.output / RESULTS
    subtitle = (
        f"Gaussian noise on {pluralize(len(chosen.images), 'image')} that all classify correctly, "
        f"{pluralize(curves.copies, 'noisy copy', 'noisy copies')} of each at each level"
    )
    # The pictures last: whatever there is that cannot be drawn, the results are on the disk.
    write_text(path.with_suffix(".csv"), curves.csv())
    write_json(path.with_suffix(".json"), record(run, chosen, curves))
    figure = noise_figure(curves, subtitle)
    for suffix in (".svg", ".png"):
        save_figure(figure, path.with_suffix(suffix))


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError
    from caffe_ext.errors import RecordError
    from caffe_ext.studies.noise_curves.images import choose_images
    from caffe_ext.studies.noise_curves.measure import finished, measure, seconds_per_image
    from caffe_ext.studies.noise_curves.run import claimed

    console = Console()
    try:
        if not arguments.again:
            check_output(arguments.output)
        noise_run = make_run(arguments, console)
        seconds = seconds_per_image(noise_run)
        with claimed(noise_run, again=arguments.again):
            console.note(plan(noise_run, finished(noise_run), seconds))
            chosen = choose_images(noise_run, console)
            curves = measure(noise_run, chosen, console)
            save(arguments, noise_run, chosen, curves)
    except (DataError, RecordError, ValueError) as error:
        sys.exit(f"{error}")
    print(f"noise: rates at iteration {curves.iterations[-1]:,}\n\n{summary(curves)}\n")
    print(
        "; ".join(filter(None, ("±: standard error, over the images", noise_run.protocol.remark)))
    )
    print(f"All iterations, the pictures and the settings: {shown(arguments.output)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_program(run, parse(argv))
