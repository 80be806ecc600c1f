"""MetricsStudy: measure models' sensitivity and robustness; a table and records.

metrics.json    the metrics of all models, and all that they depend on
metrics.csv     a line for each model and image
metrics.png, .svg  the metrics over training, if there are snapshots NAME_iter_N of one run
metrics-*.json  the metrics of all images, by model, which are resumed after an interruption
"""

from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.attacks.budget import check_largest_change
from caffe_ext.certification.bounds import MARGIN, METHODS, Bounder, Method
from caffe_ext.certification.metrics import ImageMetrics, measure_images, measure_weights
from caffe_ext.certification.metrics_figure import group_snapshots, plot_training
from caffe_ext.certification.metrics_result import (
    STEM,
    MeasuredModel,
    MetricsResult,
    save_results,
)
from caffe_ext.certification.network import read_network
from caffe_ext.certification.study import Study, read_labelled
from caffe_ext.errors import RecordError
from caffe_ext.models.base import Images, Ints, Model
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.models.pixels import allow_dark_pixels
from caffe_ext.reporting import Reporter, SilentReporter, Step
from caffe_ext.runs.output_folder import claim_output
from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.description import check_same, hash_description
from caffe_ext.storage.figure_file import save_png_and_svg
from caffe_ext.storage.json_file import Object, read_json
from caffe_ext.storage.periodic import save_periodically

_IMAGES_AT_A_TIME = 10
_ADVICE = "remove it, or use --again"
_NAMES = tuple(field.name for field in fields(ImageMetrics))
# Of log SENSE 0, minus infinity, which JSON lacks.
_LEAST = -1e9


@dataclass(frozen=True)
class MetricsSettings:
    """What is measured.

    epsilon  Linf, in grey levels, 0 to 255
    method   of bounds.METHODS
    memory   bytes that bounds may use

    Raises ValueError for invalid settings.
    """

    epsilon: float
    method: Method = "dual"
    memory: int = 1 << 30

    def __post_init__(self) -> None:
        """Check them."""
        if not (isfinite(self.epsilon) and self.epsilon >= 0):
            raise ValueError(f"epsilon must be 0 or more grey levels, not {self.epsilon}")
        check_largest_change(self.epsilon)
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}; they are {', '.join(METHODS)}")


@dataclass(frozen=True)
class MetricsPiece:
    """What metrics-*.json holds: the metrics of the first images, by name."""

    description: Object
    images: dict[str, list[float]]


@dataclass(frozen=True)
class MetricsStudy(Study):
    """What is measured; the fields are those of Study."""

    settings: MetricsSettings

    @allow_dark_pixels()
    def run(self, reporter: Reporter | None = None) -> MetricsResult:
        """Measure what is not measured yet, write the results, and return them.

        Raises what BoundsStudy does.
        """
        reporter = reporter or SilentReporter()
        source = self.open_images(reporter)
        networks = [read_network(model) for model in self.models]
        images, labels = read_labelled(source, "certified")
        digest = source.compute_digest(reporter)
        results = []
        total = len(images) * len(self.models)
        with claim_output(self.folder), reporter.show_progress("metrics", total, "image") as step:
            for description, network in zip(self.models, networks, strict=True):
                model = description.load(self.batch_size)
                labels = model.check_labels(labels, len(images))
                bounder = Bounder(network, self.settings.method, self.settings.memory)
                piece = self._measure(
                    model,
                    bounder,
                    self._describe(description, digest, len(images)),
                    (images, labels),
                    step,
                )
                columns = [np.array(piece.images[name]) for name in _NAMES]
                results.append(
                    MeasuredModel(
                        description.name, ImageMetrics(*columns), measure_weights(network)
                    )
                )
            result = MetricsResult(labels, results)
            record = self.make_record(source, digest, {"norm": "Linf", "margin": MARGIN})
            save_results(self.folder, result, record)
            runs = group_snapshots(result)
            figure = plot_training(runs, len(images)) if runs else None
            save_png_and_svg(figure, self.folder / STEM)
        return result

    def _describe(self, model: LoadableModel, digest: str, count: int) -> dict[str, Any]:
        """Return what the metrics depend on, for JSON."""
        return {
            "model": model.identify(),
            "images": {"digest": digest, "count": count},
            "method": self.settings.method,
            "epsilon": self.settings.epsilon,
            "margin": MARGIN,
        }

    def _measure(
        self,
        model: Model,
        bounder: Bounder,
        description: dict[str, Any],
        batch: tuple[Images, Ints],
        step: Step,
    ) -> MetricsPiece:
        """Measure all images, some at a time."""
        path = self.folder / f"metrics-{hash_description(description)}.json"
        images, labels = batch
        piece = MetricsPiece(description, {name: [] for name in _NAMES})
        if path.exists() and not self.again:
            piece = read_piece(path, description, len(images))
        done = len(piece.images[_NAMES[0]])
        step(done)

        def save() -> None:
            write_json(path, asdict(piece), indent=None)

        with save_periodically(save) as note_change:
            for start in range(done, len(images), _IMAGES_AT_A_TIME):
                rows = slice(start, min(start + _IMAGES_AT_A_TIME, len(images)))
                found = measure_images(
                    model, bounder, images[rows], labels[rows], self.settings.epsilon
                )
                more = {name: np.maximum(getattr(found, name), _LEAST).tolist() for name in _NAMES}
                piece = MetricsPiece(
                    description, {name: piece.images[name] + more[name] for name in _NAMES}
                )
                note_change()
                step(rows.stop - rows.start)
        return piece


def read_piece(path: Path, description: dict[str, Any], images: int) -> MetricsPiece:
    """Return what is done; RecordError if the file is damaged or of another run."""
    piece = read_json(path, MetricsPiece, _ADVICE)
    check_same(description, piece.description, f"{path} holds results of another run", _ADVICE)
    lengths = {len(column) for column in piece.images.values()}
    if set(piece.images) != set(_NAMES) or len(lengths) != 1 or max(lengths) > images:
        raise RecordError(f"{path} is damaged: {_ADVICE} (it does not have all metrics per image)")
    return piece
