"""Attacks that search for the smallest adversarial of whole grey levels, in L2 or Linf.

    fmn-linf  fmn-l2  ddn  deepfool-linf  deepfool-l2  lbfgs
                                  a search, and its results on the lattice
    minimal-linf  minimal-l2      the best of all of these but L-BFGS, image by image

Each search is in real numbers (fmn.py, ddn.py, deepfool.py, lbfgs.py); what it finds is then turned
into an adversarial of whole grey levels, as small as possible (lattice_linf.py, lattice_l2.py).
Every adversarial was classified as it is, so it is also adversarial when read from a file.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from caffe_ext.attacks.base import Attack, AttackResult
from caffe_ext.attacks.budget import NORM_NAMES, Norm
from caffe_ext.attacks.criteria import (
    NO_TARGET,
    Bools,
    Criterion,
    Misclassification,
    TargetedKind,
    TargetedMisclassification,
    find_class_of_rank,
)
from caffe_ext.attacks.directions import LogitMargin
from caffe_ext.attacks.registry import register_attack
from caffe_ext.attacks.settings import check_whole
from caffe_ext.attacks.smallest.confirm import confirm
from caffe_ext.attacks.smallest.ddn import decoupled_direction_and_norm
from caffe_ext.attacks.smallest.deepfool import deepfool
from caffe_ext.attacks.smallest.fmn import fast_minimum_norm
from caffe_ext.attacks.smallest.lattice_l2 import minimize_l2
from caffe_ext.attacks.smallest.lattice_linf import minimize_linf
from caffe_ext.attacks.smallest.lbfgs import lbfgs
from caffe_ext.attacks.smallest.nearest import NearestAdversarials
from caffe_ext.attacks.smallest.queries import MarginQueries
from caffe_ext.models.base import Images, Ints, Model

_LATTICE_STEPS = 30
_CLEARANCE = 2e-6
# Each found smaller ones for some images of the LeNets; the closest class is DeepFool's own.
_FURTHER_CLASSES = (2, 3, 4)
_MINIMIZE = {"linf": minimize_linf, "l2": minimize_l2}


@dataclass(frozen=True)
class SmallestAttack(Attack):
    """A search for the smallest adversarial.

    steps  of the search, 1 or more; the lattice takes up to 30 more for each radius or turn
    """

    steps: int = 100
    norm: ClassVar[Norm]
    method: ClassVar[str]

    def __post_init__(self) -> None:
        """Raise ValueError for invalid settings."""
        check_whole("steps", self.steps, 1)

    @property
    def name(self) -> str:
        """Return the method, the norm and the steps."""
        return f"{self.method} {NORM_NAMES[self.norm]}, {self.steps} steps"

    @property
    def threat_model(self) -> str:
        """Describe what the attacker may do."""
        what = {"linf": "the largest change of a pixel (Linf)", "l2": "the whole change (L2)"}
        return (
            "knows the network and its weights; changes pixels within 0..255 and iterates to make "
            f"{what[self.norm]} as small as it can"
        )

    @abstractmethod
    def search(self, asked: MarginQueries, images: Images) -> Iterator[NearestAdversarials]:
        """Yield what searches find in real numbers, one or more."""

    def check(self, model: Model) -> None:
        """Raise ValueError if it cannot attack this model; tries one step on one grey image."""
        Attack.check(replace(self, steps=1), model)

    def run(
        self, model: Model, images: Images, criterion: Criterion, indices: Ints
    ) -> AttackResult:
        """Search, and minimise on the lattice; the step lengths are Linf distances. See Attack.

        The diagnostics describe the margin's gradient at the image.
        """
        diagnostics = LogitMargin()(model, images, criterion).diagnostics
        asked = MarginQueries(model, criterion, queries=len(images), gradients=len(images))
        best, real = NearestAdversarials.make_empty(images), NearestAdversarials.make_empty(images)
        everyone = np.arange(len(images))
        for found in self.search(asked, images):
            asked.clearance = _CLEARANCE
            whole = _MINIMIZE[self.norm](asked, images, found, _LATTICE_STEPS)
            asked.clearance = 0
            best.offer(everyone, whole.points, whole.distances, whole.found)
            for each in (found, whole):
                real.offer(everyone, each.points, each.distances, each.found)
        return replace(confirm(asked, images, best, real), diagnostics=diagnostics)


class _FastMinimumNorm(SmallestAttack):
    method = "FMN"

    def search(self, asked: MarginQueries, images: Images) -> Iterator[NearestAdversarials]:
        """Yield FMN's result."""
        yield fast_minimum_norm(asked, images, self.norm, self.steps)


