"""Measure how much faster PASS is for a batch than the plain loop over its pairs.

The loop is the reference of the tests: OpenCV and scikit-image, one pair after the other. Both run
in one process, in turns, on the same pairs: handwritten digits of 28x28 pixels and the same digits
under a smooth perturbation. The target is a ratio of at least 4 on 2 cores.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench_report import begin_record
from caffe_ext.cli.console import run_program
from caffe_ext.cli.parser import add_output, check_at_least
from caffe_ext.runtime.checkout import DATA, ROOT
from caffe_ext.storage.atomic import write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Images = NDArray[np.uint8]

TARGET = 4.0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they make no sense."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--pairs", type=int, metavar="N", default=10_000, help="of images (default: %(default)s)")
    add("--runs", type=int, metavar="N", default=5, help="of each (default: %(default)s)")
    add_output(parser, ROOT / "results", "bench_pass.json")
    arguments = parser.parse_args(argv)
    check_at_least(parser, arguments, 1, "pairs")
    check_at_least(parser, arguments, 2, "runs")
    return arguments


def load_digits(count: int) -> "tuple[Images, str]":
    """Return digits (N, 1, 28, 28), again from the start if there are not enough, and their source.

    MNIST's test images where they are, else scikit-learn's digits.
    """
    import numpy as np

    from caffe_ext.data import DataError, load_images

    try:
        images = load_images("mnist", homes=(DATA,))
    except DataError:
        images = load_images("digits", "train")
    source = images.origin.replace(f"{ROOT}/", "")  # the record is read elsewhere
    return images.images[np.arange(count) % len(images)], source


def perturb(originals: "Images") -> "Images":
    """Return the images under smooth noise of 5 to 40 grey levels, a new one for each image."""
    import cv2
    import numpy as np

    random = np.random.default_rng(0)
    results = originals.copy()
    for image in results:
        noise = cv2.GaussianBlur(random.standard_normal(image.shape[1:]), (0, 0), 1.5)
        changed = image + noise * random.uniform(5, 40) / noise.std()
        image[:] = np.rint(changed).clip(0, 255)
    return results


def measure(count: int, runs: int) -> dict[str, Any]:
    """Return the times of both and how far their scores lie apart."""
    import numpy as np

    from caffe_ext.metrics.pass_score import compute_pass_scores
    from paired_timing import time_pair
    from pass_reference import compute_reference_pass_score

    originals, source = load_digits(count)
    adversarials = perturb(originals)
    pairs = list(zip(adversarials, originals, strict=True))

    def batch() -> Any:
        return compute_pass_scores(adversarials, originals).scores

    def loop() -> list[float]:
        return [compute_reference_pass_score(*pair)[0] for pair in pairs]

    apart = np.subtract(batch(), loop())
    # first: the batch, second: the loop; so the ratio says how many times faster the batch is.
    times = time_pair(batch, loop, runs)
    return {
        "images": source,
        "pairs": count,
        "threads": len(os.sched_getaffinity(0)),
        "largest_difference": float(np.abs(apart).max()),
        "elapsed": asdict(times.elapsed),
        # Of all threads together; unlike the above, it hardly depends on what else runs here.
        "processor": asdict(times.process),
    }


def format_summary(measured: dict[str, Any]) -> str:
    """Return the measurement in words."""
    elapsed, processor = measured["elapsed"], measured["processor"]
    lower, _, upper = elapsed["quartiles"]
    return (
        f"PASS of {measured['pairs']:,} pairs ({measured['images']}), medians of "
        f"{elapsed['pairs']} runs:\n"
        f"  batch, {measured['threads']} threads  {elapsed['first_ms'] / 1000:.2f} s\n"
        f"  plain loop        {elapsed['second_ms'] / 1000:.2f} s\n"
        f"  ratio             {elapsed['ratio']:.2f} (quartiles {lower:.2f} to {upper:.2f}); "
        f"target: at least {TARGET:g}\n"
        f"  processor time    {processor['first_ms'] / 1000:.2f} s to "
        f"{processor['second_ms'] / 1000:.2f} s, ratio {processor['ratio']:.2f}\n"
        f"  scores differ by at most {measured['largest_difference']:.1e}"
    )


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    record = begin_record(arguments.output, target_ratio=TARGET)
    record |= measure(arguments.pairs, arguments.runs)
    write_json(arguments.output / "bench_pass.json", record)
    print(format_summary(record))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
