"""The results of a sweep on the client's disk: one per description, whole or not at all.

points/<digest>.json         a finished point: its description, figures, and the weights' digest
points/<digest>.caffemodel   the trained weights, written before
failed/<digest>.json         why a point failed, with the end of its log
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from caffe_ext.errors import RecordError
from caffe_ext.storage.atomic import PARTIAL, write_bytes, write_json
from caffe_ext.storage.json_file import Count, Object, Sha256, read_json
from caffe_ext.sweeps.description import SweepPoint, hash_point

POINTS, FAILED = "points", "failed"


class Spread(TypedDict):
    """Mean and standard deviation."""

    mean: float
    std: float


Share = Annotated[float, Meta(ge=0, le=1)]
_SHARES = ("rate", "saturated", "zero_gradient")
"""Figures of an attack that are shares."""


class WithinRadius(TypedDict):
    """Robust accuracies within a radius, 0..1; None: of no images."""

    accuracy: Share | None
    accuracy_real: Share | None


class Figures(TypedDict):
    """The figures of collect_figures()."""

    images: Count
    accuracy: Share | None
    iterations: Count
    attacks: dict[str, dict[str, dict[str, int | float | Spread | None]]]
    within: dict[str, WithinRadius]


class PointCost(TypedDict):
    """What a point has cost, and where.

    device, commit
            where it was computed, and of the checkout that did, as in Provenance
    """

    seconds: dict[str, Annotated[float, Meta(ge=0)]]
    processor_seconds: NotRequired[float | None]
    peak_memory_mib: NotRequired[float]
    device: NotRequired[str]
    commit: NotRequired[str | None]
    machine: NotRequired[Object]


class Weights(TypedDict):
    """The digest of the weights, and their file if it is kept."""

    sha256: Sha256
    file: NotRequired[str]
    bytes: NotRequired[Count]


@dataclass(frozen=True)
class StoredPoint:
    """Content of a file in points/.

    Raises ValueError for figures of an attack that no evaluation gives.
    """

    format: Literal[1]
    description: Object
    figures: Figures
    measured: PointCost
    weights: Weights
    worker: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for a share of an attack that is none."""
        variants = [one for attack in self.figures["attacks"].values() for one in attack.values()]
        for name in _SHARES:
            for value in filter(None, (one.get(name) for one in variants)):
                if not isinstance(value, int | float) or not 0 <= value <= 1:
                    raise ValueError(f"{name} is a share, 0 to 1, not {value!r}")


@dataclass(frozen=True)
class FailedPoint:
    """Content of a file in failed/."""

    error: str
    log: str = ""
    worker: str = ""
    values: Object = field(default_factory=dict)


@dataclass(frozen=True)
class PointStore:
    """The results in a sweep's folder.

    keep_weights  whether weights are written, and belong to a finished point
    """

    folder: Path
    keep_weights: bool = True

    def read(self, point: SweepPoint) -> StoredPoint | None:
        """Return the result of a finished point; None if there is none.

        Raises RecordError if it is damaged.
        """
        path = self.locate(point)
        if not path.exists():
            return None
        advice = "remove it to compute the point again"
        stored = read_json(path, StoredPoint, advice)
        if hash_point(stored.description) != point.digest:
            raise RecordError(f"{path} is damaged: {advice} (it is about another point)")
        if self.keep_weights and not self._has_weights(point, stored):
            return None
        return stored

    def write(self, point: SweepPoint, outcome: Mapping[str, Any]) -> StoredPoint:
        """Write the result of a finished point; OSError if that fails.

        The weights are on the disk before the file that says that the point is finished.
        """
        weights: bytes = outcome["weights"]
        about: Weights = {"sha256": sha256(weights).hexdigest()}
        path = self.locate(point)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.keep_weights:
            write_bytes(self.locate_weights(point), weights)
            about |= {"file": self.locate_weights(point).name, "bytes": len(weights)}
        stored = StoredPoint(
            format=1,
            description=dict(point.description),
            figures=outcome["figures"],
            measured=outcome["measured"],
            weights=about,
            worker=outcome.get("worker", ""),
        )
        write_json(path, vars(stored))
        self.locate_failure(point).unlink(missing_ok=True)
        return stored

    def remove_partial(self) -> None:
        """Remove what killed processes have left half written; the caller has locked the folder."""
        for name in (POINTS, FAILED):
            for path in (self.folder / name).glob(f".*{PARTIAL}"):
                path.unlink()

    def read_failure(self, point: SweepPoint) -> FailedPoint | None:
        """Return why a point has failed; None if it has not. RecordError for a damaged file."""
        path = self.locate_failure(point)
        return read_json(path, FailedPoint, "remove it") if path.exists() else None

    def write_failure(self, point: SweepPoint, failure: FailedPoint) -> None:
        """Write why a point has failed; OSError if that is impossible."""
        path = self.locate_failure(point)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, vars(failure))

    def locate(self, point: SweepPoint) -> Path:
        """Return the file of a finished point."""
        return self.folder / POINTS / f"{point.digest}.json"

    def locate_weights(self, point: SweepPoint) -> Path:
        """Return the file of its weights."""
        return self.folder / POINTS / f"{point.digest}.caffemodel"

    def locate_failure(self, point: SweepPoint) -> Path:
        """Return the file that says why a point has failed."""
        return self.folder / FAILED / f"{point.digest}.json"

    def _has_weights(self, point: SweepPoint, stored: StoredPoint) -> bool:
        path = self.locate_weights(point)
        size = stored.weights.get("bytes")
        return path.is_file() and path.stat().st_size == size
