"""runtime/workers.py: results, progress, errors, and no process left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from caffe_ext.errors import WorkerError
from caffe_ext.reporting import Reporter, SilentReporter, Step
from caffe_ext.runtime.workers import Workers


@dataclass(frozen=True)
class Square:
    """A task that reports, and returns its number's square and its process."""

    number: int

    def __call__(self, reporter: Reporter) -> tuple[int, int]:
        with reporter.show_progress("squares", 3, "step") as step:
            for _ in range(3):
                step(1)
        return self.number**2, os.getpid()


@dataclass(frozen=True)
class Fail:
    how: str

    def __call__(self, reporter: Reporter) -> None:
        if self.how == "raise":
            raise ValueError("the seventh image is missing")
        os.kill(os.getpid(), signal.SIGKILL)


class Counting(SilentReporter):
    def __init__(self) -> None:
        self.steps = 0

    def _step(self, count: int) -> None:
        self.steps += count

    @contextmanager
    def show_progress(self, what: str, total: int, unit: str, done: int = 0) -> Iterator[Step]:
        yield self._step


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_tasks_order_and_progress_arrives(jobs: int) -> None:
    reporter = Counting()
    with Workers(jobs, reporter) as workers:
        results = workers.run([Square(n) for n in range(5)])
    assert [square for square, _ in results] == [0, 1, 4, 9, 16]
    assert reporter.steps == 15
    assert ({process for _, process in results} == {os.getpid()}) == (jobs == 1)


def test_one_job_needs_no_process() -> None:
    with Workers(1, SilentReporter()) as workers:
        assert workers.run([lambda _: 8]) == [8]  # a lambda goes into no other process


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_task_raises_is_raised(jobs: int) -> None:
    with (
        pytest.raises(ValueError, match="the seventh image is missing"),
        Workers(jobs, SilentReporter()) as workers,
    ):
        workers.run([Fail("raise"), Fail("raise")])


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("threading.Thread.start", RuntimeError("can't start new thread")),
        ("multiprocessing.popen_spawn_posix.Popen._launch", BlockingIOError(11, "unavailable")),
    ],
)
def test_where_no_process_can_be_had(
    monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(where, fail)
    says = r"^no worker process can be started \(.+\); with --jobs 1 none is needed$"
    with pytest.raises(WorkerError, match=says), Workers(2, SilentReporter()) as workers:
        workers.run([Square(1), Square(2)])


def test_a_process_that_ends_unasked_is_a_clear_error() -> None:
    with pytest.raises(WorkerError, match="--jobs 1"), Workers(2, SilentReporter()) as workers:
        workers.run([Fail("die"), Fail("die")])


FOREVER = """
import os, sys, time
sys.path.insert(0, {here!r})
from test_workers import Report, SilentReporter, Workers
if __name__ == "__main__":
    with Workers(2, SilentReporter()) as workers:
        workers.run([Report({folder!r}), Report({folder!r})])
"""


@dataclass(frozen=True)
class Report:
    """A task that says which process it is in, and never ends."""

    folder: str

    def __call__(self, reporter: Reporter) -> None:
        with open(f"{self.folder}/{os.getpid()}", "w"):  # noqa: PTH123
            time.sleep(600)


def test_the_processes_end_with_a_parent_that_is_killed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder, script = tmp_path_factory.mktemp("running"), tmp_path_factory.mktemp("s") / "run.py"
    script.write_text(FOREVER.format(here=os.path.dirname(__file__), folder=str(folder)))  # noqa: PTH120
    with subprocess.Popen([sys.executable, str(script)]) as parent:
        until = time.monotonic() + 60
        while len(list(folder.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.1)
        parent.kill()
    processes = [int(path.name) for path in folder.iterdir()]
    assert len(processes) == 2
    while any(map(alive, processes)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(alive, processes))


def alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
