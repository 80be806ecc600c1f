"""Attacks by name: what the programs take as --attacks, and what results are filed under.

fgs  fgv  margin  margin-s              the smallest adversarial in a direction (directions.py):
hc1  hc2 ... hc1-s                      HC-k, or its sign; hot:7 and hot:7-s make class 7 hot
@BLOB                                   through an inner blob: hc1@ip1
*FACTOR                                 a hard positive, this many times as far: hc1*1.05
=EPSILON                                exactly this far, no search: fgs=8 (grey levels)
bim=8  pgd=8                            iterated, Linf, within 8 grey levels, along the loss
bim-l2=400  pgd-l2=400                  the same in L2, of the whole image
/STEPxN                                 with N steps of STEP grey levels: pgd=8/2x40, or
                                        pgd=8/255/2x40
rR                                      and R random starts: pgd=8/2x40r5
+DIRECTION                              as the last part of the name: along this direction instead
                                        of the loss: pgd=8/2x40+margin
apgd=8xNrR+LOSS                         APGD, N steps (100), R starts (1); apgd-l2=400 in L2; LOSS
                                        is ce, margin, dlr, or dlr-t: targeted, nine targets
fab=8xNrR  square=8xNrR                 FAB-T, N steps (100); Square, N queries (5000); -l2 as well
autoattack=8  autoattack-l2=400         APGD-CE, APGD-T, FAB-T, Square, each on what is still
                                        unsolved; +quick: APGD-CE and APGD-T with fewer steps
fmn-linf  fmn-l2  ddn                   the smallest adversarial by iteration, in whole grey
deepfool-linf  deepfool-l2              levels: fmn-l2(steps=200)
minimal-linf  minimal-l2                the best of these, image by image
lbfgs                                   Szegedy's L-BFGS towards all classes: lbfgs(target=3)
hopskipjump-linf  hopskipjump-l2        by labels alone: hopskipjump-l2(budget=5000)
deform                                  rotated, shifted, stretched and bent: deform(tries=20)
NAME(KEY=VALUE, ...)                    any registered attack with its settings

Distances are in grey levels, 0..255; 8/255 and 0.03of1 are those of pixels in 0..1.

A user-defined attack is a frozen dataclass that derives from Attack:

    @register_attack("noise")
    @dataclass(frozen=True)
    class NoiseAttack(Attack): ...

An attack is identified by its exact class: results of a subclass are never used as those of its
base class.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, TypeVar

from caffe_ext.attacks.base import Attack, is_own
from caffe_ext.attacks.budget import (
    DISTANCE,
    NUMBER,
    PerturbationBudget,
    has_unit,
    parse_change,
    parse_distance,
)
from caffe_ext.attacks.direction_names import DIRECTION, format_direction, parse_direction
from caffe_ext.attacks.minimum_norm import MinimumNormAttack, SingleStep
from caffe_ext.attacks.pgd import ProjectedGradient
from caffe_ext.attacks.unknown_attack import describe_unknown_attack

AttackClass = TypeVar("AttackClass", bound=type[Attack])
_NAME = r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*"
_ITERATIONS = 40


@dataclass(frozen=True)
class AttackFamily:
    """All attacks of one registered class.

    name   before the bracket
    cls    the class
    parse  makes an attack from a short text and a seed; None if the text is another family's
    text   returns the text of an attack
    """

    name: str
    cls: type[Attack]
    parse: Callable[[str, int], Attack | None]
    text: Callable[[Any], str]


_families: dict[str, AttackFamily] = {}


def register_attack(name: str) -> Callable[[AttackClass], AttackClass]:
    """Return a class decorator that gives the attacks of a class a name.

    name  lower-case letters, digits and single hyphens, not yet taken

    The text of an attack is `name`, or `name(key=value, ...)` with the fields of the dataclass that
    differ from their defaults; their values are numbers, strings, True, False or None. For a field
    that is an int, 8.0 is read as 8. A field named `seed` that a text does not set gets the seed
    that parse_attack is called with.

    Raises ValueError for an invalid name, and for a name or a class that is already registered;
    TypeError for a class that is not a frozen dataclass.
    """

    def register(cls: AttackClass) -> AttackClass:
        if not re.fullmatch(_NAME, name):
            raise ValueError(
                "an attack's name may contain only lower-case letters, digits and hyphens, not "
                f"{name!r}"
            )
        if _parse_short(name, 0) is not None:
            raise ValueError(f"{name!r} is the name of another attack")
        frozen = is_dataclass(cls) and cls.__dataclass_params__.frozen
        if not frozen:
            raise TypeError(f"{cls.__name__} must be a frozen dataclass to be registered")
        add_family(
            AttackFamily(
                name,
                cls,
                lambda text, seed: parse_call(name, cls, text, seed),
                make_call_formatter(name),
            )
        )
        return cls

    return register


def add_family(family: AttackFamily) -> None:
    """Register a family; its class may be registered again by the module that defined it."""
    for other in _families.values():
        same = _identify(other.cls) == _identify(family.cls)
        if (other.name == family.name) != same:
            taken = f"the name {family.name!r}" if other.name == family.name else "this class"
            raise ValueError(f"{taken} is already registered: {other.name} is {other.cls.__name__}")
    _families[family.name] = family


def _identify(cls: type) -> tuple[str, str]:
    """Return what identifies a class: a module that is reloaded defines the same one."""
    return cls.__module__, cls.__qualname__


def list_attacks() -> tuple[AttackFamily, ...]:
    """Return all families, in order of registration."""
    return tuple(_families.values())


def parse_attack(text: str, *, seed: int = 0) -> Attack:
    """Return the attack that a text describes, as explained at the head of this file.

    seed  of random choices, such as PGD's starts

    BIM and PGD take 40 steps by default, each a sixteenth of the radius, at least 1 in Linf.
    Raises ValueError, listing the known names, for an unknown one, and for invalid settings.
    """
    text = text.strip()
    try:
        attack = _parse_short(text, seed)
    except ValueError as error:
        said = f"{error}"
        raise ValueError(said if said.startswith(text) else f"{text}: {said}") from error
    if attack is None:
        own = [name for name in _families if name not in _BUILT_IN]
        raise ValueError(describe_unknown_attack(text, own, _is_attack))
    return attack


def _is_attack(text: str) -> bool:
    try:
        return _parse_short(text, 0) is not None
    except ValueError:
        return False


def _parse_short(text: str, seed: int) -> Attack | None:
    """Return the attack from the first family that accepts a text; None if none does."""
    found = (family.parse(text, seed) for family in _families.values())
    return next((attack for attack in found if attack is not None), None)


def format_attack(attack: Attack) -> str:
    """Return the text of an attack, by its exact class; TypeError if that is not registered."""
    for family in _families.values():
        if type(attack) is family.cls:
            return family.text(attack)
    raise TypeError(
        f"{type(attack).__name__} is not registered: results are filed under an attack's text, and "
        "@register_attack gives it one"
    )


# --- name(key=value) ------------------------------------------------------------------------------


def parse_call(name: str, cls: type[Attack], text: str, seed: int) -> Attack | None:
    """Return the attack of `name` or `name(key=value, ...)`; None for another name."""
    found = re.fullmatch(rf"{re.escape(name)}(?:\((.*)\))?", text, re.DOTALL)
    if found is None:
        return None
    known = {field.name: field for field in fields(cls) if field.init}  # type: ignore[arg-type]
    settings = _parse_keywords(name, found[1] or "", known)
    if "seed" in known and "seed" not in settings:
        settings["seed"] = seed
    missing = [key for key, one in known.items() if key not in settings and not _has_default(one)]
    if missing:
        raise ValueError(f"{text}: {name} needs {missing[0]}=..., which has no default")
    for key, value in settings.items():
        if type(value) is float and known[key].type in (int, "int"):
            if value.is_integer():
                settings[key] = int(value)  # as a radius that stands for E
            elif is_own(cls):  # the package's check their settings
                raise ValueError(f"{text}: {key} must be a whole number, not {value!r}")
    try:
        return cls(**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{text}: {error}") from error


def _parse_keywords(name: str, inside: str, known: dict[str, Field[Any]]) -> dict[str, Any]:
    """Return the settings between the brackets; ValueError unless they are key=value."""
    try:
        call = ast.parse(f"f({inside})", mode="eval").body
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Name)  # not what another call returns
        positional, given = call.args, [(one.arg, one.value) for one in call.keywords]
        values = {str(key): ast.literal_eval(value) for key, value in given}
        if len(values) < len(given):
            raise ValueError("a setting is given twice")
    except (SyntaxError, ValueError, AssertionError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"{name}({inside}): settings must be key=value, each once; values are numbers, quoted "
            "strings, True, False or None"
        ) from error
    unknown = [key for key, _ in given if key not in known]
    if positional or unknown:
        what = f"has no setting {unknown[0]!r}" if unknown else "takes settings as key=value only"
        raise ValueError(f"{name}({inside}): {name} {what}; there are {', '.join(known)}")
    return values


def _has_default(field: "Field[Any]") -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def make_call_formatter(name: str) -> Callable[[Attack], str]:
    """Return a function that returns the texts of a family's attacks."""

    def format_call(attack: Attack) -> str:
        settings = [
            f"{key}={value!r}"
            for key, value, usual in _list_settings(attack)
            if value != usual or type(value) is not type(usual)
        ]
        return f"{name}({', '.join(settings)})" if settings else name

    return format_call


