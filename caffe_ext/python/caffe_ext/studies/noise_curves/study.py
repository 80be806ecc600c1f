"""NoiseCurvesStudy: measure noise curves, and write figures, tables and a record.

    study = NoiseCurvesStudy(trainings, open_images("mnist"), Path("out"))
    study.run().curves.rates

noise_curves.json           rates, standard errors, and all that they depend on
noise_curves.csv            one row per training run, iteration and level
noise_curves.png, .svg      maps of the rates, and of their difference
pieces/                     what an interrupted run resumes from (run.py)
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.data import ImageSource
from caffe_ext.errors import RecordError
from caffe_ext.evaluation.stability import PAPER_COLOUR_LEVELS, PAPER_GREY_LEVELS
from caffe_ext.models.description import ModelDescription
from caffe_ext.reporting import Reporter, SilentReporter, format_duration, pluralize
from caffe_ext.runtime.checkout import shorten_path, shorten_paths
from caffe_ext.storage.atomic import write_json, write_text
from caffe_ext.storage.figure_file import save_png_and_svg
from caffe_ext.storage.provenance import collect_provenance
from caffe_ext.studies.noise_curves.curves import PAPER_PER_CLASS, NoiseCurves, NoiseProtocol
from caffe_ext.studies.noise_curves.figure import plot_noise_curves
from caffe_ext.studies.noise_curves.images import ChosenImages, choose_images, read_labels
from caffe_ext.studies.noise_curves.measure import (
    count_finished,
    measure,
    measure_seconds_per_image,
    sum_seconds,
)
from caffe_ext.studies.noise_curves.run import NoiseCurvesRun, claim_pieces

RESULTS, PIECES = "noise_curves", "pieces"


@dataclass(frozen=True)
class NoiseCurvesResult:
    """The curves, and how they were measured."""

    curves: NoiseCurves
    protocol: NoiseProtocol


@dataclass(frozen=True)
class NoiseCurvesStudy:
    """What is measured, on what, and where the results go.

    trainings   the networks of each training run by iteration; the same iterations, ascending, in
                all
    source      the images, with labels
    folder      for the results; created if necessary
    levels      standard deviations in grey levels, ascending; None: the paper's, for grey or colour
    per_class   images of each class; None: as many as in the paper, or half of the smallest class
    copies      noisy copies of each image at each level
    seed        of the noise
    limit       only the first images; None: all
    batch_size  images in a network at a time
    again       discard what is in the folder, and measure again
    sample_seed
                draws another sample of a folder or listing, where `limit` takes one
    """

    trainings: Mapping[str, Mapping[int, ModelDescription]]
    source: ImageSource
    folder: Path
    levels: tuple[float, ...] | None = None
    per_class: int | None = None
    copies: int = 2
    seed: int = 1
    limit: int | None = None
    batch_size: int = 100
    again: bool = False
    sample_seed: int = 0

    def run(self, reporter: Reporter | None = None) -> NoiseCurvesResult:
        """Measure what is not done yet, write the results, and return them.

        Raises ValueError for images and networks that do not fit, RecordError if the folder holds
        the results of something else or another process works in it, DataError for images that
        cannot be read, OSError for files that cannot be read or written.
        """
        reporter = reporter or SilentReporter()
        if not self.again:
            check_results(self.folder)
        run = self._run(reporter)
        seconds = measure_seconds_per_image(run)
        with claim_pieces(run, again=self.again):
            reporter.note(estimate(run, count_finished(run), seconds))
            chosen = choose_images(run, reporter)
            curves = measure(run, chosen, reporter)
            save_results(self.folder, run, chosen, curves)
        return NoiseCurvesResult(curves, run.protocol)

    def _run(self, reporter: Reporter) -> NoiseCurvesRun:
        """Return what is to be measured, with defaults filled in."""
        source = self.source.sample(self.limit, self.sample_seed)
        reporter.note(f"images: {source.selection}, {shorten_paths(source.origin)}")
        labels = read_labels(source)
        # More images tell more than more copies; half a class leaves room for misclassified ones.
        smallest = int(np.unique(labels, return_counts=True)[1].min())
        usual = min(PAPER_PER_CLASS, max(1, smallest // 2))
        per_class = usual if self.per_class is None else self.per_class
        papers = PAPER_GREY_LEVELS if source.image_shape[0] == 1 else PAPER_COLOUR_LEVELS
        levels = tuple(map(float, papers)) if self.levels is None else self.levels
        return NoiseCurvesRun(
            models=self.trainings,
            source=source,
            labels=labels,
            images={"digest": source.compute_digest(reporter)},
            protocol=NoiseProtocol(levels, per_class, self.copies, self.seed),
            folder=self.folder / PIECES,
            batch_size=self.batch_size,
        )


def check_results(folder: Path) -> None:
    """Raise RecordError if unidentified results would be overwritten."""
    if any(folder.glob(f"{RESULTS}.*")) and not (folder / PIECES).is_dir():
        raise RecordError(
            f"{shorten_path(folder)} holds results, but the folder {PIECES}, which describes them, "
            "is missing; choose another --output, or discard them with --again"
        )


def estimate(run: NoiseCurvesRun, finished: int, seconds: float) -> str:
    """Describe how much is to be done and how long it will take.

    finished  how many of the chosen images are done, all networks together
    seconds   that an image takes in a network
    """
    protocol, networks, images = run.protocol, len(run.networks), run.chosen
    total = (networks * images - finished) * protocol.forwards
    copies = pluralize(protocol.copies, "noisy copy", "noisy copies")
    each = f"{pluralize(images, 'image')} x {copies} x {pluralize(len(protocol.levels), 'level')}"
    left = f"{pluralize(total, 'image')} {'is' if total == 1 else 'are'}"
    done = f", {finished / (networks * images):.0%} of it is done" if finished else ""
    return (
        f"{pluralize(networks, 'network')} x {each}{done}; {left} left to classify: "
        f"{format_duration(total * seconds)} at {1 / seconds:,.0f} images a second"
    )


def as_record(run: NoiseCurvesRun, chosen: ChosenImages, curves: NoiseCurves) -> dict[str, Any]:
    """Return the results and everything that they depend on, for JSON."""
    trainings = [
        {
            "name": name,
            "networks": [make_network_record(number, model) for number, model in models.items()],
        }
        for name, models in run.models.items()
    ]
    protocol = asdict(run.protocol) | {
        "noise": "clip(round(x + sigma z), 0, 255), z standard normal, sigma in grey levels",
        "threat_model": "none: the noise is random, it knows nothing of the networks",
        "differs_from_paper": run.protocol.remark,
    }
    images = {
        "origin": shorten_paths(run.source.origin),
        "candidates": len(run.labels),
        "chosen": chosen.indices.tolist(),
    }
    return asdict(collect_provenance()) | {
        "protocol": protocol,
        "images": dict(run.images) | images,
        "trainings": trainings,
        "seconds": round(sum_seconds(run), 1),
        **curves.to_dict(),
    }


def make_network_record(iteration: int, model: ModelDescription) -> dict[str, Any]:
    """Return the description of a network for the record."""
    return {"iteration": iteration} | model.as_shown_record()


def save_results(
    folder: Path, run: NoiseCurvesRun, chosen: ChosenImages, curves: NoiseCurves
) -> None:
    """Write the files with the results."""
    path = folder / RESULTS
    subtitle = (
        f"Gaussian noise on {pluralize(len(chosen.images), 'image')} that all classify correctly, "
        f"{pluralize(curves.copies, 'noisy copy', 'noisy copies')} of each at each level"
    )
    # The figures last: if something cannot be drawn, the results are on the disk by now.
    write_text(path.with_suffix(".csv"), curves.as_csv())
    write_json(path.with_suffix(".json"), as_record(run, chosen, curves))
    save_png_and_svg(plot_noise_curves(curves, subtitle), path)
