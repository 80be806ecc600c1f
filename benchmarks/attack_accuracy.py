"""Robust accuracy by AutoAttack, ours and its authors': what bench_attacks.py --accuracy asks.

An answer is that of one of the two about some images of a model within a budget.
"""

# PyTorch and what builds on it are imported late: they are optional, and large.
# ruff: noqa: PLC0415

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from msgspec import Meta

import attack_answers
from attack_answers import Kind, collect_answers
from attack_question import WHITE, Question
from caffe_ext.storage.json_file import Count, Object

if TYPE_CHECKING:
    from bench_attacks import Survey

OURS, OTHER = "ours", "other"
Part = tuple[str, str, str, int, int, Question]
"""model, budget, whose answer, its first image, how many there are, those classified correctly"""
Answer = dict[str, Count | Annotated[float, Meta(ge=0)]]
"""images: how many were asked about; real, whole: how many are left in the readings; seconds"""


@dataclass(frozen=True)
class AccuracyRecord:
    """What of accuracy.json is read again."""

    depends: Object
    answers: dict[str, Answer]


KIND = Kind("accuracy.json", "AutoAttack", AccuracyRecord)


def answer_all(survey: "Survey", record: dict[str, Any]) -> None:
    """Get all answers; see collect_answers()."""
    ask: dict[str, Callable[[Question], Answer]] = {OURS: ask_ours, OTHER: ask_other}
    parts = {
        name_answer(*part[:4]): partial(answer, ask[part[2]], *part[4:])
        for part in list_parts(survey)
    }
    collect_answers(survey, record, KIND, parts)


def answer(ask: Callable[[Question], Answer], images: int, question: Question) -> Answer:
    """Return an answer, with how many images it is about and how long it took."""
    began = time.process_time()
    found = ask(question)
    return found | {"images": images, "seconds": time.process_time() - began}


def name_answer(model: str, within: str, whose: str, first: int) -> str:
    """Return the name of an answer."""
    return f"{model}; {within}; {whose}; {first}"


def list_parts(survey: "Survey") -> Iterator[Part]:
    """Yield what is asked, in order."""
    size = attack_answers.PART
    for model, within, total, question in survey.list_questions(survey.arguments.within):
        for first in range(0, total, size):
            count = min(size, total - first)
            rows = np.flatnonzero((question.indices >= first) & (question.indices < first + count))
            for whose in (OURS, OTHER) if survey.other else (OURS,):
                yield model, within, whose, first, count, question.select(rows)


def ask_ours(question: Question) -> Answer:
    """Return how many images our AutoAttack leaves, in both readings."""
    from caffe_ext.attacks.criteria import Misclassification
    from caffe_ext.attacks.registry import parse_attack

    attack = parse_attack(f"autoattack{question.l2}={question.budget.epsilon!r}")
    result = attack.run(
        question.classifier, question.images, Misclassification(question.labels), question.indices
    )
    assert result.real is not None
    return {"real": int((~result.real.found).sum()), "whole": int((~result.found).sum())}


def ask_other(question: Question) -> Answer:
    """Return how many images its authors' AutoAttack leaves; whole: after rounding what it finds.

    What rounding brings out of the ball or back to the label counts as left.
    """
    import torch
    from pyautoattack import AutoAttack

    attack = AutoAttack(question.twin, seed=0, version="standard", **question.given)
    attack.verbose = False
    pixels, labels = question.to_tensors()
    found = attack.run_standard_evaluation(pixels, labels, batch_size=attack_answers.PART)[0]
    broken = question.find_misclassified(found)
    levels = torch.round(found * WHITE)
    apart = (levels - pixels * WHITE).flatten(1)
    order = 2 if question.l2 else float("inf")
    # pixels * WHITE is a whole number but for the last bits of float32.
    inside = (apart.norm(order, dim=1) <= question.budget.epsilon + 1e-3).numpy()
    rounded = question.find_misclassified(levels / WHITE) & inside
    return {"real": int((~broken).sum()), "whole": int((~rounded).sum())}
