"""The core of hotcold.py and fastgradient.py: checks, running, writing."""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe_ext.cli.attack_arguments import Program, parse
from caffe_ext.cli.attack_report import (
    FIGURE,
    SUMMARY,
    AttackDone,
    ModelDone,
    check_report,
    print_report,
    write_pictures,
    write_summary,
)
from caffe_ext.cli.checkout import shown
from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.image_arguments import open_source, shown_origin, tell_images
from caffe_ext.cli.model_arguments import find_models
from caffe_ext.storage.lock import locked

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from caffe_ext.attacks.base import Attack
    from caffe_ext.data import ImageSource
    from caffe_ext.models.description import ModelDescription
    from caffe_ext.reporting import Step
    from caffe_ext.runs.export import Export


_CHANNELS = {1: "grey", 3: "colour"}


class Counting(Console):
    """A console that counts the steps."""

    steps = 0

    @contextmanager
    def progress(self, what: str, total: int, unit: str, done: int = 0) -> Iterator["Step"]:
        """Show a progress bar, and count."""
        with super().progress(what, total, unit, done) as step:

            def counted(number: int) -> None:
                self.steps += number
                step(number)

            yield counted


def check_output(folder: Path) -> None:
    """Raise OSError unless the folder can be written, or made; nothing is made."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise OSError(f"--output {folder}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OSError(f"--output {folder}: {there} cannot be written")


def find_attacks(
    program: Program, arguments: argparse.Namespace, models: "Sequence[ModelDescription]"
) -> "list[Attack]":
    """Return the attacks that the arguments mean, each once; ValueError if they make no sense."""
    from caffe_ext.attacks.registry import parse_attack

    names = arguments.attacks or _common_names(program, arguments, models)
    attacks = [parse_attack(name, seed=arguments.seed) for name in names]
    return list({attack.text: attack for attack in attacks}.values())


def _common_names(
    program: Program, arguments: argparse.Namespace, models: "Sequence[ModelDescription]"
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
                    f"the models' classes have other numbers: what is {mine} for {first.name} is "
                    f"{other} for {model.name}; give the class by its number"
                )
    return names


def check_model(
    model: "ModelDescription",
    attacks: "Sequence[Attack]",
    source: "ImageSource",
    batch_size: int,
) -> None:
    """Raise ValueError with the model's name if something will not work on the images."""
    try:
        classifier = model.load(batch_size)
        first = source.read(slice(1)).images
        space, size = model.pixel_space, source.image_shape[1:]
        if space.mean_size not in (None, size):
            height, width = space.mean_size
            raise ValueError(
                f"the images are {size[0]} x {size[1]} and the mean image is {height} x {width}; "
                f"--resize {height}x{width} brings the images to its size"
            )
        shape = space.to_input(first).shape[1:]
        if space.crop is not None and shape[1:] != classifier.input_shape[1:]:
            raise ValueError(
                f"`crop: {space.crop}` in its file is another size than the network's input, "
                f"{_shape(classifier.input_shape)}; make the crop as large as the input"
            )
        if shape != classifier.input_shape:
            raise ValueError(
                f"the images are {_shape(source.image_shape)} and the network takes "
                f"{_shape(classifier.input_shape)}{_way(shape, classifier.input_shape)}"
            )
        for attack in attacks:
            attack.check(classifier)
        labels = source.labels()
        if labels is not None:
            classifier.check_labels(
                labels, len(labels), named=lambda row: source.read(slice(row, row + 1)).names[0]
            )
    except ValueError as error:
        raise ValueError(f"{model.name}: {error}") from error


def _way(given: Sequence[int], wanted: Sequence[int]) -> str:
    """Return the options that bring images of one shape (C, H, W) into another."""
    options = []
    if given[0] != wanted[0] and wanted[0] in _CHANNELS:
        options.append("--grey" if wanted[0] == 1 else "--colour")
    if given[1:] != wanted[1:]:
        options.append(f"--resize {wanted[1]}x{wanted[2]}")
    return f"; {' '.join(options)} brings them into this form" if options else ""


def _shape(shape: Sequence[int]) -> str:
    channels, height, width = shape
    kind = _CHANNELS.get(channels, f"{channels} channels")
    return f"{height} x {width} {kind}"


