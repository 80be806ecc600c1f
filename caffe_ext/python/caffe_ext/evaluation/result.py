"""The settings of an evaluation, and its results for each model; evaluate.py does the work."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.budget import Norm, PerturbationBudget
from caffe_ext.attacks.criteria import Bools
from caffe_ext.evaluation.attackability import Attackability
from caffe_ext.evaluation.masking import Evidence, MaskingWarning, NoiseLevel, Probe, find_warnings
from caffe_ext.evaluation.robustness import (
    Distances,
    RobustAccuracy,
    compute_share_broken,
    find_perturbation_sizes,
    find_smallest_sizes,
)
from caffe_ext.evaluation.stability import NoiseSettings, NoiseStability
from caffe_ext.evaluation.suite import CASCADE, Suite, choose_default_radii, make_default_suite
from caffe_ext.models.base import NO_CLASS, Ints
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.runs.records import AttackRecords
from caffe_ext.runs.summary import AttackSummary, compute_share, find_broken, summarize_variant


@dataclass(frozen=True)
class Settings:
    """What is evaluated, besides the models and the images.

    ranks          the k of HC-k; None: 1 to 9, but less than the number of classes
    extra          more attacks
    radii          budgets of the robust accuracy; None: those of choose_default_radii()
    cascade        attacks within each budget, on what is left; E stands for the radius
    limit          only the first images; None: all
    probe          how many of the first images the iterated attacks are tried on; 0: none
    probe_epsilon  their radius in grey levels; None: the median Linf of FGS on the logits, within
                   which a single step breaks half of the images that it breaks at all
    noise          None: no noise
    again          discard earlier results
    own_suite      replaces all of the above settings of attacks
    """

    ranks: tuple[int, ...] | None = None
    extra: tuple[Attack, ...] = ()
    radii: tuple[PerturbationBudget, ...] | None = None
    cascade: tuple[str, ...] = CASCADE
    limit: int | None = None
    seed: int = 0
    probe: int = 1000
    probe_epsilon: float | None = None
    noise: NoiseSettings | None = None
    again: bool = False
    own_suite: Suite | None = None

    def make_suite(self, classes: int, channels: int) -> Suite:
        """Return the suite for a network with so many classes, and images with so many channels.

        Raises ValueError for ranks that it does not have.
        """
        if self.own_suite is not None:
            return self.own_suite
        return make_default_suite(
            classes,
            ranks=self.ranks,
            extra=self.extra,
            radii=choose_default_radii(channels) if self.radii is None else self.radii,
            cascade=self.cascade,
        )


@dataclass(frozen=True, eq=False)
class ModelEvaluation:
    """The results for a model on N images.

    record      of the model: settings and digests
    correct     how many are classified as their label; None if they have no labels
    records     of each attack of the suite, by its text
    robust      the robust accuracy within each budget of the suite
    noise       on the images `noise_rows`
    """

    name: str
    record: dict[str, Any]
    suite: Suite
    images: int
    correct: int | None
    records: Mapping[str, AttackRecords]
    summaries: tuple[AttackSummary, ...]
    robust: tuple[RobustAccuracy, ...]
    probe: Probe | None
    noise: NoiseStability | None
    noise_rows: Ints
    attackability: Attackability | None
    warnings: tuple[MaskingWarning, ...]

    @property
    def accuracy(self) -> float | None:
        """Return the share of images classified as their label, 0..1."""
        return None if self.correct is None else self.correct / self.images

    @property
    def attempted(self) -> Bools:
        """Return which images can be attacked: those classified correctly; bool (N,)."""
        return find_correctly_classified(next(iter(self.records.values())))

    @property
    def broken(self) -> float | None:
        """Return the share of the attacked images that an attack on all images breaks."""
        sizes = find_smallest_sizes(list(self.records.values()), "linf")
        return compute_share(np.isfinite(sizes), self.attempted)

    def find_summary(self, attack: str, variant: str = "all") -> AttackSummary | None:
        """Return the summary of an attack in a variant; None if there is none."""
        found = (one for one in self.summaries if (one.attack, one.variant) == (attack, variant))
        return next(found, None)

    def find_robust_accuracy(self, budget: PerturbationBudget) -> RobustAccuracy | None:
        """Return the robust accuracy within a budget; None if the suite does not have it."""
        return next((one for one in self.robust if one.budget == budget), None)

    def find_broken(self, summary: AttackSummary) -> Bools:
        """Return which images an attack has broken, as counted by a summary of it; bool (N,)."""
        variants = self.suite.find_variants(summary.attack)
        variant = next(one for one in variants if one.name == summary.variant)
        return find_broken(self.records[summary.attack], variant)

    def compute_curve(
        self, summary: AttackSummary | None, radii: Distances, norm: Norm
    ) -> Distances:
        """Return the share of images broken within each radius.

        summary  of the attack that counts; None: any attack on all images
        """
        if summary is None:
            sizes = find_smallest_sizes(list(self.records.values()), norm)
        else:
            sizes = find_perturbation_sizes(self.records[summary.attack], norm)
            sizes = np.where(self.find_broken(summary), sizes, np.inf)
        return compute_share_broken(sizes, self.attempted, radii)


def find_correctly_classified(records: AttackRecords) -> Bools:
    """Return which images are classified as their label, bool (N,)."""
    right = records.predicted == records.labels
    return np.asarray(right & (records.predicted != NO_CLASS))


def put_together(  # noqa: PLR0913  these are all the parts that there are
    model: LoadableModel,
    suite: Suite,
    records: Mapping[str, AttackRecords],
    *,
    robust: tuple[RobustAccuracy, ...],
    probe: Probe | None,
    noise: NoiseStability | None,
    noise_rows: Ints,
    labelled: bool,
    attackability: Attackability | None = None,
) -> ModelEvaluation:
    """Collect the results for a model."""
    first = next(iter(records.values()))
    correct = find_correctly_classified(first)
    summaries = tuple(
        summarize_variant(attack, records[attack.text], variant)
        for attack in suite.attacks
        for variant in suite.find_variants(attack.text)
    )
    broken = compute_share(
        np.isfinite(find_smallest_sizes(list(records.values()), "linf")), correct
    )
    by_variant = {(one.attack, one.variant): one for one in summaries}

    def find_rate(attack: str | None, variant: str) -> float | None:
        found = by_variant.get((attack or "", variant))
        return found.rate if found else None

    strict = by_variant.get((suite.loss or "", "strict"))
    evidence = Evidence(
        images=int(correct.sum()),
        paper=find_rate(suite.loss, "paper"),
        strict=find_rate(suite.loss, "strict"),
        logit=find_rate(suite.margin, "logit"),
        saturated=strict.saturated if strict else None,
        zero_gradient=strict.zero_gradient if strict else None,
        unbroken=None if broken is None else 1 - broken,
        attackability=attackability,
        probe=probe,
        noise=()
        if suite.loss is None
        else _compare_with_gradients(noise, records[suite.loss], noise_rows),
    )
    return ModelEvaluation(
        name=model.name,
        record=model.as_record(),
        suite=suite,
        images=len(first),
        correct=int(correct.sum()) if labelled else None,
        records=records,
        summaries=summaries,
        robust=robust,
        probe=probe,
        noise=noise,
        noise_rows=noise_rows,
        attackability=attackability,
        warnings=find_warnings(evidence),
    )


def _compare_with_gradients(
    noise: NoiseStability | None, fgs: AttackRecords, rows: Ints
) -> tuple[NoiseLevel, ...]:
    """Compare noise with FGS on the same images, at equal L2 per pixel."""
    if noise is None:
        return ()
    within = np.where(fgs.found, fgs.l2_per_pixel, np.inf)[rows]
    return tuple(
        NoiseLevel(float(level), float(rate), float(np.mean(within <= level)), len(rows))
        for level, rate in zip(noise.levels, noise.rates, strict=True)
    )
