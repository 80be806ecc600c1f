"""Noise stability of a model as part of an evaluation: the choice of images, and resuming."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.errors import RecordError
from caffe_ext.evaluation.plan import NOISE
from caffe_ext.evaluation.stability import (
    NoiseSettings,
    NoiseStability,
    check_counts,
    check_levels,
    measure_noise_stability,
)
from caffe_ext.models.base import Ints
from caffe_ext.models.cache import load_cached
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter
from caffe_ext.runs.runner import Source
from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.description import check_same, hash_description
from caffe_ext.storage.json_file import Count, Object, read_json


def pick_images(labels: Ints, eligible: Ints, per_class: int, seed: int) -> Ints:
    """Return the numbers of up to `per_class` images of each class, ascending, int64.

    labels    int64 (N,)
    eligible  numbers of the images to choose from, which all models classify correctly
    seed      of the choice
    """
    order = np.random.default_rng(seed).permutation(eligible)
    chosen = [order[labels[order] == label][:per_class] for label in np.unique(labels)]
    return np.sort(np.concatenate([np.empty(0, np.int64), *chosen])).astype(np.int64)


@dataclass(frozen=True)
class _Piece:
    """Content of noise-*.json: how many copies of each image changed class, at each level."""

    description: Object
    changed: list[list[Count]]


@dataclass(frozen=True, eq=False)
class NoiseTask:
    """The noise stability of one model, to be measured in any process.

    identity  what else results depend on: model and images
    rows      int64 (n,), the images, n >= 1
    labels    int64 (n,), theirs
    """

    model: LoadableModel
    batch_size: int
    opener: Callable[[], Source]
    identity: dict[str, Any]
    rows: Ints
    labels: Ints
    settings: NoiseSettings
    seed: int
    folder: Path
    again: bool = False

    @property
    def description(self) -> dict[str, Any]:
        """Return what the result depends on, for JSON."""
        return {
            **self.identity,
            "rows": self.rows.tolist(),
            "copies": self.settings.copies,
            "levels": list(map(float, self.settings.levels)),
            "seed": self.seed,
            "noise_of": "image number",
        }

    def __call__(self, reporter: Reporter) -> NoiseStability:
        """Measure what is not done yet, some images at a time."""
        path = self.folder / f"noise-{hash_description(self.description)}.json"
        changed = [] if self.again else self._read_done(path)
        copies, levels, each = self.settings.copies, self.settings.levels, self.settings.forwards
        count, what = len(self.rows), f"{self.model.name}: {NOISE}"
        with reporter.show_progress(what, count * each, "image", len(changed) * each) as advance:
            if len(changed) < count:
                model, source = load_cached(self.model, self.batch_size), self.opener()
            for part in self.settings.split_into_parts(len(changed), count):
                images = np.concatenate(
                    [source.read(slice(row, row + 1)).images for row in self.rows[part].tolist()]
                )
                found = measure_noise_stability(
                    model,
                    images,
                    self.labels[part],
                    levels,
                    copies,
                    seed=self.seed,
                    indices=self.rows[part],
                )
                changed += found.changed.tolist()
                _save(path, {"description": self.description, "changed": changed})
                advance(len(images) * each)
        return NoiseStability(check_levels(levels), np.array(changed, np.int64), copies)

    def _read_done(self, path: Path) -> list[list[int]]:
        """Return the counts of the images that an earlier run has finished, or RecordError."""
        if not path.exists():
            return []
        advice = "delete it, or choose another folder"
        piece = read_json(path, _Piece, advice)
        try:
            check_counts(
                piece.changed, len(self.rows), len(self.settings.levels), self.settings.copies
            )
        except ValueError as error:
            raise RecordError(f"{path} is damaged: {advice} ({error})") from error
        check_same(self.description, piece.description, f"{path} belongs to other images", advice)
        return piece.changed


def _save(path: Path, record: dict[str, Any]) -> None:
    """Write a file, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record, indent=None)