def plan(
    arguments: argparse.Namespace,
    models: "Sequence[ModelDescription]",
    attacks: "Sequence[Attack]",
    images: Mapping[str, Any],
) -> "list[list[Export]]":
    """Return for each model what is to be run and written; nothing is written yet.

    images  their digest, and whether they are labelled

    Raises RecordError or ValueError if the folder holds something else, ValueError for names that
    are too alike or those of files.
    """
    from caffe_ext.runs.export import Export, check_export, identity, model_folders
    from caffe_ext.runs.runner import AttackRun, check_run

    folders = model_folders([model.name for model in models], (SUMMARY, FIGURE))
    if not arguments.again:
        check_report(arguments.output, [arguments.output / folder for folder in folders])
    planned = []
    for folder, model in zip(folders, models, strict=True):
        depends = identity(model, images["sha256"], labelled=images["labelled"])
        record = model.record() | {"deploy": shown(model.deploy), "weights": shown(model.weights)}
        exports = []
        for attack in attacks:
            run = AttackRun(
                attack, depends, arguments.output / folder, arguments.limit, arguments.again
            )
            export = Export(run, model, {"model": record, "images_sha256": images["sha256"]})
            if not arguments.again:
                check_run(run)
                check_export(export)
            exports.append(export)
        planned.append(exports)
    return planned


def attack_model(
    exports: "Sequence[Export]", source: "ImageSource", batch_size: int, console: Counting
) -> ModelDone:
    """Run the attacks on a model, and write what they find."""
    from caffe_ext.runs.export import discard_export, export_adversarials
    from caffe_ext.runs.pictures.images import Finished
    from caffe_ext.runs.runner import run_attack

    model, done = exports[0].model, []
    console.note(f"{model.name}: {shown(model.weights)}")
    classifier = model.load(batch_size)
    for export in exports:
        if export.run.again:
            discard_export(export)
        steps, began = console.steps, time.perf_counter()
        records = run_attack(classifier, source, export.run, console)
        seconds, steps = time.perf_counter() - began, console.steps - steps
        verified = export_adversarials(classifier, source, export, records, Console())
        if not verified.all():
            wrong = [export.png(records, row) for row in records.found.nonzero()[0][~verified]]
            console.warn(
                f"PNG files that get their label after all: {len(wrong)}; the first is "
                f"{shown(wrong[0])}"
            )
        finished = Finished(model, export.run, records)
        done.append(AttackDone(finished, export.folder, verified, steps, seconds if steps else 0.0))
    return ModelDone(exports[0].common["model"], exports[0].run.folder, done)


def run(program: Program, arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError
    from caffe_ext.errors import RecordError
    from caffe_ext.models.description import class_numbers
    from caffe_ext.runtime.quiet import quiet_caffe

    console = Counting()
    try:
        check_output(arguments.output)
        models = find_models(arguments)
        attacks = find_attacks(program, arguments, models)
        whole = open_source(arguments, class_numbers(models))
        source = whole.sample(arguments.limit, arguments.sample_seed)
        images: dict[str, Any] = {"origin": shown_origin(source), "images": len(whole)}
        tell_images(source, console)
        with quiet_caffe():
            for model in models:
                check_model(model, attacks, source, arguments.batch_size)
            images |= {"limit": arguments.limit, "selection": source.selection}
            images |= {"labelled": source.labelled}
            images |= {"sha256": source.digest(console)}
            planned = plan(arguments, models, attacks, images)
            console.steps = 0
            with locked_output(arguments.output):
                done = [
                    attack_model(exports, source, arguments.batch_size, console)
                    for exports in planned
                ]
                # The summary goes first: pictures without it are not taken for this program's.
                write_summary(arguments, images, done)
                pictures = write_pictures(arguments.output, source, done)
    except (DataError, RecordError, ValueError) as error:
        sys.exit(f"{error}")
    print_report(arguments.output, len(source), done, pictures)


def locked_output(folder: Path) -> "AbstractContextManager[int]":
    """Make the folder, and be the only one that writes into it, or ValueError."""
    busy = f"another process is writing into {shown(folder)}; wait for it"
    return locked(folder, ValueError(busy))


def attack_main(program: Program, argv: Sequence[str] | None) -> int:
    """Run one of the programs and return its exit status."""
    arguments = parse(program, argv)
    return run_program(lambda given: run(program, given), arguments)
