"""Robust accuracy by AutoAttack, ours and its authors': what bench_attacks.py --accuracy asks.

It takes hours, so it is asked in parts: an answer is that of one of the two about some images of a
model within a budget. Each is in the record as soon as it is there; the same command goes on.
"""

# PyTorch and what builds on it are imported late: they are optional, and large.
# ruff: noqa: PLC0415

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from msgspec import Meta

from attack_question import WHITE, Question
from caffe_ext.cli.console import Console
from caffe_ext.runs.output_folder import claim_output
from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.json_file import Count, Object, read_json

if TYPE_CHECKING:
    from pathlib import Path

    from bench_attacks import Survey

PART = 250
"""Images of an answer; also the other's batch, as by its default."""
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


def answer_all(survey: "Survey", record: dict[str, Any]) -> None:
    """Get all answers that are missing, and add them to the record, in its file as well.

    RecordError if the file is damaged, or another process is at it.
    """
    with claim_output(survey.arguments.output):
        _answer_all(survey, record)


def _answer_all(survey: "Survey", record: dict[str, Any]) -> None:
    path = survey.arguments.output / "accuracy.json"
    depends = survey.identify()
    answers = {} if survey.arguments.again else read_answers(path, depends)
    record |= {"depends": depends, "answers": answers}
    parts = list(list_parts(survey))
    missing = [one for one in parts if name_answer(*one[:4]) not in answers]
    done = len(parts) - len(missing)
    ask: dict[str, Callable[[Question], Answer]] = {OURS: ask_ours, OTHER: ask_other}
    with Console().show_progress("AutoAttack", len(parts), "answer", done) as step:
        for part in missing:
            total, question = part[4:]
            began = time.process_time()
            found = ask[part[2]](question)
            found |= {"images": total, "seconds": time.process_time() - began}
            answers[name_answer(*part[:4])] = found
            write_json(path, record)
            step(1)


def name_answer(model: str, within: str, whose: str, first: int) -> str:
    """Return the name of an answer."""
    return f"{model}; {within}; {whose}; {first}"


def read_answers(path: "Path", depends: Object) -> dict[str, Answer]:
    """Return the answers in a record; ValueError if they are about other models or images."""
    if not path.exists():
        return {}
    advice = "--again begins anew"
    record = read_json(path, AccuracyRecord, advice)
    if record.depends != depends:
        raise ValueError(f"{path} is about other models or images: {advice}, --output elsewhere")
    return record.answers


def list_parts(survey: "Survey") -> Iterator[Part]:
    """Yield what is asked, in order."""
    for model, within, total, question in survey.list_questions():
        for first in range(0, total, PART):
            count = min(PART, total - first)
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
    found = attack.run_standard_evaluation(pixels, labels, batch_size=PART)[0]
    broken = question.find_misclassified(found)
    levels = torch.round(found * WHITE)
    apart = (levels - pixels * WHITE).flatten(1)
    order = 2 if question.l2 else float("inf")
    # pixels * WHITE is a whole number but for the last bits of float32.
    inside = (apart.norm(order, dim=1) <= question.budget.epsilon + 1e-3).numpy()
    rounded = question.find_misclassified(levels / WHITE) & inside
    return {"real": int((~broken).sum()), "whole": int((~rounded).sum())}
