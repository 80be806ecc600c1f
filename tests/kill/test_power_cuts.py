"""Programs whose power is cut: they go on from what is on the disk, and end as if nothing had been.

The power is cut before a sync or a rename; what was not synced by then is lost (power_cut.py). In
CI it is cut once for each program; more, at other moments:

    CAFFE_EXT_KILLS=100 pytest tests/kill/test_power_cuts.py -k training
"""

import re
import shutil
from pathlib import Path

import pytest

from caffe_ext.training.folder import TrainingFolder
from power_cut import PowerCut
from programs import arguments, left, moments
from runner import KILLS, PROGRAMS, Runner, Undisturbed, finish


@pytest.fixture
def cut(output: Path) -> PowerCut:
    return PowerCut(output, output.with_name("notes"))


def run(runner: Runner, program: str, argv: list[str], cut: PowerCut, at: int) -> int:
    """Run a program with its power cut before an event; return its exit status."""
    shutil.rmtree(cut.folder, ignore_errors=True)
    shutil.rmtree(cut.notes, ignore_errors=True)
    cut.notes.mkdir()
    environment = cut.environment(at)
    return int(runner.run(program, argv, cut.folder, environment=environment)["status"])


def last_iteration(names: list[Path]) -> int:
    """Return that of the newest solver state among the names, 0 if there is none."""
    found = [re.search(r"_iter_(\d+)\.solverstate$", path.name) for path in names]
    return max((int(match[1]) for match in found if match), default=0)


@pytest.mark.parametrize("renames", [False, True], ids=["contents", "renames"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_is_lost_but_what_was_not_on_the_disk(
    runner: Runner, undisturbed: Undisturbed, cut: PowerCut, program: str, renames: bool
) -> None:
    expected = undisturbed.of(program)[1]
    argv = arguments(program, undisturbed.inputs, cut.folder)
    events = undisturbed.events(program)
    for at in moments(f"{program} {renames}", KILLS, events):
        assert run(runner, program, argv, cut, at) == -9, at
        durable = cut.durable()
        cut.lose(renames=renames)
        for path in durable:
            # What came later may have replaced or removed it, but nothing empties it. (joined.h5 is
            # changed in its place before it gets its own name.)
            scratch = path.name == "joined.h5"
            assert scratch or not path.is_file() or path.stat().st_size, (at, path)
        if program == "training":
            newest = TrainingFolder(cut.folder).find_newest_state()
            assert (newest or (0,))[0] >= last_iteration(durable), at
        finish(runner, program, argv, cut.folder)
        assert left(cut.folder) == expected, at


def test_what_is_lost(tmp_path: Path) -> None:
    """The model itself: files that were not synced are emptied, names that were not are undone."""
    folder, notes = tmp_path / "folder", tmp_path / "notes"
    folder.mkdir()
    notes.mkdir()
    cut = PowerCut(folder, notes)
    lines = []
    for name in ("synced", "changed", "never"):
        (folder / name).write_bytes(b"new")
        status = (folder / name).stat()
        if name != "never":
            lines.append(f"S\1{status.st_ino}\1{status.st_mtime_ns}\1{status.st_size}")
    (folder / "changed").write_bytes(b"longer")
    (notes / "7").write_bytes(b"old")
    status = (notes / "7").stat()
    lines.append(f"S\1{status.st_ino}\1{status.st_mtime_ns}\1{status.st_size}")
    lines.append(f"R\1{folder / '.synced'}\1{folder / 'synced'}\0017")
    (notes / "log").write_text("\n".join(lines) + "\n")
    assert cut.durable() == []
    cut.lose(renames=False)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert found == {"synced": b"new", "changed": b"", "never": b""}
    cut.lose(renames=True)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert found == {"synced": b"old", ".synced": b"new", "changed": b"", "never": b""}
    with (notes / "log").open("a") as log:
        log.write(f"D\1{folder}\n")
    assert cut.durable() == [folder / "synced"]
