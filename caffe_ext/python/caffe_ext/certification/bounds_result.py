"""What bounds certify about models, next to an attack: tables, CSV, JSON and a plot."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from caffe_ext.certification.radius_figure import RadiusPanel, plot_over_radius
from caffe_ext.certification.units import format_both_units
from caffe_ext.certification.windows import Doubles
from caffe_ext.models.base import Ints
from caffe_ext.reporting import format_csv, format_table
from caffe_ext.storage.atomic import write_json, write_text
from caffe_ext.storage.figure_file import save_png_and_svg

STEM = "bounds"
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class BoundedModel:
    """The results for a model and N images at R radii.

    correct   bool (N,)
    margins   float64 (N, R) by method, bounds on the least z_label - z_t; certified where above 0
    largest   float64 (N,) by method, the largest certified radius, in grey levels; None: not found
    attacked  bool (N, R), which images the attack leaves correct; None: no attack
    """

    name: str
    correct: Bools
    margins: Mapping[str, Doubles]
    largest: Mapping[str, Doubles] | None
    attacked: Bools | None

    def compute_certified_accuracy(self, method: str) -> Doubles:
        """Return the share of images that are correct within each radius, float64 (R,)."""
        return np.asarray(((self.margins[method] > 0) & self.correct[:, None]).mean(axis=0))

    def compute_robust_accuracy(self) -> Doubles | None:
        """Return the share that the attack leaves correct, float64 (R,)."""
        return None if self.attacked is None else np.asarray(self.attacked.mean(axis=0))


@dataclass(frozen=True, eq=False)
class BoundsResult:
    """Models at the same radii.

    radii   in grey levels
    labels  int64 (N,)
    attack  its text, in which E is the radius
    """

    radii: tuple[float, ...]
    labels: Ints
    attack: str
    models: Sequence[BoundedModel]

    def format_table(self) -> str:
        """Return accuracies at all radii, and the gaps between bounds and attack, as a table; the
        mean largest radii, if they were found.
        """
        methods = list(self.models[0].margins)
        head = ["model", "Linf", "accuracy", *methods, "under attack", "gap"]
        cells = [head]
        for model in self.models:
            robust = model.compute_robust_accuracy()
            certified = {method: model.compute_certified_accuracy(method) for method in methods}
            best = np.max(list(certified.values()), axis=0)
            for column, radius in enumerate(self.radii):
                shares = (f"{certified[method][column]:.2%}" for method in methods)
                upper = ["–", "–"]
                if robust is not None:
                    upper = [f"{robust[column]:.2%}", f"{robust[column] - best[column]:.2%}"]
                accuracy = f"{model.correct.mean():.2%}"
                cells.append([model.name, format_both_units(radius), accuracy, *shares, *upper])
            if model.largest is not None:
                radii = (format_both_units(float(model.largest[m].mean())) for m in methods)
                cells.append([model.name, "mean largest", "", *radii, "", ""])
        return format_table(cells)


def to_csv(result: BoundsResult) -> str:
    """Return a line for each model, method, image and radius."""
    rows: list[list[Any]] = [
        [
            *("model", "method", "image", "label", "correct", "linf", "linf_unit"),
            *("least_margin", "certified", "largest_certified_linf", "robust_under_attack"),
        ]
    ]
    for model in result.models:
        for method, margins in model.margins.items():
            for image, label in enumerate(result.labels.tolist()):
                for column, radius in enumerate(result.radii):
                    margin = margins[image, column]
                    largest = "" if model.largest is None else f"{model.largest[method][image]:g}"
                    robust = "" if model.attacked is None else int(model.attacked[image, column])
                    rows.append(
                        [
                            *(model.name, method, image, label, int(model.correct[image])),
                            *(f"{radius:g}", f"{radius / 255:.8g}", f"{margin:.6g}"),
                            *(int(margin > 0 and model.correct[image]), largest, robust),
                        ]
                    )
    return format_csv(rows)


def _list_entries(result: BoundsResult) -> Iterator[dict[str, Any]]:
    for model in result.models:
        robust = model.compute_robust_accuracy()
        yield {
            "model": model.name,
            "accuracy": float(model.correct.mean()),
            "certified_accuracy": {
                method: model.compute_certified_accuracy(method).tolist()
                for method in model.margins
            },
            "largest_certified_radius": model.largest
            and {method: radii.tolist() for method, radii in model.largest.items()},
            "accuracy_under_attack": None if robust is None else robust.tolist(),
        }


def plot_bounds(result: BoundsResult) -> Figure:
    """Plot certified accuracy and accuracy under attack against the radius, a panel per model."""
    panels = []
    for model in result.models:
        robust = model.compute_robust_accuracy()
        certified = {method: model.compute_certified_accuracy(method) for method in model.margins}
        best = np.asarray(np.max(list(certified.values()), axis=0))
        panels.append(
            RadiusPanel(
                model.name,
                float(model.correct.mean()),
                {f"certified, {method}": shares for method, shares in certified.items()},
                robust,
                None if robust is None else ("unknown", best, robust),
            )
        )
    return plot_over_radius(panels, result.radii, len(result.labels), result.attack)


def save_results(folder: Path, result: BoundsResult, record: Mapping[str, Any]) -> None:
    """Write the files with the results; `record` says what they depend on."""
    path = folder / STEM
    write_text(path.with_suffix(".csv"), to_csv(result))
    content = {"images_bounded": len(result.labels), "results": list(_list_entries(result))}
    write_json(path.with_suffix(".json"), dict(record) | content)
    save_png_and_svg(plot_bounds(result), path)
