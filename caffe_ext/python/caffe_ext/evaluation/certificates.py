"""Certificates beside attacks: a lower and an upper bound of the accuracy within each Linf radius.

Bounds of the logits (certification.bounds) certify images: no perturbation within the radius
changes their class. Attacks break images: one perturbation is known that does. On the same images
the truth lies between the two shares; what neither decides is the gap.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.attacks.criteria import Bools
from caffe_ext.certification.bounds import Method
from caffe_ext.certification.bounds_result import BoundedModel
from caffe_ext.certification.bounds_study import BoundsSettings, BoundsStudy
from caffe_ext.certification.network import read_network
from caffe_ext.data import ImageSource
from caffe_ext.evaluation.result import ModelEvaluation
from caffe_ext.evaluation.suite import Suite
from caffe_ext.models.base import Ints
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter, pluralize

FOLDER = "certificates"


@dataclass(frozen=True)
class CertificateSettings:
    """How images are certified.

    methods  of bounds.METHODS
    images   how many of the evaluated images; of a folder or a listing, a sample of them
    """

    methods: tuple[Method, ...] = ("crown",)
    images: int = 100


@dataclass(frozen=True, eq=False)
class CertifiedAccuracy:
    """What is known of N images within a budget; the classifier is the same in both bounds.

    certified  bool (N,) by method: correct, and certified
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
        """Return how many images are certified and broken: more than 0 only by a defect."""
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


def check_certifiable(models: Sequence[LoadableModel], suites: Mapping[str, Suite]) -> None:
    """Raise ValueError, naming layer or model, for what has no bounds, before the work begins."""
    for model in models:
        read_network(model)
        if not any(budget.norm == "linf" for budget in suites[model.name].radii):
            raise ValueError(
                f"{model.name}: certificates are for Linf, and no radius in --within is; give one"
            )


def certify_models(  # noqa: PLR0913  they are independent of each other
    models: Sequence[LoadableModel],
    source: ImageSource,
    settings: CertificateSettings,
    evaluations: Sequence[ModelEvaluation],
    folder: Path,
    *,
    batch_size: int = 100,
    seed: int = 0,
    again: bool = False,
    reporter: Reporter | None = None,
) -> tuple[Certificate, ...]:
    """Certify images of a source that was evaluated; return what is known of them, by model.

    folder  for the bounds (bounds_study.py), which an interrupted run resumes
    seed    draws another sample of a folder or listing

    Raises what BoundsStudy.run() does.
    """
    radii = sorted({one.budget.epsilon for each in evaluations for one in _list_linf(each)})
    study = BoundsStudy(
        models,
        source,
        folder,
        BoundsSettings(tuple(radii), settings.methods, attack=""),
        limit=settings.images,
        sample_seed=seed,
        batch_size=batch_size,
        again=again,
    )
    result = study.run(reporter)
    rows = source.choose_sample_rows(settings.images, seed)
    return tuple(
        _combine(evaluation, bounded, rows, radii)
        for evaluation, bounded in zip(evaluations, result.models, strict=True)
    )


def _list_linf(evaluation: ModelEvaluation) -> Iterator[Any]:
    return (one for one in evaluation.robust if one.budget.norm == "linf")


def _combine(
    evaluation: ModelEvaluation, bounded: BoundedModel, rows: Ints, radii: Sequence[float]
) -> Certificate:
    """Put the bounds of images beside what attacks have left of them."""
    within = tuple(
        CertifiedAccuracy(
            one.budget,
            {
                method: bounded.correct & (margins[:, radii.index(one.budget.epsilon)] > 0)
                for method, margins in bounded.margins.items()
            },
            one.robust[rows],
            one.robust_real[rows],
        )
        for one in _list_linf(evaluation)
    )
    return Certificate(rows, bounded.correct, within)


def describe_contradictions(certificates: Mapping[str, Certificate]) -> Iterator[str]:
    """Yield a sentence for each budget in which a certified image is broken."""
    for name, certificate in certificates.items():
        for one in certificate.within:
            if one.contradictions:
                yield (
                    f"{name}: {pluralize(one.contradictions, 'image')} certified within "
                    f"{one.budget}, and broken by an attack: one of the two is wrong. Please "
                    "report this"
                )


def list_certified_rows(certificates: Mapping[str, Certificate]) -> list[dict[str, Any]]:
    """Return a row for each model and budget, flat."""
    return [
        {
            "model": name,
            "images": len(certificate.rows),
            "accuracy": certificate.accuracy,
            "norm": one.budget.norm,
            "epsilon": one.budget.epsilon,
            **{f"certified_{method}": float(of.mean()) for method, of in one.certified.items()},
            "certified_accuracy": one.lower,
            "robust_accuracy": float(one.robust.mean()),
            "robust_accuracy_real": one.upper,
            "gap": one.upper - one.lower,
        }
        for name, certificate in certificates.items()
        for one in certificate.within
    ]
