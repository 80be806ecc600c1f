"""The parsers of the programs: under which name they run, and what --help looks like."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from caffe_ext.reporting import suggest
from caffe_ext.runtime.checkout import shorten_path


def name_program(subcommand: str) -> str:
    """Return what usage messages call a program: hotcold.py or caffe-ext hotcold, as started."""
    started = Path(sys.argv[0]).name
    as_file = started.endswith(".py") and started != "__main__.py"
    return started if as_file else f"caffe-ext {subcommand}"


class SuggestingParser(argparse.ArgumentParser):
    """A parser that names the option that a misspelt one probably means."""

    def parse_args(  # type: ignore[override]  # the base class has overloads for other namespaces
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Return the arguments; end the program with a sentence if there are others."""
        parsed, others = self.parse_known_args(args, namespace)
        if others:
            option = next((one for one in others if one.startswith("--")), "")
            meant = suggest(option.partition("=")[0], self._option_string_actions)
            self.error(
                "; ".join(filter(None, (f"unrecognized arguments: {' '.join(others)}", meant)))
            )
        return parsed

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raise ArgumentError for a value that is none of the choices, with what was meant."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            meant = suggest(f"{value}", map(str, action.choices or ()))
            raise argparse.ArgumentError(
                action, "; ".join(filter(None, (error.message, meant)))
            ) from None


def create_parser(
    subcommand: str, description: str | None, epilog: str, usage: str | None = None
) -> argparse.ArgumentParser:
    """Return a parser whose --help shows description and epilog as they are written.

    usage  what follows the name of the program; None: all options
    """
    name = name_program(subcommand)
    return SuggestingParser(
        prog=name,
        description=description,
        epilog=epilog,
        formatter_class=partial(
            argparse.RawDescriptionHelpFormatter, max_help_position=30, width=100
        ),
        usage=None if usage is None else f"{name} {usage}",
    )


def add_modules(
    parser: argparse.ArgumentParser, dest: str, modules: Mapping[str, tuple[ModuleType, str]]
) -> None:
    """Add a parser for each module: of a method of `certify`, say, or a study.

    dest     the attribute that gets the chosen name
    modules  each with its line in --help, by name; a module has EPILOG and add_arguments(parser)
    """
    several = parser.add_subparsers(dest=dest, metavar=dest.upper(), required=True)
    for name, (module, about) in modules.items():
        own = several.add_parser(
            name,
            help=about,
            usage="%(prog)s [options]",
            description=module.__doc__,
            epilog=module.EPILOG,
            formatter_class=parser.formatter_class,
        )
        module.add_arguments(own)
        own.set_defaults(parser=own)


def check_at_least(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, least: int, *names: str
) -> None:
    """End the program with a sentence if one of these options is given and below `least`."""
    for name in names:
        given, option = getattr(arguments, name), name.replace("_", "-")
        if given is not None and given < least:
            parser.error(f"--{option} must be at least {least}, not {given}")


def check_at_most(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, most: int, *names: str
) -> None:
    """End the program with a sentence if one of these options is given and above `most`."""
    for name in names:
        given, option = getattr(arguments, name), name.replace("_", "-")
        if given is not None and given > most:
            parser.error(f"--{option} must be at most {most:,}, not {given:,}")


def parse_path(text: str) -> Path:
    """Return the path that is given; of an unset variable of the shell it would be this folder."""
    if not text:
        raise argparse.ArgumentTypeError("must be a path, not an empty text")
    return Path(text)


def add_output(group: argparse._ActionsContainer, default: Path, files: str = "") -> None:
    """Add --output, the folder for results; files: which ones, for its help."""
    what = f"where to write {files}".rstrip()
    about = f"{what} (default: {shorten_path(default)})"
    group.add_argument("--output", type=parse_path, metavar="DIR", default=default, help=about)


def add_results(group: argparse._ActionsContainer) -> None:
    """Add --results, the folder for what a study publishes, beside --output for all it keeps."""
    about = "write tables and pictures to DIR, too"
    group.add_argument("--results", type=parse_path, metavar="DIR", help=about)


class _RenamedFlag(argparse.Action):
    """A flag under its old name: it works, and names the new one."""

    def __init__(self, option_strings: Sequence[str], dest: str, *, new: str) -> None:
        super().__init__(
            option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
        self.new = new

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option: str | None = None,
    ) -> None:
        """Set the flag."""
        print(f"{parser.prog}: {option} is deprecated; use {self.new}", file=sys.stderr)
        setattr(namespace, self.dest, True)


def add_again(parser: Any, about: str, *, old: str = "--force") -> None:
    """Add --again, by which every program discards earlier results; `old`: its other name."""
    parser.add_argument("--again", action="store_true", help=about)
    parser.add_argument(old, action=_RenamedFlag, dest="again", new="--again")
