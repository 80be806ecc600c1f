"""The report's Table 1: its attacks on trained models, and a stricter reading beside them.

    study = ReportTable(trained, opener, Path("build/report_table1"), Path("results/report_table1"))
    table = study.run()

In the strict reading, robust accuracy within 8/255 in Linf and within 0.5 (of 1) in L2 is what
AutoAttack leaves of the first images, an upper bound; of the smoothed model, it is the certified
accuracy, a lower bound.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.certification.decisions import Certificates, certify
from caffe_ext.data import ImageSource
from caffe_ext.evaluation.assessment import Assessment
from caffe_ext.evaluation.presets import Extent
from caffe_ext.evaluation.report_contents import Report
from caffe_ext.models.base import Images, Ints, Model
from caffe_ext.models.description import read_model
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.models.pixels import allow_dark_pixels
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runs.output_folder import claim_output
from caffe_ext.storage.description import hash_description
from caffe_ext.storage.json_file import Count
from caffe_ext.storage.provenance import collect_provenance
from caffe_ext.storage.result_file import StoredResult, restore_result
from caffe_ext.studies.robust_training import protocol, smoothed
from caffe_ext.studies.robust_training.models import (
    COLUMNS,
    L2,
    SIGMA,
    SMOOTHED,
    SMOOTHED_FROM,
    Radii,
)
from caffe_ext.studies.robust_training.training import TrainedStudyModel

STRICT = (PerturbationBudget("linf", 8.0), PerturbationBudget("l2", 127.5))
CASCADE = ("autoattack+quick",)
ALPHA, SELECTION_SAMPLES = 0.001, 100
_AT_A_TIME = 500
_ADVICE = "remove it, or use --again"


@dataclass(frozen=True)
class Measurement:
    """How many images of each kind a model classifies correctly.

    correct    by name: natural, and the attacks' as in COLUMNS
    certified  of the smoothed model: how many images are certified within the attacks' L2 radius

    Raises ValueError for counts that nothing can have.
    """

    images: Annotated[int, Meta(ge=1)]
    correct: dict[str, Count]
    certified: Count | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for counts that nothing can have."""
        if set(self.correct) != set(COLUMNS):
            raise ValueError(f"the counts are not those of {', '.join(COLUMNS)}")
        if max(*self.correct.values(), self.certified or 0) > self.images:
            raise ValueError("more are correct than there are")

    def compute_rate(self, column: str) -> float:
        """Return the accuracy in a column, 0..1."""
        return self.correct[column] / self.images


@dataclass(frozen=True)
class Row:
    """A row of the table.

    report    measured with the report's radii
    standard  with those of the literature
    strict    robust accuracies within STRICT in real-valued pixels and whole grey levels; None: of
              the smoothed model
    """

    id: str
    title: str
    report: Measurement
    standard: Measurement
    strict: Mapping[str, tuple[float, float]] | None


