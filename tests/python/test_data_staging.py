"""Content is replaced as a whole or not at all, however the writer ends."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import lmdb
import pytest

from caffe_ext.data import DataError, Request, SilentReporter, preparation, prepare
from caffe_ext.reporting import Step
from caffe_ext.storage import staging
from caffe_ext.storage.staging import lock_for_making
from data_samples import snapshot, write_mnist

# A writer that waits for ever in the middle of its work; where is told by its first argument.
WRITER = """
import sys, time
from pathlib import Path
from caffe_ext.data import Request, SilentReporter, prepare

class Waiting(SilentReporter):
    def show_progress(self, what, total, unit, done=0):
        if what == "writing test_lmdb" and sys.argv[1] == "writing":
            wait()
        return super().show_progress(what, total, unit, done)

def wait():
    print("waiting", flush=True)
    time.sleep(60)

original = Path.rename
def rename(self, target):
    result = original(self, target)
    if sys.argv[1] == "exchanging" and self.name == "test_lmdb":
        wait()
    return result
Path.rename = rename

prepare(Request("mnist", Path(sys.argv[2]), data_dir=Path(sys.argv[3])), Waiting())
"""


class Failing(SilentReporter):
    """Ends the work with an error when test_lmdb is to be written, train_lmdb being complete."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def show_progress(
        self, what: str, total: int, unit: str, done: int = 0
    ) -> AbstractContextManager[Step]:
        if what == "writing test_lmdb":
            raise self.error
        return super().show_progress(what, total, unit, done)


@pytest.fixture(params=["new", "old"])
def asked(tmp_path: Path, request: pytest.FixtureRequest) -> Request:
    """Return a request for other images than those that are there already, if any."""
    asked = Request("mnist", tmp_path / "out", data_dir=tmp_path / "raw")
    if request.param == "old":
        write_mnist(tmp_path / "raw", seed=1)
        prepare(asked)
    write_mnist(tmp_path / "raw", seed=2)
    return asked


@contextmanager
def waiting_writer(where: str, asked: Request) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, where, str(asked.output), str(asked.data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "waiting\n"
            yield writer
        finally:
            writer.kill()


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (RuntimeError(), RuntimeError),
        (OSError(errno.ENOSPC, "No space left on device"), DataError),
        (lmdb.DiskError("No space left on device"), DataError),
        (lmdb.MapFullError("mdb_put"), DataError),
    ],
)
def test_an_error_leaves_what_was_there(
    asked: Request, error: BaseException, seen: type[BaseException]
) -> None:
    before = snapshot(asked.folder)
    with pytest.raises(seen) as caught:
        prepare(asked, Failing(error))
    if seen is DataError:
        assert f"cannot write {asked.folder}, most likely because the disk is full" in str(
            caught.value
        )
        assert "unchanged" in str(caught.value)
    assert snapshot(asked.folder) == before
    assert not list(asked.folder.glob(".*"))
    assert prepare(asked).made


def test_a_killed_writer_leaves_what_was_there(asked: Request) -> None:
    before = snapshot(asked.folder)
    with waiting_writer("writing", asked) as writer:
        writer.send_signal(signal.SIGKILL)
    (left,) = asked.folder.glob(".making-*")
    assert (left / "train_lmdb").is_dir()
    after = snapshot(asked.folder)
    assert {name: content for name, content in after.items() if not name.startswith(".")} == before
    assert prepare(asked).made
    assert not list(asked.folder.glob(".*"))


def test_a_writer_killed_in_the_exchange_is_not_taken_for_finished(asked: Request) -> None:
    with waiting_writer("exchanging", asked) as writer:
        # Ctrl-C waits until the exchange is over; nothing but SIGKILL ends it half-way.
        writer.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
    assert preparation.read_intact_record(asked.folder) is None
    assert prepare(asked).made
    assert preparation.read_intact_record(asked.folder) is not None
    assert not list(asked.folder.glob(".*"))


def test_ctrl_c_in_the_exchange_waits_for_its_end(
    asked: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = staging._sync

    def interrupted(path: Path) -> None:
        sync(path)
        if path.name == "unfinished":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(staging, "_sync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(asked)
    assert not prepare(asked).made
    assert not list(asked.folder.glob(".*"))


def test_two_writers_do_not_meet(asked: Request) -> None:
    with (
        waiting_writer("writing", asked),
        pytest.raises(DataError, match=f"another process is making {asked.folder}"),
    ):
        prepare(asked)
    assert prepare(asked).made


def test_the_lock_is_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with lock_for_making(tmp_path / "new"):
            pass
