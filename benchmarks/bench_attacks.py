"""Measure attacks beside those of PyTorch's libraries: same network, weights, images and radius.

How long they take, in turns in one process on one thread: PGD, APGD and Square of torchattacks, FMN
of Foolbox. --accuracy: the robust accuracy by AutoAttack, ours in both readings and that of its
authors' program. --smallest: how small the adversarials of minimal-linf and minimal-l2 are, and
those of Foolbox's DeepFool, DDN, FMN and BB. These two take hours, and the same command goes on
where it was interrupted. The others come with `pip install -e .[bench]`; without them nothing is
timed, and the other two have ours alone.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from attack_question import Question
from bench_report import begin_record
from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.image_arguments import add_image_arguments, open_source
from caffe_ext.cli.model_arguments import add_model_arguments, find_models
from caffe_ext.cli.parser import add_output, check_at_least
from caffe_ext.runtime.checkout import ROOT, shorten_path, shorten_paths
from caffe_ext.storage.atomic import write_json, write_text

if TYPE_CHECKING:
    from caffe_ext.data import ImageSource
    from caffe_ext.models.description import ModelDescription

ABSENT = "PyTorch, torchattacks, Foolbox, numba or pyautoattack is not installed"
ADVICE = "`python -m pip install -e '.[bench]'` installs them"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they make no sense."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_arguments(parser, several=True)
    add_image_arguments(parser, limit=100)
    group = parser.add_argument_group("measurement")
    add = group.add_argument
    add(
        "--within",
        nargs="+",
        metavar="RADIUS",
        default=["25"],
        help="budgets: 25, 8/255, l2=2of1 (default: 25)",
    )
    add("--runs", type=int, metavar="N", default=3, help="of each (default: %(default)s)")
    add("--queries", type=int, metavar="N", default=1000, help="of Square (default: %(default)s)")
    instead = group.add_mutually_exclusive_group().add_argument
    instead(
        "--accuracy",
        action="store_true",
        help="robust accuracy by AutoAttack, once each, in place of the times",
    )
    instead(
        "--smallest",
        action="store_true",
        help="the smallest adversarials in Linf and L2, in place of the times",
    )
    add(
        "--again",
        action="store_true",
        help="discard what --accuracy or --smallest has found earlier",
    )
    add_output(parser, ROOT / "results" / "attacks", "a JSON file and a table")
    arguments = parser.parse_args(argv)
    check_at_least(parser, arguments, 1, "queries")
    check_at_least(parser, arguments, 2, "runs")
    return arguments


@dataclass
class Survey:
    """What the arguments ask.

    other  what ours is compared with, in words; None if it is not installed
    """

    arguments: argparse.Namespace
    models: "list[ModelDescription]"
    source: "ImageSource"
    other: str | None

    @classmethod
    def open(cls, arguments: argparse.Namespace) -> "Survey":
        """Return it; ValueError for arguments that make no sense."""
        from caffe_ext.evaluation.suite import parse_radius

        for text in arguments.within:
            parse_radius(text)
        source = open_source(arguments)
        source = source.sample(arguments.limit, arguments.sample_seed)
        if not source.labelled:
            raise ValueError(f"{source.origin}: labels are needed; --labels names them")
        return cls(arguments, find_models(arguments), source, name_others())

    def identify(self) -> dict[str, Any]:
        """Return what the answers depend on."""
        return {
            "models": {one.name: one.identify() for one in self.models},
            "images_sha256": self.source.compute_digest(),
            "other": self.other,
        }

    def describe(self) -> dict[str, Any]:
        """Return what the table says of it."""
        return {
            "models": {one.name: shorten_path(one.weights) for one in self.models},
            "images": shorten_paths(self.source.origin),
            "other": self.other,
        }

    def list_questions(self, budgets: Sequence[str]) -> Iterator[tuple[str, str, int, Question]]:
        """Yield model, budget, how many images there are, and those that are classified correctly.

        All models are asked about a budget before the next one.
        """
        from caffe_ext.evaluation.suite import parse_radius
        from torch_twin import make_torch_twin

        batch = self.source.read(slice(0, len(self.source)))
        loaded = []
        for model in self.models:
            classifier = model.load(self.arguments.batch_size)
            assert batch.labels is not None  # checked by open()
            labels = classifier.check_labels(batch.labels, len(batch.images))
            twin = make_torch_twin(model, classifier, batch.images)[0] if self.other else None
            right = np.flatnonzero(classifier.predict(batch.images) == labels)
            loaded.append((model.name, classifier, twin, labels, right))
        for text in budgets:
            budget = parse_radius(text)
            for name, classifier, twin, labels, right in loaded:
                images = batch.images[right]
                question = Question(classifier, twin, images, labels[right], right, budget)
                yield name, f"{budget}", len(batch.images), question


def name_others() -> str | None:
    """Return what is compared with and its versions; None if something is not installed."""
    try:
        import foolbox
        import numba  # noqa: F401  (whether it is there)
        import pyautoattack
        import torch
        import torchattacks  # noqa: F401  (whether it is there)
    except ImportError:
        return None
    return (
        f"torchattacks {version('torchattacks')}, Foolbox {foolbox.__version__} and AutoAttack "
        f"(pyautoattack {pyautoattack.__version__}) on PyTorch {torch.__version__}"
    )


def time_all(survey: Survey) -> list[dict[str, Any]]:
    """Return the rows of the table of times."""
    from attack_times import time_pairs

    arguments = survey.arguments
    rows: list[dict[str, Any]] = []
    total = len(survey.models) * len(arguments.within)
    with Console().show_progress("attacks", total, "budget") as step:
        for model, within, _, question in survey.list_questions(arguments.within):
            found = time_pairs(question, arguments.queries, arguments.runs)
            rows += [{"model": model, "within": within} | one for one in found]
            step(1)
    return rows


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    import attack_accuracy
    import attack_smallest
    from attack_tables import format_accuracy, format_smallest, format_times
    from caffe_ext.data import DataError
    from caffe_ext.errors import RecordError
    from caffe_ext.runtime import engine
    from caffe_ext.runtime.quiet import silence_caffe

    if not (arguments.accuracy or arguments.smallest) and name_others() is None:
        print(f"bench_attacks: the times are skipped, as {ABSENT}; {ADVICE}")
        return
    record = begin_record(arguments.output)
    try:
        with silence_caffe():
            survey = Survey.open(arguments)
            record |= survey.describe()
            engine.set_threads(1)  # as PyTorch has it
            if arguments.accuracy:
                attack_accuracy.answer_all(survey, record)
                name, text = "accuracy", format_accuracy(record)
            elif arguments.smallest:
                attack_smallest.answer_all(survey, record)
                name, text = "smallest", format_smallest(record)
            else:
                record["rows"] = time_all(survey)
                name, text = "times", format_times(record)
                write_json(arguments.output / "times.json", record)
    except (DataError, RecordError, ValueError) as error:
        sys.exit(f"{error}")
    write_text(arguments.output / f"{name}.md", text)
    print(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
