"""The arguments that name images, the same for all programs that use trained networks."""

# The package is imported late: --help is instant.
# ruff: noqa: PLC0415

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from caffe_ext.cli.model_arguments import DEMO_RECORD, uses_demo
from caffe_ext.cli.parser import parse_path
from caffe_ext.runtime.checkout import DATA, ROOT

if TYPE_CHECKING:
    from caffe_ext.data import ImageSource

# Where `make demo` keeps its data: MNIST's databases, and with --digits those in its stead.
HOMES = (DATA, ROOT / "build" / "demo" / "data")

HELP = """\
images
  --images takes a data set (mnist, cifar10 or digits, with :train or :test appended), an LMDB, a
  folder of image files, a listing of them, one image, or an IDX, CIFAR, HDF5 or NumPy file. Without
  it, the models of `make demo` get the test images of the data set that they were trained on, and
  others get MNIST's or, if MNIST is not found, scikit-learn's digits; the output says which.
  Folders named after the classes, by number or by name (`classes:` of the model), are labels; a
  listing has them after the file names. --limit takes the first images; from a folder or a listing
  it takes a sample in which each class has its share.
"""


def add_image_arguments(
    parser: argparse.ArgumentParser,
    *,
    images: str | None = None,
    limit: int | None = None,
    usual_limit: str | None = None,
) -> None:
    """Add --images and how they are read: --labels, --resize, --grey, --limit, ...

    usual_limit  the default of --limit in words, where another option decides it; without --limit
                 the parsed arguments have none
    """
    otherwise = images or "mnist; for the models of `make demo` their own data set"
    first = usual_limit or ("all" if limit is None else f"{limit:,}; 0: all")
    group = parser.add_argument_group("images")
    add = group.add_argument
    add(
        "--images",
        type=parse_images,
        metavar="IMAGES",
        default=images,
        help=f"the images (default: {otherwise})",
    )
    add(
        "--labels",
        type=parse_path,
        metavar="FILE",
        help='labels of --images: a text file of lines "path label", with numbers or names of '
        "classes; for an array, an IDX or .npy file",
    )
    add("--resize", type=_parse_size, metavar="HxW", help="resize all images, e.g. to 227x227")
    add(
        "--crop",
        type=_parse_size,
        metavar="HxW",
        help="take the centre of all images, after --resize",
    )
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
        help="channel order of an LMDB or array; BGR if convert_imageset wrote it (default: RGB)",
    )
    add(
        "--limit",
        type=_count,
        metavar="N",
        default=limit if usual_limit is None else argparse.SUPPRESS,
        help=f"use at most N images (default: {first})",
    )
    add(
        "--sample-seed",
        type=_parse_seed,
        default=0,
        metavar="N",
        help="seed of the sample that --limit takes of a folder or listing (default: %(default)s)",
    )
    add("--data-dir", type=parse_path, metavar="DIR", help="folder with a data set's raw files")


def open_source(
    arguments: argparse.Namespace, classes: Mapping[str, int] | None = None
) -> "ImageSource":
    """Return all images that the arguments name; the caller takes a sample for --limit.

    classes  numbers of the models' classes by their names, for labels that are names

    Raises DataError and ValueError, each with a sentence for the user.
    """
    from caffe_ext.data import DataError, open_images

    def open_one(images: str) -> "ImageSource":
        return open_images(
            images,
            arguments.labels,
            resize=arguments.resize,
            crop=arguments.crop,
            grey=arguments.grey,
            channel_order=arguments.image_order,
            classes=classes,
            data_dir=arguments.data_dir,
            homes=HOMES,
        )

    if arguments.images is not None:
        _check_output(arguments)
        return open_one(arguments.images)
    if arguments.labels is not None:
        raise ValueError("--labels needs --images: MNIST has labels of its own")
    if uses_demo(arguments) and arguments.data_dir is None:
        trained_on = _find_demo_data()
        if trained_on is not None:
            return open_one(trained_on)
    try:
        return open_one("mnist")
    except DataError:
        if arguments.data_dir is not None:
            raise
        return open_one("digits")


def _check_output(arguments: argparse.Namespace) -> None:
    """Raise ValueError if what is written would count among the images from then on."""
    images, output = Path(arguments.images), getattr(arguments, "output", None)
    # Databases are read by their own files.
    if output is None or not images.is_dir() or (images / "data.mdb").exists():
        return
    if output.resolve().is_relative_to(images.resolve()):
        raise ValueError(
            f"--output {output} lies in the folder of --images, among whose images its own would "
            "be; choose another folder"
        )


@dataclass(frozen=True)
class _DemoData:
    """Of the record of the demo's data: whether they are the digits, and not MNIST."""

    embedded: bool


@dataclass(frozen=True)
class _DemoRecord:
    """What is needed of the demo's record."""

    data: _DemoData


def _find_demo_data() -> str | None:
    """Return the data set that the demo's models were trained on; None if there is no record.

    Raises DataError for a damaged record.
    """
    from caffe_ext.data import DataError
    from caffe_ext.storage.json_file import read_json

    advice = "run `make demo` again, or name the images with --images"
    try:
        record = read_json(DEMO_RECORD, _DemoRecord, advice, DataError)
    except FileNotFoundError:
        return None
    return "digits" if record.data.embedded else "mnist"


def parse_images(text: str) -> str:
    """Return what names images; of an unset variable of the shell it would be this folder."""
    if not text:
        raise argparse.ArgumentTypeError("must name images, not be an empty text")
    return text


def _parse_size(text: str) -> tuple[int, int]:
    """Return (H, W) of a text such as 227x227."""
    match = re.fullmatch(r"(\d+)\s*[x×]\s*(\d+)", text.strip())
    if match is None or min(map(int, match.groups())) < 1:
        raise argparse.ArgumentTypeError(f"must be HEIGHTxWIDTH, such as 227x227, not {text!r}")
    return int(match[1]), int(match[2])


def _parse_seed(text: str) -> int:
    """Return a seed, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, not {text!r}")
    return int(text)


def _count(text: str) -> int | None:
    """Return a number of images; None, which means all, for 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a number of images, 0 for all, not {text!r}")
    return int(text) or None
