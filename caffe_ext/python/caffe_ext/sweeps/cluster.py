"""The connection to Dask: a cluster on this machine, or the user's."""

import asyncio
import logging
import signal
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import cloudpickle
import dask
from distributed import Client, Future, LocalCluster
from distributed.comm import get_address_host_port
from distributed.core import rpc
from distributed.security import Security

from caffe_ext import __version__
from caffe_ext.reporting import is_utf8
from caffe_ext.runtime.native import get_source_digest
from caffe_ext.runtime.processor_time import count_cores
from caffe_ext.storage.description import hash_description
from caffe_ext.sweeps import remote
from caffe_ext.sweeps.data import FOLDER_VARIABLE
from caffe_ext.sweeps.description import SweepPoint
from caffe_ext.sweeps.package import hash_package

GPU = "GPU"
_CONNECT_SECONDS = 10.0


class ClusterError(Exception):
    """A cluster that cannot be reached or used; the text is meant for the user."""


class LostSchedulerError(Exception):
    """A scheduler that does not answer, or that was started again and knows nothing."""


@contextmanager
def detect_loss() -> Iterator[None]:
    """Turn what Dask raises without a scheduler into a LostSchedulerError."""
    try:
        yield
    except OSError as error:
        raise LostSchedulerError(f"{error}") from error


@contextmanager
def _keep_interruptions_out() -> Iterator[None]:
    """Keep Ctrl-C, which a terminal sends to all processes, from those that are started here, and
    later by threads that are started here: it is the client's business.
    """
    # Its start would let the signal through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_address(address: str) -> None:
    """Raise ClusterError for what is no address of a scheduler that this machine can connect to.

    Dask would say so, too, but then wait for what it has begun, and end with a traceback.
    """
    if address.startswith("ucx://"):  # has a library of its own
        return
    try:
        get_address_host_port(address)
    except ValueError as error:
        raise ClusterError(
            f"the scheduler must be an address such as tcp://10.0.0.1:8786, not {address!r}"
        ) from error
    encrypted = address.startswith(("tls://", "wss://"))
    if encrypted and Security().get_connection_args("client")["ssl_context"] is None:
        raise ClusterError(
            f"{address} needs certificates, which Dask's configuration names (distributed.comm.tls)"
        )


def check_scratch(folder: Path) -> None:
    """Raise ClusterError for a folder of workers on this machine that Dask cannot name.

    Its messages are in UTF-8. Dask would end with a traceback.
    """
    if not is_utf8(f"{folder.absolute()}"):
        raise ClusterError(
            f"{folder} has no path in UTF-8, which Dask needs: choose another --output, or a link "
            "to this one"
        )


async def _ask_type(address: str) -> str:
    """Return what of Dask's listens at an address, "Scheduler" or "Worker"."""
    asked = rpc(address, connection_args=Security().get_connection_args("client"))
    try:
        return str((await asked.identity())["type"])
    finally:
        await asked.close_rpc()


def find_scheduler(address: str) -> None:
    """Raise ClusterError unless a scheduler listens at an address, whatever else may.

    Dask's client would wait for the rest of what a web server says, such as the dashboard.
    """
    try:
        found = asyncio.run(asyncio.wait_for(_ask_type(address), _CONNECT_SECONDS))
        if found == "Scheduler":
            return
        reason = f"but a {found.lower()}"
    except TimeoutError:
        reason = f"nothing that answers within {_CONNECT_SECONDS:g} s"
    except Exception as error:  # whatever others say is parsed
        reason = f"{error}" or type(error).__name__
    raise ClusterError(f"there is no Dask scheduler at {address} ({reason})")


