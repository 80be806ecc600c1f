"""Measure what BANG costs: a training iteration of it against one of plain SGD.

Both solvers train in one process, in turns, and the figures are medians of many iterations, so that
other work on the machine hits both alike. The target is a ratio of at most 1.05.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench_report import format_origin
from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.parser import add_output, check_at_least
from caffe_ext.runtime.checkout import DATA, ROOT
from caffe_ext.storage.atomic import write_json, write_text
from child_process import measure_in_child, run_child

TARGET = 1.05
WARM_UP = 20
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Network:
    """What is measured.

    stem      of the names of its solver files
    data_set  the folder in data/ from which it reads images of that `shape`
    pairs     how many iterations of each solver, by default
    """

    title: str
    stem: str
    data_set: str
    shape: tuple[int, int, int]
    reads: tuple[str, ...]
    batch: int
    pairs: int


LMDB, MEAN = "train_lmdb", "mean.binaryproto"
LENET = Network("LeNet", "lenet", "mnist", (1, 28, 28), (LMDB,), 64, 400)
CIFAR = Network("CIFAR-10 quick", "cifar10_quick", "cifar10", (3, 32, 32), (LMDB, MEAN), 100, 120)
NETWORKS = {network.stem: network for network in (LENET, CIFAR)}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they make no sense."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--iterations", type=int, metavar="N", help="iterations of each solver (default: 400, 120)")
    add("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="what to measure")
    add_output(parser, ROOT / "results", "bench_bang.json and bench_bang.md")
    add("--child", nargs=3, metavar=("SGD", "BANG", "TITLE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    check_at_least(parser, arguments, 2, "iterations")
    return arguments


def find_data_sources(network: Network, folder: Path) -> tuple[dict[str, str], str]:
    """Return where the network's data are, by the paths that it names, and what they are."""
    from caffe_ext.data.preparation import read_intact_record

    record = read_intact_record(DATA / network.data_set)
    if record is not None:
        return {}, record.content
    Console().note(f"data/{network.data_set} is not there; random images serve as well")
    return write_random_images(network, folder), "random images"


def write_random_images(network: Network, folder: Path) -> dict[str, str]:
    """Write images of the network's shape, and their mean image, into the folder."""
    import numpy as np

    from caffe_ext.data import ImageSet, compute_mean_image, write_database, write_mean_image

    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (1000, *network.shape), dtype=np.uint8)
    images = ImageSet(pixels, random.integers(0, 10, len(pixels)), "random")
    write_database(folder / LMDB, images, 5)
    write_mean_image(folder / MEAN, compute_mean_image(images))
    return {f"data/{network.data_set}/{name}": str(folder / name) for name in network.reads}


def write_solver(stem: str, sources: Mapping[str, str], folder: Path) -> Path:
    """Write a solver for nothing but training iterations; return its path."""
    from caffe_ext.training.settings import read_settings

    changes = "display: 0 snapshot: 0 random_seed: 1"
    settings = read_settings(ROOT / "solvers" / f"{stem}.prototxt", changes, sources, ROOT)
    for field in ("test_iter", "test_interval"):
        settings.solver.ClearField(field)
    settings.check_sources()
    (folder / stem).mkdir()
    return settings.write(folder / stem)


def measure(network: Network, iterations: int | None) -> list[dict[str, Any]]:
    """Return the measurements of a network: with one thread, and with one for each core."""
    measurements = []
    with tempfile.TemporaryDirectory() as name:
        sources, data = find_data_sources(network, Path(name))
        stems = (f"{network.stem}_sgd", f"{network.stem}_bang")
        solvers = [write_solver(stem, sources, Path(name)) for stem in stems]
        for threads in sorted({1, len(os.sched_getaffinity(0))}):
            title = f"{network.title}, threads: {threads}"
            arguments = ["--iterations", iterations or network.pairs, "--child", *solvers, title]
            environment = dict.fromkeys(THREAD_VARIABLES, f"{threads}")
            found = measure_in_child(__file__, arguments, network.title, environment)
            about = {"network": network.title, "batch": network.batch, "data": data}
            measurements.append(about | {"threads": threads} | found)
    return measurements


def print_figures(sgd: str, bang: str, title: str, pairs: int) -> None:
    """Measure two solvers in this process, and print the figures as JSON."""
    import caffe

    from caffe_ext.storage.provenance import describe_machine
    from paired_timing import time_pair

    solvers = [caffe.get_solver(path) for path in (sgd, bang)]
    first, second = (lambda solver=solver: solver.step(1) for solver in solvers)
    with Console().show_progress(title, pairs, "pair") as step:
        times = time_pair(first, second, pairs, min(WARM_UP, pairs), lambda: step(1))
    print(json.dumps(asdict(times) | {"blas": asdict(describe_machine().blas)}))


def format_table(measurements: Sequence[Mapping[str, Any]]) -> str:
    """Return the measurements as a table in Markdown, which also reads well as it is."""
    rows = [
        ("network", "batch", "threads", "SGD", "BANG", "ratio", "quartiles", "by CPU time"),
        *(
            (
                row["network"],
                str(row["batch"]),
                str(row["threads"]),
                f"{row['elapsed']['first_ms']:.2f} ms",
                f"{row['elapsed']['second_ms']:.2f} ms",
                f"{row['elapsed']['ratio']:.3f}",
                " ".join(f"{quartile:.3f}" for quartile in row["elapsed"]["quartiles"]),
                # The threads of the BLAS have clocks of their own.
                f"{row['thread']['ratio']:.3f}" if row["threads"] == 1 else "–",
            )
            for row in measurements
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
        for row in rows
    ]
    rule = "| " + " | ".join(["-" * widths[0], *("-" * (n - 1) + ":" for n in widths[1:])]) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])


def report(record: Mapping[str, Any]) -> str:
    """Return bench_bang.md."""
    data = ", ".join(dict.fromkeys(f"{r['network']}: {r['data']}" for r in record["measurements"]))
    return f"""\
# What BANG costs

The time of a training iteration with BANG in relation to one with plain SGD.
Target: at most {TARGET}.

{format_table(record["measurements"])}

SGD, BANG: medians. ratio: of the medians. quartiles: of the ratio within pairs of neighbouring
iterations. by CPU time: the ratio of the medians of the training thread's processor time, which
leaves out what other processes took away.

| | |
|---|---|
{format_origin(record)}
| data | {data} |
"""


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.storage.provenance import collect_provenance
    from caffe_ext.training.settings import TrainingError

    record: dict[str, Any] = asdict(collect_provenance()) | {
        "load_average": os.getloadavg()[0],
        "target_ratio": TARGET,
        "measurements": [],
    }
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        if not os.access(arguments.output, os.W_OK):
            sys.exit(f"{arguments.output}: not writable")
        for name in arguments.networks:
            record["measurements"] += measure(NETWORKS[name], arguments.iterations)
        write_json(arguments.output / "bench_bang.json", record)
        write_text(arguments.output / "bench_bang.md", report(record))
    except TrainingError as error:
        sys.exit(f"{error}")
    print(format_table(record["measurements"]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    arguments = parse(argv)
    if not arguments.child:
        return run_program(run, arguments)
    sgd, bang, title = arguments.child
    return run_child(lambda: print_figures(sgd, bang, title, arguments.iterations))


if __name__ == "__main__":
    sys.exit(main())
