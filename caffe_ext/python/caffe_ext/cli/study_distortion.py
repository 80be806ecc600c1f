"""Train LeNets with the defences of Uličný et al., 2016, and measure them on distorted digits.

Table 2 and Figures 3 to 7 of the paper: dropout on the input or on all layers; noise and a low-pass
filter, or a denoising autoencoder, before the network; adversarial training in five stages; a
committee of six networks, and one of the stages. Each is measured at 100 levels of gradient sign
noise and of Gaussian noise. Gradients are those of the whole defence, and of a part of it: of the
classifier behind a filter, or of a member of a committee. Everything goes to build/distortion, and
the same command resumes an interrupted run. With --results, tables and pictures are written, beside
the paper's figures.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
from functools import partial

from caffe_ext.cli.console import Console
from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.parser import (
    add_again,
    add_output,
    add_results,
    check_at_least,
    check_at_most,
)
from caffe_ext.cli.training_arguments import (
    add_digits,
    check_digits,
    check_training,
    format_outcome,
    make_lenet_training,
    print_data,
)
from caffe_ext.reporting import format_table
from caffe_ext.runtime.checkout import ROOT, shorten_path

MOST_LEVELS = 10_000
IDS = (
    *("plain", "dropout-input", "dropout-all", "lowpass-3", "lowpass-5", "lowpass-7"),
    *("lowpass-dropout-input", "lowpass-dropout-all", "dae", "dae-dropout-input"),
    *("dae-dropout-all", "committee", "stage-5", "stage-committee"),
)
EPILOG = """\
defences
  plain            LeNet, 10,000 iterations
  dropout-input    dropout of 0.2 on the input, 35,000 iterations
  dropout-all      0.2 on the input and after the convolutions, 0.5 on the other layers, 40,000
  lowpass-3, -5, -7
                   noise and a Gaussian filter of 3x3, 5x5, 7x7 before LeNet
  lowpass-dropout-input, lowpass-dropout-all
                   the filter of 5x5 before LeNet with dropout
  dae, dae-dropout-input, dae-dropout-all
                   a denoising autoencoder before the three networks
  committee        six LeNets, whose predictions are averaged
  stage-5          LeNet trained on its own adversarial images, in five stages (Eq. 3)
  stage-committee  LeNet and its five stages, averaged

time
  About 30 minutes to train, and 70 of processor time to measure; --limit, --levels and --defences
  shorten it. --digits --iterations 100 tries everything out in minutes.

examples
  caffe-ext study distortion
  caffe-ext study distortion --results results/distortion
  caffe-ext study distortion --defences plain dropout-all --limit 1000
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    training = parser.add_argument_group("training")
    add = training.add_argument
    add(
        "--defences",
        nargs="+",
        choices=IDS,
        metavar="ID",
        default=list(IDS),
        help="defences to train and measure (default: all)",
    )
    add_digits(training)
    add("--iterations", type=int, metavar="N", help="train each network for N iterations")
    add("--seed", type=int, default=1, metavar="N", help="of the first network (default: 1)")
    add_device_argument(parser)
    add = parser.add_argument_group("measurement").add_argument
    add(
        "--limit",
        type=int,
        default=0,
        metavar="N",
        help="measure on the first N test images (default: all)",
    )
    add(
        "--levels",
        type=int,
        default=100,
        metavar="N",
        help="of distortion, in equal steps from 0 to below 0.25 (default: %(default)s)",
    )
    output = parser.add_argument_group("output")
    add_results(output)
    add_again(output, "discard earlier results, train and measure again")
    add_output(output, ROOT / "build" / "distortion")


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the program with a sentence if the arguments make no sense."""
    check_training(parser, arguments, "iterations")
    check_at_least(parser, arguments, 1, "levels")
    check_at_most(parser, arguments, MOST_LEVELS, "levels")
    check_at_least(parser, arguments, 0, "limit")
    check_digits(parser, arguments)


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import open_images
    from caffe_ext.runtime.device import Device
    from caffe_ext.runtime.quiet import silence_caffe
    from caffe_ext.studies.distortion.models import DEFENCES, list_networks
    from caffe_ext.studies.distortion.study import DistortionStudy
    from caffe_ext.studies.distortion.table import format_console, write_tables
    from caffe_ext.studies.distortion.training import DistortionTraining

    training = DistortionTraining(make_lenet_training(arguments))
    data = training.prepare_data(Console())
    print_data(data)
    defences = [one for name, one in DEFENCES.items() if name in arguments.defences]
    with silence_caffe():
        trained = training.train_all(data, list_networks(defences), Console())
        rows = [(name, *format_outcome(one.result)) for name, one in trained.items()]
        print(f"\n{format_table([('network', 'test accuracy', 'training time'), *rows])}\n")
        study = DistortionStudy(
            trained,
            data.record.content,
            partial(open_images, f"{(data.folder / 'test_lmdb').absolute()}"),
            arguments.output,
            defences,
            arguments.levels,
            arguments.limit or None,
            arguments.again,
            None if arguments.gpu is None else Device(arguments.gpu),
        )
        found = study.run(Console())
        print(f"\n{format_console(study, found)}")
        print(f"\nThe defences as models: {shorten_path(arguments.output / 'models')}")
        if arguments.results is not None:
            path = write_tables(arguments.results, study, found)
            print(f"The tables beside the paper's: {shorten_path(path)}")
