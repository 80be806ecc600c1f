"""The processes of a worker's points: `python -m caffe_ext.sweeps.child`, started by process.py.

Reads the folders of points from its standard input, a line each, and computes each in a forked
process, so that the package is imported once. A point's process reads task.json, writes
outcome.json and log.txt, and leads a process group of its own. When the standard input ends, the
worker has died, in whatever way: then the point's group is killed, `caffe train` included.

Answers with lines: "started PID", then "ended STATUS".
"""

# The package is imported late: each process imports what it needs.
# ruff: noqa: PLC0415

import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

TASK, OUTCOME, LOG = "task.json", "outcome.json", "log.txt"
STARTED, ENDED = "started", "ended"
FULL_DISK = 75
"""The exit status of a point that could not write its files."""
CHANGED = (
    "its caffe_ext was built or installed again while it ran; start the worker, or this sweep, "
    "again"
)


def run_points() -> None:
    """Compute points until the standard input ends."""
    from dataclasses import asdict

    import caffe_ext.sweeps.compute  # noqa: F401  (so that forked processes have it)
    from caffe_ext.storage.provenance import describe_machine, find_commit
    from caffe_ext.sweeps.package import list_installed_files

    installed = list_installed_files()
    origin = {"commit": find_commit(), "machine": asdict(describe_machine())}
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the client's business
    # A worker of the client's own blocks it; `caffe train` can be stopped by it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    for line in _read_lines():
        folder = Path(line)
        child = os.fork()
        if not child:
            _run_point(folder, origin, installed)
        with suppress(OSError):  # it has done so itself, and may have ended
            os.setpgid(child, child)
        try:
            _tell(f"{STARTED} {child}")
            _tell(f"{ENDED} {_watch(child)}")
        except BrokenPipeError:  # the worker has died
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            return


def _run_point(folder: Path, origin: dict[str, Any], installed: Sequence[Any]) -> None:
    """Compute a point in this process, and end it."""
    from caffe_ext.storage.atomic import write_text
    from caffe_ext.storage.staging import is_of_full_disk

    status = 1
    try:
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for old, new in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(old, new)
        os.chdir(folder)
        task = json.loads((folder / TASK).read_text(encoding="utf-8"))
        outcome = compute_outcome(task, folder, origin, installed)
        write_text(folder / OUTCOME, json.dumps(outcome), sync=False)
        status = 0
    except BaseException as error:
        status = FULL_DISK if is_of_full_disk(f"{error}") else 1
        with suppress(OSError):  # the log is on the same disk
            traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def compute_outcome(
    task: dict[str, Any], folder: Path, origin: dict[str, Any], installed: Sequence[Any]
) -> dict[str, Any]:
    """Return the outcome of a point: its `kind` is done, failed or refused.

    origin     what is recorded of this machine and its software
    installed  list_installed_files() before this point: it is refused if they have changed
    """
    from caffe_ext.sweeps.package import list_installed_files

    outcome = _compute(task, folder, origin)
    if list_installed_files() != installed:
        return {"kind": "refused", "sentence": CHANGED}
    return outcome


def _compute(task: dict[str, Any], folder: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """Return the outcome of a point, whatever has changed meanwhile."""
    from caffe_ext.runtime.device import Device
    from caffe_ext.runtime.memory import measure_peak_memory_mib
    from caffe_ext.sweeps.compute import RefusalError, compute_point
    from caffe_ext.training import TrainingError

    try:
        done = compute_point(task["description"], folder, Path(task["data_folder"]), task["gpu"])
    except RefusalError as error:
        return {"kind": "refused", "sentence": f"{error}"}
    except (TrainingError, ValueError, OSError) as error:
        return {"kind": "failed", "error": describe_error(error, folder)}
    except Exception as error:
        traceback.print_exc()
        return {"kind": "failed", "error": f"{type(error).__name__}: {error}"}
    times = os.times()
    measured = {
        "seconds": done.seconds,
        # Of this process, which began with the point, and of `caffe train`.
        "processor_seconds": sum(times[:4]),
        "peak_memory_mib": measure_peak_memory_mib(),
        "device": Device(task["gpu"]).describe(),
        **origin,
    }
    return {
        "kind": "done",
        "figures": done.figures,
        "weights": str(done.weights),
        "measured": measured,
    }


def describe_error(error: Exception, folder: Path) -> str:
    """Return an error without the folder, which is removed, and the log, whose end is kept."""
    return f"{error}".replace(f"{folder}/", "").removesuffix(" (log: training/train.log)")


def _watch(child: int) -> int:
    """Wait for a point to end, and return its exit status; if the worker ends first, kill it."""
    watched = os.pidfd_open(child)
    try:
        while True:
            ready, _, _ = select.select([watched, 0], [], [])
            if watched in ready:
                _, status = os.waitpid(child, 0)
                return os.waitstatus_to_exitcode(status)
            # Nothing is asked for while a point is computed: this is the end of the input.
            os.killpg(child, signal.SIGKILL)
            os._exit(1)
    finally:
        os.close(watched)


def _read_lines() -> Iterator[str]:
    """Yield the lines of the standard input, read without a buffer of Python's."""
    rest = b""
    while chunk := os.read(0, 4096):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield os.fsdecode(line)


def _tell(text: str) -> None:
    os.write(1, f"{text}\n".encode())


if __name__ == "__main__":
    run_points()