@dataclass(frozen=True)
class ReportTable:
    """What is measured, and where the results go.

    trained        the models
    opener         opens CIFAR-10's test images: picklable
    work           the folder for measurements, from which an interrupted run resumes
    limit          images of the report's protocol, the first ones; None: all
    strict_limit   images of the strict reading and of the smoothed model, the first ones
    samples        noisy samples of an image of the smoothed model
    again          discard earlier measurements
    """

    trained: Sequence[TrainedStudyModel]
    opener: Callable[[], ImageSource]
    work: Path
    limit: int | None = None
    strict_limit: int = 1000
    samples: int = 1000
    again: bool = False

    @cached_property
    def models(self) -> list[LoadableModel]:
        """Return the models' descriptions."""
        return [read_model(one.description) for one in self.trained]

    @cached_property
    def strict_folder(self) -> Path:
        """Return the folder of the strict reading: that of other models or images is another."""
        depends = {
            "models": [one.identify() for one in self.models],
            "limit": self.strict_limit,
        }
        names = "-".join(one.model.id for one in self.trained)
        return self.work / "evaluation" / f"{names}-{hash_description(depends)}"

    def run(self, reporter: Reporter | None = None) -> tuple[list[Row], Report]:
        """Measure what is missing; return the rows, and the report of the strict reading.

        Raises as Assessment.run() does, and RecordError for a damaged measurement.
        """
        reporter = reporter or SilentReporter()
        source = self.opener()
        images, labels = source.read_labelled(self.limit)
        with claim_output(self.work / "protocol"):
            rows = self._measure_rows(images, labels, source, reporter)
        report = self._assess(source).run(reporter)
        strict = {
            model.name: {
                f"{one.budget}": (one.accuracy_real or 0.0, one.accuracy or 0.0)
                for one in model.robust
            }
            for model in report.models
        }
        return [
            Row(name, title, *found, strict=None if name == SMOOTHED else strict[title])
            for (name, title), found in rows.items()
        ], report

    def _assess(self, source: ImageSource) -> Assessment:
        """Return the strict reading."""
        extent = Extent(limit=self.strict_limit, ranks=(1,), probe=200, noise_images=0)
        settings = extent.make_settings(source, radii=STRICT, cascade=CASCADE, again=self.again)
        return Assessment(self.models, self.opener, settings, self.strict_folder)

    def _measure_rows(
        self, images: Images, labels: Ints, source: ImageSource, reporter: Reporter
    ) -> dict[tuple[str, str], tuple[Measurement, Measurement]]:
        """Return the measurements of each row: with the report's radii, and the literature's."""
        about: dict[str, Any] = {"images": source.compute_digest(reporter)}
        found: dict[tuple[str, str], tuple[Measurement, Measurement]] = {}
        for one, model in zip(self.trained, self.models, strict=True):
            found[one.model.id, one.model.title] = self._restore_both(
                one.model.id,
                about | {"model": model.identify(), "count": len(images)},
                partial(self._measure, model, images, labels, reporter),
            )
        for one, model in zip(self.trained, self.models, strict=True):
            if one.model.id == SMOOTHED_FROM:
                rows = slice(0, self.strict_limit)
                smoothing = {
                    **{"sigma": SIGMA, "samples": self.samples, "alpha": ALPHA},
                    "certified_within": "the L2 radius of the attacks",
                }
                found[SMOOTHED, "randomized smoothing"] = self._restore_both(
                    SMOOTHED,
                    about
                    | {"model": model.identify(), "count": len(images[rows])}
                    | {"smoothing": smoothing},
                    partial(
                        self._measure_smoothed,
                        _SmoothedModel(model, images[rows], self.samples, reporter),
                        labels[rows],
                    ),
                )
        return found

    def _restore_both(
        self, stem: str, depends: Mapping[str, Any], measure: Callable[[Radii], Measurement]
    ) -> tuple[Measurement, Measurement]:
        """Return what is measured with the report's radii, and with the literature's."""

        def restore(radii: Radii) -> Measurement:
            about = {**depends, "attacks": _describe(radii)}
            return restore_result(
                self.work / "protocol" / f"{stem}-{radii}-{hash_description(about)}.json",
                StoredResult[Measurement],
                about,
                partial(measure, radii),
                _ADVICE,
                again=self.again,
            )

        return restore("report"), restore("standard")

    @allow_dark_pixels()
    def _measure(
        self,
        description: LoadableModel,
        images: Images,
        labels: Ints,
        reporter: Reporter,
        radii: Radii,
    ) -> Measurement:
        model, attacks = description.load(), protocol.list_attacks(radii)
        correct: dict[str, int] = {}
        total = len(images) * sum(one.steps for one in attacks.values())
        title = f"{description.name}, {radii} radii"
        with reporter.show_progress(title, total, "query") as step:
            for start in range(0, len(images), _AT_A_TIME):
                rows = slice(start, start + _AT_A_TIME)
                found = protocol.measure(model, images[rows], labels[rows], attacks, step)
                for name, count in found.items():
                    correct[name] = correct.get(name, 0) + count
        return Measurement(len(images), correct)

    @allow_dark_pixels()
    def _measure_smoothed(self, one: "_SmoothedModel", labels: Ints, radii: Radii) -> Measurement:
        counts = {"natural": one.natural}
        for name, pgd in protocol.list_attacks(radii).items():
            points = protocol.attack(one.model, one.images, labels, pgd)
            attacked = np.rint(points).astype(np.uint8)
            counts[name] = one.count(attacked, range(self.samples), f"{name}, {radii} radii")
        correct = {name: self._count_right(each, labels) for name, each in counts.items()}
        certified = one.certificates.find_certified(labels, L2[radii].epsilon)
        return Measurement(len(labels), correct, int(certified.sum()))

    @staticmethod
    def _count_right(counts: Ints, labels: Ints) -> int:
        return int((smoothed.predict_smoothed(counts, ALPHA) == labels).sum())


@dataclass(frozen=True)
class _SmoothedModel:
    """The smoothed model on some images; what both radii need is computed once."""

    description: LoadableModel
    images: Images
    samples: int
    reporter: Reporter

    @cached_property
    def model(self) -> Model:
        """Return the base model."""
        return self.description.load()

    @cached_property
    def natural(self) -> Ints:
        """Return the counts for the images as they are."""
        return self.count(self.images, range(self.samples), "natural")

    @cached_property
    def certificates(self) -> Certificates:
        """Return what is certified."""
        # A class is selected by other samples than those that prove it.
        others = range(self.samples, self.samples + SELECTION_SAMPLES)
        selection = self.count(self.images, others, "selection")
        return certify(selection, self.natural, ALPHA, SIGMA)

    def count(self, images: Images, samples: range, what: str) -> Ints:
        """Return the counts for images."""
        total = len(images) * len(samples)
        with self.reporter.show_progress(f"smoothing, {what}", total, "sample") as step:
            return smoothed.count_classes(self.model, images, SIGMA, samples, step)


def _describe(radii: Radii) -> dict[str, Any]:
    return {name: asdict(one) for name, one in protocol.list_attacks(radii).items()}


def make_record(study: ReportTable, rows: Sequence[Row], radii: Radii) -> dict[str, Any]:
    """Return everything, with what it depends on, for JSON."""
    return asdict(collect_provenance()) | {
        "trained_with_radii": radii,
        "models": [
            {
                "id": one.model.id,
                "title": one.model.title,
                "solver": one.model.solver,
                **one.result.as_record(),
            }
            for one in study.trained
        ],
        "strict": {"cascade": list(CASCADE), "images": study.strict_limit},
        "smoothing": {"sigma": SIGMA, "samples": study.samples, "alpha": ALPHA},
        "rows": [asdict(row) for row in rows],
    }
