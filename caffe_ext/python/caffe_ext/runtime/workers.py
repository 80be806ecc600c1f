"""Run tasks in several processes, with one net each, and report their progress in this one.

A single net can use all cores, but the Python code around it, under its lock, cannot. With one
task per core, nothing has to wait. The processes compute on their parent's device; they are
spawned, since CUDA does not work in forked ones.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from threading import Thread
from typing import Any, Self, TypeVar

from caffe_ext.errors import WorkerError
from caffe_ext.reporting import Reporter, Step
from caffe_ext.runtime.device import Device, get_current_device

Result = TypeVar("Result")
Task = Callable[[Reporter], Result]
"""What is to be done; with more than one process, it and its result must be picklable."""
Message = tuple[Any, ...]

_THREADS = "OPENBLAS_NUM_THREADS"


class QueueReporter:
    """The reporter in a worker process: passes everything on to the parent."""

    def __init__(self, queue: "Queue[Message | None]") -> None:
        """Keep the queue to the parent."""
        self._queue, self._numbers = queue, count()

    def note(self, text: str) -> None:
        """Pass a sentence on."""
        self._queue.put(("note", text))

    def warn(self, text: str) -> None:
        """Pass a sentence on."""
        self._queue.put(("warn", text))

    @contextmanager
    def show_progress(self, what: str, total: int, unit: str, done: int = 0) -> Iterator[Step]:
        """Pass the steps on."""
        bar = os.getpid(), next(self._numbers)
        self._queue.put(("begin", bar, what, total, unit, done))
        try:
            yield lambda number: self._queue.put(("step", bar, number))
        finally:
            self._queue.put(("end", bar))


_reporter: QueueReporter | None = None


class Workers:
    """Processes that run tasks, for a `with`; with one job, all tasks run in this process."""

    def __init__(self, jobs: int, reporter: Reporter) -> None:
        """Start nothing yet: processes are started when there is work for them."""
        self._jobs, self._reporter = jobs, reporter
        self._queue: Queue[Message | None] | None = None
        self._pool: ProcessPoolExecutor | None = None
        self._others: set[BaseProcess] = set()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the processes; at once if something went wrong."""
        if self._pool is None or self._queue is None:
            return
        if kind is not None:
            for process in set(multiprocessing.active_children()) - self._others:
                process.terminate()
        self._pool.shutdown(cancel_futures=True)
        self._queue.put(None)
        self._listener.join()

    def run(self, tasks: Sequence[Task[Result]]) -> list[Result]:
        """Run the tasks; return their results in the tasks' order.

        What a task raises is raised here, and the `with` then ends the other processes; the same
        goes for an interruption. Raises WorkerError if a process cannot be started or dies,
        DeviceError if the GPU does not allow another process.
        """
        if self._jobs == 1 or not tasks:
            return [task(self._reporter) for task in tasks]
        with _limit_blas_threads():
            try:
                futures = [
                    self._start_pool().submit(_call, task, get_current_device()) for task in tasks
                ]
            except (RuntimeError, OSError) as error:
                raise WorkerError(
                    f"no worker process can be started ({error}); with --jobs 1 none is needed"
                ) from error
            try:
                return [future.result() for future in futures]
            except BrokenProcessPool as error:
                raise WorkerError(
                    "a worker process died unexpectedly (out of memory?); with --jobs 1 "
                    "everything runs in one process"
                ) from error

    def _start_pool(self) -> ProcessPoolExecutor:
        """Return the pool, whose processes start as they are needed."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._others = set(multiprocessing.active_children())
            self._queue = context.Queue()
            self._listener = Thread(target=_listen, args=(self._queue, self._reporter), daemon=True)
            self._listener.start()
            self._pool = ProcessPoolExecutor(self._jobs, context, _start, (self._queue,))
        return self._pool


@contextmanager
def _limit_blas_threads() -> Iterator[None]:
    """Give the BLAS of each process that is started here one thread, unless the user has set it."""
    before = os.environ.get(_THREADS)
    os.environ.setdefault(_THREADS, "1")
    try:
        yield
    finally:
        if before is None:
            del os.environ[_THREADS]


def _start(queue: "Queue[Message | None]") -> None:
    """Initialise a process: the parent handles interruptions, and the process ends with it."""
    global _reporter  # noqa: PLW0603
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_follow_parent, daemon=True).start()
    _reporter = QueueReporter(queue)


def _follow_parent() -> None:
    """Wait until the parent has ended in any way, and exit."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(task: Task[Result], device: Device) -> Result:
    """Run a task in an initialised process."""
    assert _reporter is not None
    with device.activate():
        return task(_reporter)


def _listen(queue: "Queue[Message | None]", reporter: Reporter) -> None:
    """Pass on to the reporter what comes in, until there is a None."""
    bars: dict[Any, tuple[AbstractContextManager[Step], Step]] = {}
    while (message := queue.get()) is not None:
        kind, *rest = message
        if kind == "begin":
            bar, what, total, unit, done = rest
            opened = reporter.show_progress(what, total, unit, done)
            bars[bar] = opened, opened.__enter__()
        elif kind == "step":
            bars[rest[0]][1](rest[1])
        elif kind == "end":
            bars.pop(rest[0])[0].__exit__(None, None, None)
        else:
            getattr(reporter, kind)(*rest)
    for opened, _ in bars.values():
        opened.__exit__(None, None, None)
