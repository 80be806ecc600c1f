"""The connection of a sweep to the user's Dask cluster: what is no scheduler, keys there, and what
workers say.
"""

import asyncio
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from caffe_ext.cli import sweep as program
from caffe_ext.sweeps.cluster import ClusterError, ClusterSettings, SweepCluster
from caffe_ext.sweeps.description import SweepPoint
from caffe_ext.sweeps.remote import TOPIC, Admission
from sweep_samples import write_sweep


def test_a_scheduler_that_is_not_there(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    with pytest.raises(SystemExit) as end, pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setattr("caffe_ext.sweeps.cluster._CONNECT_SECONDS", 1)
        argv = [f"{path}", "--output", f"{tmp_path / 'out'}", "--scheduler", "tcp://127.0.0.1:9"]
        program.main(argv)
    assert "there is no Dask scheduler at tcp://127.0.0.1:9" in f"{end.value}"


def test_a_scheduler_that_is_something_else(tmp_path: Path) -> None:
    """Such as the dashboard, a web server: what it says is taken for the head of a message."""
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr("caffe_ext.sweeps.cluster._CONNECT_SECONDS", 3)

        def answer() -> None:
            connection, _ = server.accept()
            connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            connection.recv(1)  # and leaves it open

        Thread(target=answer, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        settings = ClusterSettings(tmp_path, tmp_path, scheduler=address)
        began = time.monotonic()
        with pytest.raises(ClusterError, match=f"there is no Dask scheduler at {address}"):
            SweepCluster(settings, {}).connect()
        assert time.monotonic() < began + 20


def test_a_cluster_keeps_the_points_of_each_version_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results that an older client has left at the scheduler are not taken for this one's."""
    point = SweepPoint({"seed": 1}, {"a": 1})

    def make_key() -> str:
        return SweepCluster(ClusterSettings(tmp_path, tmp_path), {}).make_key(point.digest, None, 0)

    first = make_key()
    assert make_key() == first
    keys = {first}
    for name in ("hash_package", "get_source_digest"):
        with monkeypatch.context() as patch:
            patch.setattr(f"caffe_ext.sweeps.cluster.{name}", lambda: "another")
            keys.add(make_key())
    assert len(keys) == 3
    assert make_key() == first


def test_a_worker_with_a_library_of_other_sources_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one of a checkout that was updated and not built again."""
    cluster = SweepCluster(ClusterSettings(tmp_path, tmp_path), {})
    admission = Admission(cluster._resource, **cluster._needs)
    assert admission.describe_refusal() is None
    monkeypatch.setattr("caffe_ext.runtime.native.get_source_digest", lambda: "0123456789abcdef")
    refusal = admission.describe_refusal()
    assert refusal is not None
    assert "its libcaffe_ext was built from other sources" in refusal
    assert "digest 0123456789ab, not" in refusal


class FakeWorker:
    """Keeps what it is told: its resources, and the events that clients would receive."""

    def __init__(self) -> None:
        self.address = "tcp://10.0.0.2:1234"
        self.state = SimpleNamespace(nthreads=2)
        self.resources: dict[str, float] = {}
        self.events: list[Mapping[str, Any]] = []

    def log_event(self, topic: str, event: Mapping[str, Any]) -> None:
        assert topic == TOPIC
        self.events.append(event)

    async def set_resources(self, **resources: float) -> None:
        self.resources |= resources


def test_what_workers_say_of_another_sweep_is_not_about_this_one(tmp_path: Path) -> None:
    """Somebody else's sweep, of another version, refuses a worker that this one admits."""
    settings, worker = ClusterSettings(tmp_path, tmp_path), FakeWorker()
    mine, theirs = SweepCluster(settings, {}), SweepCluster(settings, {"digits": "0" * 64})
    needs = {mine: mine._needs, theirs: {**theirs._needs, "version": "0.0"}}
    for cluster in (mine, theirs):
        asyncio.run(Admission(cluster._resource, **needs[cluster]).setup(worker))
    assert worker.resources == {mine._resource: 2, theirs._resource: 0}
    for event in worker.events:
        mine._take_event((0.0, event))
        theirs._take_event((0.0, event))
    assert mine.take_events() == []
    (event,) = theirs.take_events()
    assert event["refused"].endswith("and the sweep needs 0.0")
    assert event["worker"] == worker.address


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("", "must be an address such as tcp://10.0.0.1:8786, not ''"),
        ("8786", "must be an address such as tcp://10.0.0.1:8786, not '8786'"),
        ("http://127.0.0.1:9", "must be an address such as tcp://"),
        ("tcp://[::1", "must be an address such as tcp://"),
        ("tls://127.0.0.1:9", "needs certificates, which Dask's configuration names"),
    ],
)
def test_what_is_no_address_of_a_scheduler(address: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=re.escape(says)):
        program.main(
            [f"{write_sweep(tmp_path)}", f"--scheduler={address}", f"--output={tmp_path / 'out'}"]
        )
    assert not (tmp_path / "out").exists()
