"""Measure what a sweep adds to the work of its points, and what its client and scheduler do.

1. LeNets, trained and attacked, with 1 worker and with more: points an hour, and the pauses between
   the end of a point's work and the next result of the same worker's.
2. Points without work, answered at once with as many bytes as a LeNet has: the processor
   time of client and scheduler, which are one process here, and the bytes of a point.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from bench_report import begin_record
from caffe_ext.cli.console import run_program
from caffe_ext.cli.parser import add_output, check_at_least
from caffe_ext.runtime.checkout import ROOT
from caffe_ext.storage.atomic import write_json

if TYPE_CHECKING:
    from caffe_ext.sweeps.description import SweepPoint
    from caffe_ext.sweeps.store import PointStore, StoredPoint

WEIGHTS = 1_725_020
"""Bytes of a LeNet's weights."""
SWEEP = """
solver: {root}/solvers/lenet_bang.prototxt
model: {root}/prototxt/lenet.yaml
data: {data}
settings: {{max_iter: {iterations}}}
axes: {{random_seed: {{from: 1, to: {points}, step: 1}}}}
evaluation: {{attacks: [fgs, hc1], limit: {images}}}
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they make no sense."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", choices=("mnist", "digits"), default="mnist", help="(default: %(default)s)")
    add("--points", type=int, metavar="N", default=8, help="that work (default: %(default)s)")
    add("--iterations", type=int, metavar="N", default=500, help="of each (default: %(default)s)")
    add("--images", type=int, metavar="N", default=500, help="attacked (default: %(default)s)")
    add("--empty", type=int, metavar="N", default=200, help="points without work")
    add("--workers", type=int, nargs="+", metavar="N", default=[1, 2], help="(default: 1 2)")
    add_output(parser, ROOT / "results", "bench_sweep.json")
    arguments = parser.parse_args(argv)
    check_at_least(parser, arguments, 2, "points", "empty")
    check_at_least(parser, arguments, 1, "iterations", "images")
    return arguments


class TimingStore:
    """A store that notes when results come."""

    def __init__(self, store: "PointStore") -> None:
        """Note nothing yet."""
        self._store = store
        self.write_failure = store.write_failure
        self.stored: list[tuple[float, StoredPoint]] = []
        self.writing, self.waits = 0.0, list[float]()

    def write(self, point: "SweepPoint", outcome: Mapping[str, Any]) -> "StoredPoint":
        """Write a result, and note it."""
        began, processor = time.perf_counter(), time.process_time()
        stored = self._store.write(point, outcome)
        self.writing += time.process_time() - processor
        self.waits.append(time.perf_counter() - began)
        self.stored.append((time.perf_counter(), stored))
        return stored

    def measure_pauses(self) -> list[float]:
        """Return the seconds between results of the same worker, without the second one's work."""
        pauses = []
        for worker in {stored.worker for _, stored in self.stored}:
            mine = [(when, one) for when, one in self.stored if one.worker == worker]
            pauses += [
                after - before - sum(one.measured["seconds"].values())
                for (before, _), (after, one) in pairwise(mine)
            ]
        return pauses


def answer_at_once(digest: str, description: Any, options: Any) -> dict[str, Any]:
    """Be a point without work, on a worker."""
    from distributed import get_worker

    weights = os.urandom(options.get("bytes", 1_725_020))
    numbers = {f"figure {number}": number / 7 for number in range(100)}
    return {
        "kind": "done",
        "figures": {"attacks": {"none": {"all": numbers}}},
        "measured": {"seconds": {"training": 0.0}, "processor_seconds": 0.0, "machine": {}},
        "weights": weights,
        "worker": get_worker().address,
    }


def measure(points: "Sequence[SweepPoint]", folder: Path, workers: int) -> dict[str, Any]:
    """Compute points; return the figures of that."""
    from caffe_ext.reporting import SilentReporter
    from caffe_ext.sweeps.cluster import ClusterSettings, SweepCluster
    from caffe_ext.sweeps.engine import Engine
    from caffe_ext.sweeps.progress import SilentObserver, SweepProgress
    from caffe_ext.sweeps.store import PointStore

    settings = ClusterSettings(folder / "scratch", folder / "data", workers=workers)
    store = TimingStore(PointStore(folder / f"{workers}"))
    with SweepCluster(settings, {}) as cluster:
        engine = Engine(cluster, store, SilentReporter(), SilentObserver())
        began, processor = time.perf_counter(), time.process_time()
        engine.run(points, SweepProgress(len(points)))
        seconds, processor = time.perf_counter() - began, time.process_time() - processor
    count = len(points)
    own = [one.measured.get("processor_seconds") or 0.0 for _, one in store.stored]
    return {
        "workers": workers,
        "points": count,
        "seconds": seconds,
        "points_an_hour": 3600 * count / seconds,
        "pauses": store.measure_pauses(),
        "processor_seconds_of_a_point": statistics.median(own),
        "processor_seconds_of_client_and_scheduler": processor / count,
        "processor_seconds_of_writing": store.writing / count,
        "seconds_of_writing": statistics.median(store.waits),
    }


def measure_work(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure points that work, with each number of workers."""
    from caffe_ext.sweeps.file import read_sweep
    from caffe_ext.sweeps.sweep import Sweep

    file = folder / "sweep.yaml"
    file.write_text(SWEEP.format(root=ROOT, **vars(arguments)))
    points = Sweep(read_sweep(file), folder).plan().points
    return [measure(points, folder, workers) for workers in arguments.workers]


def measure_empty(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure points without work."""
    from caffe_ext.sweeps import remote
    from caffe_ext.sweeps.description import SweepPoint

    points = [
        SweepPoint({"number": number}, {"text": "x" * 4500, "number": number})
        for number in range(arguments.empty)
    ]
    sent = len(json.dumps(points[0].description))
    with patch.object(remote, "compute_remotely", answer_at_once):
        measured = measure(points, folder, 2)
    return measured | {"bytes_sent": sent, "bytes_returned": WEIGHTS}


def run(arguments: argparse.Namespace) -> None:
    """Measure, and write the record."""
    record = begin_record(arguments.output)
    with tempfile.TemporaryDirectory() as name:
        record["work"] = measure_work(arguments, Path(name))
        record["empty"] = measure_empty(arguments, Path(name) / "empty")
    for one in record["work"]:
        pause = statistics.median(one["pauses"])
        print(
            f"{one['workers']} workers: {one['points_an_hour']:.0f} points an hour; median pause "
            f"{1000 * pause:.0f} ms; processor time of a point "
            f"{one['processor_seconds_of_a_point']:.2f} s"
        )
    empty = record["empty"]
    print(
        f"client and scheduler: {1000 * empty['processor_seconds_of_client_and_scheduler']:.1f} ms "
        f"of processor time a point, {1000 * empty['processor_seconds_of_writing']:.1f} ms of it "
        f"writing; a result is on the disk after {1000 * empty['seconds_of_writing']:.0f} ms"
    )
    write_json(arguments.output / "bench_sweep.json", record)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
