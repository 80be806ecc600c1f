"""Programs that resume: killed, terminated, interrupted, without room, and two in one folder.

Whatever happened, the same command again leaves what an undisturbed run leaves. The moments are
drawn from all changes of files that a run makes; in CI they are few, and the same every time. More:

    CAFFE_EXT_KILLS=100 pytest tests/kill -k hotcold
"""

import shutil
from pathlib import Path

import pytest

from programs import arguments, left, moments
from runner import KILLS, PROGRAMS, Runner, Undisturbed, finish

# The exit status, or the signal, that a program may end with.
ENDS = {"KILL": {-9}, "TERM": {-15, 143}, "INT": {130}, "FULL": {1}}
# In all programs the same code answers these; in CI they are sent to one that works in its own
# process, and to one that has a program of Caffe's at work.
ANSWERED = {"TERM", "INT"}
ASKED = PROGRAMS if KILLS > 1 else ("hotcold", "training")
# The others lock and write by the same code: in CI they are killed once, and cut off, and no more.
MANY = PROGRAMS if KILLS > 1 else PROGRAMS[:6]


@pytest.mark.parametrize(
    ("program", "how"),
    [
        (program, how)
        for program in PROGRAMS
        for how in ENDS
        if how == "KILL" or program in (ASKED if how in ANSWERED else MANY)
    ],
)
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


@pytest.mark.parametrize("program", MANY)
def test_one_that_is_killed_again_and_again_ends(
    runner: Runner, inputs: Path, undisturbed: Undisturbed, output: Path, program: str
) -> None:
    changes, expected = undisturbed.of(program)
    argv = arguments(program, inputs, output)
    for at in moments(f"{program} again", KILLS, changes // 2):
        runner.run(program, argv, output, at=at, how="KILL")
    finish(runner, program, argv, output)
    assert left(output) == expected


@pytest.mark.parametrize("program", MANY)
def test_two_runs_in_one_folder(
    runner: Runner, other: Runner, undisturbed: Undisturbed, output: Path, program: str
) -> None:
    changes, expected = undisturbed.of(program)
    argv = arguments(program, undisturbed.inputs, output)
    # In the middle: it has the lock by then, and not given it back.
    stopped = runner.run(program, argv, output, at=changes // 2, how="STOP")
    assert "stopped" in stopped, stopped
    try:
        second = other.run(program, argv, output)
    finally:
        runner.tell("")
    first = runner.answer()
    assert second["status"] == 1, second
    assert "another process" in second["printed"]
    assert "Traceback" not in second["printed"]
    assert first["status"] == 0, first
    assert left(output) == expected
