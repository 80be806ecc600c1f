"""Measure how fast smallest adversarials are found, beside others that find them.

The hot/cold search (HC1) of all images; then, on some of them, with the BLAS on all cores, image by
image in pycaffe, and the fast gradient sign with Foolbox on PyTorch, if they are installed
(`pip install -e .[bench]`). What is compared runs in one process, in turns; figures are medians.
The targets are 45 seconds for 10,000 images of MNIST, and a twentieth of the plain loop's time.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.image_arguments import add_image_arguments, open_source
from caffe_ext.cli.model_arguments import add_model_arguments, find_models
from caffe_ext.cli.parser import add_output, check_at_least
from caffe_ext.runtime.checkout import ROOT, shorten_paths
from caffe_ext.storage.atomic import write_json, write_text

if TYPE_CHECKING:
    from caffe_ext.models.classifier import Classifier
    from caffe_ext.models.description import ModelDescription
    from foolbox_lenet import Search
    from search_timing import Sample

TARGET_SECONDS, TARGET_RATIO = 45, 20
INSTALL = "python -m pip install -e '.[bench]'"
Row = dict[str, Any]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they make no sense."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_arguments(parser, several=False)
    add_image_arguments(parser, limit=10_000)
    add = parser.add_argument_group("measurement").add_argument
    add(
        "--compared",
        type=int,
        metavar="N",
        default=1000,
        help="images that others search beside us; the slowest, a tenth (default: %(default)s)",
    )
    add("--runs", type=int, metavar="N", default=5, help="of each (default: %(default)s)")
    add_output(parser, ROOT / "results", "bench_search.json and bench_search.md")
    arguments = parser.parse_args(argv)
    check_at_least(parser, arguments, 1, "compared")
    check_at_least(parser, arguments, 2, "runs")
    return arguments


def compare_settings(
    model: "ModelDescription",
    classifier: "Classifier",
    sample: "Sample",
    fewer: "Sample",
    runs: int,
) -> list[Row]:
    """Return, beside HC1: with one thread, on Caffe's own layers, and image by image on these."""
    from caffe_ext.attacks.registry import parse_attack
    from caffe_ext.runtime import engine
    from search_timing import Answers, Comparison, count_cores, make_plain_loop

    attack = parse_attack("hc1")

    def run_one_thread() -> Answers:
        engine.set_threads(1)
        try:
            return sample.search(classifier, attack)
        finally:
            engine.set_threads(0)

    with engine.switch(on=False):
        stock = model.load(classifier.batch_size)
        loop = make_plain_loop(model, stock)
    others: dict[str, Callable[[], Answers]] = (
        {"one thread": run_one_thread} if count_cores() > 1 else {}
    )
    others["Caffe's own layers"] = lambda: sample.search(stock, attack)
    others["doubling and bisection, image by image, on these"] = loop(sample, "search")
    # Where nothing is found, the way can have millions of steps.
    slow = {"amplitude by amplitude, image by image, on these": loop(fewer, "step_by_step")}

    def time_beside(mine: "Sample", jobs: dict[str, Callable[[], Answers]]) -> list[Row]:
        ours = Comparison(classifier, mine, lambda: mine.search(classifier, attack), runs)
        return ours.compare_all("HC1", jobs)

    return time_beside(sample, others) + time_beside(fewer, slow)


def compare_foolbox(
    model: "ModelDescription", classifier: "Classifier", sample: "Sample", runs: int
) -> dict[str, Any] | str:
    """Return searches along signs beside our FGS; a sentence where that is not possible."""
    import numpy as np

    from caffe_ext.attacks.registry import parse_attack
    from foolbox_lenet import TorchLeNet, find_versions
    from search_timing import Answers, Comparison

    installed = find_versions()
    if installed is None:
        return f"Foolbox and PyTorch are not installed; `{INSTALL}` does it"
    try:
        lenet = TorchLeNet(model)
    except ValueError as error:
        return f"{error}"
    fgs, margin = parse_attack("fgs"), parse_attack("margin-s")

    def run_ours() -> Answers:
        return sample.search(classifier, fgs)

    def make_job(job: "Search") -> Callable[[], Answers]:
        return lambda: job(sample.images, sample.labels)

    others: dict[str, Callable[[], Answers]] = {
        "margin by sign": lambda: sample.search(classifier, margin)
    }
    others |= {f"Foolbox: {name}": make_job(job) for name, job in lenet.attacks().items()}
    rows = Comparison(classifier, sample, run_ours, runs).compare_all(
        "FGS", {"FGS": run_ours, **others}
    )
    apart = np.abs(lenet.logits(sample.images) - classifier.logits(sample.images))
    return {**installed, "largest_logit_difference": float(apart.max()), "measurements": rows}


def measure(model: "ModelDescription", arguments: argparse.Namespace) -> dict[str, Any]:
    """Return all measurements of a model; ValueError for what cannot be measured."""
    from caffe_ext.attacks.registry import parse_attack
    from caffe_ext.runtime import engine
    from search_timing import Sample, measure_all, score_pairs

    space = model.pixel_space
    if space.mean is not None or space.crop is not None:
        raise ValueError(f"{model.name}: the plain loop knows models without mean and crop only")
    source = open_source(arguments)
    batch = source.read(slice(0, arguments.limit))
    images = batch.images
    classifier = model.load(arguments.batch_size)
    if batch.labels is None:
        raise ValueError(f"{source.origin}: labels are needed; --labels names them")
    labels = classifier.check_labels(batch.labels, len(images))
    # As many as are asked for where all are classified correctly; that is mostly so.
    first = slice(arguments.compared)
    sample = Sample.select_correct(classifier, images[first], labels[first])
    if not len(sample.images):
        raise ValueError(f"{model.name} gets all of the first {arguments.compared} images wrong")
    record = {
        "model": model.as_shown_record(),
        "images": shorten_paths(source.origin),
        "images_sha256": source.compute_digest(),
        "batch_size": arguments.batch_size,
    }
    with Console().show_progress("HC1", len(images), "image") as step:
        hc1 = parse_attack("hc1")
        record["all"] = measure_all(classifier, hc1, images, labels, step, score=score_pairs)
    few = slice(max(len(sample.images) // 10, 1))
    fewer = Sample(sample.images[few], sample.labels[few])
    record["beside_hc1"] = compare_settings(model, classifier, sample, fewer, arguments.runs)
    engine.set_threads(1)  # as PyTorch has it
    record["foolbox"] = compare_foolbox(model, classifier, fewer, arguments.runs)
    engine.set_threads(0)
    return record


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError
    from caffe_ext.runtime.quiet import silence_caffe
    from caffe_ext.storage.provenance import collect_provenance
    from search_report import format_summary, report

    record: dict[str, Any] = asdict(collect_provenance()) | {
        "load_average": os.getloadavg()[0],
        "target_seconds": TARGET_SECONDS,
        "target_ratio": TARGET_RATIO,
    }
    try:
        (model, *_) = find_models(arguments)
        arguments.output.mkdir(parents=True, exist_ok=True)
        if not os.access(arguments.output, os.W_OK):
            sys.exit(f"{arguments.output}: not writable")
        with silence_caffe():
            record |= measure(model, arguments)
    except (DataError, ValueError) as error:
        sys.exit(f"{error}")
    if isinstance(record["foolbox"], str):
        Console().note(f"Without a comparison with Foolbox: {record['foolbox']}")
    write_json(arguments.output / "bench_search.json", record)
    write_text(arguments.output / "bench_search.md", report(record))
    print(format_summary(record))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
