"""Variants: ways of counting what an attack found.

FGS is counted in three ways, side by side, because their difference is gradient masking:

paper   an attempt on an image with saturated softmax (exactly 1 in float32 for the label, so that
        the loss is exactly 0) counts as failed, as in the tables of Rozsa, Günther and Boult, 2018
        (BANG)
strict  every adversarial counts; failures have a zero gradient, or no adversarial along it
logit   every adversarial counts along the sign of the margin's gradient, which cannot saturate: the
        attack `margin-s`

Each variant has the means of the adversarials that it counts. Other attacks have one, "all".
"""

from collections.abc import Mapping
from dataclasses import dataclass

FGS, LOGIT_FGS = "fgs", "margin-s"
ALL = "all"


@dataclass(frozen=True)
class Variant:
    """One way of counting what an attack found.

    name             short, for files and programs
    title            in tables; None: the attack's own name
    meaning          in a sentence
    saturated_fails  an attempt on an image with saturated softmax counts as failed
    """

    name: str
    title: str | None = None
    meaning: str = "Every adversarial counts."
    saturated_fails: bool = False


PLAIN = Variant(ALL)
FGS_VARIANTS: Mapping[str, tuple[Variant, ...]] = {
    FGS: (
        Variant(
            "paper",
            "FGS, paper's protocol",
            "An attempt on an image whose softmax is saturated (exactly 1 in float32 for the "
            "label, so that the loss is exactly 0) counts as failed, as in the tables of Rozsa, "
            "Günther and Boult, 2018.",
            saturated_fails=True,
        ),
        Variant(
            "strict",
            "FGS, strict",
            "Every adversarial along the sign of the loss's gradient counts.",
        ),
    ),
    LOGIT_FGS: (
        Variant(
            "logit",
            "FGS on the logit margin",
            "The same with the gradient of the logits' margin, which cannot saturate.",
        ),
    ),
}
