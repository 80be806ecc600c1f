"""What smoothing certifies about models: tables, CSV, JSON, and curves of certified accuracy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.certification.decisions import ABSTAIN, Certificates, certify, predict
from caffe_ext.certification.smoothing_figure import draw_curves
from caffe_ext.certification.units import format_both_units
from caffe_ext.models.base import Ints
from caffe_ext.reporting import format_csv, format_table
from caffe_ext.storage.atomic import write_json, write_text

STEM = "smoothing"


@dataclass(frozen=True, eq=False)
class SmoothedModel:
    """The counts of a model at one sigma.

    sigma      in grey levels
    selection  int64 (N, K + 1), for the samples that select a class
    counts     int64 (N, K + 1) by the number n of other samples, ascending
    """

    name: str
    sigma: float
    selection: Ints
    counts: Mapping[int, Ints]


@dataclass(frozen=True, eq=False)
class SmoothingRow:
    """A model at one sigma, with one number of samples."""

    name: str
    sigma: float
    samples: int
    certificates: Certificates
    predictions: Ints


@dataclass(frozen=True, eq=False)
class SmoothingResult:
    """The counts of all models at all sigmas, and what they prove.

    labels  int64 (N,)
    """

    labels: Ints
    alpha: float
    models: Sequence[SmoothedModel]

    @cached_property
    def rows(self) -> list[SmoothingRow]:
        """Return a row for each model, sigma and number of samples."""
        return [
            SmoothingRow(
                model.name,
                model.sigma,
                number,
                certify(model.selection, counts, self.alpha, model.sigma),
                predict(counts, self.alpha),
            )
            for model in self.models
            for number, counts in model.counts.items()
        ]

    def compute_certified_accuracy(self, row: SmoothingRow, radius: float) -> float:
        """Return the share of images that keep their label within an L2 radius in grey levels."""
        return float(row.certificates.find_certified(self.labels, radius).mean())

    def compute_mean_radius(self, row: SmoothingRow) -> float:
        """Return the mean certified radius in grey levels, counting incorrect images as 0."""
        correct = row.certificates.find_certified(self.labels, 0)
        return float(np.where(correct, row.certificates.radii, 0).mean())

    def format_table(self, radii: Sequence[float]) -> str:
        """Return accuracies at L2 radii in grey levels as a table."""
        cells = [
            [
                *("model", "sigma", "n", "accuracy", "abstains"),
                *(f"L2 {format_both_units(radius)}" for radius in radii),
                "mean radius",
            ]
        ]
        for row in self.rows:
            cells.append(
                [
                    row.name,
                    format_both_units(row.sigma),
                    f"{row.samples:,}",
                    f"{np.mean(row.predictions == self.labels):.2%}",
                    f"{np.mean(row.predictions == ABSTAIN):.2%}",
                    *(f"{self.compute_certified_accuracy(row, radius):.2%}" for radius in radii),
                    format_both_units(self.compute_mean_radius(row)),
                ]
            )
        return format_table(cells)


def to_csv(result: SmoothingResult) -> str:
    """Return a line for each model, sigma, number of samples and image; radii in grey levels."""
    rows: list[list[Any]] = [
        [
            *("model", "sigma", "samples", "image", "label", "predicted"),
            *("selected", "count", "p_lower", "certified_class", "l2_radius", "l2_radius_unit"),
        ]
    ]
    for row in result.rows:
        found = row.certificates
        for image, label in enumerate(result.labels.tolist()):
            rows.append(
                [
                    *(row.name, row.sigma, row.samples, image, label, row.predictions[image]),
                    *(found.selected[image], found.successes[image]),
                    f"{found.probabilities[image]:.8g}",
                    found.classes[image],
                    f"{found.radii[image]:.6f}",
                    f"{found.radii[image] / 255:.8f}",
                ]
            )
    return format_csv(rows)


def to_dict(result: SmoothingResult) -> dict[str, Any]:
    """Return the certified accuracies, for JSON."""
    return {"images_certified": len(result.labels), "results": list(_list_entries(result))}


def _list_entries(result: SmoothingResult) -> Iterator[dict[str, Any]]:
    for row in result.rows:
        correct = row.certificates.find_certified(result.labels, 0)
        radii = np.sort(row.certificates.radii[correct])
        mean_radius = result.compute_mean_radius(row)
        yield {
            "model": row.name,
            "sigma": row.sigma,
            "sigma_unit": row.sigma / 255,
            "samples": row.samples,
            "accuracy": float(np.mean(row.predictions == result.labels)),
            "abstains": float(np.mean(row.predictions == ABSTAIN)),
            "mean_l2_radius": mean_radius,
            "mean_l2_radius_unit": mean_radius / 255,
            # The curve's steps: from each of these on it is lower by one image.
            "certified_l2_radii": [round(radius, 6) for radius in radii.tolist()],
        }


def save_results(folder: Path, result: SmoothingResult, record: Mapping[str, Any]) -> None:
    """Write the files with the results; `record` says what they depend on."""
    path = folder / STEM
    # The figures last: if drawing fails, the results are already on disk.
    write_text(path.with_suffix(".csv"), to_csv(result))
    write_json(path.with_suffix(".json"), dict(record) | to_dict(result))
    draw_curves(result, path)
