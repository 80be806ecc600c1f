"""Options that the methods of `caffe-ext certify` share."""

import argparse
from collections.abc import Callable
from typing import Any

from caffe_ext.cli.distance_arguments import read_distances

METHODS = ("interval", "crown-ibp", "crown", "dual")
"""Those of certification.bounds, which loads Caffe."""
SMOOTHING = "smoothing"
"""That of evaluation.certificates."""
RADII = ("1", "2", "4", "8")


def add_radii(add: Callable[..., object]) -> None:
    """Add --radii, Linf; read_radii() reads them."""
    add(
        "--radii",
        nargs="+",
        default=RADII,
        metavar="RADIUS",
        help=f"Linf, in grey levels, or 0.5/255, 0.03of1 (default: {' '.join(RADII)})",
    )


def read_radii(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Replace the texts of --radii by grey levels; end the program with a sentence otherwise."""
    arguments.radii = read_distances(
        parser, "radii", arguments.radii, zero=True, small=True, linf=True
    )


def add_memory(add: Callable[..., object]) -> None:
    """Add --memory, in MiB."""
    add(
        "--memory",
        type=int,
        default=1024,
        metavar="MIB",
        help="memory limit of the bounds, in MiB (default: %(default)s)",
    )


def collect_study_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what Study takes besides models, images, folder and the method's settings."""
    return {
        "limit": arguments.limit,
        "sample_seed": arguments.sample_seed,
        "batch_size": arguments.batch_size,
        "again": arguments.again,
    }
