"""Certificates beside attacks: a lower and an upper bound of the accuracy within each radius.

Bounds of the logits (certification.bounds) certify images within Linf radii: no perturbation within
the radius changes their class. Attacks break images: one perturbation is known that does. On the
same images the truth lies between the two shares; what neither decides is the gap.

Smoothed models are certified by randomized smoothing, within L2 radii. The Linf ball of radius e
lies within the L2 ball of radius e sqrt(d), for d values in an image, so that these models have
certificates within Linf radii, too. Each holds with a probability, for the model with infinitely
many noisy copies; attacks see the vote of the copies that the model's file names.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.attacks.budget import Norm, PerturbationBudget
from caffe_ext.attacks.criteria import Bools
from caffe_ext.certification.bounds import Method
from caffe_ext.certification.bounds_result import BoundedModel
from caffe_ext.certification.bounds_study import BoundsSettings, BoundsStudy
from caffe_ext.certification.class_counts import MOST_COUNTED
from caffe_ext.certification.network import read_network
from caffe_ext.certification.smoothing import SmoothingSettings, SmoothingStudy
from caffe_ext.data import ImageSource
from caffe_ext.evaluation.result import ModelEvaluation
from caffe_ext.evaluation.suite import Suite
from caffe_ext.models.base import Ints
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.models.smoothed_description import SmoothedDescription
from caffe_ext.reporting import Reporter, pluralize
from caffe_ext.runs.export import make_plain_name

FOLDER, SMOOTHING = "certificates", "smoothing"
_ByMethod = Mapping[str, Bools]


@dataclass(frozen=True)
class CertificateSettings:
    """How images are certified.

    methods  of bounds.METHODS, for networks; may be empty if there are none
    images   how many of the evaluated images; of a folder or a listing, a sample of them
    samples  noisy copies of an image, for smoothed models
    alpha    probability that an image's certificate by smoothing is wrong

    Raises ValueError for samples that cannot be counted.
    """

    methods: tuple[Method, ...] = ("crown",)
    images: int = 100
    samples: int = 10_000
    alpha: float = 0.001

    def __post_init__(self) -> None:
        """Check the samples, long before they are taken."""
        if not 1 <= self.samples <= MOST_COUNTED:
            raise ValueError(
                f"noisy copies (--certify-samples) must be 1 to {MOST_COUNTED:,}, not "
                f"{self.samples:,}"
            )


@dataclass(frozen=True, eq=False)
class CertifiedAccuracy:
    """What is known of N images within a budget.

    certified  bool (N,) by method, of bounds.METHODS or SMOOTHING: correct, and certified
    robust     bool (N,): correct, and broken by no attack in whole grey levels
    robust_real
               the same in real-valued pixels, for which the certificates hold
    """

    budget: PerturbationBudget
    certified: Mapping[str, Bools]
    robust: Bools
    robust_real: Bools

    @property
    def best(self) -> Bools:
        """Return which images any method certifies, bool (N,)."""
        return np.asarray(np.any(list(self.certified.values()), axis=0))

    @property
    def lower(self) -> float:
        """Return the share that is certified, 0..1: a lower bound of the accuracy."""
        return float(self.best.mean())

    @property
    def upper(self) -> float:
        """Return the share that no attack breaks, 0..1, real-valued pixels: an upper bound."""
        return float(self.robust_real.mean())

    @property
    def contradictions(self) -> int:
        """Return how many images are certified and broken: more than 0 only by a defect, but for
        smoothing, where a certificate has a probability.
        """
        return int((self.best & ~self.robust_real).sum())


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is certified of a model, beside what attacks leave of the same images.

    rows     int64 (N,), which of the evaluated images
    correct  bool (N,)
    """

    rows: Ints
    correct: Bools
    within: tuple[CertifiedAccuracy, ...]

    @property
    def accuracy(self) -> float:
        """Return the share that is correct without perturbation, 0..1."""
        return float(self.correct.mean())


def check_certifiable(
    models: Sequence[LoadableModel], suites: Mapping[str, Suite], settings: CertificateSettings
) -> None:
    """Raise ValueError, naming layer or model, for what has no bounds, before the work begins."""
    for model in models:
        radii = suites[model.name].radii
        if isinstance(model, SmoothedDescription):
            if not radii:
                raise ValueError(f"{model.name}: there is no radius in --within; give one")
            continue
        if not settings.methods:
            raise ValueError(
                f"{model.name}: smoothing certifies models whose file has `smoothing:`; networks "
                "need a method of bounds as well, such as crown"
            )
        read_network(model)
        if not any(budget.norm == "linf" for budget in radii):
            raise ValueError(
                f"{model.name}: certificates are for Linf, and no radius in --within is; give one"
            )


