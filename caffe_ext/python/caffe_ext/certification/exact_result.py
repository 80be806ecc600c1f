"""Exact decisions about models, next to bounds and an attack: tables, CSV, JSON and a plot."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from caffe_ext.certification.exact import Decision, measure_distance
from caffe_ext.certification.perturbations import is_whole
from caffe_ext.certification.radius_figure import RadiusPanel, plot_over_radius
from caffe_ext.certification.units import format_both_units
from caffe_ext.certification.windows import Doubles
from caffe_ext.models.base import Images, Ints
from caffe_ext.reporting import format_csv, format_table
from caffe_ext.storage.atomic import replace_file, write_json, write_text
from caffe_ext.storage.figure_file import save_png_and_svg

STEM = "exact"


@dataclass(frozen=True, eq=False)
class DecidedModel:
    """The results for a model and N images at R radii.

    decisions  for each image those at the R radii; none if the image itself is misclassified
    largest    for each image the largest robust radius and that of the smallest known adversarial,
               in grey levels, (0, 0) if it is misclassified; empty: not requested
    seconds    for each image, for all decisions
    """

    name: str
    decisions: Sequence[Sequence[Decision]]
    largest: Sequence[tuple[float, float]]
    seconds: Sequence[float]

    def count(self, column: int, verdict: str, method: str | None = None) -> int:
        """Return how many images have a verdict at a radius, by any method or by a given one."""
        return sum(
            row[column].verdict == verdict and method in (None, row[column].method)
            for row in self.decisions
            if row
        )

    def compute_shares(self, radii: int) -> dict[str, Doubles]:
        """Return shares of all images, each float64 (R,).

        accuracy  classified correctly
        bounds    certified by the bounds: at most `least`
        least     proved robust: at most the truth
        most      not proved vulnerable: at least the truth
        attacked  left correct by the attack: at least `most`
        """
        correct = [row for row in self.decisions if row]
        total = len(self.decisions)
        columns = range(radii)
        found = {
            "accuracy": [len(correct) for _ in columns],
            "bounds": [self.count(column, "robust", "bounds") for column in columns],
            "least": [self.count(column, "robust") for column in columns],
            "most": [len(correct) - self.count(column, "vulnerable") for column in columns],
            "attacked": [sum(not row[column].attacked for row in correct) for column in columns],
        }
        return {name: np.array(counts) / total for name, counts in found.items()}


@dataclass(frozen=True, eq=False)
class ExactResult:
    """Models at the same radii.

    radii   in grey levels
    images  uint8 (N, C, H, W)
    labels  int64 (N,)
    attack  its text, in which E is the radius; "": none
    search  the method that decides what bounds and the attack leave open
    """

    radii: tuple[float, ...]
    images: Images
    labels: Ints
    attack: str
    search: str
    models: Sequence[DecidedModel]

    def format_table(self) -> str:
        """Return shares at all radii as a table."""
        cells = [
            [
                *("model", "Linf", "accuracy", "bounds", "robust", "undecided", "vulnerable"),
                "under attack",
            ]
        ]
        for model in self.models:
            shares = model.compute_shares(len(self.radii))
            for column, radius in enumerate(self.radii):
                least, most = shares["least"][column], shares["most"][column]
                accuracy = shares["accuracy"][column]
                values = (accuracy, shares["bounds"][column], least, most - least, accuracy - most)
                upper = f"{shares['attacked'][column]:.2%}" if self.attack else "–"
                cells.append(
                    [
                        *(model.name, format_both_units(radius)),
                        *(f"{value:.2%}" for value in values),
                        upper,
                    ]
                )
            if model.largest:
                robust, broken = (float(np.mean(it)) for it in zip(*model.largest, strict=True))
                text = f"{format_both_units(robust)}, broken at {format_both_units(broken)}"
                cells.append([model.name, "mean largest", "", "", text, "", "", ""])
        return format_table(cells)


def to_csv(result: ExactResult) -> str:
    """Return a line for each model, image and radius."""
    rows: list[list[Any]] = [
        [
            *("model", "image", "label", "linf", "linf_unit", "verdict", "method"),
            *("least_margin_at_least", "adversarial_linf", "adversarial_pixels", "attacked"),
            *("largest_robust_linf", "smallest_adversarial_linf"),
        ]
    ]
    for model in result.models:
        for image, label in enumerate(result.labels.tolist()):
            decisions = model.decisions[image]
            largest = [f"{it:g}" for it in model.largest[image]] if model.largest else ["", ""]
            for column, radius in enumerate(result.radii):
                start = [model.name, image, label, f"{radius:g}", f"{radius / 255:.8g}"]
                if not decisions:
                    rows.append([*start, "misclassified", "", "", "", "", "", *largest])
                    continue
                decision = decisions[column]
                broken, pixels = "", ""
                if decision.adversarial is not None:
                    distance = measure_distance(decision.adversarial, result.images[image])
                    broken = f"{distance:g}"
                    pixels = "whole" if is_whole(decision.adversarial) else "real"
                margin = f"{decision.margin:.6g}"
                attacked = int(decision.attacked) if result.attack else ""
                rows.append(
                    [
                        *(*start, decision.verdict, decision.method, margin),
                        *(broken, pixels, attacked, *largest),
                    ]
                )
    return format_csv(rows)


def _list_entries(result: ExactResult) -> Iterator[dict[str, Any]]:
    for model in result.models:
        shares = model.compute_shares(len(result.radii))
        yield {
            "model": model.name,
            "accuracy": float(shares["accuracy"][0]),
            "certified_by_bounds": shares["bounds"].tolist(),
            "robust_at_least": shares["least"].tolist(),
            "robust_at_most": shares["most"].tolist(),
            "accuracy_under_attack": shares["attacked"].tolist() if result.attack else None,
            "decided_by": [
                {
                    f"{verdict}, {method}": count
                    for verdict in ("robust", "vulnerable", "undecided")
                    for method in ("bounds", "attack", result.search)
                    if (count := model.count(column, verdict, method))
                }
                for column in range(len(result.radii))
            ],
            "seconds": list(model.seconds),
        }


def plot_decisions(result: ExactResult) -> Figure:
    """Plot the shares against the radius, a panel for each model."""
    panels = []
    for model in result.models:
        shares = model.compute_shares(len(result.radii))
        panels.append(
            RadiusPanel(
                model.name,
                float(shares["accuracy"][0]),
                {"certified by bounds": shares["bounds"], "robust": shares["least"]},
                shares["attacked"] if result.attack else None,
                ("undecided", shares["least"], shares["most"]),
            )
        )
    return plot_over_radius(panels, result.radii, len(result.labels), result.attack)


def save_results(folder: Path, result: ExactResult, record: Mapping[str, Any]) -> None:
    """Write the files with the results; `record` says what they depend on."""
    path = folder / STEM
    write_text(path.with_suffix(".csv"), to_csv(result))
    content = {"images_decided": len(result.labels), "results": list(_list_entries(result))}
    write_json(path.with_suffix(".json"), dict(record) | content)
    _save_adversarials(path.with_suffix(".npz"), result)
    save_png_and_svg(plot_decisions(result), path)


def _save_adversarials(path: Path, result: ExactResult) -> None:
    """Write all adversarials: float32 images (M, C, H, W), and their origins, (M,) each."""
    found = [
        (decision.adversarial, number, image, result.radii[column])
        for number, model in enumerate(result.models)
        for image, row in enumerate(model.decisions)
        for column, decision in enumerate(row)
        if decision.adversarial is not None
    ]
    originals = np.array([image for _, _, image, _ in found], np.int64)
    with replace_file(path) as file:
        np.savez_compressed(
            file,
            images=np.array([it for it, *_ in found], np.float32).reshape(
                -1, *result.images.shape[1:]
            ),
            labels=result.labels[originals],
            originals=originals,
            models=np.array([number for _, number, _, _ in found], np.int64),
            radii=np.array([radius for *_, radius in found], np.float64),
        )
