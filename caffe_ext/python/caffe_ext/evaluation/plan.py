"""What an evaluation has left to do for a model, and how long that will take."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.attacks.within import BudgetAttack
from caffe_ext.evaluation.probe import make_iterated_attacks
from caffe_ext.evaluation.robustness import find_perturbation_sizes
from caffe_ext.evaluation.stability import NoiseSettings
from caffe_ext.models.base import Model
from caffe_ext.runs.overall_progress import PlannedWork, choose_trial_size, time_attack
from caffe_ext.runs.records import AttackRecords
from caffe_ext.runs.runner import Batch, Source
from caffe_ext.runtime.processor_time import Stopwatch

CLASSES, CASCADE, PROBE, NOISE = "classes", "cascade", "probe", "noise"
"""Titles of progress, after the model's name; the suite's attacks are titled by their names."""
_SOME_RADIUS = 8.0
_SHORTENED, _MANY_STEPS = 50, 10


@dataclass(frozen=True)
class PlannedCascade:
    """The attacks of a cascade within a budget that are not done yet, each with its stage."""

    budget: PerturbationBudget
    attacks: tuple[tuple[int, Attack], ...]


@dataclass(frozen=True)
class ModelPlan:
    """What is left to do for a model; it may turn out to be less.

    images    of the evaluation
    attacks   of the suite
    finished  records of the suite's other attacks, by their texts
    cascades  on what the suite's attacks leave
    probed    images for the two iterated attacks that single steps are compared with
    classify  whether the images have to be classified first
    cores     of each process
    """

    name: str
    images: int
    attacks: tuple[Attack, ...]
    finished: Mapping[str, AttackRecords]
    cascades: tuple[PlannedCascade, ...]
    probed: int
    noise: NoiseSettings | None
    classify: bool
    cores: int

    @property
    def has_attacks(self) -> bool:
        """Tell whether there are attacks to run."""
        return bool(self.attacks or any(one.attacks for one in self.cascades) or self.probed)

    def measure(self, model: Model, source: Source) -> Iterator[PlannedWork]:
        """Try each attack on a few images; yield all pieces of work, with their times."""
        batch, forward = source.read(slice(choose_trial_size(self.images))), None
        if len(batch.images):
            forward = self._time_classification(model, source)
        if self.classify:
            yield self._plan_work(CLASSES, self.images, forward)
        known = list(self.finished.values())
        for attack in self.attacks:
            trial = time_attack(model, attack, batch, cores=self.cores)
            known += [trial.records] if trial else []
            yield self._plan_work(
                attack.name, self.images, trial.seconds if trial else None, "attacks"
            )
        full = source.read(slice(min(model.batch_size, self.images)))
        times: dict[Any, float | None] = {}
        for cascade in self.cascades:
            left = round(self.images * estimate_share_left(known, cascade.budget))
            for stage, attack in cascade.attacks:
                # Budgets differ in their radius, and that does not change the time.
                kind = _strip_radius(attack)
                if kind not in times:
                    times[kind] = self._time_short(model, attack, batch, full)
                yield self._plan_work(CASCADE, left, times[kind], f"{CASCADE} {stage}")
        for attack in make_iterated_attacks(_SOME_RADIUS) if self.probed else ():
            trial = time_attack(model, attack, batch, cores=self.cores)
            yield self._plan_work(PROBE, self.probed, trial.seconds if trial else None)
        if self.noise is not None:
            images = min(self.images, self.noise.per_class * model.classes)
            yield self._plan_work(NOISE, images * self.noise.forwards, forward)

    def _plan_work(
        self, what: str, images: int, seconds: float | None, stage: str = ""
    ) -> PlannedWork:
        """Return a piece of work, with the title that the evaluation's task reports under."""
        return PlannedWork(f"{self.name}: {what}", images, seconds, stage or what)

    def _time_short(self, model: Model, attack: Attack, batch: Batch, full: Batch) -> float | None:
        """Return how many seconds an attack takes for an image.

        An attack with many steps is timed with two smaller numbers of steps on a full batch; the
        difference is the cost of a step.
        """
        if not len(batch.images):
            return None
        if not isinstance(attack, BudgetAttack) or attack.iterations < _MANY_STEPS:
            trial = time_attack(model, attack, batch, cores=self.cores)
            return trial.seconds if trial else None
        some = max(1, attack.iterations // _SHORTENED)
        fewer, more = (
            time_attack(model, replace(attack, iterations=steps), full, cores=self.cores)
            for steps in (some, 3 * some)
        )
        if fewer is None or more is None:
            return None
        step = max(0.0, more.seconds - fewer.seconds) / (2 * some)
        return more.seconds + step * (attack.iterations - 3 * some)

    def _time_classification(self, model: Model, source: Source) -> float:
        """Return how many seconds the classification of an image takes in a full batch."""
        images = source.read(slice(min(model.batch_size, self.images))).images
        seconds = []
        for _ in range(2):  # Caffe makes room for the batch in its first pass.
            watch = Stopwatch(self.cores)
            model.predict(images)
            seconds.append(watch.seconds)
        return min(seconds) / len(images)


def estimate_share_left(known: list[AttackRecords], budget: PerturbationBudget) -> float:
    """Estimate which share of all images the attacks leave unbroken within a budget.

    known  the records of the attacks, on all images or on the first ones; the estimate is the rule
           of succession, (left + 1) / (images + 2), as a few images may all be broken
    """
    if not known:
        return 1.0
    count = min(map(len, known))
    sizes = np.min([find_perturbation_sizes(one, budget.norm)[:count] for one in known], axis=0)
    left = known[0].attempted[:count] & (sizes > budget.epsilon)
    return float((left.sum() + 1) / (count + 2))


def _strip_radius(attack: Attack) -> Any:
    """Return what the time of an attack depends on."""
    return (
        replace(attack, epsilon=_SOME_RADIUS) if isinstance(attack, BudgetAttack) else type(attack)
    )
