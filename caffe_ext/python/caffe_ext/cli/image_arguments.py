"""The arguments that name images, the same for all programs that use trained networks."""

# The package is imported late: --help is instant.
# ruff: noqa: PLC0415

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from caffe_ext.cli.checkout import DATA, ROOT

if TYPE_CHECKING:
    from caffe_ext.data import ImageSource

# Where `make demo` keeps its data: MNIST's data bases, and with --digits those in its stead.
HOMES = (DATA, ROOT / "build" / "demo" / "data")

HELP = """\
images
  --images takes a data set (mnist, cifar10 or digits, with :train or :test behind it), an LMDB, a
  folder of image files, a listing of them, one image, or an IDX, CIFAR, HDF5 or NumPy file. Without
  it MNIST's test images are taken, else what `make demo` has used, else scikit-learn's digits; it
  says which.
"""


def add_image_arguments(
    parser: argparse.ArgumentParser, *, images: str | None = None, limit: int | None = None
) -> None:
    """Add --images and how they are read: --labels, --resize, --grey, --limit, ..."""
    first = "all" if limit is None else f"{limit:,}; 0: all"
    group = parser.add_argument_group("images")
    add = group.add_argument
    add(
        "--images",
        metavar="IMAGES",
        default=images,
        help=f"what the models are asked about (default: {images or 'mnist'})",
    )
    add(
        "--labels",
        type=Path,
        metavar="FILE",
        help='labels of --images: lines "path label"; for an array an IDX or .npy file',
    )
    add("--resize", type=_size, metavar="HxW", help="bring all images to this size, say 227x227")
    kind = group.add_mutually_exclusive_group().add_argument
    kind("--grey", action="store_true", default=None, help="make all images grey")
    kind(
        "--colour",
        action="store_false",
        dest="grey",
        help="make all images RGB: grey ones get three equal channels",
    )
    add(
        "--image-order",
        choices=("RGB", "BGR"),
        default="RGB",
        help="channels of an LMDB or an array; BGR if convert_imageset made it (default: RGB)",
    )
    add(
        "--limit",
        type=_count,
        metavar="N",
        default=limit,
        help=f"only the first N images (default: {first})",
    )
    add("--data-dir", type=Path, metavar="DIR", help="where a data set's raw files lie")


def open_source(arguments: argparse.Namespace) -> "ImageSource":
    """Return the images that the arguments name; --limit is the caller's business.

    Raises DataError and ValueError, each with a sentence for the user.
    """
    from caffe_ext.data import DataError, open_images

    def opened(images: str) -> "ImageSource":
        return open_images(
            images,
            arguments.labels,
            resize=arguments.resize,
            grey=arguments.grey,
            channel_order=arguments.image_order,
            data_dir=arguments.data_dir,
            homes=HOMES,
        )

    if arguments.images is not None:
        return opened(arguments.images)
    if arguments.labels is not None:
        raise ValueError("--labels go with --images: MNIST has labels of its own")
    try:
        return opened("mnist")
    except DataError:
        if arguments.data_dir is not None:
            raise
        return opened("digits")


def shown_origin(source: "ImageSource") -> str:
    """Return where images come from as messages and records have it: paths from the checkout on."""
    return source.origin.replace(f"{ROOT}/", "")


def _size(text: str) -> tuple[int, int]:
    """Return (H, W) of a text such as 227x227."""
    match = re.fullmatch(r"(\d+)\s*[x×]\s*(\d+)", text.strip())
    if match is None or min(map(int, match.groups())) < 1:
        raise argparse.ArgumentTypeError(f"must be HEIGHTxWIDTH, such as 227x227, not {text!r}")
    return int(match[1]), int(match[2])


def _count(text: str) -> int | None:
    """Return a number of images; None, which means all, for 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a number of images, 0 for all, not {text!r}")
    return int(text) or None
