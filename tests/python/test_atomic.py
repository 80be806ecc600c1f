"""storage/atomic.py: whatever fails, a file has its old content or its new one."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caffe_ext.storage.atomic import (
    encode_json,
    move_into_place,
    replace_file,
    write_bytes,
    write_json,
    write_text,
)
from disk_samples import files_of_at_most

OLD, NEW = b"old", b"new content"


@pytest.fixture(params=[None, OLD], ids=["new", "replaced"])
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file's path, where nothing is, or a file with the old content."""
    path = tmp_path / "file.txt"
    if request.param is not None:
        path.write_bytes(request.param)
    return path


def unchanged(path: Path, was: bytes | None) -> None:
    """The folder holds what was there before, and nothing else."""
    assert {found.name: found.read_bytes() for found in path.parent.iterdir()} == (
        {} if was is None else {path.name: was}
    )


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def test_the_new_content_takes_the_place_of_the_old(path: Path) -> None:
    write_bytes(path, NEW)
    unchanged(path, NEW)
    write_text(path, "ä\n")
    unchanged(path, "ä\n".encode())
    with replace_file(path) as file:
        file.write(b"12345")
        file.seek(1)
        file.write(b"x")
        assert content(path) == "ä\n".encode()
    unchanged(path, b"1x345")


def test_the_content_is_synced_then_renamed_then_the_folder_synced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str, bytes | None]] = []
    fd = Path("/proc/self/fd")

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def instead(what: Any, *rest: Any) -> Any:
            at = (fd / f"{what}").readlink() if isinstance(what, int) else Path(what)
            done.append((name, str(at), content(at) if at.is_file() else None))
            return call(what, *rest)

        return instead

    monkeypatch.setattr(os, "fsync", watched("fsync", os.fsync))
    monkeypatch.setattr(Path, "replace", watched("replace", Path.replace))
    write_bytes(path, NEW)
    partial = str(path.with_name(".file.txt.partial"))
    assert done == [
        ("fsync", partial, NEW),
        ("replace", partial, NEW),
        ("fsync", str(path.parent), None),
    ]
    done.clear()
    write_bytes(path, NEW, sync=False)
    assert [name for name, *_ in done] == ["replace"]


def failing(error: BaseException, at: int = 1) -> Callable[..., Any]:
    """Return a call that raises the first time, or the at-th one."""
    left = at

    def call(*_: Any, **__: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise error

    return call


FAULTS: dict[str, tuple[Any, str, int]] = {
    "open": (os, "open", 1),
    "lock": (fcntl, "flock", 1),
    "truncate": (os, "ftruncate", 1),
    "fsync": (os, "fsync", 1),
    "replace": (Path, "replace", 1),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "broken", "x"), KeyboardInterrupt(), MemoryError()]
)
def test_what_fails_leaves_the_old_content(
    path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, error: BaseException
) -> None:
    was = content(path)
    where, name, at = FAULTS[fault]
    with monkeypatch.context() as patch:
        patch.setattr(where, name, failing(error, at))
        with pytest.raises(type(error)) as caught:
            write_bytes(path, NEW)
    if isinstance(caught.value, OSError):
        assert (caught.value.errno, caught.value.strerror) == (errno.EIO, "broken")
        assert caught.value.filename == str(path)
    # What was opened and not yet locked may stay: it is used, and gone, the next time.
    if fault not in ("lock", "truncate"):
        unchanged(path, was)
    assert content(path) == was
    write_bytes(path, NEW)
    unchanged(path, NEW)


