"""What an evaluation is asked for, and what comes out for each model; evaluate.py does the work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.evaluation.masking import Evidence, MaskingWarning, NoiseLevel, Probe, find_warnings
from caffe_ext.evaluation.noise import NoiseSettings
from caffe_ext.evaluation.stability import NoiseStability
from caffe_ext.models.base import Ints
from caffe_ext.models.description import ModelDescription
from caffe_ext.runs.records import AttackRecords
from caffe_ext.runs.summary import (
    FGS,
    LOGIT,
    AttackSummary,
    Bools,
    broken_within,
    counted,
    share,
    smallest_linf,
    summarize,
)

BASE = (FGS, LOGIT, "fgv")
MOST_RANKS = 9


@dataclass(frozen=True)
class Settings:
    """What is evaluated, besides the models and the images.

    ranks          the k of HC-k; None: 1 to 9, as far as the classes go
    extra          more attacks
    limit          only the first images; None: all
    probe          how many of the first images the iterated attacks are tried on; 0: none
    probe_epsilon  their radius in grey levels; None: the median Linf of FGS on the logits, within
                   which a single step breaks half of what it breaks at all
    noise          None: no noise
    again          throw away what an earlier run has left
    """

    ranks: tuple[int, ...] | None = None
    extra: tuple[Attack, ...] = ()
    limit: int | None = None
    seed: int = 0
    probe: int = 1000
    probe_epsilon: float | None = None
    noise: NoiseSettings | None = None
    again: bool = False

    def attacks(self, classes: int) -> tuple[Attack, ...]:
        """Return the attacks on a net with so many classes, each once.

        Raises ValueError for ranks that it does not have.
        """
        ranks = self.ranks or range(1, min(MOST_RANKS, classes - 1) + 1)
        if ranks and max(ranks) >= classes:
            raise ValueError(
                f"there is no HC{max(ranks)} for {classes} classes: HC-k needs k other classes"
            )
        base = [parse_attack(name) for name in (*BASE, *(f"hc{rank}" for rank in ranks))]
        return tuple({attack.text: attack for attack in (*base, *self.extra)}.values())


@dataclass(frozen=True, eq=False)
class ModelEvaluation:
    """What came out for a model on N images.

    record      of the model: settings and digests
    correct     how many are classified as their label; None if they have no labels
    records     of each attack, by its text
    worst       float64 (N,), the smallest Linf at which any attack breaks an image; inf: none does
    noise       on the images `noise_rows`
    """

    name: str
    record: dict[str, Any]
    images: int
    correct: int | None
    records: Mapping[str, AttackRecords]
    summaries: tuple[AttackSummary, ...]
    worst: NDArray[np.float64]
    probe: Probe | None
    noise: NoiseStability | None
    noise_rows: Ints
    warnings: tuple[MaskingWarning, ...]

    @property
    def accuracy(self) -> float | None:
        """Return the share of the images that get their label, 0..1."""
        return None if self.correct is None else self.correct / self.images

    @property
    def attempted(self) -> Bools:
        """Return which images were attacked: those that are classified correctly; bool (N,)."""
        return self.records[FGS].attempted

    @property
    def broken(self) -> float | None:
        """Return the share of the attacked images that at least one attack breaks."""
        return share(np.isfinite(self.worst), self.attempted)

    def summary(self, attack: str, reading: str = "all") -> AttackSummary | None:
        """Return the summary of an attack in a reading; None if there is none."""
        found = (one for one in self.summaries if (one.attack, one.reading) == (attack, reading))
        return next(found, None)

    def curve(
        self, summary: AttackSummary | None, budgets: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the share of images broken within each Linf budget; by any attack for None."""
        if summary is None:
            return broken_within(self.worst, self.attempted, budgets)
        records = self.records[summary.attack]
        linf = np.where(counted(records, summary.reading), records.linf, np.inf)
        return broken_within(linf, self.attempted, budgets)


def gathered(  # noqa: PLR0913  these are all the parts that there are
    model: ModelDescription,
    attacks: Sequence[Attack],
    records: Mapping[str, AttackRecords],
    *,
    probe: Probe | None,
    noise: NoiseStability | None,
    noise_rows: Ints,
    labelled: bool,
) -> ModelEvaluation:
    """Put together what came out for a model."""
    first = records[FGS]
    summaries = tuple(one for attack in attacks for one in summarize(attack, records[attack.text]))
    worst = smallest_linf(list(records.values()))
    broken = share(np.isfinite(worst), first.attempted)
    fgs = {one.reading: one for one in summaries if one.attack in (FGS, LOGIT)}
    evidence = Evidence(
        images=int(first.attempted.sum()),
        paper=fgs["paper"].rate,
        strict=fgs["strict"].rate,
        logit=fgs["logit"].rate,
        saturated=fgs["strict"].saturated,
        zero_gradient=fgs["strict"].zero_gradient,
        unbroken=None if broken is None else 1 - broken,
        probe=probe,
        noise=_against_gradients(noise, first, noise_rows),
    )
    return ModelEvaluation(
        name=model.name,
        record=model.record(),
        images=len(first),
        correct=int((first.predicted == first.labels).sum()) if labelled else None,
        records=records,
        summaries=summaries,
        worst=worst,
        probe=probe,
        noise=noise,
        noise_rows=noise_rows,
        warnings=find_warnings(evidence),
    )


def _against_gradients(
    noise: NoiseStability | None, fgs: AttackRecords, rows: Ints
) -> tuple[NoiseLevel, ...]:
    """Hold noise against FGS on the same images, at equal L2 per pixel."""
    if noise is None:
        return ()
    within = np.where(fgs.found, fgs.l2_per_pixel, np.inf)[rows]
    return tuple(
        NoiseLevel(float(level), float(rate), float(np.mean(within <= level)), len(rows))
        for level, rate in zip(noise.levels, noise.rates, strict=True)
    )
