"""The table of a sweep: a row for each point, with its axes and all figures, flat."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from caffe_ext.evaluation.suite import Suite
from caffe_ext.runs.summary import MEASURES
from caffe_ext.runs.variants import ALL
from caffe_ext.sweeps.description import SweepPoint
from caffe_ext.sweeps.evaluation_plan import name_radius
from caffe_ext.sweeps.store import FailedPoint, StoredPoint

Row = dict[str, Any]
_SECONDS = " seconds"
_SHARES = (".rate", ".saturated", ".zero_gradient")
_WORDS = {"pass_published": "PASS", "linf": "Linf", "l2": "L2", "l2_per_pixel": "L2 per pixel"}
DONE, FAILED, MISSING = "done", "failed", "missing"
DEVICE, COMMIT, WEIGHTS = "device", "commit", "weights_sha256"
"""The columns of a finished point that are no numbers."""


def make_rows(
    points: Iterable[SweepPoint],
    done: Mapping[str, StoredPoint],
    failed: Mapping[str, FailedPoint],
    reused: Mapping[str, Row] | None = None,
) -> list[Row]:
    """Return the rows of the points, in their order.

    reused  rows of other tables, by digest, for points that are not done here (reuse.py)

    Columns: `baseline`, the axes, `state` (done, failed or missing), the figures as
    flatten_figures() names them, `seconds`, `worker`, `error`, `device` and `commit`, where and by
    which code the point was computed, `weights_sha256`, and `digest`, the name of the files in
    points/; `reused`, the other table, if there is a row of one.
    """
    points = list(points)
    axes = dict.fromkeys(name for point in points for name in point.values)
    rows = []
    for point in points:
        row: Row = {"baseline": point.baseline, **axes, **point.values}
        stored, failure = done.get(point.digest), failed.get(point.digest)
        if stored is not None:
            row |= {"state": DONE, **flatten_figures(stored.figures)}
            seconds = stored.measured["seconds"]
            row |= {f"{name}{_SECONDS}": value for name, value in seconds.items()}
            row[f"processor{_SECONDS}"] = stored.measured.get("processor_seconds")
            row |= {"worker": stored.worker, "error": None}
            row |= {name: stored.measured.get(name) for name in (DEVICE, COMMIT)}
            row[WEIGHTS] = stored.weights["sha256"]
        elif reused and point.digest in reused:
            # An axis is what this sweep says it is, whatever columns another table has.
            theirs = {key: one for key, one in reused[point.digest].items() if key not in row}
            row |= {"state": DONE, **theirs}
        else:
            error = failure.error if failure else None
            row |= {"state": FAILED if failure else MISSING, "error": error}
        rows.append(row | {"digest": point.digest})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return [{key: row.get(key) for key in columns} for row in rows]


def name_devices(rows: Iterable[Row]) -> str | None:
    """Return where the finished points were computed, as far as that is known; None: it is not."""
    return ", ".join(dict.fromkeys(filter(None, (row.get(DEVICE) for row in rows)))) or None


def describe_commits(rows: Iterable[Row]) -> str | None:
    """Return a sentence if finished points are of several commits of this package."""
    commits = {row.get(COMMIT) for row in rows if row["state"] == DONE}
    if len(commits) < 2:
        return None
    return (
        f"the points were computed by {len(commits)} versions of the code, which the column "
        f"`{COMMIT}` names; what has changed between them may matter"
    )


def sum_seconds(row: Row) -> float:
    """Return how many seconds a finished point took."""
    parts = (key for key in row if key.endswith(_SECONDS) and key != f"processor{_SECONDS}")
    return float(sum(row[key] or 0 for key in parts))


def flatten_figures(figures: Mapping[str, Any]) -> Row:
    """Return figures with flat names: `accuracy`, `fgs.paper.rate`, `hc1.pass_published`, its
    deviation `hc1.pass_published.std`, `within linf=8`, `within linf=8.real`.
    """
    row: Row = {"images": figures["images"], "accuracy": figures["accuracy"]}
    for attack, variants in figures["attacks"].items():
        for variant, values in variants.items():
            prefix = attack if variant == ALL else f"{attack}.{variant}"
            for name, value in values.items():
                spread = isinstance(value, dict)
                row[f"{prefix}.{name}"] = value["mean"] if spread else value
                if spread:
                    row[f"{prefix}.{name}.std"] = value["std"]
    for radius, values in figures["within"].items():
        row[f"within {radius}"] = values["accuracy"]
        row[f"within {radius}.real"] = values["accuracy_real"]
    return row


def choose_figures(rows: Sequence[Row]) -> list[str]:
    """Return the figures that are drawn: accuracy, the attacks' rates, the PASS of hot/cold
    adversarials, and robust accuracies, in real-valued pixels where these differ.
    """
    columns = [key for row in rows for key, value in row.items() if value is not None]
    return [
        key
        for key in dict.fromkeys(columns)
        if key == "accuracy"
        or key.endswith(".rate")
        or (key.startswith("hc") and key.endswith(".pass_published"))
        or (key.startswith("within ") and _adds_to_others(rows, key))
    ]


def _adds_to_others(rows: Sequence[Row], key: str) -> bool:
    whole = key.removesuffix(".real")
    return whole == key or any(row.get(key) != row.get(whole) for row in rows)


def is_share(figure: str) -> bool:
    """Tell whether a figure is a share, 0..1, which is shown in %."""
    return figure.startswith(("accuracy", "within ")) or figure.endswith(_SHARES)


def list_figures(suite: Suite) -> dict[str, str]:
    """Return the figures that an evaluation gives, as titles by name; without deviations."""
    titles = {"accuracy": "accuracy"}
    for attack in suite.attacks:
        for variant in suite.find_variants(attack.text):
            prefix = attack.text if variant.name == ALL else f"{attack.text}.{variant.name}"
            title = variant.title or attack.name
            for name in ("rate", "saturated", "zero_gradient", *MEASURES):
                titles[f"{prefix}.{name}"] = f"{title}: {_WORDS.get(name, name.replace('_', ' '))}"
    for budget in suite.radii:
        radius = name_radius(budget)
        titles[f"within {radius}"] = f"accuracy under attack within {radius}"
        titles[f"within {radius}.real"] = f"accuracy under attack within {radius}, real-valued"
    return titles
