"""Measure NoiseCurves, network by network; estimate the time first."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
from msgspec import Meta

from caffe_ext.evaluation.stability import check_counts, measure_noise_stability
from caffe_ext.models.base import Ints
from caffe_ext.models.description import ModelDescription
from caffe_ext.reporting import Reporter, SilentReporter, Step
from caffe_ext.runtime.processor_time import Stopwatch
from caffe_ext.storage.json_file import Count
from caffe_ext.studies.noise_curves.curves import NoiseCurves
from caffe_ext.studies.noise_curves.images import ChosenImages
from caffe_ext.studies.noise_curves.run import NoiseCurvesRun, read_piece, write_piece


def measure_seconds_per_image(run: NoiseCurvesRun) -> float:
    """Time a noisy batch through the first network, the best of three.

    Raises ValueError if images and network do not fit.
    """
    classifier = run.networks[0][1].load(run.batch_size)
    sample = run.source.read(slice(0, min(run.batch_size, len(run.labels)))).images

    def time_batch() -> float:
        watch = Stopwatch()
        measure_noise_stability(
            classifier, sample, run.labels[: len(sample)], run.protocol.levels[:1], 1, seed=0
        )
        return watch.seconds

    time_batch()  # Caffe makes room for the batch in its first pass.
    return min(time_batch() for _ in range(3)) / len(sample)


def count_finished(run: NoiseCurvesRun) -> int:
    """Count the images, without their copies, that are done, all networks together."""
    return sum(len(_read_piece(run, path).changed) for path, _ in run.networks)


def sum_seconds(run: NoiseCurvesRun) -> float:
    """Return how long the finished work has taken, all parts together."""
    return sum(_read_piece(run, path).seconds for path, _ in run.networks)


def measure(
    run: NoiseCurvesRun, chosen: ChosenImages, reporter: Reporter | None = None
) -> NoiseCurves:
    """Return the curves; finished work of an interrupted run is reused.

    Call this, like choose_images(), while the folder is claimed.
    """
    protocol = run.protocol
    total = len(run.networks) * len(chosen.images) * protocol.forwards
    done = count_finished(run) * protocol.forwards
    with (reporter or SilentReporter()).show_progress("noise", total, "image", done) as step:
        counts = [_measure_network(run, chosen, path, model, step) for path, model in run.networks]
    shape = (len(run.models), len(run.iterations), len(chosen.images), len(protocol.levels))
    return NoiseCurves(
        tuple(run.models),
        np.array(run.iterations, np.int64),
        np.array(protocol.levels, np.float64),
        np.stack(counts).reshape(shape),
        protocol.copies,
    )


class _ContinuedProgress(SilentReporter):
    """A reporter that continues an open progress bar."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def show_progress(
        self, what: str, total: int, unit: str, done: int = 0
    ) -> AbstractContextManager[Step]:
        """Return the open bar's step."""
        return nullcontext(self._step)


def _measure_network(
    run: NoiseCurvesRun, chosen: ChosenImages, path: Path, model: ModelDescription, step: Step
) -> Ints:
    """Return the counts of one network, int64 (N, L); saves them, some images at a time."""
    protocol = run.protocol
    piece = _read_piece(run, path)
    changed, seconds = piece.changed, piece.seconds
    if len(changed) < len(chosen.images):
        classifier = model.load(run.batch_size)
    for rows in protocol.split_into_parts(len(changed), len(chosen.images)):
        start = perf_counter()
        stability = measure_noise_stability(
            classifier,
            chosen.images[rows],
            chosen.labels[rows],
            protocol.levels,
            protocol.copies,
            seed=protocol.seed,
            reporter=_ContinuedProgress(step),
            indices=chosen.indices[rows],
        )
        changed += stability.changed.tolist()
        seconds += perf_counter() - start
        write_piece(path, {"changed": changed, "seconds": seconds})
    return np.array(changed, np.int64)


@dataclass(frozen=True)
class _Piece:
    """The finished part of a network: the counts of its first images, and the time they took."""

    changed: list[list[Count]]
    seconds: Annotated[float, Meta(ge=0)]


def _read_piece(run: NoiseCurvesRun, path: Path) -> _Piece:
    """Return the finished part of a network; RecordError if its file is damaged."""
    if not path.exists():
        return _Piece([], 0.0)
    protocol = run.protocol
    return read_piece(
        path,
        _Piece,
        lambda piece: check_counts(
            piece.changed, run.chosen, len(protocol.levels), protocol.copies
        ),
    )
