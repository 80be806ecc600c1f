"""What a worker does with a point: have a process compute it, and return its outcome by value.

The worker's own process computes nothing: a crash in a network costs the point, not the worker.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from caffe_ext.storage.staging import is_of_full_disk
from caffe_ext.sweeps.child import LOG, OUTCOME, TASK
from caffe_ext.sweeps.process import STOPPED, ProcessPool

LOG_LINES = 40
"""How much of the log of a failed point is returned."""
_POOL = ProcessPool()


def run_point(  # noqa: PLR0913  they are independent of each other
    description: Mapping[str, Any],
    scratch: Path,
    data_folder: Path,
    *,
    gpu: int | None = None,
    time_limit: float | None = None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> dict[str, Any]:
    """Compute a point in a process of its own; return its outcome.

    scratch     a folder for temporary files
    time_limit  in seconds; the process is killed then
    is_wanted   asked about once a second; the process is killed if nobody wants the result

    The outcome's `kind` is "done", with `figures`, `measured` and `weights` (the bytes of the
    file); "failed", with `error` and the end of the `log`; "refused", with a `sentence` on why this
    machine must not compute it, as on a full disk; or "stopped".
    """
    try:
        task = {"description": description, "data_folder": str(data_folder), "gpu": gpu}
        outcome = _compute(task, scratch, time_limit, is_wanted)
    except OSError as error:
        outcome = {"kind": "failed", "error": f"{error}"}
    if outcome["kind"] == "failed" and is_of_full_disk(outcome["error"]):
        return {"kind": "refused", "sentence": f"its disk is full ({outcome['error']})"}
    return outcome


def _compute(
    task: Mapping[str, Any],
    scratch: Path,
    time_limit: float | None,
    is_wanted: Callable[[], bool],
) -> dict[str, Any]:
    """Return the outcome; OSError if files cannot be written."""
    scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="point-", dir=scratch))
    try:
        (folder / TASK).write_text(json.dumps(task), encoding="utf-8")
        threads = task["gpu"] is not None
        process = _POOL.take(threads=threads)
        why = process.run(folder, time_limit, is_wanted)
        _POOL.put_back(process, threads=threads)
        if why == STOPPED:
            return {"kind": STOPPED}
        if why is None:
            outcome: dict[str, Any] = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
        else:
            outcome = {"kind": "failed", "error": why}
        if outcome["kind"] == "done":
            outcome["weights"] = Path(outcome["weights"]).read_bytes()
        if outcome["kind"] == "failed":
            outcome["log"] = _read_log_end(folder)
        return outcome
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_log_end(folder: Path) -> str:
    """Return the last lines of Caffe's log, and of the point's own."""
    lines = [
        line
        for path in (folder / "training" / "train.log", folder / LOG)
        if path.is_file()
        for line in path.read_bytes().decode(errors="replace").splitlines()[-LOG_LINES:]
    ]
    return "\n".join(lines)
