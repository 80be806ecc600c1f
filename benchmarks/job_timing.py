"""Timing of benchmarks' jobs, in turns in one process."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RUNS = 4
PAUSE = 0.1
SETTLE = 0.05


@dataclass(frozen=True)
class Job:
    """What is timed.

    task   "SGD", "BANG", "forward" or "peak"
    ready  called before each row of runs, outside of the measured time
    flop   floating point operations of a run: multiplications and additions of its products
    """

    task: str
    framework: str
    run: Callable[[], object]
    ready: Callable[[], object] = lambda: None
    flop: float = 0.0


def repeat(job: Job, times: int, finish: Callable[[], object]) -> Job:
    """Return the job that many times; then it waits until all is done, as GPUs work on their own.

    Somebody who trains does not wait after each iteration either.
    """

    def run() -> None:
        for _ in range(times):
            job.run()
        finish()

    return Job(job.task, job.framework, run, job.ready, times * job.flop)


def time_jobs(
    jobs: Sequence[Job], rounds: int, after_round: Callable[[], object]
) -> list[dict[str, Any]]:
    """Run all jobs in turns, RUNS times each a round, and return what they took.

    A first round, and the first runs after another job, are not counted: a pause lets the threads
    of the job before fall asleep, and Linux takes SETTLE seconds to spread those of this one.
    """
    elapsed: list[list[float]] = [[] for _ in jobs]
    processor: list[list[float]] = [[] for _ in jobs]
    process: list[list[float]] = [[] for _ in jobs]
    for number in range(-1, rounds):
        for index, job in enumerate(jobs):
            job.ready()
            time.sleep(PAUSE)
            settled = time.perf_counter() + SETTLE
            job.run()
            while time.perf_counter() < settled:
                job.run()
            for _ in range(RUNS if number >= 0 else 1):
                clocks = (time.perf_counter, time.thread_time, time.process_time)
                began = [clock() for clock in clocks]
                job.run()
                wall, cpu, every = (
                    clock() - start for clock, start in zip(clocks, began, strict=True)
                )
                if number >= 0:
                    process[index].append(1000 * every)
                    elapsed[index].append(1000 * wall)
                    processor[index].append(1000 * cpu)
        after_round()
    return [
        {
            "task": job.task,
            "framework": job.framework,
            "gflop": job.flop / 1e9,
            "runs": len(elapsed[index]),
            "elapsed_ms": statistics.median(elapsed[index]),
            "fastest_ms": min(elapsed[index]),
            "thread_ms": statistics.median(processor[index]),
            "process_ms": statistics.median(process[index]),
        }
        for index, job in enumerate(jobs)
    ]


def find_fastest(
    measured: Mapping[str, Any], task: str, framework: str, clock: str
) -> Mapping[str, Any] | None:
    """Return the fastest job of a task whose framework begins like that; None: there is none.

    measured  has what time_jobs() returns as "jobs"
    clock     "elapsed_ms", "thread_ms" or "process_ms"
    """
    jobs = [
        job
        for job in measured["jobs"]
        if job["task"] == task and job["framework"].startswith(framework)
    ]
    return min(jobs, key=lambda job: float(job[clock]), default=None)
