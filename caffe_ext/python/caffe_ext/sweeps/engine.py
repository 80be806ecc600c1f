"""The engine: gives the points to the cluster, takes their results, and survives faults.

No more points are submitted than can be computed at once, so that results do not pile up, and a
worker that joins finds work. A point whose worker died is computed again, by Dask; one whose
scheduler died is submitted again to the next.
"""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Future
from distributed.scheduler import KilledWorker

from caffe_ext.reporting import Reporter
from caffe_ext.sweeps.cluster import Capacity, ClusterError, LostSchedulerError, SweepCluster
from caffe_ext.sweeps.description import SweepPoint
from caffe_ext.sweeps.progress import Observer, Store, SweepProgress
from caffe_ext.sweeps.store import FailedPoint

_POLL_SECONDS, _CAPACITY_SECONDS = 0.5, 2.0
_LOG_LINES = 10


class Engine:
    """Computes points.

    store       where the results go
    time_limit  of a point, in seconds; None: none
    expected    seconds of a point, for the time that is left; None: not known
    """

    def __init__(  # noqa: PLR0913  they are independent of each other
        self,
        cluster: SweepCluster,
        store: Store,
        reporter: Reporter,
        observer: Observer,
        *,
        time_limit: float | None = None,
        expected: float | None = None,
    ) -> None:
        """Keep them."""
        self._cluster, self._store = cluster, store
        self._reporter, self._observer = reporter, observer
        self._time_limit, self._expected = time_limit, expected
        self._left: deque[SweepPoint] = deque()
        self._pending: dict[str, tuple[SweepPoint, Future]] = {}
        self._attempts: dict[str, int] = {}
        self._started: dict[str, tuple[str, float]] = {}
        self._finished: SimpleQueue[tuple[str, Future]] = SimpleQueue()
        self._refusals: dict[str, str] = {}
        self._durations: list[float] = []
        self._capacity = Capacity(0, 0, frozenset())
        self._asked = 0.0
        self._stranded: set[str] = set()

    def run(self, points: Sequence[SweepPoint], progress: SweepProgress) -> SweepProgress:
        """Compute points, and store each as soon as it is finished; return the progress.

        progress  with the points that are done already

        Raises ClusterError if no worker can be used, OSError if a result cannot be written;
        KeyboardInterrupt is passed on. What is finished is stored then.
        """
        self._left.extend(points)
        self._progress = progress
        digests = [point.digest for point in points]
        known = told = False
        try:
            while self._left or self._pending:
                try:
                    if not known:
                        self._attempts |= self._cluster.find_attempts(digests, self._time_limit)
                        known = True
                    self._ask_capacity()
                    if not told and not self._capacity.workers:
                        self._reporter.note(f"waiting for workers {self._cluster.place}")
                    told = True
                    self._submit()
                    self._take_finished()
                except LostSchedulerError:
                    self._connect_again()
                self._take_events()
                self._show()
        except (KeyboardInterrupt, SystemExit):
            self._cancel()
            raise
        return self._progress

    def _cancel(self) -> None:
        """Let workers stop what they are computing."""
        for _, future in self._pending.values():
            with suppress(LostSchedulerError):
                self._cluster.forget(future)

    def _submit(self) -> None:
        """Submit as many points as there are slots."""
        while self._left and len(self._pending) < self._capacity.slots:
            point = self._left[0]
            attempt = self._attempts.get(point.digest, 0)
            future = self._cluster.submit(point, attempt, self._time_limit)
            self._left.popleft()
            self._attempts[point.digest] = attempt + 1
            self._pending[point.digest] = point, future
            future.add_done_callback(_Put(self._finished, point.digest))

    def _take_finished(self) -> None:
        """Wait a moment for a point to finish, and store all that have."""
        try:
            digest, future = self._finished.get(timeout=_POLL_SECONDS)
        except Empty:
            return
        while True:
            self._take(digest, future)
            try:
                digest, future = self._finished.get_nowait()
            except Empty:
                return

    def _take(self, digest: str, future: Future) -> None:
        """Store a point's outcome, or submit the point again."""
        if digest not in self._pending or self._pending[digest][1] is not future:
            return  # of an earlier scheduler
        point, _ = self._pending.pop(digest)
        outcome: dict[str, Any]
        try:
            if future.status == "finished":
                outcome = future.result(timeout=60)
            elif future.status == "error":
                outcome = {"kind": "failed", "error": _describe(future.exception())}
            else:  # cancelled: the scheduler has gone
                outcome = {"kind": "lost"}
        except (OSError, CancelledError):  # it goes now
            outcome = {"kind": "lost"}
        kind = outcome["kind"]
        if kind in ("done", "failed"):
            # The worker has something to do while the result is written.
            with suppress(LostSchedulerError):
                self._submit()
        self._started.pop(digest, None)
        if kind == "done":
            stored = self._store.write(point, outcome)
            self._durations.append(sum(stored.measured["seconds"].values()))
            self._progress.done += 1
        elif kind == "failed":
            self._take_failure(point, outcome)
        else:
            if kind == "refused":
                self._refuse(outcome["worker"], outcome["sentence"])
            self._left.appendleft(point)
            self._progress.resubmitted += kind != "refused"
        # Not before it is stored: until then the cluster keeps it for the next client.
        self._cluster.forget(future)

    def _take_failure(self, point: SweepPoint, outcome: dict[str, Any]) -> None:
        failure = FailedPoint(
            error=outcome["error"],
            log=outcome.get("log", ""),
            worker=outcome.get("worker", ""),
            values={name: str(value) for name, value in point.values.items()},
        )
        self._store.write_failure(point, failure)
        self._progress.failed += 1
        log = "".join(f"\n  {line}" for line in failure.log.splitlines()[-_LOG_LINES:])
        self._reporter.warn(f"{point.title} failed: {failure.error}{log}")

    def _refuse(self, worker: str, sentence: str) -> None:
        """Say once why a worker gets no points."""
        if worker not in self._refusals:
            self._reporter.warn(f"worker {worker} gets no points: {sentence}")
        self._refusals[worker] = sentence

    def _take_events(self) -> None:
        for event in self._cluster.take_events():
            if "refused" in event:
                self._refuse(event["worker"], event["refused"])
            elif event.get("started") in self._pending:
                self._started[event["started"]] = event["worker"], time.monotonic()

    def _ask_capacity(self) -> None:
        """Ask the scheduler for its workers, from time to time."""
        if time.monotonic() - self._asked < _CAPACITY_SECONDS:
            return
        self._capacity = self._cluster.measure_capacity()
        self._find_stranded()
        self._asked = time.monotonic()
        here = {one for one in self._refusals if one in self._capacity.addresses}
        if here and not self._capacity.slots and len(here) == self._capacity.workers:
            raise ClusterError(
                f"no worker can compute the points: {self._refusals[next(iter(here))]}"
            )

    def _find_stranded(self) -> None:
        """Submit points again that no worker has twice in a row, although there are workers.

        Dask gives a point whose last possible worker died to none that was admitted after that.
        """
        if not self._capacity.slots or not self._pending:
            self._stranded = set()
            return
        held = self._cluster.list_processing()
        waiting = {
            future.key
            for _, future in self._pending.values()
            if future.status == "pending" and future.key not in held
        }
        for digest, (point, future) in list(self._pending.items()):
            if future.key in waiting & self._stranded:
                del self._pending[digest]
                self._left.appendleft(point)
                self._started.pop(digest, None)
                self._progress.resubmitted += 1
                self._cluster.forget(future)
            elif future.key in held and digest not in self._started:  # by an earlier client
                self._started[digest] = held[future.key], time.monotonic()
        self._stranded = waiting

    def _connect_again(self) -> None:
        """Wait for the scheduler to come back; then all points that were submitted are left."""
        self._reporter.warn(
            f"the scheduler {self._cluster.place} does not answer; waiting for it (Ctrl-C stops)"
        )
        lost = [point for point, _ in self._pending.values()]
        self._pending.clear()
        self._started.clear()
        self._left.extendleft(reversed(lost))
        self._progress.resubmitted += len(lost)
        while True:
            try:
                self._cluster.connect()
                break
            except ClusterError:
                self._show()
                time.sleep(_POLL_SECONDS)
        self._asked = 0.0
        self._capacity = Capacity(0, 0, frozenset())
        self._reporter.note(f"connected to the scheduler {self._cluster.place} again")

    def _show(self) -> None:
        progress, now = self._progress, time.monotonic()
        progress.workers, progress.slots = self._capacity.workers, self._capacity.slots
        progress.dashboard = self._cluster.dashboard
        progress.running = [
            (self._pending[digest][0].title, worker, now - since)
            for digest, (worker, since) in self._started.items()
            if digest in self._pending and worker in self._capacity.addresses
        ]
        each = self._expected
        if self._durations:
            each = sum(self._durations) / len(self._durations)
        if each is not None and progress.slots:
            progress.seconds_left = _estimate_rest(progress, each)
        self._observer.show(progress)


@dataclass(frozen=True)
class _Put:
    """A callback that puts a finished future into the queue."""

    queue: "SimpleQueue[tuple[str, Future]]"
    digest: str

    def __call__(self, future: Future) -> None:
        """Put it."""
        self.queue.put((self.digest, future))


def _estimate_rest(progress: SweepProgress, each: float) -> float:
    """Return in how many seconds the last point is done if one takes `each`."""
    spent = [min(seconds, each) for *_, seconds in progress.running]
    if progress.left <= len(spent):
        return each - min(spent, default=each)
    return max(each, (progress.left * each - sum(spent)) / progress.slots)


def _describe(error: BaseException | None) -> str:
    """Describe in a sentence why Dask gave a point up."""
    if isinstance(error, KilledWorker):
        return "the workers that computed it died, several times in a row"
    return f"{type(error).__name__}: {error}"
