"""Measure attacks within a budget beside those of torchattacks on PyTorch: same network, weights,
images and radius, one thread.

Both answer the same question: which images have an adversarial within the radius, in real-valued
pixels (PGD: ours in whole grey levels, which is the harder question). What is compared runs in one
process, in turns; the targets are half of the other's time for APGD and PGD and for Square.
`--accuracy` gives the robust accuracy by AutoAttack of both, with ours in whole grey levels beside
it. PyTorch and torchattacks are optional: `pip install torch torchattacks`.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench_report import begin_record
from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.image_arguments import add_image_arguments, open_source
from caffe_ext.cli.model_arguments import add_model_arguments, find_models
from caffe_ext.cli.parser import add_output, check_at_least
from caffe_ext.runtime.checkout import ROOT, shorten_path, shorten_paths
from caffe_ext.storage.atomic import write_json, write_text

if TYPE_CHECKING:
    from caffe_ext.attacks.budget import PerturbationBudget
    from caffe_ext.models.base import Images, Ints
    from caffe_ext.models.classifier import Classifier

WHITE = 255
NORMS = {"linf": "Linf", "l2": "L2"}
"""What torchattacks calls them."""
Answer = NDArray[np.bool_]
Row = dict[str, Any]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they make no sense."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_arguments(parser, several=True)
    add_image_arguments(parser, limit=100)
    add = parser.add_argument_group("measurement").add_argument
    add(
        "--within",
        nargs="+",
        metavar="RADIUS",
        default=["25"],
        help="budgets: 25, 8/255, l2=2of1 (default: 25)",
    )
    add("--runs", type=int, metavar="N", default=3, help="of each (default: %(default)s)")
    add("--queries", type=int, metavar="N", default=1000, help="of Square (default: %(default)s)")
    add(
        "--accuracy",
        action="store_true",
        help="robust accuracy by AutoAttack, once each, in place of the times",
    )
    add_output(parser, ROOT / "results" / "attacks", "a JSON file and a table")
    arguments = parser.parse_args(argv)
    check_at_least(parser, arguments, 1, "queries")
    check_at_least(parser, arguments, 2, "runs")
    return arguments


@dataclass(frozen=True, eq=False)
class Question:
    """Images that a model classifies correctly, and a budget.

    twin   the model in PyTorch; None where that is not installed
    total  images of which these are the correctly classified ones
    """

    classifier: "Classifier"
    twin: Any
    images: "Images"
    labels: "Ints"
    indices: "Ints"
    total: int
    budget: "PerturbationBudget"

    def run_ours(self, text: str) -> Answer:
        """Return which images an attack of ours breaks, by its search in real-valued pixels."""
        from caffe_ext.attacks.criteria import Misclassification
        from caffe_ext.attacks.queries import Queries
        from caffe_ext.attacks.registry import parse_attack
        from caffe_ext.attacks.within import BudgetAttack

        attack, criterion = parse_attack(text), Misclassification(self.labels)
        if isinstance(attack, BudgetAttack):
            asked = Queries(self.classifier)
            return attack.search(asked, self.images, criterion, self.indices).found
        return attack.run(self.classifier, self.images, criterion, self.indices).found

    def run_theirs(self, attack: Any) -> Answer:
        """Return which images an attack of torchattacks breaks."""
        import torch

        pixels = torch.from_numpy(self.images.astype(np.float32) / WHITE)
        found = attack(pixels, torch.from_numpy(self.labels))
        with torch.no_grad():
            return np.asarray(self.twin(found).argmax(1).numpy() != self.labels)

    def pairs(self, queries: int) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        """Yield name, our text and the other's maker of what is timed."""
        import torchattacks as other

        one = self.budget
        ball, l2 = one.epsilon / WHITE, "-l2" if one.norm == "l2" else ""
        twin, given = self.twin, {"norm": NORMS[one.norm], "eps": ball}
        e = f"{one.epsilon!r}"
        step = one.epsilon / 10
        if one.norm == "linf":
            yield (
                "PGD-40",
                f"pgd={e}/{step!r}x40",
                lambda: other.PGD(twin, eps=ball, alpha=step / WHITE, steps=40),
            )
        yield "APGD-CE", f"apgd{l2}={e}x100", lambda: other.APGD(twin, steps=100, **given)
        yield (
            "APGD-T",
            f"apgd{l2}={e}x100+dlr-t",
            lambda: other.APGDT(twin, steps=100, n_classes=10, **given),
        )
        yield (
            "Square",
            f"square{l2}={e}x{queries}",
            lambda: other.Square(twin, n_queries=queries, p_init=0.8, **given),
        )

    def times(self, queries: int, runs: int) -> list[Row]:
        """Return the times of ours and of the other's, in turns."""
        from paired_timing import time_pair

        rows = []
        for name, text, make in self.pairs(queries):
            broken: dict[str, int] = {}
            jobs = (
                partial(self._measure_ours, text, broken),
                partial(self._measure_theirs, make, broken),
            )
            times = time_pair(*jobs, runs)
            rows.append(
                {
                    "attack": name,
                    "ours": text,
                    "images": len(self.images),
                    **broken,
                    **asdict(times),
                }
            )
        return rows

    def _measure_ours(self, text: str, broken: dict[str, int]) -> None:
        broken["broken"] = int(self.run_ours(text).sum())

    def _measure_theirs(self, make: Callable[[], Any], broken: dict[str, int]) -> None:
        broken["broken_other"] = int(self.run_theirs(make()).sum())

    def accuracy(self) -> Row:
        """Return the robust accuracy by AutoAttack, ours in both readings, and the other's."""
        from caffe_ext.attacks.criteria import Misclassification
        from caffe_ext.attacks.registry import parse_attack

        l2 = "-l2" if self.budget.norm == "l2" else ""
        attack = parse_attack(f"autoattack{l2}={self.budget.epsilon!r}")
        began = time.process_time()
        result = attack.run(
            self.classifier, self.images, Misclassification(self.labels), self.indices
        )
        middle = time.process_time()
        assert result.real is not None
        row: Row = {
            "ours": attack.text,
            "images": self.total,
            "real": int((~result.real.found).sum()) / self.total,
            "whole": int((~result.found).sum()) / self.total,
            "seconds": middle - began,
        }
        if self.twin is not None:
            import torchattacks

            norm, ball = NORMS[self.budget.norm], self.budget.epsilon / WHITE
            other = torchattacks.AutoAttack(self.twin, norm=norm, eps=ball, n_classes=10, seed=0)
            broken = self.run_theirs(other)
            row |= {
                "real_other": int((~broken).sum()) / self.total,
                "seconds_other": time.process_time() - middle,
            }
        return row


