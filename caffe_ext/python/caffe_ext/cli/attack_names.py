"""--help-attacks: how attacks are named, the same for all programs that attack."""

# The package is imported late: --help is instant.
# ruff: noqa: PLC0415

import argparse
import inspect

EXAMPLES = "fgs fgv margin hc1 hc1-s hc1@ip1 hc1*1.1 hot:7 fgs=8 bim=8 pgd=8/2x40 pgd-l2=400 ..."


def add_attack_help(group: argparse._ActionsContainer) -> None:
    """Add --help-attacks."""
    group.add_argument("--help-attacks", action=_HelpAttacks, nargs=0, help="list all attacks")


class _HelpAttacks(argparse.Action):
    """Print the documentation of the registry."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print and end."""
        from caffe_ext.attacks import registry

        print(inspect.getdoc(registry))
        parser.exit()
