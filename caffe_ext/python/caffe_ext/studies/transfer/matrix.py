"""TransferMatrix: how many adversarials of each model all models misclassify, counted in two ways.

An adversarial of the model A, the source, is an image that A classifies correctly, changed by an
attack on A so that A does not. On another model B, the target:

all     adversarials that B misclassifies / all of them: as in Szegedy et al., 2014, "Intriguing
        properties of neural networks", Table 4, including images that B gets wrong anyway
strict  the same of the adversarials whose originals B classifies correctly

The adversarials of FGS are also counted in two ways, with and without those of saturated softmax:
runs/variants.py. On the source itself, both rates are 1: its classes are those that the attack saw.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.base import Attack
from caffe_ext.models.base import Ints
from caffe_ext.runs.records import AttackRecords
from caffe_ext.runs.summary import find_broken
from caffe_ext.runs.titles import make_titles_distinct
from caffe_ext.runs.variants import FGS_VARIANTS, PLAIN, Variant

ALL, STRICT = "all", "strict"
COUNTS = (STRICT, ALL)
Rates = NDArray[np.float64]
_NUMBERS = ("adversarials", "misclassified", "originals_correct", "transferred")


@dataclass(frozen=True, eq=False)
class TransferMatrix:
    """One attack on S models, with its adversarials tried on the same S models.

    attack             its text; variant: the name of the variant of counting
    title              of both, for display
    adversarials       int64 (S, S), source by target: those tried; the same in each row
    misclassified      of these, by the target
    originals_correct  of these, with originals that the target classifies correctly
    transferred        of these, misclassified by the target
    """

    attack: str
    variant: str
    title: str
    names: tuple[str, ...]
    adversarials: Ints
    misclassified: Ints
    originals_correct: Ints
    transferred: Ints

    def find_rates(self, count: str) -> Rates:
        """Return the rates in one of the COUNTS, float64 (S, S); NaN where there is nothing."""
        part, whole = self.misclassified, self.adversarials
        if count == STRICT:
            part, whole = self.transferred, self.originals_correct
        with np.errstate(invalid="ignore"):
            return np.asarray(part / np.where(whole > 0, whole, np.nan))

    def list_rows(self) -> Iterator[dict[str, Any]]:
        """Yield the figures for each source and target, as flat dictionaries."""
        rates = {count: self.find_rates(count) for count in COUNTS}
        for place in np.ndindex(*self.adversarials.shape):
            source, target = place
            numbers = {name: int(getattr(self, name)[place]) for name in _NUMBERS}
            yield {
                "attack": self.attack,
                "variant": self.variant,
                "source": self.names[source],
                "target": self.names[target],
                **numbers,
                **{f"rate_{count}": _as_number(float(rates[count][place])) for count in COUNTS},
            }

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, for JSON; rates without adversarials are null."""
        numbers = {name: getattr(self, name).tolist() for name in _NUMBERS}
        rates = {
            f"rate_{count}": [
                [_as_number(one) for one in row] for row in self.find_rates(count).tolist()
            ]
            for count in COUNTS
        }
        return {
            "attack": self.attack,
            "variant": self.variant,
            "title": self.title,
            **numbers,
            **rates,
        }


@dataclass(frozen=True, eq=False)
class CrossEvaluation:
    """An attack on one model, and all models' classes of its adversarials.

    classes  int64 (M,) for each model, of the M adversarials in order
    """

    records: AttackRecords
    classes: Sequence[Ints]


def count_transfer(
    names: Sequence[str],
    attacks: Sequence[Attack],
    crossed: Sequence[Sequence[CrossEvaluation]],
    predicted: Sequence[Ints],
) -> list[TransferMatrix]:
    """Return the matrices of all attacks, in each of their variants.

    crossed    of each model as the source, each attack
    predicted  int64 (N,) of each model: its classes of the N images
    """
    variants = [(one, variant) for one in attacks for variant in _choose_variants(one)]
    titles = make_titles_distinct([(v.title or one.name, one.text) for one, v in variants])
    size = (len(names), len(names))
    matrices = []
    for (attack, variant), title in zip(variants, titles, strict=True):
        numbers = {name: np.zeros(size, np.int64) for name in _NUMBERS}
        place = attacks.index(attack)
        for source, target in np.ndindex(*size):
            one = crossed[source][place]
            found = _count(one.records, one.classes[target], predicted[target], variant)
            for name, number in zip(_NUMBERS, found, strict=True):
                numbers[name][source, target] = number
        matrices.append(TransferMatrix(attack.text, variant.name, title, tuple(names), **numbers))
    return matrices


def _choose_variants(attack: Attack) -> tuple[Variant, ...]:
    return FGS_VARIANTS.get(attack.text, (PLAIN,))


def _count(
    records: AttackRecords, classes: Ints, predicted: Ints, variant: Variant
) -> tuple[int, int, int, int]:
    """Return the four numbers of a source and a target."""
    rows = np.flatnonzero(records.found)
    labels = records.labels[rows]
    counts = find_broken(records, variant)[rows]
    wrong = counts & (classes != labels)
    right = counts & (predicted[rows] == labels)
    return int(counts.sum()), int(wrong.sum()), int(right.sum()), int((wrong & right).sum())


def _as_number(rate: float) -> float | None:
    return None if np.isnan(rate) else rate