@register_attack("fmn-linf")
@dataclass(frozen=True)
class FastMinimumNormLinf(_FastMinimumNorm):
    """FMN in Linf."""

    norm = "linf"


@register_attack("fmn-l2")
@dataclass(frozen=True)
class FastMinimumNormL2(_FastMinimumNorm):
    """FMN in L2."""

    norm = "l2"


@register_attack("ddn")
@dataclass(frozen=True)
class DecoupledDirectionAndNorm(SmallestAttack):
    """DDN, in L2."""

    norm = "l2"
    method = "DDN"

    def search(self, asked: MarginQueries, images: Images) -> Iterator[NearestAdversarials]:
        """Yield DDN's result."""
        yield decoupled_direction_and_norm(asked, images, self.steps)


@register_attack("lbfgs")
@dataclass(frozen=True)
class BoxConstrainedLBFGS(SmallestAttack):
    """L-BFGS in L2, towards each class or one.

    steps   iterations of each minimisation
    target  the class; None: all, keeping the nearest adversarial
    """

    steps: int = 50
    target: int | None = None
    norm = "l2"
    method = "L-BFGS"

    def __post_init__(self) -> None:
        """Raise ValueError for invalid settings."""
        super().__post_init__()
        if self.target is not None and (type(self.target) is not int or self.target < 0):
            raise ValueError(f"target must be a class, 0 or more, not {self.target!r}")

    @property
    def name(self) -> str:
        """Return the method, the steps and the target."""
        towards = "" if self.target is None else f", towards {self.target}"
        return f"{super().name}{towards}"

    def find_applicable(self, labels: Ints) -> Bools:
        """Return which images have a label other than the target."""
        return np.asarray(labels != (NO_TARGET if self.target is None else self.target))

    def search(self, asked: MarginQueries, images: Images) -> Iterator[NearestAdversarials]:
        """Yield L-BFGS's result."""
        classes = asked.model.classes
        if self.target is not None:
            TargetedKind(self.target).check(classes)
        wanted = range(classes) if self.target is None else [self.target]
        labels, targets = asked.criterion.labels, asked.criterion.targets
        if targets is not None:
            yield lbfgs(asked, images, [np.array([one]) for one in targets], self.steps)
            return
        others = [np.array([one for one in wanted if one != label]) for label in labels]
        yield lbfgs(asked, images, others, self.steps)


@dataclass(frozen=True)
class _DeepFool(SmallestAttack):
    steps: int = 50
    method = "DeepFool"

    def search(self, asked: MarginQueries, images: Images) -> Iterator[NearestAdversarials]:
        """Yield DeepFool's result."""
        yield deepfool(asked, images, self.norm, self.steps)


@register_attack("deepfool-linf")
@dataclass(frozen=True)
class DeepFoolLinf(_DeepFool):
    """DeepFool in Linf."""

    norm = "linf"


@register_attack("deepfool-l2")
@dataclass(frozen=True)
class DeepFoolL2(_DeepFool):
    """DeepFool in L2."""

    norm = "l2"


class _SmallestOfAttacks(SmallestAttack):
    method = "Smallest of all,"

    def search(self, asked: MarginQueries, images: Images) -> Iterator[NearestAdversarials]:
        """Yield the results of all searches, and DeepFool's towards further classes."""
        yield deepfool(asked, images, self.norm, self.steps)
        yield fast_minimum_norm(asked, images, self.norm, self.steps)
        if self.norm == "l2":
            yield decoupled_direction_and_norm(asked, images, self.steps)
        if not isinstance(asked.criterion, Misclassification):
            return
        labels, everyone = asked.criterion.labels, np.arange(len(images))
        logits = asked.ask(images, everyone).logits
        for rank in _FURTHER_CLASSES:
            if rank < asked.model.classes:
                asked.criterion = TargetedMisclassification(
                    labels, find_class_of_rank(logits, labels, rank)
                )
                found = deepfool(asked, images, self.norm, self.steps)
                asked.criterion = Misclassification(labels)
                yield found


@register_attack("minimal-linf")
@dataclass(frozen=True)
class MinimalLinf(_SmallestOfAttacks):
    """The smallest of all in Linf."""

    norm = "linf"


@register_attack("minimal-l2")
@dataclass(frozen=True)
class MinimalL2(_SmallestOfAttacks):
    """The smallest of all in L2."""

    norm = "l2"
