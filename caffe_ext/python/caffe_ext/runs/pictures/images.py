"""Chooses the images of finished attacks for the pictures; see sheet.py."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.models.loadable import LoadableModel
from caffe_ext.runs.pictures.sheet import Adversarial, Case
from caffe_ext.runs.pictures.tiles import Pixels
from caffe_ext.runs.records import AttackRecords, load_adversarials
from caffe_ext.runs.runner import AttackRun, Source

_COLUMNS = 10


@dataclass(frozen=True, eq=False)
class FinishedAttack:
    """A finished attack on a model: run.path holds the records."""

    model: LoadableModel
    run: AttackRun
    records: AttackRecords

    def name_class(self, row: int) -> str:
        """Return the class of an image for pictures: its label, or else the model's prediction."""
        name = self.model.name_class(int(self.records.labels[row]))
        return name if self.run.labelled else f"predicted: {name}"

    def read_adversarial(self, row: int) -> Adversarial | None:
        """Return what was found for an image; None if nothing was."""
        records = self.records
        if not records.found[row]:
            return None
        number = int(records.found[:row].sum())
        return Adversarial(
            load_adversarials(self.run.path, slice(number, number + 1))[0],
            self.model.name_class(int(records.classes[row])),
            float(records.pass_scores[row]),
            float(records.l2_per_pixel[row]),
            float(records.linf[row]),
        )


def choose_sheet_cases(
    source: Source, attacks: Sequence[FinishedAttack], count: int = 12
) -> list[Case]:
    """Return the first images that were attacked on one model, with what the attacks found."""
    tried = np.any([attack.records.attempted for attack in attacks], axis=0)
    return [
        Case(
            read_original(source, row),
            attacks[0].name_class(row),
            tuple(attack.read_adversarial(row) for attack in attacks),
        )
        for row in np.flatnonzero(tried)[:count].tolist()
    ]


def choose_figure_rows(
    attacks: Sequence[FinishedAttack], columns: int = _COLUMNS
) -> NDArray[np.int64]:
    """Return the images for a figure of one attack on several models: int64, up to `columns`.

    They are classified correctly by all; among these, images are preferred for which something was
    found in all models.
    """
    tried = np.all([attack.records.attempted for attack in attacks], axis=0)
    found = np.all([attack.records.found for attack in attacks], axis=0)
    return choose_rows(tried, found, attacks[0].records.labels, columns)


def choose_rows(
    tried: NDArray[np.bool_],
    found: NDArray[np.bool_],
    labels: NDArray[np.int64],
    columns: int = _COLUMNS,
) -> NDArray[np.int64]:
    """Return up to `columns` of the images that were tried, int64, those found before the others.

    No class gets a second image before every class has one. If there are no more classes than
    columns, they are in order, with one image each.
    """
    best_first = np.concatenate([np.flatnonzero(found & tried), np.flatnonzero(tried & ~found)])
    classes, first = np.unique(labels[best_first], return_index=True)
    if len(classes) > columns:
        first = np.sort(first)[:columns]
    return np.asarray(best_first[first], np.int64)


def describe_unshown_classes(attack: FinishedAttack, rows: NDArray[np.int64]) -> str:
    """Say which classes have no image among these rows, which all models classify correctly.

    "" if all have one, or if the images have no labels.
    """
    records = attack.records
    if not attack.run.labelled:
        return ""
    known = max(
        len(attack.model.classes),
        *(int(found.max(initial=-1)) + 1 for found in (records.labels, records.predicted)),
    )
    shown = set(records.labels[rows].tolist())
    missing = [attack.model.name_class(number) for number in range(known) if number not in shown]
    if not missing:
        return ""
    if len(rows) >= _COLUMNS or len(missing) > _COLUMNS:
        return f"{len(shown)} of {known} classes are shown."
    what = "class" if len(missing) == 1 else "classes"
    return (
        f"Not shown: {what} {', '.join(missing)}, of which there is no image that all "
        "models classify correctly."
    )


def read_original(source: Source, row: int) -> Pixels:
    """Return one image of a source."""
    return np.asarray(source.read(slice(row, row + 1)).images[0])
