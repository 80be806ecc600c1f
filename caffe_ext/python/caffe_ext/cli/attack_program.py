"""The core of hotcold.py and fastgradient.py: from the arguments to an AttackCampaign."""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from caffe_ext.cli.attack_arguments import Program, parse
from caffe_ext.cli.attack_report import print_campaign
from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.image_arguments import open_source
from caffe_ext.cli.model_arguments import find_loadable

if TYPE_CHECKING:
    from caffe_ext.attacks.base import Attack
    from caffe_ext.models.loadable import LoadableModel
    from caffe_ext.runs.campaign import AttackCampaign


def find_attacks(
    program: Program, arguments: argparse.Namespace, models: "Sequence[LoadableModel]"
) -> "list[Attack]":
    """Return the attacks that the arguments name, each once; ValueError if they are invalid."""
    from caffe_ext.attacks.registry import parse_attack

    names = arguments.attacks or _choose_common_names(program, arguments, models)
    attacks = [parse_attack(name, seed=arguments.seed) for name in names]
    return list({attack.text: attack for attack in attacks}.values())


def _choose_common_names(
    program: Program, arguments: argparse.Namespace, models: "Sequence[LoadableModel]"
) -> list[str]:
    """Return the names of the attacks that the options mean; ValueError if models disagree."""
    first, *others = models
    names = program.attacks(arguments, first.classes)
    for model in others:
        try:
            found = program.attacks(arguments, model.classes)
        except ValueError as error:
            raise ValueError(f"{model.name}: {error}") from error
        for mine, other in zip(names, found, strict=True):
            if mine != other:
                raise ValueError(
                    f"the models number their classes differently: {mine} in {first.name} is "
                    f"{other} in {model.name}; give the class by its number"
                )
    return names


def make_campaign(
    arguments: argparse.Namespace, models: "Sequence[LoadableModel]", attacks: "Sequence[Attack]"
) -> "AttackCampaign":
    """Return the campaign on the images, and with the output, that the arguments name."""
    from caffe_ext.models.description import collect_class_numbers
    from caffe_ext.runs.campaign import AttackCampaign

    return AttackCampaign(
        models,
        attacks,
        open_source(arguments, collect_class_numbers(models)),
        arguments.output,
        limit=arguments.limit,
        batch_size=arguments.batch_size,
        again=arguments.again,
        seed=arguments.seed,
        sample_seed=arguments.sample_seed,
    )


def run(program: Program, arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.attacks.criteria import parse_criterion
    from caffe_ext.data import DataError
    from caffe_ext.errors import RecordError
    from caffe_ext.runs.output_folder import check_writable
    from caffe_ext.runtime.quiet import silence_caffe

    try:
        check_writable(arguments.output)
        models = find_loadable(arguments)
        attacks = find_attacks(program, arguments, models)
        campaign = replace(
            make_campaign(arguments, models, attacks),
            criterion=parse_criterion(arguments.criterion),
        )
        with silence_caffe():
            result = campaign.run(Console())
    except (DataError, RecordError, ValueError) as error:
        sys.exit(f"{error}")
    print_campaign(result)


def run_attack_program(program: Program, argv: Sequence[str] | None) -> int:
    """Run one of the programs and return its exit status."""
    arguments = parse(program, argv)
    return run_program(lambda given: run(program, given), arguments)
