"""How often noisy samples of images get each class: counts that are stored and resumed.

The noise of a sample depends only on its number, so the counts of the first n samples are the same
whether they are taken at once, after interruptions, or continued from fewer samples.

A file of counts holds, for a model, images, a sigma and a seed,

    selection/N0    int64 (images, K + 1), the samples by which CERTIFY selects a class
    estimation/N    int64 (images, K + 1), the first N of all others

for each image the number of its samples with each class, and in the last column with none, as a
logit was NaN. The sum of a row is the number of samples counted so far, in order.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.certification.noise import MOST_SAMPLES, NoiseTable, NoisyCopies, add_noise
from caffe_ext.errors import RecordError
from caffe_ext.models.base import NO_CLASS, Ints, Model
from caffe_ext.reporting import Step
from caffe_ext.runs.runner import Source
from caffe_ext.storage.description import check_same, hash_description
from caffe_ext.storage.hdf5_file import create_hdf5, open_hdf5
from caffe_ext.storage.json_file import Object, parse_json
from caffe_ext.storage.periodic import save_periodically

SELECTION, ESTIMATION = "selection", "estimation"
# The numbers of the selection's samples start here, to differ from the estimation's.
_FIRST = {ESTIMATION: 0, SELECTION: MOST_SAMPLES // 2}
MOST_COUNTED = MOST_SAMPLES // 2
"""The most samples of an image that can be counted."""

# Values of noisy images in memory at a time, besides a batch.
_VALUES = 1 << 22
_ADVICE = "remove it, or use --again"


@dataclass(frozen=True, eq=False)
class Sampler:
    """A model, uint8 images and the noise on them; classifies noisy samples."""

    model: Model
    source: Source
    table: NoiseTable
    seed: int

    @property
    def at_a_time(self) -> int:
        """Return how many samples are made at a time: a few batches."""
        batches = _VALUES // int(np.prod(self.model.image_shape)) // self.model.batch_size
        return max(1, batches) * self.model.batch_size

    def classify(self, rows: Ints, samples: Ints) -> Ints:
        """Return the classes of samples of images, int64 (n,); the image numbers are ascending."""
        first = int(rows[0])
        images = self.source.read(slice(first, int(rows[-1]) + 1)).images
        copies = NoisyCopies(rows - first, rows, samples)
        return self.model.predict(add_noise(images, self.table, self.seed, copies))


@dataclass(eq=False)
class ClassCounts:
    """The current counts of one model at one sigma; see this module.

    path         of their file
    description  of all that they depend on, for JSON
    images       how many images there are
    columns      K + 1
    counts       int64 (images, columns), by SELECTION or ESTIMATION and the number of samples
    """

    path: Path
    description: Mapping[str, Any]
    images: int
    columns: int
    counts: dict[tuple[str, int], Ints] = field(default_factory=dict)

    def load(self) -> None:
        """Load the counts from the file, if it exists.

        Raises RecordError if it is damaged or of another run.
        """
        if not self.path.exists():
            return
        try:
            with open_hdf5(self.path, RecordError) as file:
                found = parse_json(file.attrs["description"], Object)
                counts = {
                    (kind, int(name)): np.asarray(file[kind][name][...])
                    for kind in (SELECTION, ESTIMATION)
                    for name in file[kind]
                }
        except RecordError as error:
            raise RecordError(f"{error}; {_ADVICE}") from error
        check_same(self.description, found, f"{self.path} holds results of another run", _ADVICE)
        for (kind, number), values in counts.items():
            if (
                values.dtype != np.int64
                or values.shape != (self.images, self.columns)
                or values.min(initial=0) < 0
                or values.sum(axis=1).max(initial=0) > number
            ):
                raise RecordError(
                    f"{self.path} is damaged: {kind}/{number} has no counts of {self.images:,} "
                    f"images and {self.columns - 1:,} classes; {_ADVICE}"
                )
        self.counts = counts

    def save(self) -> None:
        """Write the file, completely or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with create_hdf5(self.path) as file:
            file.attrs["description"] = json.dumps(self.description)
            for kind in (SELECTION, ESTIMATION):
                file.create_group(kind)
            for (kind, number), values in self.counts.items():
                file[kind].create_dataset(str(number), data=values, compression="gzip")

    def count_missing(self, kind: str, numbers: tuple[int, ...]) -> int:
        """Return how many samples remain to be counted for these numbers of samples per image."""
        total, below = 0, {key: values for key, values in self.counts.items() if key[0] == kind}
        for number in sorted(numbers):
            begun = _resume_counts(below, kind, number, (self.images, self.columns))
            total += self.images * number - int(begun.sum())
            below[kind, number] = np.full((self.images, self.columns), 0)
            below[kind, number][:, 0] = number
        return total

    def count_on(self, kind: str, number: int, sampler: Sampler, step: Step) -> Ints:
        """Count until each image has `number` samples; return their counts.

        kind  SELECTION or ESTIMATION

        The file is written every few seconds and at the end.
        """
        counts = _resume_counts(self.counts, kind, number, (self.images, self.columns))
        self.counts[kind, number] = counts
        missing = number - counts.sum(axis=1)
        with save_periodically(self.save) as note_change:
            for rows, samples in _split_samples(missing, number, sampler.at_a_time):
                classes = sampler.classify(rows, _FIRST[kind] + samples)
                columns = np.where(classes == NO_CLASS, self.columns - 1, classes)
                np.add.at(counts, (rows, columns), 1)
                note_change()
                step(len(rows))
        return counts


def locate_counts(folder: Path, description: Mapping[str, Any]) -> Path:
    """Return the file for the counts of a description."""
    return folder / f"counts-{hash_description(description)}.h5"


def _resume_counts(
    counts: Mapping[tuple[str, int], Ints], kind: str, number: int, shape: tuple[int, int]
) -> Ints:
    """Return the counts from which to continue to `number` samples, the most advanced per image."""
    best = np.zeros(shape, np.int64)
    for (other, most), values in counts.items():
        if other == kind and most <= number:
            further = values.sum(axis=1) > best.sum(axis=1)
            best[further] = values[further]
    return best


def _split_samples(missing: Ints, number: int, size: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield the missing samples, `size` at a time: their images, ascending, and numbers.

    missing  int64 (images,), how many of each image's last samples are missing
    """
    ends = np.cumsum(missing)
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, size):
        places = np.arange(start, min(start + size, total))
        rows = np.searchsorted(ends, places, side="right")
        yield rows, number - (ends[rows] - places)
