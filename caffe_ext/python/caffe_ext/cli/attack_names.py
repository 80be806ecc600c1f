"""How attacks are named on the command line: --help-attacks, --import, ranks of classes."""

# The package is imported late: --help is instant.
# ruff: noqa: PLC0415

import argparse
import inspect
import re

EXAMPLES = "fgs fgv margin hc1 hc1-s hc1@ip1 hc1*1.1 hot:7 fgs=8 bim=8 pgd=8/2x40 pgd-l2=400 ..."


def add_attack_help(group: argparse._ActionsContainer) -> None:
    """Add --import and --help-attacks."""
    group.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a module or file that registers attacks of your own; may be repeated",
    )
    group.add_argument(
        "--help-attacks",
        action=_HelpAttacks,
        nargs=0,
        help="list all attacks, with those of a preceding --import",
    )


class _HelpAttacks(argparse.Action):
    """Print the documentation of the registry."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: object
    ) -> None:
        """Print and end."""
        from caffe_ext.attacks import extensions, registry

        try:
            extensions.load_extensions(namespace.imports)
        except extensions.ExtensionError as error:
            parser.exit(1, f"{error}\n")
        print(inspect.getdoc(registry))
        own = [
            family
            for family in registry.list_attacks()
            if not family.cls.__module__.startswith("caffe_ext.")
        ]
        if own:
            print("\nfrom outside of caffe_ext")
        for family in own:
            summary = (inspect.getdoc(family.cls) or "").partition("\n")[0]
            print(f"  {family.name:<20}{summary}")
        parser.exit()


def parse_ranks(text: str) -> range:
    """Return the ranks of "3" or "1-9"; ValueError for others."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    found = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
    if not found or found[0] < 1:
        raise ValueError(f"--hot takes ranks, 1 or more, or a range such as 1-9, not {text!r}")
    return found
