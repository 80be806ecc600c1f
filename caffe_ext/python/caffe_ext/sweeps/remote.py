"""What is sent to the cluster as code: it must load where this package is missing or another one.

Dask pickles the functions of this module by value (cluster.py sees to that), so scheduler and
workers need not import it. Everything else is imported on workers that have been admitted.
"""

# ruff: noqa: PLC0415

import time
from pathlib import Path
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

TOPIC = "caffe_ext-sweep"
"""Of all sweeps on a cluster; `sweep` in an event is the resource of the one that it is about."""
_GRACE_SECONDS = 20.0
"""How long a point goes on that no client wants: one that was killed may come back."""


class Admission(WorkerPlugin):  # type: ignore[misc]  # Dask's types are not read
    """Gives workers with this version of the package the resource that points ask for.

    resource  its name; its amount is the number of the worker's threads
    version   of the package
    digest    of its Python source
    library   digest of the sources that its libraries were built from: other compilers, processors
              and GPUs are welcome
    """

    def __init__(self, resource: str, version: str, digest: str, library: str) -> None:
        """Set the name, so that the plugin of another sweep does not replace this one."""
        self.name = f"{TOPIC}-{resource}"
        self.resource, self.version = resource, version
        self.digest, self.library = digest, library

    async def setup(self, worker: Worker) -> None:
        """Admit the worker, or say why not."""
        refusal = self.describe_refusal()
        if refusal:
            _report(worker, self.resource, refused=refusal)
        amount = 0 if refusal else worker.state.nthreads
        await worker.set_resources(**{self.resource: amount})

    def describe_refusal(self) -> str | None:
        """Return a sentence if this machine has no package, or another one."""
        try:
            from caffe_ext import __version__
            from caffe_ext.runtime.native import get_source_digest
            from caffe_ext.sweeps.package import hash_package
        except Exception as error:
            return f"it cannot import caffe_ext with sweeps ({type(error).__name__}: {error})"
        if __version__ != self.version:
            return f"it has caffe_ext {__version__}, and the sweep needs {self.version}"
        if hash_package() != self.digest:
            return (
                f"its caffe_ext {__version__} differs from that of the sweep (digest "
                f"{hash_package()[:12]}, not {self.digest[:12]}); install the same build"
            )
        if get_source_digest() != self.library:
            return (
                f"its libcaffe_ext was built from other sources than that of the sweep (digest "
                f"{get_source_digest()[:12]}, not {self.library[:12]}); build it again"
            )
        return None


def _report(worker: Worker, sweep: str, **event: Any) -> None:
    """Tell the clients of a sweep, named by its resource, what a worker does."""
    worker.log_event(TOPIC, {"sweep": sweep, "worker": worker.address, **event})


def compute_remotely(
    digest: str, description: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    """Compute a point on the worker that this runs on; return the outcome of run_point().

    options  key: of the task; resource: of Admission; time_limit: in seconds, or None; gpus: how
             many a machine has that starts a worker for each; None: on the CPU
    """
    from caffe_ext.sweeps.data import find_data_home
    from caffe_ext.sweeps.worker import run_point

    worker = get_worker()
    unwanted_since: list[float] = []

    def is_wanted() -> bool:
        task = worker.state.tasks.get(options["key"])
        if task is not None and task.state not in ("cancelled", "forgotten", "released"):
            unwanted_since.clear()
            return True
        unwanted_since.append(time.monotonic())
        return unwanted_since[-1] - unwanted_since[0] < _GRACE_SECONDS

    _report(worker, options["resource"], started=digest)
    gpu = None
    if options["gpus"]:
        gpu = worker.name % options["gpus"] if isinstance(worker.name, int) else 0
    local = Path(worker.local_directory)
    outcome = run_point(
        description,
        local,
        find_data_home(local.parent / "caffe_ext-data"),
        gpu=gpu,
        time_limit=options["time_limit"],
        is_wanted=is_wanted,
    )
    outcome["worker"] = worker.address
    _report(worker, options["resource"], ended=digest, kind=outcome["kind"])
    if outcome["kind"] == "refused":
        worker.loop.add_callback(worker.set_resources, **{options["resource"]: 0})
    return outcome
