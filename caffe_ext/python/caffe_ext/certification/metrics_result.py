"""Metrics of several models: a table, CSV and JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.certification.metrics import ImageMetrics
from caffe_ext.models.base import Ints
from caffe_ext.reporting import format_csv, format_table
from caffe_ext.storage.atomic import write_json, write_text

STEM = "metrics"


@dataclass(frozen=True)
class Summary:
    """The metrics of a model: means over the images, and SPECTRAL.

    sense            the mean; None if it exceeds the range of numbers
    sense_geometric  the geometric mean, which no single image dominates
    """

    ce: float
    err: float
    sense: float | None
    sense_geometric: float | None
    jacob: float
    spectral: float
    adv_loss: float
    adv_err: float


@dataclass(frozen=True, eq=False)
class MeasuredModel:
    """The results for a model and N images."""

    name: str
    images: ImageMetrics
    spectral: float

    def summarize(self) -> Summary:
        """Return the metrics."""
        of = self.images
        with np.errstate(over="ignore"):
            sense = float(np.exp(of.log_sense).mean())
            geometric = float(np.exp(of.log_sense.mean()))
        return Summary(
            ce=float(of.ce.mean()),
            err=float(of.err.mean()),
            sense=sense if np.isfinite(sense) else None,
            sense_geometric=geometric if np.isfinite(geometric) else None,
            jacob=float(of.jacob.mean()),
            spectral=self.spectral,
            adv_loss=float(of.adv_loss.mean()),
            adv_err=float(of.adv_err.mean()),
        )


@dataclass(frozen=True, eq=False)
class MetricsResult:
    """Models at the same epsilon.

    labels  int64 (N,)
    """

    labels: Ints
    models: Sequence[MeasuredModel]

    def format_table(self) -> str:
        """Return a line for each model."""
        cells = [["model", "CE", "ERR", "SENSE", "JACOB", "SPECTRAL", "ADV_LOSS", "ADV_ERR"]]
        for model in self.models:
            it = model.summarize()
            cells.append(
                [
                    *(model.name, f"{it.ce:.3f}", f"{it.err:.2%}"),
                    "> 1e308" if it.sense is None else f"{it.sense:.3g}",
                    *(f"{it.jacob:.2f}", f"{it.spectral:.2f}", f"{it.adv_loss:.2f}"),
                    f"{it.adv_err:.2%}",
                ]
            )
        return format_table(cells)


def to_csv(result: MetricsResult) -> str:
    """Return a line for each model and image."""
    names = [field.name for field in fields(ImageMetrics)]
    rows: list[list[Any]] = [["model", "image", "label", *names]]
    for model in result.models:
        columns = [getattr(model.images, name) for name in names]
        for image, label in enumerate(result.labels.tolist()):
            values = (f"{column[image]:.6g}" for column in columns)
            rows.append([model.name, image, label, *values])
    return format_csv(rows)


def save_results(folder: Path, result: MetricsResult, record: Mapping[str, Any]) -> None:
    """Write metrics.json and metrics.csv; `record` says what they depend on."""
    path = folder / STEM
    write_text(path.with_suffix(".csv"), to_csv(result))
    results = [{"model": model.name} | asdict(model.summarize()) for model in result.models]
    content = {"images_measured": len(result.labels), "results": results}
    write_json(path.with_suffix(".json"), dict(record) | content)
