"""The inputs of the programs, the processes that run them, and the folder that they write to."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from power_cut import build
from programs import make_inputs
from runner import Runner, Undisturbed

ROOM = 1 << 30


def pytest_configure() -> None:
    # A job in the background of a shell script ignores it, and so would what tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


@pytest.fixture(scope="session")
def preload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("preload"))


@pytest.fixture(scope="session")
def runner(preload: Path) -> Iterator[Runner]:
    runner = Runner(preload)
    yield runner
    runner.close()


@pytest.fixture(scope="session")
def other(preload: Path) -> Iterator[Runner]:
    """Another process, for two programs at once."""
    runner = Runner(preload)
    yield runner
    runner.close()


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder in memory, if there is room: what power_cut.py undoes is not what a disk has, and
    the programs wait for the disk half of the time.
    """
    memory = Path("/dev/shm")
    room = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM
    with TemporaryDirectory(dir=memory if room else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def undisturbed(runner: Runner, inputs: Path, scratch: Path) -> Undisturbed:
    return Undisturbed(runner, inputs, scratch)


@pytest.fixture
def output(undisturbed: Undisturbed) -> Path:
    shutil.rmtree(undisturbed.output, ignore_errors=True)
    return undisturbed.output
