"""The inputs of the programs, the process that runs them, and the folder that they write to."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from power_cut import build
from programs import make_inputs
from runner import Runner, Undisturbed


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
def undisturbed(
    runner: Runner, inputs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    return Undisturbed(runner, inputs, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def output(undisturbed: Undisturbed) -> Path:
    shutil.rmtree(undisturbed.output, ignore_errors=True)
    return undisturbed.output
