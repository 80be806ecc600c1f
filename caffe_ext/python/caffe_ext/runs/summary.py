"""What the records of an attack come to: rates, and means with standard deviations.

FGS is read in three ways, side by side, because their difference is gradient masking:

paper   an attempt on an image that the softmax is `saturated` for (in float32 exactly 1,
        so that the loss is exactly 0) counts as failed: found and not saturated, over attempted.
        This is how the tables of Rozsa, Günther and Boult, 2018 (BANG), come about
strict  found over attempted; what fails then has truly no gradient, or no way along it
logit   found over attempted by the sign of the margin's gradient, which cannot saturate: the
        attack `margin-s`

Each reading has the means of the adversarials that it counts. All other attacks have one, "all".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.criteria import MISCLASSIFIED, CriterionKind
from caffe_ext.runs.records import AttackRecords

Reading = Literal["paper", "strict", "logit", "all"]
Bools = NDArray[np.bool_]
FGS, LOGIT = "fgs", "margin-s"
READINGS: Mapping[str, tuple[tuple[Reading, str], ...]] = {
    FGS: (("paper", "FGS, paper's protocol"), ("strict", "FGS, strict")),
    LOGIT: (("logit", "FGS, logits"),),
}


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of the population: n below the fraction line)."""

    mean: float
    std: float


@dataclass(frozen=True)
class AttackSummary:
    """What an attack, in one reading, did to a model; None where there is nothing to average.

    attack            as parse_attack takes it
    attempted, found  images; rate: found / attempted, 0..1
    saturated, zero_gradient
                      shares of the attempted: loss exactly 0; gradient 0 in every pixel
    unverified        found ones that were classified right after they were read back from the file
    linf .. pass_published, ecc_failed, ecc_failed_published
                      of the found ones; see AttackRecords
    """

    attack: str
    reading: Reading
    title: str
    threat_model: str
    attempted: int
    found: int
    rate: float | None
    saturated: float | None
    zero_gradient: float | None
    unverified: int
    linf: Spread | None
    l2: Spread | None
    l2_per_pixel: Spread | None
    mean_absolute: Spread | None
    pass_scores: Spread | None
    pass_published: Spread | None
    ecc_failed: int
    ecc_failed_published: int


MEASURES = ("linf", "l2", "l2_per_pixel", "mean_absolute", "pass_scores", "pass_published")


def counted(records: AttackRecords, reading: Reading) -> Bools:
    """Return which images an attack has broken, in a reading of its records; bool (N,)."""
    return np.asarray(records.found & ~records.saturated if reading == "paper" else records.found)


def summarize(
    attack: Attack, records: AttackRecords, criterion: CriterionKind = MISCLASSIFIED
) -> tuple[AttackSummary, ...]:
    """Return what an attack did, in each of its readings."""
    readings = READINGS.get(attack.text, (("all", attack.name),))
    threat_model = f"{attack.threat_model}; {criterion.wording}"
    return tuple(
        _summary(attack, records, reading, title, threat_model) for reading, title in readings
    )


def _summary(
    attack: Attack, records: AttackRecords, reading: Reading, title: str, threat_model: str
) -> AttackSummary:
    attempted, found = int(records.attempted.sum()), counted(records, reading)
    spreads = {name: spread(getattr(records, name)[found]) for name in MEASURES}
    return AttackSummary(
        attack=attack.text,
        reading=reading,
        title=title,
        threat_model=threat_model,
        attempted=attempted,
        found=int(found.sum()),
        rate=share(found, records.attempted),
        saturated=share(records.saturated, records.attempted),
        zero_gradient=share(records.zero_gradient, records.attempted),
        unverified=int((found & ~records.verified).sum()),
        ecc_failed=int(records.ecc_failed[found].sum()),
        ecc_failed_published=int(records.ecc_failed_published[found].sum()),
        **spreads,
    )


def spread(values: NDArray[np.float64]) -> Spread | None:
    """Return mean and deviation; None if there are no values, or PASS could not be measured."""
    if not len(values) or np.isnan(values).any():
        return None
    return Spread(float(values.mean()), float(values.std()))


def share(which: Bools, among: Bools) -> float | None:
    """Return how many of `among` are `which`, 0..1; None if there are none."""
    count = int(among.sum())
    return int((which & among).sum()) / count if count else None


def smallest_linf(records: Sequence[AttackRecords]) -> NDArray[np.float64]:
    """Return the smallest Linf at which any of the attacks breaks each image; inf where none does.

    All records must be of the same images.
    """
    distances = [np.where(one.found, one.linf, np.inf) for one in records]
    return np.asarray(np.min(distances, axis=0))


def broken_within(
    distances: NDArray[np.float64], attempted: Bools, budgets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the share of the attempted images that are broken within each budget, 0..1.

    distances  float64 (N,), at which they are broken; inf or NaN where they are not
    """
    reached = np.sort(distances[attempted])
    return np.asarray(np.searchsorted(reached, budgets, side="right") / max(len(reached), 1))
