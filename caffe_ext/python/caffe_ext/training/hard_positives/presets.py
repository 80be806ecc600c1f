"""Hard positives: adversarial images with the labels of their originals, for fine-tuning.

    x~ = clip(round(x + s t u))      s >= 1; t: the smallest step length along u that is adversarial

Rozsa, Rudd and Boult, 2016, Section 5.2: many directions u (HC-1 to HC-9), each followed
slightly further than necessary (s = 1.05), improve LeNet most, on MNIST and on adversarials. They
can be restricted to a range of PASS: in its Figure 6, the middle range is the best.

training_set.py makes a training set of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.models.base import Ints
from caffe_ext.runs.records import AttackRecords

_CLASSES = 10  # of the paper's networks


def make_presets(classes: int = _CLASSES) -> dict[str, tuple[str, ...]]:
    """Return the training sets of Table 1, as names of attacks by the paper's names.

    D is along derivatives, S along their signs. K classes have HC-1 to HC-(K-1): with fewer than
    ten classes, a set has only those of its attacks that exist. With more than 20 there is also
    HC-D-20, that of Section 5.3 for ImageNet.
    """
    nine, five = (range(1, min(count, classes - 1) + 1) for count in (9, 5))
    twenty = {"HC-D-20": tuple(f"hc{rank}" for rank in range(1, 21))}
    return {
        "HC-D-9-1.05": tuple(f"hc{rank}*1.05" for rank in nine),
        "HC-D-9": tuple(f"hc{rank}" for rank in nine),
        "HC-D-5": tuple(f"hc{rank}" for rank in five),
        "HC-S-5": tuple(f"hc{rank}-s" for rank in five),
        "FGV": ("fgv",),
        "FGS": ("fgs",),
        **(twenty if classes > 20 else {}),
    }


PRESETS = make_presets()
BEST = "HC-D-9-1.05"


@dataclass(frozen=True)
class Recipe:
    """Which hard positives are made, and how they are used.

    attacks    that make them, by name; default: the best in the paper
    min_pass   only those with this PASS (standard protocol) or more; None: any
    max_pass   only those with this PASS or less; None: any
    mix        with all originals, or alone
    limit      how many images are attacked, a sample of the source; None: all
    seed       of the order, and of the attacks that start at random
    per_class  how many correctly classified images of each class are attacked, in place of a limit

    Raises ValueError for unknown or repeated attacks, an empty range of PASS, and an invalid limit,
    per_class or seed.
    """

    attacks: tuple[str, ...] = PRESETS[BEST]
    min_pass: float | None = None
    max_pass: float | None = None
    mix: bool = True
    limit: int | None = None
    seed: int = 0
    per_class: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.seed < 0:
            raise ValueError(f"the seed must be 0 or more, not {self.seed}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"the limit must be 1 image or more, not {self.limit}")
        if self.per_class is not None and self.per_class < 1:
            raise ValueError(f"per class must be 1 image or more, not {self.per_class}")
        if self.per_class is not None and self.limit is not None:
            raise ValueError("a limit and a number of images per class exclude each other")
        texts = [attack.text for attack in self.parse_attacks()]
        if not texts:
            raise ValueError("at least one attack is needed")
        twice = next((text for text in texts if texts.count(text) > 1), None)
        if twice:
            raise ValueError(f"the attack {twice} is listed twice")
        least, greatest = self.pass_range
        if not (least <= greatest and least <= 1):
            raise ValueError(
                f"no image has a PASS of at least {least:g} and at most {min(greatest, 1):g}"
            )

    @property
    def pass_range(self) -> tuple[float, float]:
        """Return the least and the greatest PASS; infinite where there is no filter."""
        return (
            -np.inf if self.min_pass is None else self.min_pass,
            np.inf if self.max_pass is None else self.max_pass,
        )

    def parse_attacks(self) -> list[Attack]:
        """Return the attacks."""
        return [parse_attack(text, seed=self.seed) for text in self.attacks]


@dataclass(frozen=True)
class AttackYield:
    """The yield of one attack.

    attempted    images that were attacked: those classified as their label
    found        adversarials
    unconfirmed  dropped: classified as their label when classified again
    below_pass   dropped: PASS below the range
    above_pass   dropped: PASS above the range
    kept         hard positives: found, and not dropped
    classes      those, by their labels 0 .. K-1
    pass_scores  their least, mean and greatest PASS; None if none is kept, or PASS is not defined
    ecc_failed   of those kept, the ones whose PASS is the plain SSIM, as no alignment was found
    """

    attack: str
    name: str
    attempted: int
    found: int
    unconfirmed: int
    below_pass: int
    above_pass: int
    kept: int
    classes: tuple[int, ...]
    pass_scores: tuple[float, float, float] | None
    ecc_failed: int


def select(
    records: AttackRecords, recipe: Recipe, attack: Attack, classes: int
) -> tuple[NDArray[np.bool_], AttackYield]:
    """Return which images' adversarials are hard positives, bool (N,), and the yield.

    The range of PASS includes both ends. `classes` is the network's K.
    """
    least, greatest = recipe.pass_range
    scores, confirmed = records.pass_scores, records.found & records.verified
    below, above = confirmed & (scores < least), confirmed & (scores > greatest)
    kept = confirmed & ~below & ~above
    known = scores[kept & ~np.isnan(scores)]
    return kept, AttackYield(
        attack=attack.text,
        name=attack.name,
        attempted=int(records.attempted.sum()),
        found=int(records.found.sum()),
        unconfirmed=int((records.found & ~records.verified).sum()),
        below_pass=int(below.sum()),
        above_pass=int(above.sum()),
        kept=int(kept.sum()),
        classes=count_per_class(records.labels[kept], classes),
        pass_scores=(float(known.min()), float(known.mean()), float(known.max()))
        if len(known)
        else None,
        ecc_failed=int((kept & records.ecc_failed).sum()),
    )


def count_per_class(labels: Ints, classes: int) -> tuple[int, ...]:
    """Return how many labels there are of each class 0 .. K-1."""
    return tuple(np.bincount(labels, minlength=classes).tolist())
