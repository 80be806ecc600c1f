"""What an evaluation has left to do for a model, and how long that will take."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.within import BudgetAttack
from caffe_ext.evaluation.probe import iterated_attacks
from caffe_ext.evaluation.stability import NoiseSettings
from caffe_ext.models.base import Model
from caffe_ext.runs.overall_progress import PlannedWork, time_attack, trial_size
from caffe_ext.runs.runner import Batch, Source

CLASSES, CASCADE, PROBE, NOISE = "classes", "cascade", "probe", "noise"
"""How progress is announced, behind the model's name; that of the suite's attacks by their names"""
_SOME_RADIUS = 8.0
_SHORTENED = 50


@dataclass(frozen=True)
class ModelPlan:
    """What is left to do for a model; all of it may turn out to be less.

    images    of the evaluation
    attacks   of the suite
    cascade   the attacks within all budgets, on what the suite's attacks leave, at most all images
    probed    images for the two iterated attacks that single steps are held against
    classify  whether the images have to be classified first
    """

    name: str
    images: int
    attacks: tuple[Attack, ...]
    cascade: tuple[Attack, ...]
    probed: int
    noise: NoiseSettings | None
    classify: bool

    @property
    def has_attacks(self) -> bool:
        """Tell whether there are attacks to run."""
        return bool(self.attacks or self.cascade or self.probed)

    def measure(self, model: Model, source: Source) -> Iterator[PlannedWork]:
        """Try each attack on a few images; yield all that is to be done, with its time."""
        batch, forward = source.read(slice(trial_size(self.images))), None
        if len(batch.images):
            forward = _time_classification(model, source, self.images)
        if self.classify:
            yield self._work(CLASSES, self.images, forward)
        for attack in self.attacks:
            yield self._work(attack.name, self.images, time_attack(model, attack, batch))
        # Budgets differ in their radius, and that does not change the time.
        times: dict[Any, float | None] = {}
        for attack in self.cascade:
            kind = _strip_radius(attack)
            if kind not in times:
                times[kind] = _time_short(model, attack, batch)
            yield self._work(CASCADE, self.images, times[kind])
        for attack in iterated_attacks(_SOME_RADIUS) if self.probed else ():
            yield self._work(PROBE, self.probed, time_attack(model, attack, batch))
        if self.noise is not None:
            images = min(self.images, self.noise.per_class * model.classes)
            yield self._work(NOISE, images * self.noise.forwards, forward)

    def _work(self, what: str, images: int, seconds: float | None) -> PlannedWork:
        """Return a piece, announced as a task of the evaluation announces it."""
        return PlannedWork(f"{self.name}: {what}", images, seconds)


def _strip_radius(attack: Attack) -> Any:
    """Return what the time of an attack depends on."""
    return (
        replace(attack, epsilon=_SOME_RADIUS) if isinstance(attack, BudgetAttack) else type(attack)
    )


def _time_short(model: Model, attack: Attack, batch: Batch) -> float | None:
    """Return how many seconds an attack takes for an image; one with many steps is cut short."""
    if not isinstance(attack, BudgetAttack):
        return time_attack(model, attack, batch)
    short = replace(attack, iterations=max(1, attack.iterations // _SHORTENED))
    seconds = time_attack(model, short, batch)
    return None if seconds is None else seconds * attack.iterations / short.iterations


def _time_classification(model: Model, source: Source, images: int) -> float:
    """Return how many seconds the classification of an image takes in a full batch."""
    batch: Batch = source.read(slice(min(model.batch_size, images)))
    began = perf_counter()
    model.predict(batch.images)
    return (perf_counter() - began) / len(batch.images)
