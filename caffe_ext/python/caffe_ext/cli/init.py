"""Copy the papers' networks and solvers, prototxt/ and solvers/, into a folder.

Solver files name their network, data and snapshots by paths relative to the folder in which
`caffe train` runs. After an installation from a wheel, start with this; a checkout has these
folders. Started in a folder that has them, all programs read and write data/ and build/ there.
Existing files are kept.
"""

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from caffe_ext.cli.console import run_program
from caffe_ext.cli.parser import create_parser, parse_path
from caffe_ext.reporting import pluralize
from caffe_ext.runtime.checkout import NETWORKS, shorten_path

EPILOG = """\
examples
  caffe-ext init bang && cd bang
  caffe-ext get-data mnist
  caffe train --solver=solvers/lenet_bang.prototxt
"""
FOLDERS = ("prototxt", "solvers")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this subcommand."""
    parser = create_parser("init", __doc__, EPILOG)
    parser.add_argument(
        "folder", nargs="?", type=parse_path, default=Path(), help="destination (default: here)"
    )
    return parser


def copy_networks(folder: Path) -> tuple[int, int]:
    """Copy all files that are missing in a folder; return the numbers of copied and kept files."""
    copied = kept = 0
    for source in sorted(path for name in FOLDERS for path in (NETWORKS / name).rglob("*")):
        target = folder / source.relative_to(NETWORKS)
        if not source.is_file():
            continue
        if os.path.lexists(target):  # a link to nowhere is somebody's, too
            kept += 1
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        copied += 1
    return copied, kept


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    arguments = make_parser().parse_args(argv)

    def run(arguments: argparse.Namespace) -> None:
        copied, kept = copy_networks(arguments.folder)
        were = "was there is" if kept == 1 else "were there are"
        note = f"; {pluralize(kept, 'file')} that {were} kept" if kept else ""
        print(f"{pluralize(copied, 'file')} copied into {shorten_path(arguments.folder)}{note}")

    return run_program(run, arguments)
