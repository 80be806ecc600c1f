"""The processes that compute a worker's points, one at a time each: see child.py."""

import errno
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

import caffe_ext
from caffe_ext.sweeps.child import ENDED, FULL_DISK, OUTCOME, STARTED

STOPPED = "stopped"
_POLL_SECONDS = 1.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class PointProcess:
    """A process that computes one point at a time.

    threads  whether it may use several threads, as with a GPU
    """

    def __init__(self, *, threads: bool) -> None:
        """Start it."""
        package = str(Path(caffe_ext.__file__).parents[1])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        if not threads:
            environment |= dict.fromkeys(_THREADS, "1")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "caffe_ext.sweeps.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self._answers = b""

    @property
    def is_usable(self) -> bool:
        """Tell whether it lives."""
        return self._process.poll() is None

    def run(
        self, folder: Path, time_limit: float | None, is_wanted: Callable[[], bool]
    ) -> str | None:
        """Compute the point in a folder; return why it left no outcome, None if it did.

        is_wanted  asked about once a second; otherwise the point is killed, and STOPPED returned
        """
        assert self._process.stdin is not None
        began, point, why, status = time.monotonic(), 0, None, None
        with suppress(BrokenPipeError):
            self._process.stdin.write(os.fsencode(folder) + b"\n")
            self._process.stdin.flush()
        while status is None:
            answer = self._read_answer()
            if answer is None:
                if why is None and time_limit is not None and time.monotonic() > began + time_limit:
                    why = f"it ran longer than the time limit of {time_limit:g} s"
                elif why is None and not is_wanted():
                    why = STOPPED
                if why is not None and point:
                    _end_group(point)
            elif answer.startswith(STARTED):
                point = int(answer.split()[1])
            elif answer.startswith(ENDED):
                status = int(answer.split()[1])
            else:
                status = self._process.wait()
        if point:
            _end_group(point)  # whatever it has left
        if why is None and not (folder / OUTCOME).exists():
            why = f"its process ended with status {status}"
            if status < 0:
                why = f"its process was killed by {signal.Signals(-status).name}"
            if status == FULL_DISK:
                why = os.strerror(errno.ENOSPC)
        return why

    def _read_answer(self) -> str | None:
        """Return the next line, "" if there will be none; None after a second without one."""
        assert self._process.stdout is not None
        while b"\n" not in self._answers:
            ready, _, _ = select.select([self._process.stdout], [], [], _POLL_SECONDS)
            if not ready:
                return None
            chunk = os.read(self._process.stdout.fileno(), 4096)
            if not chunk:
                return ""
            self._answers += chunk
        line, _, self._answers = self._answers.partition(b"\n")
        return line.decode()


class ProcessPool:
    """The processes of this worker that have nothing to do."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock, self._free = Lock(), dict[bool, list[PointProcess]]()

    def take(self, *, threads: bool) -> PointProcess:
        """Return a process for one point."""
        with self._lock:
            free = self._free.setdefault(threads, [])
            while free:
                process = free.pop()
                if process.is_usable:
                    return process
        return PointProcess(threads=threads)

    def put_back(self, process: PointProcess, *, threads: bool) -> None:
        """Keep a process for the next point."""
        with self._lock:
            self._free.setdefault(threads, []).append(process)


def _end_group(leader: int) -> None:
    """Kill a point and its children, whichever are left."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
