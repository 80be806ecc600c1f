"""Report how robust Caffe models are, side by side: attacks, PASS, noise, gradient masking.

FGS is counted in three ways: by the BANG paper's protocol, strictly, and along the logits, which
cannot saturate. If these differ, the model masks its gradients, and the report says so.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING

from caffe_ext.cli.attack_names import add_attack_help, parse_ranks
from caffe_ext.cli.certify_arguments import METHODS, SMOOTHING
from caffe_ext.cli.console import Console, run_stoppable
from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.evaluation_report import print_assessment
from caffe_ext.cli.image_arguments import HELP as IMAGES_HELP
from caffe_ext.cli.image_arguments import add_image_arguments, open_source
from caffe_ext.cli.model_arguments import HELP as MODELS_HELP
from caffe_ext.cli.model_arguments import add_model_arguments, find_loadable
from caffe_ext.cli.parser import add_again, add_output, check_at_least, create_parser
from caffe_ext.runtime.checkout import ROOT

if TYPE_CHECKING:
    from caffe_ext.attacks.budget import Norm, PerturbationBudget
    from caffe_ext.data import ImageSource
    from caffe_ext.evaluation.certificates import CertificateSettings
    from caffe_ext.evaluation.result import Settings

EPILOG = f"""\
{MODELS_HELP}
{IMAGES_HELP}
what is done
  fgs, margin-s, fgv, hc1 ... hc9   the smallest adversarials of all images that are classified
                                    correctly; more by --attacks (names: --help-attacks)
  noise                             how often Gaussian noise changes the class, per level
  probe                             iterated attacks compared with single steps: signs of masking

what is written to --output
  report.html                       the report: tables, plots, warnings; one file, prints well
  table.csv                         a row per model, in the form of Tables 1 and 2 of the BANG paper
  attacks.csv                       a row per model, attack and protocol variant
  robust.csv, robust_curve.csv      robust accuracy: what each attack broke; over the radius
  certified.csv                     with --certify: lower and upper bound within each radius
  evaluation.json                   all figures, with all that they depend on
  MODEL/ATTACK.h5                   a row per image, and the adversarials (HDF5)
  The same command resumes an interrupted run, and adds whatever is new.

examples
  caffe-ext evaluate                               # the models of `make demo`
  caffe-ext evaluate --quick                       # a first look: 500 images, HC1, little noise
  caffe-ext evaluate --within 25 51 --norm linf --cascade autoattack --limit 1000
  caffe-ext evaluate --weights plain.caffemodel bang.caffemodel.h5 --attacks pgd=32+margin
  caffe-ext evaluate --model prototxt/cifar10_quick.yaml --weights my.caffemodel \\
      --images cifar10 --hot 1 9 --noise-images 100 --noise-copies 1000
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = create_parser("evaluate", __doc__, EPILOG, "[options]")
    add_model_arguments(parser, several=True)
    add_image_arguments(parser, usual_limit="all, with --quick 500; 0: all")
    _add_measurements(parser)
    group = parser.add_argument_group("output")
    add_output(group, ROOT / "build" / "evaluate")
    add_again(parser, "discard earlier results of these models in --output")
    group.add_argument(
        "--jobs", type=int, metavar="N", help="processes (default: one per core; with --gpu one)"
    )
    add_device_argument(parser)
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they are wrong."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    check_at_least(parser, arguments, 0, "seed", "probe", "noise_images")
    check_at_least(
        parser, arguments, 1, "noise_copies", "jobs", "certify_images", "certify_samples"
    )
    radius = arguments.probe_epsilon
    if radius is not None and not (isfinite(radius) and radius > 0):
        parser.error(f"--probe-epsilon must be above 0 grey levels, not {radius:g}")
    return arguments


