"""What bench_attacks.py times: attacks of ours and of PyTorch's libraries, which answer the same.

PGD, APGD, Square   which images have an adversarial within the budget: torchattacks
FMN                 how near the nearest adversarial is, in real-valued pixels: Foolbox

PGD of ours rounds each point to whole grey levels, which is the harder question.
"""

# PyTorch and what builds on it are imported late: they are optional, and large.
# ruff: noqa: PLC0415

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attack_question import WHITE, Question
from paired_timing import time_pair

FMN_STEPS = 100
TARGETS = {"PGD-40": 2.0, "APGD-CE": 2.0, "APGD-T": 2.0, "Square": 2.0, "FMN": 3.0}
"""How many times as fast ours is to be."""
Distances = NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """The same attack of ours and of another library.

    text   what ours is, for the table
    ours   returns the distances of what it finds, infinite where it finds nothing
    other  the same; within a budget 0 is enough for "found"
    """

    name: str
    text: str
    ours: Callable[[], Distances]
    other: Callable[[], Distances]


def list_pairs(question: Question, queries: int) -> Iterator[Pair]:
    """Yield what is compared.

    queries  of Square
    """
    import torchattacks

    twin, given, l2 = question.twin, question.given, question.l2
    e = f"{question.budget.epsilon!r}"
    step = question.budget.epsilon / 10

    def within(name: str, text: str, make: Callable[[], Any]) -> Pair:
        return Pair(
            name,
            text,
            lambda: np.where(question.run_ours(text), 0.0, np.inf),
            lambda: np.where(
                question.find_misclassified(make()(*question.to_tensors())), 0.0, np.inf
            ),
        )

    if not l2:
        yield within(
            "PGD-40",
            f"pgd={e}/{step!r}x40",
            lambda: torchattacks.PGD(twin, eps=given["eps"], alpha=step / WHITE, steps=40),
        )
    yield within(
        "APGD-CE", f"apgd{l2}={e}x100", lambda: torchattacks.APGD(twin, steps=100, **given)
    )
    yield within(
        "APGD-T",
        f"apgd{l2}={e}x100+dlr-t",
        lambda: torchattacks.APGDT(twin, steps=100, n_classes=10, **given),
    )
    yield within(
        "Square",
        f"square{l2}={e}x{queries}",
        lambda: torchattacks.Square(twin, n_queries=queries, p_init=0.8, **given),
    )
    yield _pair_fmn(question)


def _pair_fmn(question: Question) -> Pair:
    """Return FMN in the budget's norm, whose radius it does not know."""
    import foolbox

    from caffe_ext.attacks.criteria import Misclassification
    from caffe_ext.attacks.norms import compute_norms
    from caffe_ext.attacks.smallest.fmn import fast_minimum_norm
    from caffe_ext.attacks.smallest.queries import MarginQueries

    norm, images = question.budget.norm, question.images

    def ours() -> Distances:
        asked = MarginQueries(question.classifier, Misclassification(question.labels))
        return fast_minimum_norm(asked, images, norm, FMN_STEPS).distances

    attacks = foolbox.attacks
    attack = (attacks.L2FMNAttack if question.l2 else attacks.LInfFMNAttack)(steps=FMN_STEPS)
    model = foolbox.PyTorchModel(question.twin, bounds=(0, 1), device="cpu")

    def other() -> Distances:
        found = attack(model, *question.to_tensors(), epsilons=None)[0]
        apart = found.numpy() * WHITE - images
        return np.where(question.find_misclassified(found), compute_norms(apart, norm), np.inf)

    return Pair("FMN", f"fmn-{norm}, its search in real numbers", ours, other)


def time_pairs(question: Question, queries: int, runs: int) -> list[Row]:
    """Return how long ours and the others take, in turns, and what they find."""
    rows = []
    for pair in list_pairs(question, queries):
        found: dict[str, Distances] = {}

        def run(whose: str, job: Callable[[], Distances], found: Any = found) -> None:
            found[whose] = job()

        times = time_pair(
            lambda run=run, pair=pair: run("ours", pair.ours),  # type: ignore[misc]
            lambda run=run, pair=pair: run("other", pair.other),  # type: ignore[misc]
            runs,
        )
        row: Row = {"attack": pair.name, "ours": pair.text, "images": len(question.images)}
        for whose, distances in found.items():
            row[f"found_{whose}"] = int(np.isfinite(distances).sum())
            near = distances[np.isfinite(distances)]
            row[f"mean_{whose}"] = float(near.mean()) if pair.name == "FMN" and len(near) else None
        rows.append(row | asdict(times))
    return rows
