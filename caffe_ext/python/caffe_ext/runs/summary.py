"""Summaries of an attack's records: rates, and means with standard deviations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.criteria import MISCLASSIFIED, Bools, CriterionKind
from caffe_ext.runs.records import AttackRecords
from caffe_ext.runs.variants import FGS_VARIANTS, PLAIN, Variant

MEASURES = ("linf", "l2", "l2_per_pixel", "mean_absolute", "pass_scores", "pass_published")


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of the population: divided by n)."""

    mean: float
    std: float


@dataclass(frozen=True)
class AttackSummary:
    """What an attack, in one variant, did to a model; None if there is nothing to average.

    attack            its text, for parse_attack()
    attempted, found  images; rate: found / attempted, 0..1
    saturated, zero_gradient
                      shares of the attempted: loss exactly 0; gradient 0 in every pixel
    unverified        those that were not adversarial any more when read back from the file
    linf .. pass_published, ecc_failed, ecc_failed_published
                      of the adversarials; see AttackRecords
    """

    attack: str
    variant: str
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


def find_broken(records: AttackRecords, variant: Variant) -> Bools:
    """Return which images an attack has broken, in a variant of counting; bool (N,)."""
    found = records.found & ~records.saturated if variant.saturated_fails else records.found
    return np.asarray(found)


def summarize(
    attack: Attack, records: AttackRecords, criterion: CriterionKind
) -> tuple[AttackSummary, ...]:
    """Return what an attack did, in each of its variants of counting."""
    variants = FGS_VARIANTS.get(attack.text, (PLAIN,))
    return tuple(summarize_variant(attack, records, one, criterion) for one in variants)


def summarize_variant(
    attack: Attack,
    records: AttackRecords,
    variant: Variant,
    criterion: CriterionKind = MISCLASSIFIED,
) -> AttackSummary:
    """Return what an attack did, in one variant of counting."""
    attempted, found = int(records.attempted.sum()), find_broken(records, variant)
    spreads = {name: compute_spread(getattr(records, name)[found]) for name in MEASURES}
    return AttackSummary(
        attack=attack.text,
        variant=variant.name,
        title=variant.title or attack.name,
        threat_model=attack.describe_threat(criterion),
        attempted=attempted,
        found=int(found.sum()),
        rate=compute_share(found, records.attempted),
        saturated=compute_share(records.saturated, records.attempted),
        zero_gradient=compute_share(records.zero_gradient, records.attempted),
        unverified=int((found & ~records.verified).sum()),
        ecc_failed=int(records.ecc_failed[found].sum()),
        ecc_failed_published=int(records.ecc_failed_published[found].sum()),
        **spreads,
    )


def compute_spread(values: NDArray[np.float64]) -> Spread | None:
    """Return mean and deviation; None if there are no values, or PASS could not be measured."""
    if not len(values) or np.isnan(values).any():
        return None
    return Spread(float(values.mean()), float(values.std()))


def compute_share(which: Bools, among: Bools) -> float | None:
    """Return the share of `among` that are `which`, 0..1; None if `among` is empty."""
    count = int(among.sum())
    return int((which & among).sum()) / count if count else None
