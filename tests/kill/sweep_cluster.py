"""A Dask cluster of real processes, each killable, and the program that computes a sweep on it."""

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from distributed import Client

from caffe_ext.sweeps.remote import TOPIC

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

from sweep_hosts import SweepHosts
from sweep_samples import write_sweep

POINTS = 3
# How long Dask waits for a worker that does not answer; by default 5 minutes.
SHORT = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "8s"}
SECONDS = 240
"""Within which everything must have happened, on busy machines, too."""


class SweepProcesses:
    """Scheduler, workers and client in a folder, on this host or on several.

    hosts  scheduler and client are on the first, and nobody listens to the scheduler
    """

    def __init__(self, folder: Path, hosts: SweepHosts | None = None) -> None:
        self.folder, self.output, self.hosts = folder, folder / "out", hosts
        self.port = 8786 if hosts else _find_free_port()
        self.address = f"tcp://{self._host(0)}:{self.port}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.watcher: Client | None = None
        self.events: list[Mapping[str, Any]] = []
        changes: dict[str, Any] = {
            "axes": {"random_seed": list(range(1, POINTS + 1))},
            "baseline": None,
            "settings": {"max_iter": 20_000},
            "evaluation": {"attacks": ["fgs"], "limit": 5},
        }
        self.file = write_sweep(folder / "files", **changes)

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        """Start a scheduler at the address, and listen to what it hears."""
        command = ["scheduler", "--host", self._host(0), "--port", f"{self.port}", "--no-dashboard"]
        process = self.start(_dask(*command), "scheduler")
        if self.hosts is not None:
            return process
        if self.watcher is not None:  # which would connect again by itself
            self.watcher.close(timeout=1)
        self.watcher = Client(self.address, timeout=SECONDS, set_as_default=False)
        self.watcher.subscribe_topic(TOPIC, lambda event: self.events.append(event[1]))
        return process

    def start_worker(self, name: str, host: int = 0, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker without a nanny, which would start another one in its place."""
        folder = self.folder / name
        command = ["worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        command += ["--name", name, "--local-directory", f"{folder}", "--host", self._host(host)]
        data = {"CAFFE_EXT_SWEEP_DATA": str(self.folder / "data")}
        return self.start(_dask(*command), name, data | environment, host)

    def start_client(self, *more: str, alone: bool = False) -> subprocess.Popen[bytes]:
        """Start the program; alone: with workers of its own."""
        command = [sys.executable, "-m", "caffe_ext.cli", "sweep", f"{self.file}", *more]
        command += ["--output", f"{self.output}", *([] if alone else ["--scheduler", self.address])]
        data = {"CAFFE_EXT_SWEEP_DATA": str(self.folder / "data")}
        return self.start(command, "client", data)

    def start(
        self,
        command: Sequence[str],
        name: str,
        environment: Mapping[str, str] | None = None,
        host: int = 0,
    ) -> subprocess.Popen[bytes]:
        """Start a process, which leads a group; its output goes to NAME.log."""
        if self.hosts is not None:
            command = [*self.hosts.command(host), *command]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder / "files",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | SHORT | dict(environment or {}),
                process_group=0,
            )
        self.processes.append(process)
        return process

    def read_started(self) -> list[Path]:
        """Return the logs of the trainings that have begun and not ended, on all workers."""
        return list(self.folder.glob("*/dask-scratch-space/worker-*/point-*/training/train.log"))

    def _host(self, number: int) -> str:
        return "127.0.0.1" if self.hosts is None else self.hosts.address(number)

    def read_log(self, name: str) -> str:
        """Return what a process has printed."""
        return (self.folder / f"{name}.log").read_text()

    def count(self, what: str) -> Counter[str]:
        """Count the points that have `started`, or `ended` with a result."""
        kinds = (event for event in list(self.events) if event.get("kind", "done") == "done")
        return Counter(event[what] for event in kinds if what in event)

    def wait_for_starts(self, number: int) -> None:
        """Wait until so many points have been started, all in all."""
        self.wait(lambda: self.count("started").total() >= number)

    def wait(self, happened: Callable[[], bool]) -> None:
        """Wait until something has happened."""
        end = time.monotonic() + SECONDS
        while not happened():
            if time.monotonic() > end:
                logs = [f"{one.name}:\n{one.read_text()[-3000:]}" for one in self.logs()]
                raise AssertionError("it has not happened\n" + "\n".join(logs))
            time.sleep(0.05)

    def logs(self) -> Iterator[Path]:
        """Yield the files with the processes' output."""
        yield from self.folder.glob("*.log")

    def finish(self, client: subprocess.Popen[bytes]) -> int:
        """Wait for the program to end; return its exit status."""
        self.wait(lambda: client.poll() is not None)
        return int(client.returncode)

    def results(self) -> dict[str, int]:
        """Return the times of the results, by their digests."""
        files = (self.output / "points").glob("*.json")
        return {path.stem: path.stat().st_mtime_ns for path in files}

    def rows(self) -> list[dict[str, Any]]:
        """Return the table."""
        found: list[dict[str, Any]] = json.loads((self.output / "sweep.json").read_text())["rows"]
        return found

    def close(self) -> None:
        """Kill everything."""
        if self.watcher is not None:
            self.watcher.close(timeout=1)
        for process in self.processes:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, and wait for its end."""
    process.kill()
    process.wait()


def list_descendants(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the processes that a process has started, directly or not."""
    return list(psutil.Process(process.pid).children(recursive=True))


def list_trainings(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the `caffe train` that a worker has running."""
    found = []
    for one in list_descendants(process):
        with suppress(psutil.NoSuchProcess):
            found += [one] * (one.name() == "caffe")
    return found


def _dask(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dask", *arguments]


def _find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