@dataclass(frozen=True)
class Certifier:
    """Certifies images of a source that was evaluated.

    folder      for the bounds and counts (bounds_study.py, smoothing.py), which an interrupted run
                resumes
    batch_size  images in a network at a time
    seed        draws another sample of a folder or listing
    again       discard what is in the folder
    """

    source: ImageSource
    settings: CertificateSettings
    folder: Path
    batch_size: int = 100
    seed: int = 0
    again: bool = False

    def certify(
        self,
        models: Sequence[LoadableModel],
        evaluations: Sequence[ModelEvaluation],
        reporter: Reporter | None = None,
    ) -> dict[str, Certificate]:
        """Certify images; return what is known of them, by the models' names.

        Raises what BoundsStudy.run() and SmoothingStudy.run() do.
        """
        found: dict[str, Certificate] = {}
        pairs = list(zip(models, evaluations, strict=True))
        plain = [pair for pair in pairs if not isinstance(pair[0], SmoothedDescription)]
        if plain:
            found |= self._bound(plain, reporter)
        for model, evaluation in pairs:
            if isinstance(model, SmoothedDescription):
                found[model.name] = self._smooth(model, evaluation, reporter)
        return {model.name: found[model.name] for model in models}

    def _bound(
        self,
        pairs: Sequence[tuple[LoadableModel, ModelEvaluation]],
        reporter: Reporter | None,
    ) -> dict[str, Certificate]:
        """Put the bounds of networks beside what attacks have left of the images."""
        radii = sorted(
            {
                one.budget.epsilon
                for _, evaluation in pairs
                for one in evaluation.robust
                if one.budget.norm == "linf"
            }
        )
        study = BoundsStudy(
            [model for model, _ in pairs],
            self.source,
            self.folder,
            BoundsSettings(tuple(radii), self.settings.methods, attack=""),
            **self._choose_images(),
        )
        found = {}
        for (model, evaluation), bounded in zip(pairs, study.run(reporter).models, strict=True):

            def certify(budget: PerturbationBudget, bounded: BoundedModel = bounded) -> _ByMethod:
                column = radii.index(budget.epsilon)
                return {
                    method: bounded.correct & (margins[:, column] > 0)
                    for method, margins in bounded.margins.items()
                }

            found[model.name] = self._put_together(evaluation, bounded.correct, certify, ("linf",))
        return found

    def _smooth(
        self, model: SmoothedDescription, evaluation: ModelEvaluation, reporter: Reporter | None
    ) -> Certificate:
        """Put the certificates of smoothing beside what attacks have left of the images."""
        study = SmoothingStudy(
            [model.base],
            self.source,
            self.folder / make_plain_name(model.name),
            SmoothingSettings(
                (model.smoothing.sigma,), (self.settings.samples,), alpha=self.settings.alpha
            ),
            **self._choose_images(),
        )
        result = study.run(reporter)
        (row,) = result.rows
        channels, *size = self.source.image_shape
        seen = model.pixel_space.find_visible_window((size[0], size[1]))
        across = sqrt(channels * prod(one.stop - one.start for one in seen))

        def certify(budget: PerturbationBudget) -> _ByMethod:
            radius = budget.epsilon * (across if budget.norm == "linf" else 1)
            return {SMOOTHING: row.certificates.find_certified(result.labels, radius)}

        correct = evaluation.attempted[self._choose_rows()]
        return self._put_together(evaluation, correct, certify, ("linf", "l2"))

    def _put_together(
        self,
        evaluation: ModelEvaluation,
        correct: Bools,
        certify: Callable[[PerturbationBudget], _ByMethod],
        norms: Sequence[Norm],
    ) -> Certificate:
        """Put what is certified within the budgets of some norms beside what attacks have left."""
        rows = self._choose_rows()
        within = tuple(
            CertifiedAccuracy(
                one.budget, certify(one.budget), one.robust[rows], one.robust_real[rows]
            )
            for one in evaluation.robust
            if one.budget.norm in norms
        )
        return Certificate(rows, correct, within)

    def _choose_images(self) -> dict[str, Any]:
        """Return the options of a Study that choose the images, and the rest that is shared."""
        return {
            "limit": self.settings.images,
            "sample_seed": self.seed,
            "batch_size": self.batch_size,
            "again": self.again,
        }

    def _choose_rows(self) -> Ints:
        return self.source.choose_sample_rows(self.settings.images, self.seed)


def describe_contradictions(certificates: Mapping[str, Certificate]) -> Iterator[str]:
    """Yield a sentence for each budget in which a certified image is broken."""
    for name, certificate in certificates.items():
        for one in certificate.within:
            if one.contradictions and SMOOTHING not in one.certified:
                yield (
                    f"{name}: {pluralize(one.contradictions, 'image')} certified within "
                    f"{one.budget}, and broken by an attack: one of the two is wrong. Please "
                    "report this"
                )


def list_methods(certificates: Mapping[str, Certificate]) -> list[str]:
    """Return the methods that have certified anything, each once."""
    within = (one for each in certificates.values() for one in each.within)
    return list(dict.fromkeys(method for one in within for method in one.certified))


def list_certified_rows(certificates: Mapping[str, Certificate]) -> list[dict[str, Any]]:
    """Return a row for each model and budget, flat; None for methods of other models."""
    methods = list_methods(certificates)
    return [
        {
            "model": name,
            "images": len(certificate.rows),
            "accuracy": certificate.accuracy,
            "norm": one.budget.norm,
            "epsilon": one.budget.epsilon,
            **{
                f"certified_{method}": float(one.certified[method].mean())
                if method in one.certified
                else None
                for method in methods
            },
            "certified_accuracy": one.lower,
            "robust_accuracy": float(one.robust.mean()),
            "robust_accuracy_real": one.upper,
            "gap": one.upper - one.lower,
        }
        for name, certificate in certificates.items()
        for one in certificate.within
    ]
