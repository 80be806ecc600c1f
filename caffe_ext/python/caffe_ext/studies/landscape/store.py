"""What is found, as files: each minimum, each connection, each net's exact widths.

<folder>/landscape-search.json     what everything in the folder depends on
<folder>/minima/0003-02.json       the end of hop 2 of start 3
<folder>/connections/A-B.json      a path between two minima, by the keys of both
<folder>/widths/A-SIGMA-METHOD.json  the exact widths of a minimum's logits
"""

from dataclasses import asdict, dataclass, field
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from caffe_ext.errors import RecordError
from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.description import check_same
from caffe_ext.storage.json_file import Object, read_json
from caffe_ext.studies.landscape.network import Widths, count_parameters
from caffe_ext.studies.landscape.stationary import StationaryPoint

_ADVICE = "remove it, or use --again"
_OTHERS = "choose another --output, or use --again, which removes all that was found"
_DESCRIPTION = "landscape-search.json"
_Number = Annotated[int, Meta(ge=0, le=100_000)]
_FOLDERS = ("connections", "minima", "widths")
MOST_LAYERS, MOST_UNITS = 7, 1000
"""Of hidden layers, and of units in each, of a net that can be stored."""
_LARGEST = 1e6
"""Of parameters: no minimum has such large ones, and all that is computed of them is finite."""


@dataclass(frozen=True)
class StoredKink:
    """A z that is 0, by its hidden layer, sample and unit, and the unit's slope there."""

    layer: _Number
    sample: _Number
    unit: _Number
    slope: Annotated[float, Meta(ge=0, le=1)]
    falling: bool


@dataclass(frozen=True)
class StoredPoint:
    """A StationaryPoint; without Newton's convergence there is no point, and nothing is stored."""

    energy: float
    widths: Annotated[
        list[Annotated[int, Meta(ge=0, le=MOST_UNITS)]],
        Meta(min_length=3, max_length=MOST_LAYERS + 2),
    ]
    parameters: list[float]
    kinks: list[StoredKink]
    residual: float
    signs: Annotated[list[_Number], Meta(min_length=3, max_length=3)]
    lowest: float
    rank: _Number
    strict: bool
    pull: float

    @classmethod
    def from_point(cls, point: StationaryPoint) -> "StoredPoint":
        """Return a point as it is stored."""
        kinks = [
            StoredKink(*place, slope, place in point.falling)
            for place, slope in point.kinks.items()
        ]
        return cls(
            point.energy,
            list(point.widths),
            point.parameters.tolist(),
            kinks,
            point.residual,
            list(point.signs),
            point.lowest,
            point.rank,
            point.strict,
            point.pull,
        )

    def to_point(self, most: Widths) -> StationaryPoint:
        """Return the point; ValueError if its parts do not fit, or its net has other layers."""
        widths: Widths = tuple(self.widths)
        ends = (widths[0], widths[-1]) == (most[0], most[-1])
        if len(widths) != len(most) or not ends or any(np.greater(widths, most)):
            raise ValueError(f"the widths {widths} are not within {most}")
        if len(self.parameters) != count_parameters(widths):
            raise ValueError(f"{len(self.parameters)} parameters do not fit the widths {widths}")
        if not all(abs(it) < _LARGEST for it in self.parameters):
            raise ValueError("parameters are too large")
        places = {(kink.layer, kink.sample, kink.unit): kink for kink in self.kinks}
        for layer, _, unit in places:
            if not (layer < len(widths) - 2 and unit < widths[layer + 1]):
                raise ValueError(f"there is no unit {unit} in hidden layer {layer}")
        negative, zero, positive = self.signs
        return StationaryPoint(
            self.energy,
            np.array(self.parameters, np.float64),
            widths,
            {place: kink.slope for place, kink in places.items()},
            self.residual,
            (negative, zero, positive),
            self.lowest,
            self.rank,
            tuple(place for place, kink in places.items() if kink.falling),
            self.strict,
            self.pull,
        )


@dataclass(frozen=True)
class StoredHop:
    """What a quench found: a stationary point; None: Newton's method did not converge."""

    point: StoredPoint | None


@dataclass(frozen=True)
class StoredState:
    """A transition state and the minima below it; None: none was reached on that side."""

    point: StoredPoint
    below: Annotated[list[StoredPoint | None], Meta(min_length=2, max_length=2)]


@dataclass(frozen=True)
class StoredConnection:
    """A path between two minima.

    highest     the largest energy on it
    candidates  how many points on it were tried
    states      the transition states that were found from it
    """

    highest: float
    candidates: _Number
    states: list[StoredState]


