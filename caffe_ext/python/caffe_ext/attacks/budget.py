"""PerturbationBudget: how far an attack may change an image, and its units.

Everything is computed in grey levels, 0..255. The literature mostly has pixels in 0..1: its 8/255
are 8 grey levels, its Linf 0.3 on MNIST is 76.5. parse_distance() reads both; what can only be
meant in the other unit is refused, as an attack within 0.3 grey levels changes nothing and looks
like robustness.
"""

import re
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

import numpy as np

Norm = Literal["linf", "l2"]
NORM_NAMES: dict[str, str] = {"linf": "Linf", "l2": "L2"}
_FULL_SCALE = 255.0
NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
DISTANCE = rf"{NUMBER}(?:/255|of1)?"


def parse_distance(text: str) -> float:
    """Return the grey levels of "8", "8/255" or "0.03of1" (pixels in 0..1), or raise ValueError."""
    found = re.fullmatch(rf"({NUMBER})(/255|of1)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise ValueError(
            f"a distance must be in grey levels (8) or in 0..1 (8/255, 0.03of1), not {text!r}"
        )
    value = float(found[1])
    # Rounded, so that 0.01 of 1 is 2.55 and not 2.5500000000000003.
    return round(value * _FULL_SCALE, 9) if (found[2] or "").lower() == "of1" else value


def show_distance(grey_levels: float) -> str:
    """Return a distance in both units: "8 grey levels (0.0314 of 1)"."""
    unit = "grey level" if grey_levels == 1 else "grey levels"
    return f"{grey_levels:g} {unit} ({grey_levels / _FULL_SCALE:.3g} of 1)"


def parse_change(text: str) -> float:
    """Return parse_distance() of how far an attack may go; ValueError below one grey level, too.

    Only of a text with a unit: without one, check_distance() says what was probably meant.
    """
    distance = parse_distance(text)
    if 0 < distance < 1 and has_unit(text):
        raise ValueError(
            f"{text} is less than one grey level: no image file can hold such a change"
        )
    return distance


def has_unit(text: str) -> bool:
    """Tell whether a text of parse_distance() says that its pixels are in 0..1."""
    return "/" in text or "of" in text.lower()


def check_distance(
    name: str, grey_levels: float, effect: str = "changes no pixel of an image file"
) -> None:
    """Raise ValueError for a distance that is not a number above 0, or below one grey level.

    name    of the setting
    effect  what a distance below one grey level does
    """
    if isinstance(grey_levels, bool) or not isinstance(grey_levels, Real):
        raise ValueError(f"{name} must be a number of grey levels, not {grey_levels!r}")
    if not (np.isfinite(grey_levels) and grey_levels > 0):
        raise ValueError(f"{name} must be above 0 grey levels, not {grey_levels}")
    if grey_levels < 1:
        of_one = grey_levels * _FULL_SCALE
        raise ValueError(
            f"{name} is in grey levels, 0..255, and {grey_levels:g} of one {effect}: "
            f"did you mean {of_one:g} ({grey_levels:g} of 1)? Write {of_one:g}, "
            f"{of_one:g}/255 or {grey_levels:g}of1"
        )


def check_largest_change(grey_levels: float) -> None:
    """Raise ValueError for a change of a pixel by more than 255."""
    if grey_levels > _FULL_SCALE:
        raise ValueError(
            f"no pixel changes by more than 255 grey levels, and {grey_levels:g} are asked for"
        )


@dataclass(frozen=True)
class PerturbationBudget:
    """All images within a distance of the original, and within 0..255.

    norm     linf: of each pixel; l2: of the whole image, sqrt(sum d^2)
    epsilon  the distance, in grey levels, 1 or more; Linf: at most 255
    """

    norm: Norm
    epsilon: float

    def __post_init__(self) -> None:
        """Raise ValueError for invalid settings."""
        if self.norm not in get_args(Norm):
            raise ValueError(
                f"the norm must be one of {', '.join(get_args(Norm))}, not {self.norm!r}"
            )
        check_distance("epsilon", self.epsilon)
        if self.norm == "linf":
            check_largest_change(self.epsilon)

    def __str__(self) -> str:
        """Return "Linf 8"."""
        return f"{NORM_NAMES[self.norm]} {self.epsilon:g}"

    @property
    def wording(self) -> str:
        """Describe what the attacker may do."""
        measure = {"linf": "each pixel", "l2": "the whole image (L2)"}[self.norm]
        return f"changes {measure} by at most {show_distance(self.epsilon)} within 0..255"


def explain_fractional_radius(budget: PerturbationBudget) -> tuple[str, ...]:
    """Return a sentence about an Linf radius that is not a whole number; for others, nothing."""
    whole = int(budget.epsilon)
    if budget.norm != "linf" or budget.epsilon == whole:
        return ()
    return (
        f"Linf {budget.epsilon:g}: image files hold whole grey levels, so within this radius "
        f"they differ by {whole} at most; in real-valued pixels it is {budget.epsilon:g}",
    )