def _add_measurements(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is measured."""
    add = parser.add_argument_group("measurements").add_argument
    add("--quick", action="store_true", help="a first look: 500 images, HC1, little noise")
    add(
        "--hot",
        nargs="+",
        metavar="K",
        help="HC-k: ranks of the hot class, such as 1 3 or 1-9; 1 is always used (default: 1-9)",
    )
    add("--attacks", nargs="+", default=[], metavar="NAME", help="more attacks: bim=8, hc1-s, ...")
    add_attack_help(parser)
    add(
        "--within",
        nargs="+",
        metavar="RADIUS",
        help="robust accuracy within these perturbation budgets: 8, 8/255, linf=8, l2=0.5of1 "
        "(default: Linf 8 25.5 51 76.5, for colour 1 2 4 8; none: skip it)",
    )
    add(
        "--norm",
        nargs="+",
        choices=("linf", "l2"),
        help="norm of the radii in --within that do not name one; with both norms, each "
        "radius counts in both (default: linf)",
    )
    add(
        "--cascade",
        nargs="*",
        metavar="NAME",
        help="attacks within each budget on the images that are still robust; E: the radius "
        "(default: pgd=E+margin; the standard in the literature: autoattack)",
    )
    add(
        "--certify",
        nargs="+",
        choices=(*METHODS, SMOOTHING),
        metavar="METHOD",
        help="also give a lower bound of the accuracy within each Linf radius, by these methods: "
        "interval, crown-ibp, crown, dual (see `caffe-ext certify bounds --help`); of models whose "
        "file has `smoothing:`, within each radius, by smoothing",
    )
    add(
        "--certify-images",
        type=int,
        default=100,
        metavar="N",
        help="certify only the first N images (default: 100)",
    )
    add(
        "--certify-samples",
        type=int,
        default=10_000,
        metavar="N",
        help="noisy copies of an image by which smoothing certifies (default: 10000)",
    )
    add(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="seed of all random choices of attacks and measurements (default: 1); layers of a "
        "network that draw noise, such as GaussianNoise, draw other noise in each run",
    )
    add(
        "--probe",
        type=int,
        metavar="N",
        help="compare iterated attacks with single steps on the first N images (default: 1000; "
        "0: skip)",
    )
    add(
        "--probe-epsilon",
        type=float,
        metavar="E",
        help="radius of --probe in grey levels (default: the median Linf of FGS on the logits)",
    )
    add(
        "--noise-images",
        type=int,
        metavar="N",
        help="images per class for noise (default: 10; the paper: 100; 0: skip)",
    )
    add(
        "--noise-copies",
        type=int,
        metavar="N",
        help="noisy copies per image and level (default: 100; the paper: 1000)",
    )
    add(
        "--noise-levels",
        type=float,
        nargs="+",
        metavar="SIGMA",
        help="standard deviations in grey levels (default: 10 ... 100; for colour 4 8 ... 40)",
    )


def read_settings(arguments: argparse.Namespace, source: "ImageSource") -> "Settings":
    """Return what is asked for; ValueError if it is wrong."""
    from caffe_ext.attacks.registry import parse_attack
    from caffe_ext.evaluation.presets import QUICK, USUAL
    from caffe_ext.evaluation.suite import CASCADE

    hot = {rank for text in arguments.hot or () for rank in parse_ranks(text)}
    given = {
        "ranks": tuple(sorted({1, *hot})) if hot else None,
        "probe": arguments.probe,
        "noise_images": arguments.noise_images,
        "noise_copies": arguments.noise_copies,
        "noise_levels": arguments.noise_levels,
    }
    extent = replace(
        QUICK if arguments.quick else USUAL,
        **{name: value for name, value in given.items() if value is not None},
    )
    if "limit" in arguments:  # None: all, also with --quick
        extent = replace(extent, limit=arguments.limit)
    return extent.make_settings(
        source,
        extra=tuple(parse_attack(name, seed=arguments.seed) for name in arguments.attacks),
        seed=arguments.seed,
        radii=read_radii(arguments.within, arguments.norm),
        cascade=CASCADE if arguments.cascade is None else tuple(arguments.cascade),
        probe_epsilon=arguments.probe_epsilon,
        again=arguments.again,
    )


def read_radii(
    texts: Sequence[str] | None, norms: "Sequence[Norm] | None" = None
) -> "tuple[PerturbationBudget, ...] | None":
    """Return the budgets of --within; None for the usual ones; ValueError if they are wrong.

    norms  of the texts without one; None: Linf
    """
    from caffe_ext.evaluation.suite import parse_radius

    if texts is None:
        if norms:
            raise ValueError("--norm is that of the radii of --within: give both")
        return None
    if list(texts) == ["none"]:
        return ()
    try:
        read = [parse_radius(text, norm) for norm in norms or ("linf",) for text in texts]
    except ValueError as error:
        raise ValueError(f"--within: {error}") from error
    return tuple(dict.fromkeys(read))


def read_certificates(arguments: argparse.Namespace) -> "CertificateSettings | None":
    """Return how images are certified, None if they are not."""
    from caffe_ext.evaluation.certificates import CertificateSettings

    if not arguments.certify:
        return None
    return CertificateSettings(
        tuple(one for one in dict.fromkeys(arguments.certify) if one != SMOOTHING),
        arguments.certify_images,
        arguments.certify_samples,
    )


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError
    from caffe_ext.errors import RecordError, WorkerError
    from caffe_ext.evaluation.assessment import Assessment
    from caffe_ext.evaluation.tasks import Resources
    from caffe_ext.models.description import collect_class_numbers
    from caffe_ext.runs.output_folder import check_writable
    from caffe_ext.runtime.quiet import silence_caffe

    try:
        check_writable(arguments.output)
        models = find_loadable(arguments)
        opener = partial(open_source, arguments, collect_class_numbers(models))
        settings = read_settings(arguments, opener())
        with silence_caffe():
            report = Assessment(
                models,
                opener,
                settings,
                arguments.output,
                Resources(arguments.batch_size, arguments.jobs),
                arguments.sample_seed,
                read_certificates(arguments),
            ).run(Console())
    except (DataError, RecordError, ValueError, WorkerError) as error:
        sys.exit(f"{error}")
    print_assessment(report, arguments.output)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_stoppable(run, parse(argv))
