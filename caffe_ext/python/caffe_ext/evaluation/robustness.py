"""Robust accuracy: the share of images that are, and stay, classified correctly within a budget.

What attacks leave unbroken is an upper bound: a stronger attack can only lower it. A cascade of
attacks within the budget is run on the images that the attacks on all images have not broken there.
In the end, each adversarial counts for every budget that it lies within, whichever attack found it:
also those of cascades within other budgets. So in one norm it never rises with the radius.

There are two variants: whole grey levels, as in image files, and real-valued pixels, 0..255, as in
the literature. An image broken in whole grey levels counts as broken in the other, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.budget import Norm, PerturbationBudget
from caffe_ext.attacks.criteria import Bools
from caffe_ext.models.base import Ints
from caffe_ext.runs.records import AttackRecords

Distances = NDArray[np.float64]
_FLOAT32 = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Stage:
    """The images that one attack has broken within a budget.

    attack  its text
    tried   images that it was tried on; None: all those attacked
    broken  of them, within the budget; of several attacks without a cascade, each image counts for
            the one that needed the smallest change
    broken_real
            the same in real-valued pixels; of a cascade, those that no attack before has broken
    run_for what it was run for, if not for this budget: another budget, or a comparison
    """

    attack: str
    name: str
    tried: int | None
    broken: int
    broken_real: int
    run_for: str | None = None


def show_real(whole: int, real: int) -> str:
    """Return " (N)", a count in real-valued pixels; "" where it is that in whole grey levels."""
    return f" ({real:,})" if real != whole else ""


@dataclass(frozen=True, eq=False)
class Finding:
    """What an attack found that was run for something else than all budgets.

    run_for  that, in words: the budget, or a comparison
    records  of all images, or of the first ones
    """

    run_for: str
    attack: Attack
    records: AttackRecords


@dataclass(frozen=True, eq=False)
class RobustAccuracy:
    """An upper bound of the accuracy within a budget, on N images.

    correct  how many are classified correctly (as their labels or, without labels, always)
    robust   bool (N,): correct, and not broken
    robust_real
             the same in real-valued pixels
    stages   in the order in which they were run
    broken_in
             int64 (N,), the number of the stage that broke each image in whole grey levels, or -1
    smallest, smallest_real
             float64 (N,), the smallest size of an adversarial of each image in the budget's norm,
             inf if there is none, in both variants
    """

    budget: PerturbationBudget
    correct: int
    robust: Bools
    robust_real: Bools
    stages: tuple[Stage, ...]
    broken_in: Ints
    smallest: Distances
    smallest_real: Distances

    @property
    def accuracy(self) -> float | None:
        """Return the share of all images, 0..1; None of no images."""
        return int(self.robust.sum()) / len(self.robust) if len(self.robust) else None

    @property
    def differs(self) -> bool:
        """Tell whether the two variants differ."""
        return bool((self.robust != self.robust_real).any())

    @property
    def accuracy_real(self) -> float | None:
        """Return the same in real-valued pixels."""
        return int(self.robust_real.sum()) / len(self.robust) if len(self.robust) else None


def find_perturbation_sizes(records: AttackRecords, norm: Norm, *, real: bool = False) -> Distances:
    """Return the size of each adversarial that was found, inf where none was; float64 (N,)."""
    if real:
        return np.where(records.found_real, getattr(records, f"{norm}_real"), np.inf)
    return np.where(records.found, getattr(records, norm), np.inf)


def find_smallest_sizes(records: Sequence[AttackRecords], norm: Norm) -> Distances:
    """Return the smallest size at which any of the attacks breaks each image; inf where none does.

    All records must be of the same images.
    """
    return np.asarray(np.min([find_perturbation_sizes(one, norm) for one in records], axis=0))


def compute_share_broken(sizes: Distances, attempted: Bools, radii: Distances) -> Distances:
    """Return the share of the attempted images that are broken within each radius, 0..1.

    sizes  float64 (N,), at which they are broken; inf or NaN where they are not
    """
    reached = np.sort(sizes[attempted])
    return np.asarray(np.searchsorted(reached, radii, side="right") / max(len(reached), 1))


def compute_robust_accuracy(
    budget: PerturbationBudget,
    correct: Bools,
    attacks: Sequence[Attack],
    records: Mapping[str, AttackRecords],
) -> RobustAccuracy:
    """Return the robust accuracy from the results of attacks on all images.

    records  of each attack, by its text
    """
    whole, real = (
        np.array(
            [find_perturbation_sizes(records[one.text], budget.norm, real=real) for one in attacks]
        )
        for real in (False, True)
    )
    broken = correct & (whole.min(axis=0) <= budget.epsilon)
    broken_real = broken | (correct & (_is_within(real.min(axis=0), budget)))
    first, first_real = whole.argmin(axis=0), real.argmin(axis=0)
    stages = tuple(
        Stage(
            one.text,
            one.name,
            None,
            int((broken & (first == number)).sum()),
            int((broken_real & (first_real == number)).sum()),
        )
        for number, one in enumerate(attacks)
    )
    return RobustAccuracy(
        budget,
        int(correct.sum()),
        correct & ~broken,
        correct & ~broken_real,
        stages,
        np.where(broken, first, -1),
        whole.min(axis=0),
        np.minimum(real, whole).min(axis=0),
    )


def add_stage(before: RobustAccuracy, attack: Attack, records: AttackRecords) -> RobustAccuracy:
    """Return the robust accuracy after a further attack on the remaining images."""
    tried = int((records.attempted & before.robust).sum())
    return _add(before, Stage(attack.text, attack.name, tried, 0, 0), records)


def add_findings(before: RobustAccuracy, findings: Sequence[Finding]) -> RobustAccuracy:
    """Return the robust accuracy after all that was found for other budgets and comparisons.

    Each image counts for the first one that breaks it; those that break none are not listed.
    """
    after = before
    for one in findings:
        if one.run_for == f"{before.budget}":
            continue
        stage = Stage(one.attack.text, one.attack.name, None, 0, 0, one.run_for)
        found = _add(after, stage, one.records)
        last = found.stages[-1]
        after = found if last.broken or last.broken_real else replace(found, stages=after.stages)
    return after


def _add(before: RobustAccuracy, stage: Stage, records: AttackRecords) -> RobustAccuracy:
    """Return the robust accuracy after a stage, whose counts are yet to be made."""
    budget, rest = before.budget, len(before.robust) - len(records)
    sizes, real = (
        np.pad(
            find_perturbation_sizes(records, budget.norm, real=real),
            (0, rest),
            constant_values=np.inf,
        )
        for real in (False, True)
    )
    broken = before.robust & (sizes <= budget.epsilon)
    broken_real = before.robust_real & (broken | _is_within(real, budget))
    stage = replace(stage, broken=int(broken.sum()), broken_real=int(broken_real.sum()))
    return RobustAccuracy(
        budget,
        before.correct,
        before.robust & ~broken,
        before.robust_real & ~broken_real,
        (*before.stages, stage),
        np.where(broken, len(before.stages), before.broken_in),
        np.minimum(before.smallest, sizes),
        np.minimum(before.smallest_real, np.minimum(real, sizes)),
    )


def _is_within(sizes: Distances, budget: PerturbationBudget) -> Bools:
    """Return which real-valued sizes lie within a budget, up to the last bits of float32."""
    return np.asarray(sizes <= budget.epsilon + _FLOAT32 * 255)


def compute_robust_curve(
    robust: Sequence[RobustAccuracy], radii: Distances, norm: Norm, *, real: bool = False
) -> Distances | None:
    """Return the robust accuracy within each radius, 0..1, from all known adversarials.

    It is also an upper bound, weaker between the budgets than at them: an attack within a budget
    does not search for smaller adversarials than necessary. None without a budget in the norm.
    """
    mine = [one for one in robust if one.budget.norm == norm]
    if not mine:
        return None
    sizes = np.min([one.smallest_real if real else one.smallest for one in mine], axis=0)
    correct = mine[0].robust | (mine[0].broken_in >= 0)
    # Counts, and one division: 1 - share would be 0.49999999999999994 for a half.
    left = correct.sum() - np.searchsorted(np.sort(sizes[correct]), radii, side="right")
    return np.asarray(left / max(len(correct), 1))
