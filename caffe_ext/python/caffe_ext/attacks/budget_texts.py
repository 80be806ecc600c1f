"""The texts of attacks within a budget: how `apgd=8/255x100r2+dlr` is read and written.

NAME=EPSILON   NAME-l2=EPSILON      the radius, in the units of budget.py
xN rR                               N iterations, R restarts
+SETTING                            one more setting, such as the loss
NAME(KEY=VALUE, ...)                the same by field names
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.budget import DISTANCE, parse_change
from caffe_ext.attacks.registry import AttackFamily, add_family, make_call_formatter, parse_call
from caffe_ext.attacks.unknown_attack import describe_missing_radius
from caffe_ext.attacks.within import BudgetAttack

Within = TypeVar("Within", bound=type[BudgetAttack])
_RADIUS = re.compile(
    r"(?<![A-Za-z0-9_.])(\d+\.?\d*|\.\d+)?E(?![A-Za-qs-wyz0-9_.]|[+-]\d)", re.ASCII
)
"""An E on its own, or after a factor; "x" and "r" may follow, as in pgd=E/0.5Ex40. Not the one in
+CE or 1E1."""


def insert_radius(text: str, radius: float) -> str:
    """Return an attack's text at a radius: E is the radius, 0.25E a quarter of it."""
    return _RADIUS.sub(lambda found: f"{float(found[1] or 1) * radius!r}", text)


def register_within(
    name: str, endings: Mapping[str, Mapping[str, Any]] | None = None
) -> Callable[[Within], Within]:
    """Return a class decorator that gives attacks within a budget their short texts.

    endings  the settings that "+" and each of these words at the end of the text stand for
    """
    words = dict(endings or {})

    def register(cls: Within) -> Within:
        usual = {"iterations": cls.iterations, "restarts": cls.restarts}
        ending = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
        pattern = re.compile(
            rf"{name}(?P<l2>-l2)?=(?P<epsilon>{DISTANCE})(?:x(?P<iterations>\d+))?"
            rf"(?:r(?P<restarts>\d+))?(?:\+(?P<ending>{ending or '(?!)'}))?",
            re.IGNORECASE,
        )

        def parse(text: str, seed: int) -> Attack | None:
            if text.lower() in (name, f"{name}-l2"):
                raise ValueError(describe_missing_radius(text.lower()))
            found = pattern.fullmatch(text)
            if found is None:
                return parse_call(name, cls, text, seed)
            numbers = {key: int(found[key] or value) for key, value in usual.items()}
            return cls(
                parse_change(found["epsilon"]),
                "l2" if found["l2"] else "linf",
                seed=seed,
                **numbers,
                **words.get((found["ending"] or "").lower(), {}),
            )

        def format_text(attack: BudgetAttack) -> str:
            short = f"{name}{'-l2' if attack.norm == 'l2' else ''}={float(attack.epsilon)!r}"
            short += f"x{attack.iterations}"
            short += f"r{attack.restarts}" if attack.restarts > 1 else ""
            for candidate in (short, *(f"{short}+{word}" for word in words)):
                if parse(candidate, attack.seed) == attack:
                    return candidate
            return make_call_formatter(name)(attack)

        add_family(AttackFamily(name, cls, parse, format_text))
        return cls

    return register
