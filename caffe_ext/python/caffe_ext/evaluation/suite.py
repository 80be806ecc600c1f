"""Suite: what an evaluation measures on every model, as data.

attacks    the minimum-norm attacks (and others), on all images
variants   attacks whose result is counted in several ways
radii      perturbation budgets for which the robust accuracy is given
cascade    attacks within each budget, each on what the ones before have left
norms      the norms that have curves

make_default_suite() is that of `caffe-ext evaluate`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from caffe_ext.attacks.autoattack import AutoAttack
from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.budget import Norm, PerturbationBudget, check_distance, parse_change
from caffe_ext.attacks.budget_texts import insert_radius
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.runs.variants import ALL, FGS, FGS_VARIANTS, LOGIT_FGS, PLAIN, Variant

MOST_RANKS = 9
GREY_RADII = (8.0, 25.5, 51.0, 76.5)
"""Linf, of grey images: 76.5 is the 0.3 of MNIST in the literature."""
COLOUR_RADII = (1.0, 2.0, 4.0, 8.0)
"""Linf, of colour images: 8 is the 8/255 of CIFAR-10 and ImageNet in the literature."""
CASCADE = ("pgd=E+margin",)
_WITHIN = ("bim", "pgd", "apgd", "fab", "square", "autoattack")
"""Attacks whose texts have a radius, and "-l2" before it in L2."""


@dataclass(frozen=True)
class Suite:
    """What is measured on a model.

    columns          (attack, variant) by text and name: those of the summary table
    loss, margin     texts of the single-step attacks whose difference shows masked gradients; None:
                     signs of masking that need them are not checked
    classes          of the network, on which AutoAttack's attacks depend
    """

    attacks: tuple[Attack, ...]
    variants: Mapping[str, tuple[Variant, ...]] = field(default_factory=dict)
    radii: tuple[PerturbationBudget, ...] = ()
    cascade: tuple[str, ...] = ()
    norms: tuple[Norm, ...] = ("linf", "l2")
    columns: tuple[tuple[str, str], ...] = ()
    loss: str | None = None
    margin: str | None = None
    classes: int = 10

    def __post_init__(self) -> None:
        """Raise ValueError for no attacks, for one that is listed twice, and for unknown ones."""
        texts = [attack.text for attack in self.attacks]
        if not texts:
            raise ValueError("an evaluation needs at least one attack")
        twice = next((text for text in texts if texts.count(text) > 1), None)
        if twice:
            raise ValueError(f"the attack {twice} is listed twice")
        for text in (self.loss, self.margin):
            if text is not None and text not in texts:
                raise ValueError(f"the attack {text} is not in the suite")
        for budget in self.radii:
            self.make_cascade(budget)

    def find_variants(self, text: str) -> tuple[Variant, ...]:
        """Return the variants in which an attack is counted."""
        return self.variants.get(text, (PLAIN,))

    @property
    def every_attack(self) -> tuple[Attack, ...]:
        """All attacks, and those of the cascade within each budget."""
        within = (one for budget in self.radii for one in self.make_cascade(budget))
        return (*self.attacks, *within)

    def make_cascade(self, budget: PerturbationBudget, seed: int = 0) -> tuple[Attack, ...]:
        """Return the attacks of the cascade within a budget; ValueError for unknown ones.

        E in a text stands for the budget's radius, 0.25E for a quarter of it; the name of an attack
        alone is short for NAME=E.
        In L2, bim and pgd are bim-l2 and pgd-l2, and so on. AutoAttack is split into its attacks,
        so that the share of each is known.
        """
        found: list[Attack] = []
        for text in self.cascade:
            attack = parse_attack(_add_budget(text, budget), seed=seed)
            found += (
                attack.choose_attacks(self.classes) if isinstance(attack, AutoAttack) else [attack]
            )
        return tuple({one.text: one for one in found}.values())


def _add_budget(text: str, budget: PerturbationBudget) -> str:
    """Return the text of an attack of a cascade within a budget."""
    name, plus, ending = text.partition("+")
    if name in _WITHIN:
        text = f"{name}=E{plus}{ending}"
    if budget.norm == "l2":
        text = re.sub(rf"^({'|'.join(_WITHIN)})=", r"\1-l2=", text)
    return insert_radius(text, budget.epsilon)


def make_default_suite(  # noqa: PLR0913  they are independent of each other
    classes: int,
    *,
    ranks: Sequence[int] | None = None,
    extra: Sequence[Attack] = (),
    radii: Sequence[PerturbationBudget] = (),
    cascade: Sequence[str] = CASCADE,
    norms: tuple[Norm, ...] = ("linf", "l2"),
) -> Suite:
    """Return the suite for a network with so many classes: FGS, FGV, HC-k, and more.

    ranks  the k of HC-k; None: 1 to 9, but less than the number of classes
    extra  more attacks

    Raises ValueError for ranks that the network does not have.
    """
    ranks = ranks or range(1, min(MOST_RANKS, classes - 1) + 1)
    if ranks and max(ranks) >= classes:
        raise ValueError(
            f"there is no HC{max(ranks)}: the network has {classes} classes, so the k of HC-k "
            f"(--hot) can be at most {classes - 1}"
        )
    base = [parse_attack(text) for text in (FGS, LOGIT_FGS, "fgv", *(f"hc{k}" for k in ranks))]
    attacks = {attack.text: attack for attack in (*base, *extra)}
    columns = [(FGS, "paper"), (FGS, "strict"), (LOGIT_FGS, "logit"), ("hc1", ALL)]
    columns += [(attack.text, ALL) for attack in extra]
    return Suite(
        tuple(attacks.values()),
        FGS_VARIANTS,
        tuple(radii),
        tuple(cascade),
        norms,
        tuple(dict.fromkeys(one for one in columns if one[0] in attacks)),
        loss=FGS,
        margin=LOGIT_FGS,
        classes=classes,
    )


def parse_radius(text: str, norm: Norm = "linf") -> PerturbationBudget:
    """Return the budget of "8", "8/255", "linf=8" or "l2=0.5of1"; ValueError for others.

    norm  of a text without one
    """
    own, equals, distance = text.strip().rpartition("=")
    name = own.lower() if equals else norm
    if name not in ("linf", "l2"):
        raise ValueError(f"a radius must be written as 8, 8/255, linf=8 or l2=0.5of1, not {text!r}")
    check_distance("a radius", parse_change(distance))
    return PerturbationBudget(name, parse_change(distance))  # type: ignore[arg-type]


def choose_default_radii(channels: int) -> tuple[PerturbationBudget, ...]:
    """Return the budgets of the literature for grey (1 channel) or colour images."""
    values = GREY_RADII if channels == 1 else COLOUR_RADII
    return tuple(PerturbationBudget("linf", epsilon) for epsilon in values)