def measure(arguments: argparse.Namespace) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows, and what they depend on."""
    from caffe_ext.evaluation.suite import parse_radius
    from caffe_ext.runtime import engine
    from torch_twin import torch_twin

    source = open_source(arguments)
    batch = source.read(slice(0, arguments.limit))
    if batch.labels is None:
        raise ValueError(f"{source.origin}: labels are needed; --labels names them")
    about: dict[str, Any] = {"images": shorten_paths(source.origin), "models": {}, "other": None}
    engine.set_threads(1)  # as PyTorch has it
    rows: list[Row] = []
    models = find_models(arguments)
    total = len(models) * len(arguments.within)
    with Console().progress("attacks", total, "budget") as step:
        for model in models:
            classifier = model.load(arguments.batch_size)
            labels = classifier.check_labels(batch.labels, len(batch.images))
            right = np.flatnonzero(classifier.predict(batch.images) == labels)
            about["models"][model.name] = shorten_path(model.weights)
            try:
                import torch
                import torchattacks  # noqa: F401  (whether it is there)

                twin, apart = torch_twin(model, classifier, batch.images)
                attacks = f"torchattacks {version('torchattacks')}"
                about["other"] = f"{attacks} on PyTorch {torch.__version__}"
                about["largest_logit_difference"] = apart
            except ImportError:
                twin = None
                if not arguments.accuracy:
                    raise ValueError("PyTorch and torchattacks are not installed") from None
            for text in arguments.within:
                question = Question(
                    classifier,
                    twin,
                    batch.images[right],
                    labels[right],
                    right,
                    len(batch.images),
                    parse_radius(text),
                )
                found = (
                    [question.accuracy()]
                    if arguments.accuracy
                    else question.times(arguments.queries, arguments.runs)
                )
                head = {"model": model.name, "within": f"{question.budget}"}
                rows += [head | one for one in found]
                step(1)
    engine.set_threads(0)
    return rows, about


def report(record: dict[str, Any]) -> str:
    """Return the table with what it depends on."""
    from search_report import table

    if record["accuracy"]:
        heads = ["model", "within", "images", "ours, real", "other, real", "ours, whole"]
        cells = [
            [
                *(one["model"], one["within"], f"{one['images']:,}", f"{100 * one['real']:.1f}%"),
                f"{100 * one['real_other']:.1f}%" if "real_other" in one else "–",
                f"{100 * one['whole']:.1f}%",
                f"{one['seconds']:.0f}",
                f"{one['seconds_other']:.0f}" if "seconds_other" in one else "–",
            ]
            for one in record["rows"]
        ]
        heads += ["ours, s", "other, s"]
        text = (
            "Robust accuracy by AutoAttack: in real-valued pixels by ours and by the other, and in "
            "whole grey levels\nby ours, whose seconds are those of both readings. Processor time."
        )
    else:
        heads = ["model", "within", "attack", "images", "broken", "other", "ours, s", "other, s"]
        heads += ["ratio", "quartiles"]
        cells = []
        for one in record["rows"]:
            times = one["process"]
            lower, _, upper = times["quartiles"]
            cells.append(
                [
                    *(one["model"], one["within"], one["attack"], f"{one['images']:,}"),
                    *(f"{one['broken']:,}", f"{one['broken_other']:,}"),
                    *(f"{times['first_ms'] / 1000:.2f}", f"{times['second_ms'] / 1000:.2f}"),
                    *(f"{times['ratio']:.2f}", f"{lower:.2f} – {upper:.2f}"),
                ]
            )
        text = (
            "Processor time of ours and of the other, medians; ratio: other / ours. broken, other: "
            "images that\nthe two break. One thread each."
        )
    models = ", ".join(f"{name} (`{path}`)" for name, path in record["models"].items())
    return f"""\
# Attacks within a budget, beside {record["other"] or "none"}

{text}

{table([heads, *cells])}

| | |
|---|---|
| command | `{record["command"]}` |
| date | {record["date"]} |
| version | {record["version"]}, commit {record["commit"]} |
| models | {models} |
| images | {record["images"]} |
| load before | {record["load_average"]:.1f} processes |
"""


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError
    from caffe_ext.runtime.quiet import quiet_caffe

    record = begin_record(arguments.output, accuracy=arguments.accuracy)
    try:
        with quiet_caffe():
            record["rows"], about = measure(arguments)
    except (DataError, ValueError) as error:
        sys.exit(f"{error}")
    record |= about
    name = "accuracy" if arguments.accuracy else "times"
    write_json(arguments.output / f"{name}.json", record)
    write_text(arguments.output / f"{name}.md", report(record))
    print(report(record))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
