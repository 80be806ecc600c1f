"""AutoAttack: four different attacks, each on the images that the previous ones left unsolved.

standard   APGD-CE (100 steps), APGD-T (9 targets x 100), FAB-T (9 x 100), Square (5,000 queries)
quick      APGD-CE (50), APGD-T (3 x 50)

Networks with fewer classes have fewer targets. The targeted DLR loss needs 4 classes: with 3 the
untargeted one replaces it, with 2 the margin of the logits.

Croce and Hein, 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", Section 6.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from caffe_ext.attacks.apgd import MOST_TARGETS, AutoProjectedGradient
from caffe_ext.attacks.base import AttackResult, RealReading
from caffe_ext.attacks.budget_texts import register_within
from caffe_ext.attacks.criteria import Criterion
from caffe_ext.attacks.fab import FastAdaptiveBoundary
from caffe_ext.attacks.losses import FEWEST_CLASSES, Loss
from caffe_ext.attacks.square import SquareAttack
from caffe_ext.attacks.within import BudgetAttack
from caffe_ext.models.base import Images, Ints, Model

Version = Literal["standard", "quick"]
_QUICK_STEPS, _QUICK_TARGETS = 50, 3


@register_within("autoattack", {"quick": {"version": "quick"}})
@dataclass(frozen=True)
class AutoAttack(BudgetAttack):
    """AutoAttack; APGD and FAB take `iterations` steps, and Square 50 times as many queries.

    version  standard or quick
    """

    version: Version = "standard"

    def __post_init__(self) -> None:
        """Raise ValueError for invalid settings."""
        super().__post_init__()
        if self.version not in get_args(Version):
            known = ", ".join(get_args(Version))
            raise ValueError(f"the version must be one of {known}, not {self.version!r}")

    @property
    def name(self) -> str:
        """Return AutoAttack with the budget."""
        quick = ", quick" if self.version == "quick" else ""
        return f"AutoAttack{quick} {self._budget_text}"

    @property
    def threat_model(self) -> str:
        """Describe what the attacker may do."""
        return (
            f"knows the network and its weights; {self.budget.wording}, by several attacks in "
            "turn (AutoAttack)"
        )

    def choose_attacks(self, classes: int) -> tuple[BudgetAttack, ...]:
        """Return the attacks for a network with this many classes, in order."""
        targets = MOST_TARGETS if self.version == "standard" else _QUICK_TARGETS
        targets = min(targets, classes - 1)
        iterations = self.iterations
        if self.version == "quick":
            iterations = min(iterations, _QUICK_STEPS)
        common = (self.epsilon, self.norm, iterations, self.restarts, self.seed)
        order: tuple[Loss, ...] = ("dlr-t", "dlr", "margin")
        loss = next(one for one in order if classes >= FEWEST_CLASSES[one])
        second = AutoProjectedGradient(*common, loss=loss)
        if loss == "dlr-t":
            second = replace(second, targets=targets)
        first = AutoProjectedGradient(*common, loss="ce")
        if self.version == "quick":
            return first, second
        fab = FastAdaptiveBoundary(*common, targets=targets)
        queries = 50 * iterations
        square = SquareAttack(self.epsilon, self.norm, queries, self.restarts, self.seed)
        return first, second, fab, square

    def check(self, model: Model) -> None:
        """Raise ValueError if one of the attacks cannot attack this model."""
        for attack in self.choose_attacks(model.classes):
            attack.check(model)

    def run(
        self, model: Model, images: Images, criterion: Criterion, indices: Ints
    ) -> AttackResult:
        """Run the attacks, each on the images left unsolved in whole grey levels."""
        total = AttackResult.make_empty(images)
        real = RealReading(np.zeros(len(images), np.bool_), images.astype(np.float32))
        queries = gradients = 0
        diagnostics = None
        for attack in self.choose_attacks(model.classes):
            left = np.flatnonzero(~total.found)
            if not len(left):
                break
            mine = attack.run(model, images[left], criterion.select(left), indices[left])
            queries, gradients = queries + mine.queries, gradients + mine.gradients
            diagnostics = diagnostics or mine.diagnostics  # the first attack's, of all images
            for name in ("found", "adversarials", "classes", "step_lengths"):
                getattr(total, name)[left] = getattr(mine, name)
            assert mine.real is not None
            new = mine.real.found & ~real.found[left]
            real.found[left[new]] = True
            real.adversarials[left[new]] = mine.real.adversarials[new]
        return replace(
            total, queries=queries, gradients=gradients, diagnostics=diagnostics, real=real
        )
