"""The smallest adversarials, ours and Foolbox's: what bench_attacks.py --smallest asks.

An answer is the distances that one attack reaches on some images of a model, in real-valued pixels
and in whole grey levels. Ours search for whole grey levels; what Foolbox finds is rounded.
"""

# PyTorch and what builds on it are imported late: they are optional, and large.
# ruff: noqa: PLC0415

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

import attack_answers
from attack_answers import Kind, collect_answers
from attack_question import WHITE, Question
from caffe_ext.storage.json_file import Object

if TYPE_CHECKING:
    from bench_attacks import Survey

OURS = "ours"
FOOLBOX: Mapping[str, Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "linf": {
        "DeepFool": ("LinfDeepFoolAttack", {}),
        "FMN": ("LInfFMNAttack", {}),
        "BB": ("LinfinityBrendelBethgeAttack", {}),
    },
    "l2": {
        "DeepFool": ("L2DeepFoolAttack", {}),
        "DDN": ("DDNAttack", {}),
        "FMN": ("L2FMNAttack", {}),
        "BB": ("L2BrendelBethgeAttack", {}),
    },
}
"""The class of each attack in Foolbox and its settings, by norm; none: Foolbox's defaults."""
BUDGETS = {"linf": "linf=255", "l2": "l2=255"}
"""Of the questions; only the norm matters."""
Distances = NDArray[np.float64]
Length = Annotated[float, Meta(ge=0)]


class Answer(TypedDict):
    """What an attack finds, by image, in grey levels; None: no adversarial.

    seconds  of processor time
    """

    real: list[Length | None]
    whole: list[Length | None]
    seconds: Length


@dataclass(frozen=True)
class SmallestRecord:
    """What of smallest.json is read again."""

    depends: Object
    answers: dict[str, Answer]


KIND = Kind("smallest.json", "smallest adversarials", SmallestRecord)


def answer_all(survey: "Survey", record: dict[str, Any]) -> None:
    """Get all answers; see collect_answers()."""
    collect_answers(survey, record, KIND, dict(list_parts(survey)))


def name_answer(model: str, norm: str, whose: str, first: int) -> str:
    """Return the name of an answer."""
    return f"{model}; {norm}; {whose}; {first}"


def list_parts(survey: "Survey") -> Iterator[tuple[str, Callable[[], Answer]]]:
    """Yield the names of the answers, and what gives them, in order."""
    size = attack_answers.PART
    for model, _, total, question in survey.list_questions(tuple(BUDGETS.values())):
        norm = question.budget.norm
        for first in range(0, total, size):
            rows = np.flatnonzero((question.indices >= first) & (question.indices < first + size))
            part = question.select(rows)
            ask = {OURS: ask_ours}
            if survey.other:
                ask |= {name: partial(ask_foolbox, name) for name in FOOLBOX[norm]}
            for whose, each in ask.items():
                yield name_answer(model, norm, whose, first), partial(_answer, each, part)


def _answer(ask: Callable[[Question], tuple[Distances, Distances]], question: Question) -> Answer:
    began = time.process_time()
    real, whole = ask(question)
    seconds = time.process_time() - began
    return {"real": _to_json(real), "whole": _to_json(whole), "seconds": seconds}


def _to_json(distances: Distances) -> list[float | None]:
    return [round(one, 4) if np.isfinite(one) else None for one in distances.tolist()]


def ask_ours(question: Question) -> tuple[Distances, Distances]:
    """Return the distances that minimal-linf or minimal-l2 reaches; infinite: nothing was found."""
    from caffe_ext.attacks.criteria import Misclassification
    from caffe_ext.attacks.registry import parse_attack

    attack = parse_attack(f"minimal-{question.budget.norm}")
    result = attack.run(
        question.classifier, question.images, Misclassification(question.labels), question.indices
    )
    assert result.real is not None
    return (
        _measure(question, result.real.adversarials, result.real.found),
        _measure(question, result.adversarials, result.found),
    )


def ask_foolbox(name: str, question: Question) -> tuple[Distances, Distances]:
    """Return the distances that an attack of Foolbox reaches; BB starts from FMN's results."""
    import foolbox
    import torch

    model = foolbox.PyTorchModel(question.twin, bounds=(0, 1), device="cpu")

    def find(which: str, asked: Question, **given: Any) -> Any:
        cls, settings = FOOLBOX[question.budget.norm][which]
        attack = getattr(foolbox.attacks, cls)(**settings)
        return attack(model, *asked.to_tensors(), epsilons=None, **given)[0]

    if name != "BB":
        found = find(name, question)
    else:
        found = find("FMN", question)
        rows = np.flatnonzero(question.find_misclassified(found))
        if len(rows):
            found[rows] = find("BB", question.select(rows), starting_points=found[rows])
    distances = []
    for pixels in (found, torch.round(found * WHITE) / WHITE):
        broken = question.find_misclassified(pixels)
        distances.append(_measure(question, pixels.numpy() * WHITE, broken))
    return distances[0], distances[1]


def _measure(question: Question, adversarials: NDArray[Any], found: NDArray[np.bool_]) -> Distances:
    """Return the distances of what was found; infinite where nothing was."""
    from caffe_ext.attacks.norms import compute_norms

    apart = adversarials.astype(np.float64) - question.images
    return np.where(found, compute_norms(apart, question.budget.norm), np.inf)
