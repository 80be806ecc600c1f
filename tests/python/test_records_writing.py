"""runs/records.py: a file is written whole or not at all: full disks, interruptions, signals."""

import errno
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from caffe_ext.runs.records import (
    load_records,
    save_records,
)
from caffe_ext.storage.hdf5_file import create_hdf5
from disk_samples import files_of_at_most
from record_samples import equal, made


@pytest.mark.parametrize("size", [0, 3000, 8000, 20_000])
def test_writing_that_fails_leaves_what_was_there(
    record_path: Path, size: int, capfd: pytest.CaptureFixture[str]
) -> None:
    before, images = made(4, 1)
    save_records(record_path, before, [images], {"before": True})
    content = record_path.read_bytes()
    more, images = made(400, 300, seed=2)
    with pytest.raises(OSError, match="File too large") as raised, files_of_at_most(size):
        save_records(record_path, more, [images], {})
    assert raised.value.filename == str(record_path)
    assert capfd.readouterr().err == ""
    assert record_path.read_bytes() == content
    assert [file.name for file in record_path.parent.iterdir()] == [record_path.name]
    save_records(record_path, more, [images], {})
    equal(more, load_records(record_path))


def test_a_full_disk_is_noticed_before_writing(
    record_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 300_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    few, images = made(4, 1)
    save_records(record_path, few, [images], {})
    content = record_path.read_bytes()
    many, images = made(2000, 1500)
    with pytest.raises(OSError, match="No space left on device") as raised:
        save_records(record_path, many, [images], {})
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == str(record_path)
    assert record_path.read_bytes() == content


def test_a_program_on_a_full_disk_ends_as_others_do(record_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
import numpy as np
from caffe_ext.runs.records import AttackRecords, make_empty_columns, save_records
columns = make_empty_columns(2000)
columns["found"][:] = True
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))
images = np.random.default_rng(0).integers(0, 256, (2000, 1, 9, 9), dtype=np.uint8)
try:
    save_records(Path(sys.argv[1]), AttackRecords(**columns), [images], {})
except OSError as error:
    sys.exit(error.strerror)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, record_path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "File too large\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interruption_leaves_nothing(record_path: Path, error: type[BaseException]) -> None:
    some, images = made(9, 7)

    def parts() -> Iterator[NDArray[np.uint8]]:
        yield images[:3]
        raise error

    with pytest.raises(error):
        save_records(record_path, some, parts(), {})
    assert not list(record_path.parent.iterdir())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        save_records(tmp_path / "nowhere" / "a.h5", made(1, 0)[0], [], {})


def test_a_signal_waits_until_the_file_is_closed(record_path: Path) -> None:
    def exits(*_: object) -> None:
        raise SystemExit(143)

    for number, error in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)):
        before = signal.signal(number, exits if error is SystemExit else signal.default_int_handler)
        try:
            handler, closed = signal.getsignal(number), False
            with pytest.raises(error), create_hdf5(record_path) as file:
                inner = record_path.with_name("inner.h5")
                with create_hdf5(inner):
                    signal.raise_signal(number)
                file["a"] = [1, 2]
                closed = True
            assert closed
            assert signal.getsignal(number) is handler
        finally:
            signal.signal(number, before)
        with h5py.File(record_path) as file:
            assert file["a"][...].tolist() == [1, 2]
        assert sorted(record_path.parent.iterdir()) == [record_path, inner]


def test_a_signal_that_nobody_handles_ends_the_program_later(record_path: Path) -> None:
    code = """
import signal, sys
from pathlib import Path
from caffe_ext.storage.hdf5_file import create_hdf5
with create_hdf5(Path(sys.argv[1])) as file:
    signal.raise_signal(signal.SIGTERM)
    file["a"] = [1, 2]
print("not reached")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, record_path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")
    with h5py.File(record_path) as file:
        assert file["a"][...].tolist() == [1, 2]


def test_other_threads_write_as_well(record_path: Path) -> None:
    some, images = made(4, 3)
    thread = threading.Thread(target=save_records, args=(record_path, some, [images], {}))
    thread.start()
    thread.join()
    assert len(load_records(record_path)) == 4
