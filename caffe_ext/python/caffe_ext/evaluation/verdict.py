"""The result of an evaluation of a model in three plain sentences, for the top of the report."""

from collections.abc import Sequence

from caffe_ext.attacks.budget import PerturbationBudget, show_distance
from caffe_ext.evaluation.number_text import format_percent
from caffe_ext.evaluation.result import ModelEvaluation
from caffe_ext.reporting import pluralize


def form_verdict(model: ModelEvaluation, budget: PerturbationBudget | None) -> tuple[str, str, str]:
    """Return how accurate a model is, how robust at most, and how far to trust that.

    budget  the one to show, of choose_telling_budget()
    """
    return _describe_accuracy(model), _describe_robustness(model, budget), _assess_trust(model)


def choose_telling_budget(models: Sequence[ModelEvaluation]) -> PerturbationBudget | None:
    """Return the most informative budget of a report, for all of its models: of those that most of
    them have, the one that leaves closest to half of their correct images; None if there is none.
    """
    shares: dict[PerturbationBudget, list[float]] = {}
    for model in models:
        for one in model.robust:
            if one.accuracy is not None:
                left = int(one.robust.sum()) / max(one.correct, 1)
                shares.setdefault(one.budget, []).append(abs(left - 0.5))
    most = max(map(len, shares.values()), default=0)
    common = {budget: sum(far) for budget, far in shares.items() if len(far) == most}
    return min(common, key=lambda budget: common[budget]) if common else None


def _describe_accuracy(model: ModelEvaluation) -> str:
    images = pluralize(model.images, "image")
    if model.accuracy is None:
        return f"{model.name} was tried on {images} without labels: its accuracy is unknown."
    return f"{model.name} classifies {model.accuracy:.2%} of {images} correctly."


def _describe_robustness(model: ModelEvaluation, budget: PerturbationBudget | None) -> str:
    shown = next((one for one in model.robust if one.budget == budget), None)
    if shown is None or shown.accuracy is None:
        broken = format_percent(model.broken)
        return f"Attacks without a bound break {broken} of these."
    what = {"linf": "each pixel", "l2": "the whole image (L2)"}[shown.budget.norm]
    left = int(shown.robust.sum())
    if left == 0:
        broken = "the attacks here break all others" if shown.correct else "none is correct anyway"
    elif left == shown.correct:
        broken = "the attacks here break none of them, but stronger ones may"
    else:
        broken = "the attacks here break the others, and stronger ones may break more"
    real = f" ({shown.accuracy_real:.2%} in real-valued pixels)" if shown.differs else ""
    return (
        f"Where {what} may change by {show_distance(shown.budget.epsilon)}, at most "
        f"{shown.accuracy:.2%}{real} stay correct: {broken}."
    )


def _assess_trust(model: ModelEvaluation) -> str:
    signs = len(model.warnings)
    if not signs:
        return "No sign of gradient masking was measured, which does not prove that there is none."
    return (
        f"There {'is 1 sign' if signs == 1 else f'are {signs} signs'} of masked gradients: rates "
        "of attacks on the loss overrate the model (see below)."
    )