@dataclass(frozen=True)
class StoredWidths:
    """The exact widths of the logits, by sample.

    lower    widths that are reached; below the upper ones where the time ran out
    upper    widths that are not exceeded
    seconds  that the searches took, all together
    limits   the seconds that each search for a sample had; empty: not known
    """

    samples: list[_Number]
    lower: list[list[float]]
    upper: list[list[float]]
    seconds: float
    limits: list[Annotated[float, Meta(ge=0)]] = field(default_factory=list)


class LandscapeStore:
    """The files of a folder."""

    def __init__(self, folder: Path) -> None:
        """Touch nothing yet."""
        self.folder = folder

    def begin(self, description: dict[str, Any], *, again: bool) -> None:
        """Note what all files depend on; RecordError if there are files of something else.

        again  remove what is there
        """
        path = self.folder / _DESCRIPTION
        stored = [one for name in _FOLDERS for one in sorted((self.folder / name).glob("*.json"))]
        if again:
            for one in stored:
                one.unlink()
        elif path.exists():
            about = f"{path} is of another search"
            check_same(description, read_json(path, Object, _OTHERS), about, _OTHERS)
            return
        elif stored:
            raise RecordError(
                f"{path} is missing, so it is not known of which search {stored[0]} is: {_OTHERS}"
            )
        for name in _FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        write_json(path, description)

    def locate_hop(self, start: int, hop: int) -> Path:
        """Return the file of a hop."""
        return self.folder / "minima" / f"{start:04}-{hop:02}.json"

    def locate_connection(self, one: str, other: str) -> Path:
        """Return the file of a connection; the order of the keys does not matter."""
        return self.folder / "connections" / f"{'-'.join(sorted((one, other)))}.json"

    def locate_widths(self, key: str, sigma: float, method: str) -> Path:
        """Return the file of a net's exact widths."""
        exactly = f"{sigma!r}".removesuffix(".0")
        return self.folder / "widths" / f"{key}-{exactly}-{method}.json"


def read_hop(path: Path, most: Widths) -> StationaryPoint | None:
    """Return what a hop found with a net of these widths; RecordError if the file is damaged."""
    stored = read_json(path, StoredHop, _ADVICE)
    return None if stored.point is None else _restore(path, stored.point, most)


def write_hop(path: Path, point: StationaryPoint | None) -> None:
    """Keep what a hop found."""
    stored = StoredHop(None if point is None else StoredPoint.from_point(point))
    write_json(path, asdict(stored), indent=None)


@dataclass(frozen=True, eq=False)
class State:
    """A transition state and the minima below it; None: none was reached on that side."""

    point: StationaryPoint
    below: list[StationaryPoint | None]


@dataclass(frozen=True, eq=False)
class Connection:
    """A path between two minima; see StoredConnection."""

    highest: float
    candidates: int
    states: list[State]


def read_connection(path: Path, most: Widths) -> Connection:
    """Return a connection of nets of these widths; RecordError if the file is damaged."""
    stored = read_json(path, StoredConnection, _ADVICE)
    states = [
        State(
            _restore(path, one.point, most),
            [None if below is None else _restore(path, below, most) for below in one.below],
        )
        for one in stored.states
    ]
    return Connection(stored.highest, stored.candidates, states)


def write_connection(path: Path, found: Connection) -> None:
    """Keep a connection."""
    states = [
        StoredState(
            StoredPoint.from_point(one.point),
            [None if below is None else StoredPoint.from_point(below) for below in one.below],
        )
        for one in found.states
    ]
    stored = StoredConnection(found.highest, found.candidates, states)
    write_json(path, asdict(stored), indent=None)


def read_widths(path: Path, classes: int) -> StoredWidths:
    """Return exact widths; RecordError if the file is damaged."""
    stored = read_json(path, StoredWidths, _ADVICE)
    rows = stored.lower + stored.upper
    if (
        len(stored.lower) != len(stored.samples)
        or len(stored.upper) != len(stored.samples)
        or len(stored.limits) not in (0, len(stored.samples))
        or any(len(row) != classes for row in rows)
        or not all(isfinite(width) and width >= 0 for row in rows for width in row)
    ):
        raise RecordError(f"{path} is damaged: {_ADVICE} (it does not have a width per logit)")
    return stored


def write_widths(path: Path, found: StoredWidths) -> None:
    """Keep exact widths."""
    write_json(path, asdict(found), indent=None)


def make_key(point: StationaryPoint) -> str:
    """Return eight hexadecimal digits of a point's parameters, for the names of files."""
    return sha256(np.ascontiguousarray(point.parameters, "<f8").tobytes()).hexdigest()[:8]


def _restore(path: Path, stored: StoredPoint, most: Widths) -> StationaryPoint:
    try:
        return stored.to_point(most)
    except ValueError as error:
        raise RecordError(f"{path} is damaged: {_ADVICE} ({error})") from error
