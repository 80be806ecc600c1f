"""Which images of finished attacks the pictures show, and what they need of them; see sheet.py."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.models.description import ModelDescription
from caffe_ext.runs.pictures.sheet import Adversarial, Case
from caffe_ext.runs.pictures.tiles import Pixels
from caffe_ext.runs.records import AttackRecords, load_adversarials
from caffe_ext.runs.runner import AttackRun, Source

_COLUMNS = 10


@dataclass(frozen=True, eq=False)
class FinishedAttack:
    """An attack on a model that has come to its end: run.path holds the records."""

    model: ModelDescription
    run: AttackRun
    records: AttackRecords

    def class_of(self, row: int) -> str:
        """Return the class of an image as pictures call it: its label, or what the model says."""
        name = self.model.class_name(int(self.records.labels[row]))
        return name if self.run.labelled else f"predicted: {name}"

    def adversarial(self, row: int) -> Adversarial | None:
        """Return what was found for an image; None if nothing was."""
        records = self.records
        if not records.found[row]:
            return None
        number = int(records.found[:row].sum())
        return Adversarial(
            load_adversarials(self.run.path, slice(number, number + 1))[0],
            self.model.class_name(int(records.classes[row])),
            float(records.pass_scores[row]),
            float(records.l2_per_pixel[row]),
            float(records.linf[row]),
        )


def sheet_cases(source: Source, attacks: Sequence[FinishedAttack], count: int = 12) -> list[Case]:
    """Return the first images that attacks on one model were tried on, with what they found."""
    tried = np.any([attack.records.attempted for attack in attacks], axis=0)
    return [
        Case(
            original(source, row),
            attacks[0].class_of(row),
            tuple(attack.adversarial(row) for attack in attacks),
        )
        for row in np.flatnonzero(tried)[:count].tolist()
    ]


def figure_rows(attacks: Sequence[FinishedAttack], columns: int = _COLUMNS) -> NDArray[np.int64]:
    """Return the images for a figure of one attack on several models: int64, up to `columns`.

    They are classified correctly by all, and one of each class if there are not more classes than
    columns; among these, images are preferred for which something was found in all models.
    """
    tried = np.all([attack.records.attempted for attack in attacks], axis=0)
    found = np.all([attack.records.found for attack in attacks], axis=0)
    labels = attacks[0].records.labels
    best_first = np.concatenate([np.flatnonzero(found), np.flatnonzero(tried & ~found)])
    classes, first = np.unique(labels[best_first], return_index=True)
    chosen = best_first[first] if len(classes) <= columns else best_first[:columns]
    return np.asarray(chosen, np.int64)


def original(source: Source, row: int) -> Pixels:
    """Return one image of a source."""
    return np.asarray(source.read(slice(row, row + 1)).images[0])
