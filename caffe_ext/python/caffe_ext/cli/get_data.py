"""Find, download or generate a data set and write the LMDBs that the networks name.

With `models`: find or download the two LeNets that BANG's authors have published.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.parser import add_again, add_output, check_at_least, create_parser, parse_path
from caffe_ext.runtime.checkout import DATA, shorten_path

if TYPE_CHECKING:
    from caffe_ext.data import PreparedFolder

MODELS = "models"

EPILOG = """\
what is written
  mnist    mnist/train_lmdb, mnist/test_lmdb                60,000 + 10,000 images, 1 x 28 x 28
  cifar10  cifar10/train_lmdb, cifar10/test_lmdb,           50,000 + 10,000 images, 3 x 32 x 32
           cifar10/mean.binaryproto
  digits   digits/train_lmdb, digits/test_lmdb, digits/idx   1,497 +    300 images, 1 x 28 x 28
  models   models/lenet_R0.caffemodel.h5, models/lenet_B1.caffemodel.h5   R0 and B1 of the paper
  source.json beside the databases records what they were made from. A second run with the same raw
  files and options does nothing; an interrupted run changes nothing.

where the raw files are looked for
  1. --data-dir
  2. the folder that the environment variable CAFFE_EXT_DATA names
  3. data/ in the checkout
  4. the data set's public download site, with checksums; a broken download is resumed
  5. for mnist without network access: scikit-learn's 1,797 handwritten digits take its place, and a
     warning says so
  A folder may hold them directly or in mnist/ or cifar10/: the four IDX files, with or without
  gzip; cifar-10-binary.tar.gz (or .tar.xz), or its six .bin files.
  The models are recognised by their digests; their file or folder is named by --data-dir or by the
  environment variable CAFFE_EXT_MODELS. They are published in models/mnist of
  https://github.com/arozsa23/caffe

examples
  caffe-ext get-data mnist
  caffe-ext get-data mnist --validation 10000      # 50,000 + 10,000 + 10,000, as in the paper
  caffe-ext get-data cifar10 --data-dir ~/Downloads
  caffe-ext get-data models --data-dir ~/Downloads
  caffe-ext evaluate --weights data/models/*.h5 --images mnist
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = create_parser("get-data", __doc__, EPILOG)
    add = parser.add_argument
    add("data_set", choices=("mnist", "cifar10", "digits", MODELS), help="what to get")
    add("--data-dir", type=parse_path, metavar="DIR", help="the folder with the raw files")
    add_output(parser, DATA)
    add(
        "--validation",
        type=int,
        metavar="N",
        default=0,
        help="hold out the last N training images, in val_lmdb",
    )
    add("--no-download", action="store_true", help="do not access the network")
    add_again(
        parser, "write it again even if it is up to date, and replace files of other programs"
    )
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they are wrong."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    check_at_least(parser, arguments, 0, "validation")
    if arguments.data_set == MODELS and arguments.validation:
        parser.error("--validation holds out images; it does not go with models")
    return arguments


def describe(prepared: "PreparedFolder") -> str:
    """Return the lines that tell what there is now."""
    folder, record = prepared.folder, prepared.record
    if not prepared.made:
        return f"{folder} is up to date: {record.content}, {record.origin}"
    lines = [f"{folder}: {record.content}, {record.origin}"]
    lines += [f"  {name:<16}{count:>7,} images" for name, count in record.images.items()]
    lines += [f"  {name}" for name in record.extras]
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError, Request, prepare

    if arguments.data_set == MODELS:
        get_models(arguments)
        return
    request = Request(
        name=arguments.data_set,
        output=arguments.output,
        data_dir=arguments.data_dir,
        homes=(DATA,),
        validation=arguments.validation,
        download=not arguments.no_download,
        force=arguments.again,
    )
    try:
        print(describe(prepare(request, Console())))
    except DataError as error:
        sys.exit(f"{error}")


def get_models(arguments: argparse.Namespace) -> None:
    """Get the published models, or end the program with a sentence."""
    from caffe_ext.data.published_models import prepare_models
    from caffe_ext.errors import DataError

    try:
        paths = prepare_models(
            arguments.output / MODELS,
            arguments.data_dir,
            use_network=not arguments.no_download,
            again=arguments.again,
            reporter=Console(),
        )
    except DataError as error:
        sys.exit(f"{error}")
    print("\n".join(f"{shorten_path(path)}: as published" for path in paths))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_program(run, parse(argv))
