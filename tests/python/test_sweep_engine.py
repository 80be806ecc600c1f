"""The engine of a sweep, on a cluster that is not there: its faults come when a test wants them."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed.client import FutureCancelledError

from caffe_ext.reporting import SilentReporter
from caffe_ext.sweeps import engine
from caffe_ext.sweeps.cluster import Capacity, ClusterSettings, LostSchedulerError, SweepCluster
from caffe_ext.sweeps.description import SweepPoint
from caffe_ext.sweeps.engine import Engine
from caffe_ext.sweeps.progress import SilentObserver, SweepProgress

POINT = SweepPoint({"seed": 1}, {"a": 1})
DONE = {"kind": "done", "figures": {}, "measured": {"seconds": {}}, "weights": b""}


class FakeFuture:
    """A point at the scheduler.

    outcome  what it has, or raises; None: it is pending for ever
    """

    def __init__(self, key: str, outcome: Any) -> None:
        self.key, self.outcome = key, outcome
        self.status = "pending" if outcome is None else "finished"

    def add_done_callback(self, call: Callable[["FakeFuture"], None]) -> None:
        if self.outcome is not None:
            call(self)

    def result(self, timeout: float) -> Any:
        assert timeout > 0
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class FakeCluster:
    """A cluster with a worker whose points end as told.

    outcomes  of the points that are submitted, one after another
    """

    place, dashboard = "at x", ""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes: Iterator[Any] = iter(outcomes)
        self.submitted: list[int] = []
        self.kept: dict[str, int] = {}
        self.lost_at_forget = 0

    def connect(self) -> None:
        """Succeed."""

    def find_attempts(self, digests: Collection[str], _: float | None) -> dict[str, int]:
        assert set(digests) == {POINT.digest}
        return self.kept

    def measure_capacity(self) -> Capacity:
        return Capacity(1, 1, frozenset({"w"}))

    def list_processing(self) -> dict[str, str]:
        return {}

    def take_events(self) -> list[Any]:
        return []

    def submit(self, point: SweepPoint, attempt: int, _: float | None) -> FakeFuture:
        self.submitted.append(attempt)
        return FakeFuture(f"{point.digest}-{attempt}", next(self.outcomes))

    def forget(self, _: FakeFuture) -> None:
        if self.lost_at_forget:
            self.lost_at_forget -= 1
            raise LostSchedulerError("it has gone")


class CountingStore:
    """Counts results."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, *_: Any) -> Any:
        self.written += 1
        return SimpleNamespace(measured={"seconds": {}})

    def write_failure(self, *_: Any) -> None:
        raise AssertionError("nothing fails")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_CAPACITY_SECONDS", 0.02)
    monkeypatch.setattr(engine, "_POLL_SECONDS", 0.01)


def run(cluster: FakeCluster) -> SweepProgress:
    """Compute the point; check that it is stored once."""
    store: Any = CountingStore()
    fake: Any = cluster
    progress = Engine(fake, store, SilentReporter(), SilentObserver()).run(
        [POINT], SweepProgress(1)
    )
    assert (store.written, progress.done, progress.left) == (1, 1, 0)
    return progress


def test_a_scheduler_that_goes_while_a_point_is_taken_from_it() -> None:
    """No worker has the point, so it is submitted again; the scheduler dies just then."""
    cluster = FakeCluster(None, DONE)
    cluster.lost_at_forget = 1
    assert run(cluster).resubmitted == 1
    assert cluster.submitted == [0, 1]


def test_a_scheduler_that_goes_before_the_result_is_fetched() -> None:
    gone = FutureCancelledError("key", "scheduler-connection-lost")
    cluster = FakeCluster(gone, DONE)
    assert run(cluster).resubmitted == 1


def test_what_an_earlier_client_has_submitted_is_not_submitted_twice() -> None:
    cluster = FakeCluster(DONE)
    cluster.kept = {POINT.digest: 2}
    run(cluster)
    assert cluster.submitted == [2]


class FakeClient:
    """Dask's, of which only published tasks are used."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)

    def list_datasets(self) -> tuple[str, ...]:
        return tuple(self.names)

    def unpublish_dataset(self, name: str) -> None:
        self.names.remove(name)


def test_attempts_that_the_scheduler_keeps(tmp_path: Path) -> None:
    cluster = SweepCluster(ClusterSettings(tmp_path, tmp_path), {})
    gpu = SweepCluster(ClusterSettings(tmp_path, tmp_path, gpus=1), {})
    last = cluster.make_key("d", 30.0, 10)
    others = [cluster.make_key("d", 30.0, number) for number in (0, 9)]
    others += [cluster.make_key("d", None, 11), gpu.make_key("d", 30.0, 12)]
    others += [cluster.make_key("e", None, 0)]
    foreign = ["somebody's data", cluster.make_key("f", 30.0, 3)]
    client: Any = FakeClient(last, *others, *foreign)
    cluster._client = client
    assert cluster.find_attempts({"d", "e"}, 30.0) == {"d": 10}
    assert client.names == {last, *foreign}


@pytest.mark.parametrize(
    ("left", "running", "slots", "seconds"),
    [
        (1, [], 2, 100),
        (2, [], 1000, 100),
        (3, [], 2, 150),
        (4, [], 2, 200),
        (1, [60], 2, 40),
        (2, [60, 10], 2, 90),
        (3, [60, 10], 2, 115),
        (1, [500], 2, 0),
    ],
)
def test_the_time_left(left: int, running: list[float], slots: int, seconds: float) -> None:
    progress = SweepProgress(left, slots=slots)
    progress.running = [("a point", "w", spent) for spent in running]
    assert engine._estimate_rest(progress, 100) == seconds