@dataclass(frozen=True)
class ClusterSettings:
    """Where the points are computed.

    scheduler    address of the user's scheduler; None: a cluster on this machine
    workers      of the cluster on this machine; None: one for each core, or for each GPU
    gpus         how many GPUs this machine has, for points that need one; None: points need none
    scratch      folder for files of the workers on this machine
    data_folder  folder for databases of the workers on this machine
    """

    scratch: Path
    data_folder: Path
    scheduler: str | None = None
    workers: int | None = None
    gpus: int | None = None

    @property
    def local_workers(self) -> int:
        """Return the number of workers of a cluster on this machine."""
        return self.workers or self.gpus or count_cores()


@dataclass(frozen=True)
class Capacity:
    """The workers of a cluster.

    workers  how many there are
    slots    how many points they can compute at once; those that were not admitted have none
    """

    workers: int
    slots: int
    addresses: frozenset[str]


class SweepCluster:
    """A client of Dask, for a `with`; it admits workers to a sweep, and submits points.

    Raises ClusterError if the scheduler cannot be reached.
    """

    def __init__(self, settings: ClusterSettings, data: Mapping[str, Any]) -> None:
        """Connect; data: the digests of the sweep's data, which distinguish it from others."""
        self._settings = settings
        self._needs = {
            "version": __version__,
            "digest": hash_package(),
            "library": get_source_digest(),
        }
        self._resource = f"caffe_ext-{hash_description(self._needs | dict(data))}"
        self._events: SimpleQueue[Mapping[str, Any]] = SimpleQueue()
        self._local: LocalCluster | None = None
        self._client: Client | None = None
        self._scheduler = ""
        self._dashboard = ""
        # What Dask says of lost workers is said by the engine in a sentence.
        self._quiet = dask.config.set({"logging.distributed": "critical"})
        for name in ("distributed", *logging.root.manager.loggerDict):
            if name.startswith("distributed"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
        cloudpickle.register_pickle_by_value(remote)

    def __enter__(self) -> "SweepCluster":
        """Start or find the scheduler."""
        try:
            self.connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the user's cluster, or end that of this machine."""
        self.close()

    def connect(self) -> None:
        """Connect, again if need be; admit the workers that are there, and those to come."""
        if self._client is not None:
            with suppress(OSError):
                self._client.close(timeout=1)
        settings = self._settings
        if settings.scheduler is not None:
            find_scheduler(settings.scheduler)
        elif self._local is None:
            with _keep_interruptions_out():
                self._local = LocalCluster(
                    n_workers=settings.local_workers,
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=0,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                    local_directory=str(settings.scratch.absolute()),
                    resources={GPU: 1} if settings.gpus else None,
                    env={FOLDER_VARIABLE: str(settings.data_folder.absolute())},
                )
        try:
            self._client = Client(
                self._local or settings.scheduler, timeout=_CONNECT_SECONDS, set_as_default=False
            )
            self._scheduler = self._client.scheduler_info(n_workers=-1)["id"]
            # Asked for once: the client asks its scheduler, which may have gone later.
            self._dashboard = str(self._client.dashboard_link)
            self._client.subscribe_topic(remote.TOPIC, self._take_event)
            self._client.register_plugin(remote.Admission(self._resource, **self._needs))
        except (OSError, ValueError) as error:
            raise ClusterError(f"there is no Dask scheduler {self.place} ({error})") from error

    @property
    def dashboard(self) -> str:
        """Return the address of Dask's dashboard."""
        return self._dashboard

    @property
    def place(self) -> str:
        """Say where the scheduler is, to be put behind a noun."""
        scheduler = self._settings.scheduler
        return f"at {scheduler}" if scheduler else "on this machine"

    def make_key(self, digest: str, time_limit: float | None, attempt: int) -> str:
        """Return the key of a point at the scheduler.

        What another version of this package has computed there, or with another time limit or on
        another kind of device, has another one.
        """
        options = {"time_limit": time_limit, "gpu": self._settings.gpus is not None}
        return f"{self._resource}-{digest}-{hash_description(options)}-{attempt}"

    def find_attempts(self, digests: Collection[str], time_limit: float | None) -> dict[str, int]:
        """Return the last attempts at points that the scheduler keeps of an earlier client.

        Others that it keeps of these points, as with another time limit, are given up. Raises
        LostSchedulerError.
        """
        assert self._client is not None
        found: dict[str, int] = {}
        with detect_loss():
            names = [f"{name}" for name in self._client.list_datasets()]
            kept = [
                (name, *name.rsplit("-", 3)[1:])
                for name in names
                if name.startswith(self._resource)
            ]
            kept = [one for one in kept if one[1] in digests]
            for name, digest, _, attempt in kept:
                if name == self.make_key(digest, time_limit, int(attempt)):
                    found[digest] = max(int(attempt), found.get(digest, 0))
            for name, digest, *_ in kept:
                if name != self.make_key(digest, time_limit, found.get(digest, -1)):
                    self._client.unpublish_dataset(name)
        return found

    def submit(self, point: SweepPoint, attempt: int, time_limit: float | None) -> Future:
        """Submit a point; attempt: how often it was submitted before.

        The scheduler keeps the point even if this client dies, until forget(). Raises
        LostSchedulerError.
        """
        assert self._client is not None
        gpus = self._settings.gpus
        key = self.make_key(point.digest, time_limit, attempt)
        options = {
            "key": key,
            "resource": self._resource,
            "gpus": gpus,
            "time_limit": time_limit,
        }
        with detect_loss():
            future = self._client.submit(
                remote.compute_remotely,
                point.digest,
                dict(point.description),
                options,
                key=key,
                resources={self._resource: 1} | ({GPU: 1} if gpus else {}),
            )
            self._client.publish_dataset(future, name=key, override=True)
        return future

    def forget(self, future: Future) -> None:
        """Let the scheduler drop a point, and a worker stop it if it is being computed.

        Raises LostSchedulerError.
        """
        assert self._client is not None
        with detect_loss():
            future.release()
            self._client.unpublish_dataset(future.key)

    def measure_capacity(self) -> Capacity:
        """Ask the scheduler for its workers; LostSchedulerError if it does not answer.

        Also if it is another one: Dask's client connects again by itself, but the next scheduler
        knows nothing of the sweep.
        """
        if self._client is None or self._client.status != "running":
            raise LostSchedulerError("not connected")
        with detect_loss():
            about = self._client.scheduler_info(n_workers=-1)
        if about["id"] != self._scheduler:
            raise LostSchedulerError("the scheduler was started again")
        workers = about["workers"]
        slots = 0
        for one in workers.values():
            amount = one["resources"].get(self._resource, 0)
            slots += int(
                min(amount, one["resources"].get(GPU, 0)) if self._settings.gpus else amount
            )
        return Capacity(len(workers), slots, frozenset(workers))

    def list_processing(self) -> dict[str, str]:
        """Return the workers of the tasks that have one, by key; LostSchedulerError."""
        assert self._client is not None
        with detect_loss():
            tasks = self._client.processing()
        return {key: worker for worker, keys in tasks.items() for key in keys}

    def take_events(self) -> list[Mapping[str, Any]]:
        """Return what workers have reported of this sweep since the last call."""
        found = []
        while True:
            try:
                found.append(self._events.get_nowait())
            except Empty:
                return found

    def close(self) -> None:
        """Disconnect, and end the cluster of this machine.

        A busy machine may take longer than the timeouts; the workers end with this process.
        """
        with suppress(TimeoutError):
            if self._client is not None:
                self._client.close(timeout=1)
        with suppress(TimeoutError):
            if self._local is not None:
                self._local.close(timeout=5)
        self._client = self._local = None

    def _take_event(self, event: tuple[float, Mapping[str, Any]]) -> None:
        # Others on the same cluster have the same topic, and may refuse workers that this admits.
        if event[1].get("sweep") == self._resource:
            self._events.put(event[1])
