"""Processor time of work: how long it takes on cores that are otherwise idle.

On a busy machine, the wall time is mostly that of other programs.
"""

import os
from time import perf_counter, process_time, thread_time

from caffe_ext.runtime.device import get_current_device


def count_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Stopwatch:
    """Measures the time that this thread's work takes on idle cores, starting at its creation.

    That is this thread's processor time or, if larger, the whole process's divided by the number of
    cores: work done by helper threads counts, waiting for a core does not. On a GPU, it is the wall
    time.

    cores  that the work may use; None: all that the process may use
    """

    def __init__(self, cores: int | None = None) -> None:
        """Start."""
        self._cores = cores or count_cores()
        self._on_gpu = get_current_device().gpu is not None
        self._began = self._read()

    @property
    def seconds(self) -> float:
        """Return the seconds since the start."""
        wall, thread, process = (
            now - before for now, before in zip(self._read(), self._began, strict=True)
        )
        return wall if self._on_gpu else max(thread, process / self._cores)

    @staticmethod
    def _read() -> tuple[float, float, float]:
        return perf_counter(), thread_time(), process_time()
