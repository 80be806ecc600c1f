"""The models of the report's Table 1, how they are trained, and the report's figures.

Mallam Garba, Susini and Kayo, "Building Robust Neural network models for Image classification",
Section 3: plain training, training with Gaussian noise, adversarial training with PGD in L2, in
Linf, and with both (mixed). The sixth row of the table, randomized smoothing, is the noisy model
again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Radii = Literal["standard", "report"]


@dataclass(frozen=True)
class Pgd:
    """PGD of ten steps, in grey levels: an attack in training, and one of the table's columns."""

    norm: Literal["linf", "l2"]
    epsilon: float
    step: float
    steps: int = 10

    @property
    def message(self) -> str:
        """Return it as `attack` of an AdversarialParameter, in protobuf's text format."""
        kind = f"PGD_{self.norm.upper()}"
        return (
            f"attack {{ type: {kind} epsilon: {self.epsilon:g} step_size: {self.step:g} "
            f"steps: {self.steps} }}"
        )


LINF = {"standard": Pgd("linf", 8, 2), "report": Pgd("linf", 0.03 * 255, 0.02 * 255)}
L2 = {"standard": Pgd("l2", 0.5 * 255, 0.125 * 255), "report": Pgd("l2", 0.045 * 255, 0.03 * 255)}
"""The literature's radii (8/255, and 0.5 of 1), as in the solver files, and the report's."""


@dataclass(frozen=True)
class StudyModel:
    """A model that is trained.

    solver   the name of its solver file in solvers/
    attacks  those of its training, whose radii may be the report's
    """

    id: str
    title: str
    solver: str
    attacks: tuple[Literal["linf", "l2"], ...] = ()

    def format_overrides(self, radii: Radii) -> str:
        """Return the solver settings that give its attacks these radii, as protobuf text."""
        if radii == "standard" or not self.attacks:
            return ""
        chosen = {"linf": LINF[radii], "l2": L2[radii]}
        messages = " ".join(chosen[norm].message for norm in self.attacks)
        return f"adversarial_param {{ {messages} }}"


TABLE_1 = (
    StudyModel("basic", "plain", "cifar10_quick_sgd"),
    StudyModel("noisy", "noisy", "cifar10_quick_noisy_0.12"),
    StudyModel("at-l2", "adversarial, PGD L2", "cifar10_quick_pgd_l2", ("l2",)),
    StudyModel("at-linf", "adversarial, PGD Linf", "cifar10_quick_pgd", ("linf",)),
    StudyModel("mixed", "adversarial, mixed", "cifar10_quick_mixed", ("l2", "linf")),
)
MODELS = {model.id: model for model in TABLE_1}
SMOOTHED = "smoothing"
SMOOTHED_FROM = "noisy"
SIGMA = 0.12 * 255
"""Of the noise that the noisy model is trained with, in grey levels."""
COLUMNS = ("natural", "fgsm", "pgd_linf", "pgd_l2")
REPORT: Mapping[str, tuple[float, float, float, float]] = {
    "basic": (58.2, 3.81, 0.29, 0.29),
    "noisy": (62.16, 26.17, 21.77, 25.16),
    "at-l2": (54.78, 25.00, 20.99, 23.82),
    "at-linf": (54.41, 28.32, 25.58, 19.33),
    "mixed": (51.76, 28.41, 26.46, 27.15),
    SMOOTHED: (59.71, 38.1, 37.68, 39.8),
}
"""The report's accuracies, in %: natural, FGSM, PGD in Linf and in L2."""
EPOCH = 500
"""Iterations of 100 of the 50,000 training images."""
EPOCHS = 30
