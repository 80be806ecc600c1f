"""Print a script that completes `caffe-ext` in a shell: subcommands, options, paths.

The script contains the options of this version; nothing of this package runs while you type.
"""

# shtab is imported late: --help is instant.
# ruff: noqa: PLC0415

import argparse
from collections.abc import Sequence
from typing import Any

from caffe_ext import __version__
from caffe_ext.cli.console import run_program
from caffe_ext.cli.main import SUBCOMMANDS, import_subcommand
from caffe_ext.cli.parser import create_parser, parse_path

EPILOG = """\
examples
  caffe-ext completion bash > ~/.local/share/bash-completion/completions/caffe-ext
  caffe-ext completion zsh > ~/.zfunc/_caffe-ext         # with ~/.zfunc in fpath, before compinit
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this subcommand."""
    parser = create_parser("completion", __doc__, EPILOG)
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell")
    return parser


def make_whole_parser() -> argparse.ArgumentParser:
    """Return one parser for the whole command, with those of all subcommands."""
    parser = argparse.ArgumentParser(prog="caffe-ext")
    parser.add_argument("--version", action="version", version=__version__, help="show the version")
    subparsers = parser.add_subparsers()
    for name, (_, about) in SUBCOMMANDS.items():
        own = import_subcommand(name).make_parser()
        subparsers.add_parser(name, help=about, parents=[own], add_help=False)
        _complete_paths(own)
    return parser


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """Mark the options that take a file or a folder."""
    import shtab

    for action in parser._actions:
        if action.type is parse_path or action.dest == "images":
            folder = action.metavar == "DIR"
            marked: Any = action
            marked.complete = shtab.DIRECTORY if folder else shtab.FILE


def run(arguments: argparse.Namespace) -> None:
    """Print the script."""
    import shtab

    print(shtab.complete(make_whole_parser(), shell=arguments.shell))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_program(run, make_parser().parse_args(argv))
