"""The tables of bench_attacks.py, made of its records."""

from collections.abc import Mapping
from typing import Any

from attack_accuracy import OTHER, OURS, Answer
from attack_times import TARGETS
from bench_report import origin
from search_report import table

Record = Mapping[str, Any]
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

{table(rows)}

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

{table(rows)}

Processor time of ours and of the other on one thread, medians of runs in turns; ratio: other /
ours. found: images that are broken within the budget, of those that are classified correctly; of
FMN, which has no budget, the mean distance of what it finds, in grey levels.

{_format_origin(record)}
"""


def _format_found(row: Record, whose: str) -> str:
    mean = row[f"mean_{whose}"]
    return f"{row[f'found_{whose}']:,}" if mean is None else f"{mean:.2f}"


def _format_origin(record: Record) -> str:
    models = ", ".join(f"{name} (`{path}`)" for name, path in record["models"].items())
    return f"""\
| | |
|---|---|
{origin(record)}
| models | {models} |
| images | {record["images"]} |"""
