"""How far a sweep has come, and who is told: the engine's interfaces."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from caffe_ext.sweeps.description import SweepPoint
from caffe_ext.sweeps.store import FailedPoint, StoredPoint


@dataclass
class SweepProgress:
    """How far a sweep has come.

    running       points at work: (title, worker, seconds)
    seconds_left  None: unknown yet
    resubmitted   points that were submitted again because of a fault
    """

    total: int
    done: int = 0
    failed: int = 0
    running: list[tuple[str, str, float]] = field(default_factory=list)
    workers: int = 0
    slots: int = 0
    seconds_left: float | None = None
    dashboard: str = ""
    resubmitted: int = 0

    @property
    def left(self) -> int:
        """Count the points that are neither done nor failed."""
        return self.total - self.done - self.failed


class Observer(Protocol):
    """Shows the progress."""

    def show(self, progress: SweepProgress) -> None:
        """Show it; called about twice a second."""


class Store(Protocol):
    """Keeps what points have given; a PointStore, or one that measures it."""

    def write(self, point: SweepPoint, outcome: Mapping[str, Any]) -> StoredPoint:
        """Keep the outcome of a finished point."""

    def write_failure(self, point: SweepPoint, failure: FailedPoint) -> None:
        """Keep why a point has failed."""


class SilentObserver:
    """Shows nothing."""

    def show(self, progress: SweepProgress) -> None:
        """Ignore it."""
