"""SmoothingStudy: certify models by randomized smoothing, and write tables, curves and a record.

    study = SmoothingStudy(models, open_images("mnist"), Path("out"), SmoothingSettings((63.75,)))
    study.run().rows

smoothing.json          certified accuracies, and all that they depend on
smoothing.csv           a line for each model, sigma, number of samples and image
smoothing.png, .svg     certified accuracy against the radius
counts-*.h5             the counts of each model at each sigma (class_counts.py), which are resumed
                        after an interruption, and for more samples
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from caffe_ext.certification.class_counts import (
    ESTIMATION,
    MOST_COUNTED,
    SELECTION,
    ClassCounts,
    Sampler,
    locate_counts,
)
from caffe_ext.certification.decisions import check_alpha
from caffe_ext.certification.noise import NoisyCopies, add_noise, make_gaussian_table
from caffe_ext.certification.smoothing_result import SmoothedModel, SmoothingResult, save_results
from caffe_ext.certification.study import Study
from caffe_ext.data import ImageSource
from caffe_ext.models.base import Ints, Model
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.models.smoothed_description import SmoothedDescription
from caffe_ext.reporting import Reporter, SilentReporter, format_duration, pluralize
from caffe_ext.runs.output_folder import claim_output
from caffe_ext.runtime.processor_time import Stopwatch

# Identifies the noise; if the same numbers gave other bits, this would change.
_NOISE = "Philox4x32-10, alias table of 2^-64, 1"
_MEANING = {
    "noise": "clip(round(x + sigma z), 0, 255), z standard normal, sigma in grey levels",
    "norm": "L2",
}


@dataclass(frozen=True)
class SmoothingSettings:
    """How models are smoothed and certified.

    sigmas   standard deviations of the noise, in grey levels
    samples  numbers n of samples from which images are certified, independently of each other
    n0       samples by which the class is selected
    alpha    probability that a certificate is wrong
    seed     of the noise

    Raises ValueError for invalid settings.
    """

    sigmas: tuple[float, ...]
    samples: tuple[int, ...] = (10_000,)
    n0: int = 100
    alpha: float = 0.001
    seed: int = 1

    def __post_init__(self) -> None:
        """Check them."""
        check_alpha(self.alpha)
        if not self.sigmas or not self.samples:
            raise ValueError("at least one sigma and one number of samples are needed")
        for sigma in self.sigmas:
            make_gaussian_table(sigma)
        for name, number in (("n0", self.n0), *(("n", number) for number in self.samples)):
            if not 1 <= number <= MOST_COUNTED:
                raise ValueError(f"{name} must be from 1 to {MOST_COUNTED:,}, not {number:,}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"the seed must be from 0 to 2^64 - 1, not {self.seed}")


@dataclass(frozen=True)
class SmoothingStudy(Study):
    """What is certified by randomized smoothing; the fields are those of Study."""

    settings: SmoothingSettings

    def run(self, reporter: Reporter | None = None) -> SmoothingResult:
        """Count what is not counted yet, write the results, and return them.

        Raises ValueError for images and models that do not fit, RecordError if the folder holds
        damaged counts or another process is using it, DataError for images that cannot be read,
        OSError for files that cannot be read or written.
        """
        reporter = reporter or SilentReporter()
        for model in self.models:
            if isinstance(model, SmoothedDescription):
                raise ValueError(
                    f"{model.name} is smoothed already: certify the network itself, with the same "
                    "sigma; that is its file without `smoothing:`"
                )
        source = self.open_images(reporter)
        labels = _read_labels(source)
        shapes = [
            _count_columns(model.load(self.batch_size), source, labels) for model in self.models
        ]
        images = {"digest": source.compute_digest(reporter)}
        with claim_output(self.folder):
            tasks = [
                (model, sigma, self._count_classes(model, sigma, images, len(labels), columns))
                for model, columns in zip(self.models, shapes, strict=True)
                for sigma in self.settings.sigmas
            ]
            self._count(tasks, source, reporter)
            result = SmoothingResult(
                labels,
                self.settings.alpha,
                [
                    SmoothedModel(
                        model.name,
                        sigma,
                        counts.counts[SELECTION, self.settings.n0],
                        {n: counts.counts[ESTIMATION, n] for n in sorted(self.settings.samples)},
                    )
                    for model, sigma, counts in tasks
                ],
            )
            record = self.make_record(source, images["digest"], _MEANING)
            save_results(self.folder, result, record)
        return result

    def _count_classes(
        self,
        model: LoadableModel,
        sigma: float,
        images: Mapping[str, Any],
        count: int,
        columns: int,
    ) -> ClassCounts:
        """Return the counts of a model at a sigma."""
        description = {
            "noise": _NOISE,
            "seed": self.settings.seed,
            "sigma": sigma,
            "images": dict(images) | {"count": count},
            "model": model.identify(),
        }
        counts = ClassCounts(locate_counts(self.folder, description), description, count, columns)
        if self.again:
            counts.path.unlink(missing_ok=True)
        counts.load()
        return counts

    def _count(
        self,
        tasks: Sequence[tuple[LoadableModel, float, ClassCounts]],
        source: ImageSource,
        reporter: Reporter,
    ) -> None:
        """Count everything that is requested."""
        settings = self.settings
        wanted = ((SELECTION, (settings.n0,)), (ESTIMATION, settings.samples))
        left = [sum(counts.count_missing(*what) for what in wanted) for _, _, counts in tasks]
        if not sum(left):
            return
        model: Model | None = None
        loaded: LoadableModel | None = None
        with reporter.show_progress("smoothing", sum(left), "sample") as step:
            for (description, sigma, counts), missing in zip(tasks, left, strict=True):
                if not missing:
                    continue
                if loaded is not description:
                    model, loaded = description.load(self.batch_size), description
                    seconds = measure_seconds_per_sample(model, source, sigma)
                    reporter.note(
                        f"{description.name}: about {1 / seconds:,.0f} samples a second; "
                        f"{pluralize(sum(left), 'sample')} in all, "
                        f"{format_duration(sum(left) * seconds)}"
                    )
                assert model is not None
                sampler = Sampler(model, source, make_gaussian_table(sigma), settings.seed)
                for kind, numbers in wanted:
                    for number in sorted(numbers):
                        counts.count_on(kind, number, sampler, step)


def measure_seconds_per_sample(model: Model, source: ImageSource, sigma: float) -> float:
    """Return the time per sample in noisy batches of the first image, the best of three."""
    image, table = source.read(slice(0, 1)).images, make_gaussian_table(sigma)
    count = model.batch_size
    zeros = np.zeros(count, np.int64)

    def time_batch() -> float:
        watch = Stopwatch()
        model.predict(add_noise(image, table, 0, NoisyCopies(zeros, zeros, np.arange(count))))
        return watch.seconds

    time_batch()  # Caffe allocates the batch in its first pass.
    return min(time_batch() for _ in range(3)) / count


def _read_labels(source: ImageSource) -> Ints:
    """Return the labels of a source, int64 (N,)."""
    if not len(source):
        raise ValueError("there are no images to certify")
    parts = []
    for start in range(0, len(source), 1000):
        labels = source.read(slice(start, min(start + 1000, len(source)))).labels
        if labels is None:
            raise ValueError(
                "the images have no labels, which certificates need; give them with --labels"
            )
        parts.append(labels)
    return np.concatenate(parts)


def _count_columns(model: Model, source: ImageSource, labels: Ints) -> int:
    """Return K + 1 of a model; ValueError if images and labels do not fit it."""
    model.check_labels(labels, len(labels))
    model.predict(source.read(slice(0, 1)).images)
    return model.classes + 1
