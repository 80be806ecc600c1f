"""storage/lock.py: one process at a time, and who waits gets the folder that is there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from caffe_ext.errors import RecordError
from caffe_ext.storage.lock import lock_folder

HOLDER = """
import sys, time
from pathlib import Path
from caffe_ext.storage.lock import lock_folder
with lock_folder(Path(sys.argv[1]), None):
    print("locked", flush=True)
    sys.stdin.read()
"""
BUSY = RecordError("somebody is there")


def test_the_folder_is_made_and_free_again(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        with lock_folder(folder, BUSY):
            assert folder.is_dir()
            with pytest.raises(RecordError, match="somebody is there"), lock_folder(folder, BUSY):
                pass
    with pytest.raises(ValueError, match="mine"), lock_folder(folder, BUSY):
        raise ValueError("mine")
    with lock_folder(folder, BUSY):
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, None])
def test_the_lock_ends_with_its_process(tmp_path: Path, number: int | None) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(RecordError, match="somebody is there"), lock_folder(tmp_path, BUSY):
            pass
        if number is None:
            assert holder.stdin is not None
            holder.stdin.close()
        else:
            holder.send_signal(number)
        with lock_folder(tmp_path, None):  # waits until it has ended
            pass


def test_a_child_that_inherits_the_lock_keeps_it(tmp_path: Path) -> None:
    with lock_folder(tmp_path, BUSY) as descriptor:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[descriptor])
    try:
        with pytest.raises(RecordError, match="somebody is there"), lock_folder(tmp_path, BUSY):
            pass
    finally:
        child.kill()
        child.wait()
    with lock_folder(tmp_path, BUSY):
        pass


@pytest.mark.parametrize("when", ["open", "flock"])
def test_a_folder_that_its_owner_has_removed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    folder, opened, removed = tmp_path / "folder", os.open, False

    def late(path: Path, *rest: int) -> int:
        nonlocal removed
        if removed:
            return opened(path, *rest)
        removed = True
        descriptor = opened(path, *rest) if when == "flock" else None
        folder.rmdir()
        return opened(path, *rest) if descriptor is None else descriptor

    monkeypatch.setattr(os, "open", late)
    with lock_folder(folder, BUSY) as descriptor:
        assert removed
        assert os.path.samestat(os.fstat(descriptor), folder.stat())


@pytest.mark.parametrize(
    ("name", "says"), [("file", "is not a folder"), ("link", "is a link to nothing")]
)
def test_what_is_no_folder_is_named(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError) as caught, lock_folder(tmp_path / name, BUSY):
        pass
    assert caught.value.filename == str(tmp_path / name)
    assert caught.value.strerror == f"{says}; choose another folder"
