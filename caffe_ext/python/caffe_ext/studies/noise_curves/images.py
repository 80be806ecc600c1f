"""The images that noise is added to: those that all networks classify correctly."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from caffe_ext.data import ImageSource
from caffe_ext.evaluation.stability import TooFewError, find_correct_for_all
from caffe_ext.models.base import Images, Ints
from caffe_ext.models.classifier import Classifier
from caffe_ext.reporting import Reporter, SilentReporter, Step
from caffe_ext.runs.runner import count_images
from caffe_ext.storage.json_file import Count
from caffe_ext.studies.noise_curves.run import CHOSEN, NoiseCurvesRun, read_piece, write_piece

_AT_A_TIME = 1000


@dataclass(frozen=True, eq=False)
class ChosenImages:
    """The images that noise is added to.

    indices  int64 (N,), their numbers in the source, ascending
    images   uint8 (N, C, H, W)
    labels   int64 (N,)
    """

    indices: Ints
    images: Images
    labels: Ints


def read_labels(source: ImageSource, limit: int | None = None) -> Ints:
    """Return the labels of a source's first images, int64 (N,); reads those images.

    Raises ValueError if there are none.
    """
    parts = []
    for rows in _split_into_blocks(count_images(source, limit)):
        labels = source.read(rows).labels
        if labels is None:
            raise ValueError(
                "the images have no labels, which noise curves need; give them with --labels"
            )
        parts.append(labels)
    return np.concatenate(parts)


def choose_images(run: NoiseCurvesRun, reporter: Reporter | None = None) -> ChosenImages:
    """Return the first images of each class that all networks classify correctly.

    Raises TooFewError, a ValueError, if a class has too few of them.
    """
    note = run.folder / CHOSEN
    if note.exists():
        found = read_piece(note, _Indices, lambda piece: _check(run, piece.indices))
        return _read_chosen(run, np.array(found.indices, np.int64))
    indices = _choose(run, reporter or SilentReporter())
    write_piece(note, {"indices": indices.tolist()})
    return _read_chosen(run, indices)


@dataclass(frozen=True)
class _Indices:
    """What chosen.json holds: the numbers of the chosen images."""

    indices: list[Count]


def _check(run: NoiseCurvesRun, indices: list[int]) -> None:
    """Raise ValueError unless these can be the chosen images."""
    if sorted(set(indices)) != indices or not indices or indices[-1] >= len(run.labels):
        raise ValueError(f"its image numbers must be ascending, from 0 to {len(run.labels) - 1:,}")
    _, counts = np.unique(run.labels[indices], return_counts=True)
    if len(indices) != run.chosen or set(counts.tolist()) != {run.protocol.per_class}:
        raise ValueError(f"it does not have {run.protocol.per_class:,} images of each class")


def _choose(run: NoiseCurvesRun, reporter: Reporter) -> Ints:
    """Classify the first images of each class with the networks, and more if necessary."""
    wanted = 2 * run.protocol.per_class
    while True:
        candidates = _choose_first(run.labels, wanted)
        some = _read_chosen(run, candidates)
        try:
            with reporter.show_progress("choosing images", len(run.networks), "network") as step:
                rows = find_correct_for_all(
                    _load_networks(run, step), some.images, some.labels, run.protocol.per_class
                )
            return candidates[rows]
        except TooFewError:
            if len(candidates) == len(run.labels):
                raise
        wanted *= 2


def _load_networks(run: NoiseCurvesRun, step: Step) -> Iterator[Classifier]:
    """Yield the networks, one in memory at a time."""
    for _, model in run.networks:
        yield model.load(run.batch_size)
        step(1)


def _choose_first(labels: Ints, count: int) -> Ints:
    """Return the numbers of the first images of each class, ascending."""
    firsts = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(firsts))


def _read_chosen(run: NoiseCurvesRun, indices: Ints) -> ChosenImages:
    """Read the images with these numbers."""
    parts = []
    for rows in _split_into_blocks(len(run.labels)):
        mine = indices[(indices >= rows.start) & (indices < rows.stop)]
        if len(mine):
            parts.append(run.source.read(rows).images[mine - rows.start])
    return ChosenImages(indices, np.concatenate(parts), run.labels[indices])


def _split_into_blocks(count: int) -> Iterator[slice]:
    """Split images into parts that fit into memory."""
    for start in range(0, count, _AT_A_TIME):
        yield slice(start, min(start + _AT_A_TIME, count))
