"""The tables of bench_attacks.py, made of its records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attack_accuracy import OTHER, OURS, Answer
from attack_question import NORMS
from attack_times import TARGETS
from bench_report import format_origin
from search_report import format_table

Record = Mapping[str, Any]
Distances = NDArray[np.float64]
_NONE = "–"


def format_accuracy(record: Record) -> str:
    """Return accuracy.md; a row for each model and budget of which something is known."""
    sums: dict[tuple[str, str], dict[str, Answer]] = {}
    for name, answer in record["answers"].items():
        model, within, whose, _ = name.split("; ")
        found = sums.setdefault((model, within), {}).setdefault(whose, {})
        for what, value in answer.items():
            found[what] = found.get(what, 0) + value
    heads = ["model", "within", "images", "ours, real", "AutoAttack, real", "ours, whole"]
    heads += ["AutoAttack, rounded", "ours, s", "AutoAttack, s"]
    rows = [heads]
    for (model, within), answers in sums.items():
        mine, theirs = answers[OURS], answers.get(OTHER)
        if theirs is not None and theirs["images"] < mine["images"]:
            theirs = None  # not all parts yet

        def share(of: Answer | None, what: str) -> str:
            return _NONE if of is None else f"{100 * of[what] / of['images']:.1f}%"

        rows.append(
            [
                *(model, within, f"{mine['images']:,}", share(mine, "real")),
                *(share(theirs, "real"), share(mine, "whole"), share(theirs, "whole")),
                f"{mine['seconds']:.0f}",
                _NONE if theirs is None else f"{theirs['seconds']:.0f}",
            ]
        )
    return f"""\
# Robust accuracy by AutoAttack, beside {record["other"] or "none"}

The share of images that are classified correctly and that no attack breaks, by the standard version
of AutoAttack: ours, and its authors' on the same weights in PyTorch.

{format_table(rows)}

real: real-valued pixels. whole: whole grey levels, searched for where rounding loses what was
found. rounded: what the other finds, rounded to the nearest grey levels. Seconds of processor time
on one thread; ours are those of both readings.

{_format_origin(record)}
"""


def format_times(record: Record) -> str:
    """Return times.md."""
    heads = ["model", "within", "attack", "images", "found", "other", "ours", "other", "ratio"]
    rows = [[*heads, "quartiles", "target"]]
    for one in record["rows"]:
        times = one["process"]
        lower, _, upper = times["quartiles"]
        rows.append(
            [
                *(one["model"], one["within"], one["attack"], f"{one['images']:,}"),
                *(_format_found(one, whose) for whose in (OURS, OTHER)),
                *(f"{times['first_ms'] / 1000:.2f} s", f"{times['second_ms'] / 1000:.2f} s"),
                *(f"{times['ratio']:.2f}", f"{lower:.2f} – {upper:.2f}"),
                f"{TARGETS[one['attack']]:g}",
            ]
        )
    return f"""\
# How fast attacks are, beside {record["other"]}

{format_table(rows)}

Processor time of ours and of the other on one thread, medians of runs in turns; ratio: other /
ours. found: images that are broken within the budget, of those that are classified correctly; of
FMN, which has no budget, the mean distance of what it finds, in grey levels.

{_format_origin(record)}
"""


def format_smallest(record: Record) -> str:
    """Return smallest.md: for each model and norm what each attack reaches, and who is nearer."""
    reached: dict[tuple[str, str], dict[str, _Reached]] = {}
    for name, answer in record["answers"].items():
        model, norm, whose, _ = name.split("; ")
        parts = reached.setdefault((model, norm), {})
        parts[whose] = parts.get(whose, _Reached()) + _Reached.read(answer)
    rows = [["model", "norm", "attack", "real: found", "mean", "whole: found", "mean", "s"]]
    nearer = [["model", "norm", "pixels", "images", "Foolbox's best", "ours", "at or below"]]
    for (model, norm), by_attack in reached.items():
        mine = by_attack[OURS]
        others = [one for whose, one in by_attack.items() if whose != OURS and one.fits(mine)]
        for whose, one in by_attack.items():
            text = f"`minimal-{norm}`" if whose == OURS else f"Foolbox {whose}"
            rows.append([model, NORMS[norm], text, *one.describe()])
        if others:
            for pixels in ("whole", "real"):
                best = np.min([getattr(one, pixels) for one in others], axis=0)
                cells = _compare(getattr(mine, pixels), best)
                nearer.append([model, NORMS[norm], pixels, *cells])
    comparison = f"""
Ours beside the best of Foolbox's, image by image: the images for which Foolbox has an adversarial
(whole: one that survives rounding), the mean distances there, and for how many of these images ours
is at or below Foolbox's best.

{format_table(nearer)}
"""
    return f"""\
# The smallest adversarials, beside {record["other"] or "none"}

Distances in grey levels, L2 as the root of the sum; means over what was found.

{format_table(rows)}
{comparison if len(nearer) > 1 else ""}
real: real-valued pixels. whole: whole grey levels; ours search for them, those of Foolbox are
rounded to the nearest. All attacks with their defaults; BB starts from FMN's results. Seconds of
processor time on one thread; ours are those of both readings.

{_format_origin(record)}
"""


@dataclass(frozen=True)
class _Reached:
    """What an attack reaches: distances, infinite where nothing was found; seconds."""

    real: Distances = field(default_factory=lambda: np.empty(0))
    whole: Distances = field(default_factory=lambda: np.empty(0))
    seconds: float = 0

    @classmethod
    def read(cls, answer: Record) -> "_Reached":
        """Return that of an answer in a record."""
        real, whole = (
            np.array([np.inf if one is None else one for one in answer[name]])
            for name in ("real", "whole")
        )
        return cls(real, whole, answer["seconds"])

    def __add__(self, other: "_Reached") -> "_Reached":
        """Return that of the images of both."""
        return _Reached(
            np.concatenate([self.real, other.real]),
            np.concatenate([self.whole, other.whole]),
            self.seconds + other.seconds,
        )

    def fits(self, other: "_Reached") -> bool:
        """Tell whether it is about as many images."""
        return len(self.real) == len(other.real)

    def describe(self) -> list[str]:
        """Return its cells of the table."""
        cells = []
        for distances in (self.real, self.whole):
            found = distances[np.isfinite(distances)]
            cells.append(f"{len(found):,} of {len(distances):,}")
            cells.append(f"{found.mean():.2f}" if len(found) else _NONE)
        return [*cells, f"{self.seconds:.0f}"]


def _compare(mine: Distances, best: Distances) -> list[str]:
    """Return how ours compares with the best of others, image by image."""
    found = np.isfinite(best)
    if not found.any():
        return ["0", *[_NONE] * 3]
    # Distances are recorded to four decimal places.
    below = (mine <= best + 1e-4)[found].mean()
    means = (f"{one[found].mean():.2f}" for one in (best, mine))
    return [f"{found.sum():,}", *means, f"{below:.1%}"]


def _format_found(row: Record, whose: str) -> str:
    mean = row[f"mean_{whose}"]
    return f"{row[f'found_{whose}']:,}" if mean is None else f"{mean:.2f}"


def _format_origin(record: Record) -> str:
    models = ", ".join(f"{name} (`{path}`)" for name, path in record["models"].items())
    return f"""\
| | |
|---|---|
{format_origin(record)}
| models | {models} |
| images | {record["images"]} |"""
