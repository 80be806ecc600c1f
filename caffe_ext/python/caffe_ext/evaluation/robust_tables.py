"""Robust accuracy as rows: what each attack of a cascade has broken, and curves over the radius.

All of it is an upper bound: a stronger attack can only lower it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from caffe_ext.attacks.budget import Norm
from caffe_ext.evaluation.result import ModelEvaluation
from caffe_ext.evaluation.robustness import RobustAccuracy, compute_robust_curve, show_real

NORMS: tuple[Norm, ...] = ("linf", "l2")
CURVE_POINTS = 65
_DIGITS = 6
"""Decimal places of a share of images."""


def list_stage_rows(model: ModelEvaluation) -> list[dict[str, Any]]:
    """Return a row for each budget and attack, in the order in which they were run.

    robust_accuracy and robust_accuracy_real are those after the attack.
    """
    rows = []
    for one in model.robust:
        left = left_real = one.correct
        images = max(len(one.robust), 1)
        for number, stage in enumerate(one.stages):
            left, left_real = left - stage.broken, left_real - stage.broken_real
            rows.append(
                {
                    "model": model.name,
                    "norm": one.budget.norm,
                    "epsilon": one.budget.epsilon,
                    "stage": number,
                    "attack": stage.attack,
                    "title": stage.name,
                    "cascade": stage.tried is not None,
                    "tried": stage.tried,
                    "broken": stage.broken,
                    "broken_real": stage.broken_real,
                    "robust_accuracy": round(left / images, _DIGITS),
                    "robust_accuracy_real": round(left_real / images, _DIGITS),
                    "run_for": stage.run_for,
                }
            )
    return rows


def list_curve_rows(model: ModelEvaluation) -> list[dict[str, Any]]:
    """Return a row for each norm and radius, from 0 to the largest budget in the norm."""
    rows = []
    for norm in NORMS:
        mine = [one for one in model.robust if one.budget.norm == norm]
        if not mine:
            continue
        largest = max(one.budget.epsilon for one in mine)
        budgets = [one.budget.epsilon for one in mine]
        radii = np.unique([*np.linspace(0, largest, CURVE_POINTS), *budgets])
        whole, real = (compute_robust_curve(mine, radii, norm, real=real) for real in (False, True))
        assert whole is not None
        assert real is not None
        rows += [
            {
                "model": model.name,
                "norm": norm,
                "radius": float(radius),
                "robust_accuracy": round(float(first), _DIGITS),
                "robust_accuracy_real": round(float(second), _DIGITS),
            }
            for radius, first, second in zip(radii, whole, real, strict=True)
        ]
    return rows


def make_robust_record(one: RobustAccuracy) -> dict[str, Any]:
    """Return a budget's JSON without the stages; `broken_in`: number of the stage, -1: none."""
    return {
        "norm": one.budget.norm,
        "epsilon": one.budget.epsilon,
        "is": "an upper bound",
        "accuracy": one.accuracy,
        "accuracy_real": one.accuracy_real,
        "robust": int(one.robust.sum()),
        "robust_real": int(one.robust_real.sum()),
        "correct": one.correct,
        "broken_in": one.broken_in.tolist(),
    }


def describe_cascades(models: Sequence[ModelEvaluation]) -> Iterator[str]:
    """Yield a sentence for each model and budget whose cascade has several attacks, and for those
    that attacks for other budgets lower.
    """
    for model in models:
        for one in model.robust:
            stages = [stage for stage in one.stages if stage.tried is not None]
            if len(stages) > 1:
                found = "; ".join(
                    f"{stage.name}: {stage.broken:,} of {stage.tried:,}"
                    + show_real(stage.broken, stage.broken_real)
                    for stage in stages
                )
                yield f"{model.name}, within {one.budget}: {found}"
            elsewhere = [stage for stage in one.stages if stage.run_for]
            if elsewhere:
                broken, real = (
                    sum(getattr(stage, name) for stage in elsewhere)
                    for name in ("broken", "broken_real")
                )
                yield (
                    f"{model.name}, within {one.budget}, by attacks run for something else: "
                    f"{broken:,}{show_real(broken, real)}"
                )
