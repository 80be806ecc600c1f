"""What bench_attacks.py asks ours and the other libraries: which images an attack breaks.

Ours search in real-valued pixels, as the others do.
"""

# PyTorch and what builds on it are imported late: they are optional, and large.
# ruff: noqa: PLC0415

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from caffe_ext.attacks.budget import PerturbationBudget
    from caffe_ext.models.base import Images, Ints
    from caffe_ext.models.classifier import Classifier

WHITE = 255
NORMS = {"linf": "Linf", "l2": "L2"}
"""What torchattacks and AutoAttack call them."""
Answer = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Question:
    """Images that a model classifies correctly, and a budget.

    twin     the model in PyTorch; None where that is not installed
    indices  the images' numbers, on which the random choices of ours depend
    """

    classifier: "Classifier"
    twin: Any
    images: "Images"
    labels: "Ints"
    indices: "Ints"
    budget: "PerturbationBudget"

    @property
    def l2(self) -> str:
        """Return what our names of attacks in L2 end with; nothing in Linf."""
        return "-l2" if self.budget.norm == "l2" else ""

    @property
    def given(self) -> dict[str, Any]:
        """Return norm and radius as torchattacks and AutoAttack take them."""
        return {"norm": NORMS[self.budget.norm], "eps": self.budget.epsilon / WHITE}

    def select(self, rows: "Ints | slice") -> "Question":
        """Return the same of some of the images."""
        return replace(
            self, images=self.images[rows], labels=self.labels[rows], indices=self.indices[rows]
        )

    def run_ours(self, text: str) -> Answer:
        """Return which images an attack of ours breaks, by its search in real-valued pixels."""
        from caffe_ext.attacks.criteria import Misclassification
        from caffe_ext.attacks.queries import Queries
        from caffe_ext.attacks.registry import parse_attack
        from caffe_ext.attacks.within import BudgetSearch

        attack, criterion = parse_attack(text), Misclassification(self.labels)
        if isinstance(attack, BudgetSearch):
            asked = Queries(self.classifier)
            return attack.search(asked, self.images, criterion, self.indices).found
        return attack.run(self.classifier, self.images, criterion, self.indices).found

    def to_tensors(self) -> Sequence[Any]:
        """Return images in 0..1 and labels for PyTorch."""
        import torch

        pixels = torch.from_numpy(self.images.astype(np.float32) / WHITE)
        return pixels, torch.from_numpy(self.labels)

    def find_misclassified(self, found: Any) -> Answer:
        """Return which images in PyTorch the model there gets wrong."""
        import torch

        with torch.no_grad():
            return np.asarray(self.twin(found).argmax(1).numpy() != self.labels)
