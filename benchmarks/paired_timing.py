"""How much slower is one job than another: timed in turns, so that the machine's moods hit both.

Other processes, the clock rate and the caches change from second to second; two measurements one
after the other compare the seconds as much as the jobs. Here the jobs alternate, and so does the
order within a pair; the ratio within a pair hardly knows in which second it was taken.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Job = Callable[[], object]


@dataclass(frozen=True)
class PairedRatio:
    """How long two jobs took, and what the second one takes in relation to the first.

    pairs      how often each of them ran
    first_ms   median of the first job, in milliseconds
    second_ms  median of the second job
    ratio      second_ms / first_ms
    quartiles  of the ratios within the pairs: lower quartile, median, upper quartile
    """

    pairs: int
    first_ms: float
    second_ms: float
    ratio: float
    quartiles: tuple[float, float, float]


@dataclass(frozen=True)
class PairedTimes:
    """The comparison by the time that passed, and by the processor's time.

    elapsed  the time that passed
    thread   the processor's time of the calling thread: leaves out the time that other processes
             took away, but also what other threads did
    process  the processor's time of all threads together
    """

    elapsed: PairedRatio
    thread: PairedRatio
    process: PairedRatio


def time_pair(
    first: Job,
    second: Job,
    pairs: int,
    warm_up: int = 0,
    after_pair: Callable[[], object] = lambda: None,
) -> PairedTimes:
    """Run both jobs `warm_up` times, then `pairs` times with the clocks on.

    Raises ValueError for fewer than two pairs, of which there are no quartiles.
    """
    if pairs < 2:
        raise ValueError(f"at least 2 pairs are needed, not {pairs}")
    jobs = (first, second)
    clocks = (time.perf_counter, time.thread_time, time.process_time)
    seconds: list[tuple[list[float], list[float]]] = [([], []) for _ in clocks]
    for number in range(-warm_up, pairs):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            before = [clock() for clock in clocks]
            jobs[which]()
            after = [clock() for clock in clocks]
            if number >= 0:
                for series, start, end in zip(seconds, before, after, strict=True):
                    series[which].append(end - start)
        if number >= 0:
            after_pair()
    elapsed, thread, process = (compare(*series) for series in seconds)
    return PairedTimes(elapsed, thread, process)


def compare(first: Sequence[float], second: Sequence[float]) -> PairedRatio:
    """Return the comparison of two series of seconds, pair by pair."""
    medians = statistics.median(first), statistics.median(second)
    ratios = [b / a for a, b in zip(first, second, strict=True)]
    lower, middle, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    return PairedRatio(
        pairs=len(ratios),
        first_ms=1000 * medians[0],
        second_ms=1000 * medians[1],
        ratio=medians[1] / medians[0],
        quartiles=(lower, middle, upper),
    )