def _list_settings(attack: Attack) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, value and default of each field; seeds are not part of a text."""
    for field in fields(attack):  # type: ignore[arg-type]
        if field.init and field.name != "seed":
            usual = field.default
            if field.default_factory is not MISSING:
                usual = field.default_factory()
            yield field.name, getattr(attack, field.name), usual


# --- the short texts of the package's own attacks -------------------------------------------------


def _parse_minimum_norm(text: str, _: int) -> Attack | None:
    found = re.fullmatch(rf"({DIRECTION})(?:\*({NUMBER}))?", text, re.IGNORECASE)
    return found and MinimumNormAttack(parse_direction(found[1]), float(found[2] or 1))


def _format_minimum_norm(attack: MinimumNormAttack) -> str:
    scale = f"*{float(attack.scale)!r}" if attack.scale > 1 else ""
    return format_direction(attack.direction) + scale


def _parse_single_step(text: str, _: int) -> Attack | None:
    found = re.fullmatch(rf"({DIRECTION})=({DISTANCE})", text, re.IGNORECASE)
    return found and SingleStep(parse_direction(found[1]), parse_change(found[2]))


def _format_single_step(attack: SingleStep) -> str:
    return f"{format_direction(attack.direction)}={float(attack.epsilon)!r}"


def _parse_projected_gradient(text: str, seed: int) -> Attack | None:
    found = re.fullmatch(
        rf"(?P<method>bim|pgd)(?P<l2>-l2)?=(?P<epsilon>{DISTANCE})"
        rf"(?:/(?P<step>{DISTANCE})x(?P<iterations>\d+))?(?:r(?P<restarts>\d+))?"
        rf"(?:\+(?P<along>{DIRECTION}))?",
        text,
        re.IGNORECASE,
    )
    if found is None:
        return None
    # In apgd=8/255x40, the 255 belongs to the radius; the texts of attacks have 255.0.
    if found["step"] == "255" and not has_unit(found["epsilon"]):
        radius = f"{found['epsilon']}/255"
        meant = f"{found['method']}{found['l2'] or ''}={radius}/STEPx{found['iterations']}"
        raise ValueError(
            f"did you mean {meant}, within {radius}? A step of 255 grey levels is written 255.0"
        )
    epsilon = parse_change(found["epsilon"])
    least = 0.0 if found["l2"] else 1.0
    return ProjectedGradient(
        parse_direction(found["along"] or "fgv"),
        PerturbationBudget("l2" if found["l2"] else "linf", epsilon),
        step=parse_distance(found["step"]) if found["step"] else max(epsilon / 16, least),
        iterations=int(found["iterations"] or _ITERATIONS),
        random_start=found["method"].lower() == "pgd",
        start_seed=seed,
        restarts=int(found["restarts"] or 1),
    )


def _format_projected_gradient(attack: ProjectedGradient) -> str:
    method = "pgd" if attack.random_start else "bim"
    norm = "-l2" if attack.budget.norm == "l2" else ""
    restarts = f"r{attack.restarts}" if attack.restarts > 1 else ""
    return (
        f"{method}{norm}={float(attack.budget.epsilon)!r}/{float(attack.step)!r}"
        f"x{attack.iterations}{restarts}+{format_direction(attack.direction)}"
    )


add_family(
    AttackFamily("minimum-norm", MinimumNormAttack, _parse_minimum_norm, _format_minimum_norm)
)
add_family(AttackFamily("single-step", SingleStep, _parse_single_step, _format_single_step))
add_family(
    AttackFamily(
        "projected-gradient",
        ProjectedGradient,
        _parse_projected_gradient,
        _format_projected_gradient,
    )
)
_BUILT_IN = frozenset(_families)