def test_a_folder_that_cannot_be_synced_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, 0

    def second(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(number, "folder")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", second)
    number = errno.EIO
    with pytest.raises(OSError, match="folder") as caught:
        write_bytes(path, NEW)
    assert caught.value.filename == str(path)
    calls, number = 0, errno.EINVAL  # a file system that has no such thing
    write_bytes(path, NEW)
    unchanged(path, NEW)


def test_an_exception_of_the_writer_passes_through(path: Path) -> None:
    was = content(path)
    for error in (ValueError("x"), KeyboardInterrupt(), OSError("no number")):
        with pytest.raises(type(error)) as caught, replace_file(path) as file:
            file.write(NEW)
            raise error
        assert caught.value is error or f"{caught.value}" == f"{path}: no number"
        unchanged(path, was)


@pytest.mark.parametrize("size", [5, 20_000])  # in the last flush, and in a write
def test_a_full_disk_leaves_the_old_content(path: Path, size: int) -> None:
    was = content(path)
    with files_of_at_most(size), pytest.raises(OSError, match="too large") as caught:
        write_bytes(path, b"x" * 2 * size)
    assert caught.value.filename == str(path)
    unchanged(path, was)


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for name, kind in (
        ("folder", IsADirectoryError),
        ("missing/x", FileNotFoundError),
        ("file/x", NotADirectoryError),
    ):
        with pytest.raises(kind) as caught:
            write_bytes(tmp_path / name, NEW)
        assert caught.value.filename == str(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "file"}


def test_two_writers_of_one_file_do_not_share_a_partial_file(path: Path) -> None:
    with replace_file(path) as first:
        first.write(b"first")
        with replace_file(path) as second:
            second.write(b"second, which is longer")
            names = {found.name for found in path.parent.iterdir()} - {path.name}
            assert names == {".file.txt.partial", ".file.txt.1.partial"}
        assert content(path) == b"second, which is longer"
    unchanged(path, b"first")


KILLED = """
import sys, time
from pathlib import Path
from caffe_ext.storage.atomic import replace_file
with replace_file(Path(sys.argv[1])) as file:
    file.write(b"x" * 100_000)
    file.flush()
    print("written", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_writer_left_is_used_by_the_next(path: Path, number: int) -> None:
    was = content(path)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(number)
    assert content(path) == was
    assert path.with_name(".file.txt.partial").stat().st_size == 100_000
    write_bytes(path, NEW)
    unchanged(path, NEW)


def test_a_link_in_the_partial_file_s_place_is_not_followed(tmp_path: Path) -> None:
    target, path = tmp_path / "precious", tmp_path / "file.txt"
    target.write_bytes(OLD)
    path.with_name(".file.txt.partial").symlink_to(target)
    with pytest.raises(OSError, match="symbolic link") as caught:
        write_bytes(path, NEW)
    assert caught.value.filename == str(path)
    assert content(target) == OLD


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    pipe, whole = tmp_path / "pipe", tmp_path / "whole"
    os.mkfifo(pipe)
    whole.write_bytes(b"x")
    with pytest.raises(OSError, match=f"not a regular file: '{pipe}'"):
        write_bytes(pipe, b"x")
    with pytest.raises(OSError, match=f"not a regular file: '{pipe}'"):
        move_into_place(whole, pipe)
    assert pipe.is_fifo()
    assert sorted(tmp_path.iterdir()) == [pipe, whole]


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127, "x" + "\udcff" * 254])
def test_long_names_have_partial_files_too(tmp_path: Path, name: str) -> None:
    write_bytes(tmp_path / name, NEW)
    unchanged(tmp_path / name, NEW)


def test_a_list_of_numbers_is_a_line_of_json() -> None:
    value = {
        "a": [1, -2.5, 1e-9, None, True],
        "b": ["[\n1,\n2\n]", "x"],
        "c": [[1, 2], []],
        "d": {},
    }
    text = encode_json(value).decode()
    assert json.loads(text) == value
    assert '"a": [1, -2.5, 1e-09, null, true],\n' in text
    assert '"c": [\n    [1, 2],\n    []\n  ]' in text
    assert text.splitlines()[2] == '  "b": ['


def test_json_is_what_other_programs_read(path: Path) -> None:
    value = {"b": [1, 2.5, None, True], "a": "ä€\n", "name": "img/\udcff.png"}
    write_json(path, value)
    text = path.read_bytes()
    assert text == encode_json(value)
    assert json.loads(text) == value
    assert text.startswith(b'{\n  "b": [')
    assert text.endswith(b"}\n")
    assert "ä€".encode() in text
    assert rb"img/\udcff.png" in text
    write_json(path, value, indent=None)
    assert content(path) == encode_json(value, indent=None)
    assert encode_json([1, {}], indent=None) == b"[1, {}]\n"
    for wrong in (float("nan"), [float("inf")]):
        with pytest.raises(ValueError, match="JSON"):
            write_json(path, wrong)
    assert json.loads(path.read_bytes()) == value
