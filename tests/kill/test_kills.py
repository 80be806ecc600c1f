"""Programs that resume: killed, terminated, interrupted, without room, and two in one folder.

Whatever happened, the same command again leaves what an undisturbed run leaves. The moments are
drawn from all changes of files that a run makes; in CI they are few, and the same every time. More:

    CAFFE_EXT_KILLS=100 pytest tests/kill -k hotcold
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from programs import arguments, left, make_inputs, moments

KILLS = int(os.environ.get("CAFFE_EXT_KILLS", "1"))
PROGRAMS = ("hotcold", "evaluate", "noise_curves", "hardpositives", "get_data", "training")
# The exit status, or the signal, that a program may end with.
ENDS = {"KILL": {-9}, "TERM": {-15, 143}, "INT": {130}, "FULL": {1}}


class Runner:
    """The process that runs programs, interrupted."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("interrupted.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        """Send a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Return what came back."""
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def run(
        self, program: str, argv: list[str], output: Path, *, at: int | None = None, how: str = ""
    ) -> dict[str, Any]:
        """Run a program, interrupted at a change of a file in its output."""
        case = {"program": program, "argv": argv, "folder": str(output), "at": at, "how": how}
        self.tell(json.dumps(case))
        return self.answer()

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    runner = Runner()
    yield runner
    runner.close()


class Undisturbed:
    """What runs without a disturbance leave, by program."""

    def __init__(self, runner: Runner, inputs: Path, folder: Path) -> None:
        self._runner, self.inputs, self._folder = runner, inputs, folder
        self._found: dict[str, tuple[int, dict[str, Any]]] = {}

    def of(self, program: str) -> tuple[int, dict[str, Any]]:
        """Return how many changes of files a run makes, and what it leaves."""
        if program not in self._found:
            # All runs have one output: what they leave names it.
            output = self._folder / "out"
            shutil.rmtree(output, ignore_errors=True)
            argv = arguments(program, self.inputs, output)
            done = self._runner.run(program, argv, output)
            assert done["status"] == 0, done["printed"]
            assert done["changes"] > 3
            self._found[program] = done["changes"], left(output)
            shutil.rmtree(output)
        return self._found[program]


@pytest.fixture(scope="module")
def undisturbed(
    runner: Runner, inputs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    return Undisturbed(runner, inputs, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def output(undisturbed: Undisturbed) -> Path:
    output = undisturbed._folder / "out"
    shutil.rmtree(output, ignore_errors=True)
    return output


def finish(runner: Runner, program: str, argv: list[str], output: Path) -> None:
    """Run a program to its end; wait for what a killed training has left running."""
    for _ in range(50):
        done = runner.run(program, argv, output)
        if "another process" not in done["printed"]:
            break
        time.sleep(0.2)
    assert done["status"] == 0, done["printed"]


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_was_interrupted_goes_on(
    runner: Runner, undisturbed: Undisturbed, output: Path, program: str, how: str
) -> None:
    changes, expected = undisturbed.of(program)
    argv = arguments(program, undisturbed.inputs, output)
    for at in moments(f"{program} {how}", KILLS, changes):
        shutil.rmtree(output, ignore_errors=True)
        done = runner.run(program, argv, output, at=at, how=how)
        assert "Traceback" not in done["printed"], (at, done["printed"])
        assert done["status"] in ENDS[how], (at, done)
        if how == "FULL":
            assert "No space left on device" in done["printed"] or "disk is full" in done["printed"]
        finish(runner, program, argv, output)
        found = left(output)
        assert list(found) == list(expected), at
        assert found == expected, at


@pytest.mark.parametrize("program", PROGRAMS)
def test_one_that_is_killed_again_and_again_ends(
    runner: Runner, inputs: Path, undisturbed: Undisturbed, output: Path, program: str
) -> None:
    changes, expected = undisturbed.of(program)
    argv = arguments(program, inputs, output)
    for at in moments(f"{program} again", KILLS, changes // 2):
        runner.run(program, argv, output, at=at, how="KILL")
    finish(runner, program, argv, output)
    assert left(output) == expected


@pytest.mark.parametrize("program", PROGRAMS)
def test_two_runs_in_one_folder(
    runner: Runner, inputs: Path, undisturbed: Undisturbed, output: Path, program: str
) -> None:
    changes, expected = undisturbed.of(program)
    argv = arguments(program, inputs, output)
    # In the middle: it has the lock by then, and not given it back.
    stopped = runner.run(program, argv, output, at=changes // 2, how="STOP")
    assert "stopped" in stopped, stopped
    other = Runner()
    try:
        second = other.run(program, argv, output)
    finally:
        other.close()
        runner.tell("")
    first = runner.answer()
    assert second["status"] == 1, second
    assert "another process" in second["printed"]
    assert "Traceback" not in second["printed"]
    assert first["status"] == 0, first
    assert left(output) == expected
