"""Robust accuracy: the share of images that are classified correctly, and stay so within a budget.

What attacks leave unbroken is an upper bound: a stronger attack can only lower it. Each found
adversarial counts for every budget that its distance lies in, whatever attack found it; within a
budget a cascade of attacks is then run on what is left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.budget import Norm, PerturbationBudget
from caffe_ext.attacks.criteria import Bools
from caffe_ext.runs.records import AttackRecords

Distances = NDArray[np.float64]


@dataclass(frozen=True)
class Stage:
    """What one attack has broken within a budget.

    attack  its text
    tried   images that it was tried on; None: all those attacked
    broken  of them, within the budget; of several attacks without a cascade, each image counts for
            the one that needed the smallest change
    """

    attack: str
    name: str
    tried: int | None
    broken: int


@dataclass(frozen=True, eq=False)
class RobustAccuracy:
    """An upper bound of the accuracy within a budget, on N images.

    correct  how many are classified correctly (as their labels, or where there are none, as the
             model says without perturbation)
    robust   bool (N,): correct, and not broken
    stages   in the order in which they were run
    """

    budget: PerturbationBudget
    correct: int
    robust: Bools
    stages: tuple[Stage, ...]

    @property
    def accuracy(self) -> float | None:
        """Return the share of all images, 0..1; None of no images."""
        return int(self.robust.sum()) / len(self.robust) if len(self.robust) else None

    def broken_by(self, name: str) -> int:
        """Return how many images count for an attack on all of them, by its name; 0: none."""
        mine = (one for one in self.stages if one.name == name and one.tried is None)
        return sum(one.broken for one in mine)


def perturbation_sizes(records: AttackRecords, norm: Norm) -> Distances:
    """Return the size of each adversarial that was found, inf where none was; float64 (N,)."""
    return np.where(records.found, getattr(records, norm), np.inf)


def smallest_sizes(records: Sequence[AttackRecords], norm: Norm) -> Distances:
    """Return the smallest size at which any of the attacks breaks each image; inf where none does.

    All records must be of the same images.
    """
    return np.asarray(np.min([perturbation_sizes(one, norm) for one in records], axis=0))


def broken_within(sizes: Distances, attempted: Bools, radii: Distances) -> Distances:
    """Return the share of the attempted images that are broken within each radius, 0..1.

    sizes  float64 (N,), at which they are broken; inf or NaN where they are not
    """
    reached = np.sort(sizes[attempted])
    return np.asarray(np.searchsorted(reached, radii, side="right") / max(len(reached), 1))


def robust_within(
    budget: PerturbationBudget,
    correct: Bools,
    attacks: Sequence[Attack],
    records: Mapping[str, AttackRecords],
) -> RobustAccuracy:
    """Return the robust accuracy by what attacks on all images have found.

    records  of each attack, by its text
    """
    sizes = np.array([perturbation_sizes(records[one.text], budget.norm) for one in attacks])
    smallest = sizes.min(axis=0)
    broken = correct & (smallest <= budget.epsilon)
    first = sizes.argmin(axis=0)
    stages = tuple(
        Stage(one.text, one.name, None, int((broken & (first == number)).sum()))
        for number, one in enumerate(attacks)
    )
    return RobustAccuracy(budget, int(correct.sum()), correct & ~broken, stages)


def after_stage(before: RobustAccuracy, attack: Attack, records: AttackRecords) -> RobustAccuracy:
    """Return what a further attack on the images that are left makes of the robust accuracy."""
    sizes = perturbation_sizes(records, before.budget.norm)
    broken = before.robust & (sizes <= before.budget.epsilon)
    tried = int((records.attempted & before.robust).sum())
    stage = Stage(attack.text, attack.name, tried, int(broken.sum()))
    return RobustAccuracy(
        before.budget, before.correct, before.robust & ~broken, (*before.stages, stage)
    )
