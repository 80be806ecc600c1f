"""runs/records.py: what is saved is read back; incomplete or damaged files are refused."""

import errno
import json
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from caffe_ext.errors import RecordError
from caffe_ext.runs import records
from caffe_ext.runs.records import (
    COLUMNS,
    AttackRecords,
    adversarial_batches,
    concatenated,
    empty_columns,
    load_adversarials,
    load_description,
    load_records,
    save_records,
    set_verified,
)
from caffe_ext.storage.hdf5_file import new_hdf5

QUICK = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
KINDS = {name: column.dtype for name, column in empty_columns(0).items()}


def made(count: int, found: int, seed: int = 0) -> tuple[AttackRecords, NDArray[np.uint8]]:
    """Return records of `count` images, `found` of them with an adversarial."""
    random = np.random.default_rng(seed)
    columns = empty_columns(count)
    columns["indices"] = np.arange(count)
    columns["l2"] = random.normal(size=count)
    columns["attempted"][:] = True
    columns["found"][random.permutation(count)[:found]] = True
    columns["linf"][columns["found"]] = 7.0
    images = random.integers(0, 256, (found, 3, 4, 5), dtype=np.uint8)
    return AttackRecords(**columns), images


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hc1.h5"


def equal(one: AttackRecords, other: AttackRecords) -> None:
    """Assert that records are the same, types as well."""
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert getattr(other, name).dtype == KINDS[name]


DESCRIPTIONS = st.dictionaries(
    st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5) | st.lists(st.booleans())
)


@QUICK
@given(st.integers(0, 9), st.integers(0, 2**32 - 1), DESCRIPTIONS, st.integers(1, 4))
def test_what_is_saved_comes_back(
    path: Path, count: int, seed: int, description: dict[str, Any], at_a_time: int
) -> None:
    random = np.random.default_rng(seed)
    numbers: dict[str, list[float]] = {
        "b": [False, True],
        "i": [-1, 0, 2**24 - 1],
        "f": [np.nan, -0.0, 1e-310, np.pi],
    }
    columns = {
        name: random.choice(numbers[kind.kind], count).astype(kind) for name, kind in KINDS.items()
    }
    columns["found"] &= columns["attempted"]
    columns["linf"][columns["found"]] = 1e300
    columns["indices"] += 2**62
    some = AttackRecords(**columns)
    found = int(some.found.sum())
    images = random.integers(0, 256, (found, 1, 3, 2), dtype=np.uint8)
    parts = (images[start : start + at_a_time] for start in range(0, found + 1, at_a_time))
    save_records(path, some, parts, description)
    equal(some, load_records(path))
    assert load_description(path) == description
    assert np.array_equal(load_adversarials(path), images)
    batches = list(adversarial_batches(path, at_a_time))
    assert [rows.start for rows, _ in batches] == list(range(0, found, at_a_time))
    for rows, part in batches:
        assert np.array_equal(part, images[rows])
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_parts_without_images_say_how_large_they_would_be(path: Path) -> None:
    nothing, images = made(4, 0)
    save_records(path, nothing, [images, images], {})
    assert load_adversarials(path).shape == (0, 3, 4, 5)
    assert list(adversarial_batches(path, 2)) == []
    save_records(path, nothing, [], {})
    assert len(load_adversarials(path)) == 0
    some, images = made(4, 2)
    save_records(path, some, [images[:0], images, images[:0]], {})
    assert np.array_equal(load_adversarials(path), images)


def test_adversarials_are_read_as_they_are_needed(path: Path) -> None:
    some, images = made(9, 7)
    save_records(path, some, [images[:3], images[3:]], {})
    for rows in (slice(2, 5), slice(5, None), np.array([0, 3, 6]), np.array([], np.int64)):
        assert np.array_equal(load_adversarials(path, rows), images[rows])
    with h5py.File(path) as file:
        assert file["adversarials"].chunks == (1, 3, 4, 5)
        assert file["adversarials"].compression == "gzip"


def test_the_number_of_adversarials_must_be_that_of_the_found(path: Path) -> None:
    some, images = made(5, 3)
    for parts in ([images[:2]], []):
        with pytest.raises(
            ValueError, match=f"3 images were found, and there are {len(parts) * 2}"
        ):
            save_records(path, some, parts, {})
    with pytest.raises((ValueError, TypeError)):
        save_records(path, some, [np.concatenate([images, images])], {})
    assert not list(path.parent.iterdir())


def test_concatenated() -> None:
    one, two = made(3, 1)[0], made(2, 2, seed=1)[0]
    both = concatenated([one, two])
    assert len(both) == 5
    assert both.indices.tolist() == [0, 1, 2, 0, 1]
    assert np.array_equal(both.l2, np.concatenate([one.l2, two.l2]))
    equal(concatenated([both]), both)
    assert len(concatenated([])) == 0
    assert concatenated([]).found.dtype == np.bool_


def test_verified_is_filled_in_later(path: Path) -> None:
    some, images = made(6, 4)
    save_records(path, some, [images], {})
    assert not load_records(path).verified.any()
    set_verified(path, some.found)
    assert np.array_equal(load_records(path).verified, some.found)
    assert np.array_equal(load_adversarials(path), images)


def test_columns_are_of_one_length_and_read_only() -> None:
    full = empty_columns(3)
    some = AttackRecords(**full)
    with pytest.raises(ValueError, match="read-only"):
        some.l2[0] = 1
    with pytest.raises(AttributeError):
        some.l2 = some.l1  # type: ignore[misc]
    full["l2"][0] = 1  # whose it is may still write
    with pytest.raises(
        ValueError, match=r"l2 \(2,\) and indices \(3,\) must have one row an image"
    ):
        AttackRecords(**full | {"l2": np.zeros(2)})
    with pytest.raises(ValueError, match=r"indices \(3, 1\)"):
        AttackRecords(**{name: column[:, None] for name, column in full.items()})
    assert np.isnan(some.linf).all()
    assert some.classes.tolist() == [-1, -1, -1]


def test_a_file_that_is_not_there(path: Path) -> None:
    for load in (load_records, load_description, load_adversarials):
        with pytest.raises(FileNotFoundError, match="No such file"):
            load(path)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-900])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("no HDF5")


def changed(name: str) -> Any:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            if name in file:
                del file[name]
            if name == "l1":
                file[name] = np.zeros(2)
            if name == "l2":
                file[name] = ["text"] * 9
            if name == "linf":
                file.create_group(name)
            if name == "classes":
                file[name] = np.zeros(9, np.float32)
            if name == "format":
                file.attrs[name] = records.FORMAT + 1
            if name == "old":
                del file.attrs["format"]
            if name == "several":
                file.attrs["format"] = [1, 2]

    return change


@pytest.mark.parametrize("damage", [truncated, emptied, text])
@pytest.mark.parametrize("load", [load_records, load_description, load_adversarials])
def test_damaged_files(path: Path, damage: Any, load: Any) -> None:
    some, images = made(9, 7)
    save_records(path, some, [images], {})
    damage(path)
    with pytest.raises(RecordError, match=f"{path} is damaged"):
        load(path)
    path.unlink()
    save_records(path, some, [images], {})  # it was not left open


@pytest.mark.parametrize("name", ["indices", "l1", "l2", "linf", "classes"])
def test_damaged_columns(path: Path, name: str) -> None:
    some, images = made(9, 7)
    save_records(path, some, [images], {})
    changed(name)(path)
    with pytest.raises(RecordError, match=f"{path} is damaged"):
        load_records(path)


LONG, MANY = 10**12, 10**9


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("linf", LONG, r"linf has the shape \(1000000000000,\), for 9 images"),
        ("indices", LONG, r"labels has the shape \(9,\), for 1,000,000,000,000 images"),
        ("adversarials", MANY, "for 7 that were found"),
        ("adversarials", np.zeros((6, 3, 4, 5), np.uint8), "for 7 that were found"),
        ("adversarials", np.zeros((8, 3, 4, 5), np.uint8), "for 7 that were found"),
        ("adversarials", np.zeros((7, 4, 5), np.uint8), "for 7 that were found"),
        ("adversarials", np.zeros((7, 3, 4, 5), np.float32), "are float32"),
        ("adversarials", h5py.Empty("u1"), "for 7 that were found"),
        ("labels", h5py.Empty("i8"), "labels has the shape None"),
        ("labels", np.full(9, 2**24), "labels has other values than classes"),
        ("classes", np.full(9, -2), "classes has other values than classes"),
        ("attempted", np.zeros(9, np.bool_), "without an attempt"),
        ("linf", np.full(9, np.nan), "without a distance"),
    ],
)
def test_records_that_no_attack_leaves_are_refused(
    path: Path, name: str, values: Any, says: str
) -> None:
    some, images = made(9, 7)
    save_records(path, some, [images], {})
    with h5py.File(path, "r+") as file:
        kind = file[name].dtype
        del file[name]
        if isinstance(values, int):  # announced, never written
            shape = (values, 3, 4, 5) if name == "adversarials" else (values,)
            file.create_dataset(name, shape, kind, chunks=True)
        else:
            file[name] = values
    with pytest.raises(RecordError, match=f"{path} is damaged: .*{says}"):
        load_records(path)


def test_records_are_those_of_the_images_asked_for(path: Path) -> None:
    some, images = made(9, 7)
    save_records(path, some, [images], {})
    equal(some, load_records(path, slice(0, 9)))
    for rows, says in (
        (slice(0, 12), r"indices has the shape \(9,\), for 12 images"),
        (slice(0, 8), r"indices has the shape \(9,\), for 8 images"),
        (slice(1, 10), "its images are not those from 1 to 9"),
    ):
        with pytest.raises(RecordError, match=f"{path} is damaged: {says}"):
            load_records(path, rows)


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, 5, np.zeros(3)])
def test_a_description_of_another_kind(path: Path, text: Any) -> None:
    some, images = made(9, 7)
    save_records(path, some, [images], {})
    with h5py.File(path, "r+") as file:
        del file.attrs["description"]
        try:
            file.attrs["description"] = text
        except (OSError, ValueError, RuntimeError):  # HDF5 keeps attributes below 64 KiB
            file.attrs["description"] = text[:60_000]
    with pytest.raises(RecordError, match=f"{path} is damaged: "):
        load_description(path)


@pytest.mark.parametrize("name", ["format", "old", "several"])
def test_files_of_something_else(path: Path, name: str) -> None:
    some, images = made(9, 7)
    save_records(path, some, [images], {})
    changed(name)(path)
    for load in (load_records, load_description, load_adversarials):
        with pytest.raises(RecordError, match="no records of attacks that this version reads"):
            load(path)
    with h5py.File(path, "r+"):
        pass  # it was not left open


def test_files_of_format_1_are_read(path: Path) -> None:
    some, images = made(9, 7)
    save_records(path, some, [images], {"limit": 9})
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = 1
        for new, old in records._NAMES_OF_1.items():
            file.move(new, old)
    found = load_records(path)
    for name in records.COLUMNS:
        np.testing.assert_array_equal(getattr(found, name), getattr(some, name))
    assert load_description(path) == {"limit": 9}
    np.testing.assert_array_equal(load_adversarials(path), images)


@pytest.mark.parametrize("value", [None, "{", "3", 3.5])
def test_descriptions_that_are_none(path: Path, value: Any) -> None:
    save_records(path, made(1, 0)[0], [], {})
    with h5py.File(path, "r+") as file:
        del file.attrs["description"]
        if value is not None:
            file.attrs["description"] = value
    with pytest.raises(RecordError, match="is damaged"):
        load_description(path)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let writing fail beyond a size, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 3000, 8000, 20_000])
def test_writing_that_fails_leaves_what_was_there(
    path: Path, size: int, capfd: pytest.CaptureFixture[str]
) -> None:
    before, images = made(4, 1)
    save_records(path, before, [images], {"before": True})
    content = path.read_bytes()
    more, images = made(400, 300, seed=2)
    with pytest.raises(OSError, match="File too large") as raised, files_of_at_most(size):
        save_records(path, more, [images], {})
    assert raised.value.filename == str(path)
    assert capfd.readouterr().err == ""
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    save_records(path, more, [images], {})
    equal(more, load_records(path))


def test_a_full_disk_is_noticed_before_writing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 300_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    few, images = made(4, 1)
    save_records(path, few, [images], {})
    content = path.read_bytes()
    many, images = made(2000, 1500)
    with pytest.raises(OSError, match="No space left on device") as raised:
        save_records(path, many, [images], {})
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == str(path)
    assert path.read_bytes() == content


def test_a_program_on_a_full_disk_ends_as_others_do(path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
import numpy as np
from caffe_ext.runs.records import AttackRecords, empty_columns, save_records
columns = empty_columns(2000)
columns["found"][:] = True
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))
images = np.random.default_rng(0).integers(0, 256, (2000, 1, 9, 9), dtype=np.uint8)
try:
    save_records(Path(sys.argv[1]), AttackRecords(**columns), [images], {})
except OSError as error:
    sys.exit(error.strerror)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "File too large\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interruption_leaves_nothing(path: Path, error: type[BaseException]) -> None:
    some, images = made(9, 7)

    def parts() -> Iterator[NDArray[np.uint8]]:
        yield images[:3]
        raise error

    with pytest.raises(error):
        save_records(path, some, parts(), {})
    assert not list(path.parent.iterdir())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        save_records(tmp_path / "nowhere" / "a.h5", made(1, 0)[0], [], {})


def test_the_file_is_as_its_head_says(path: Path) -> None:
    some, images = made(9, 7)
    save_records(path, some, [images], {"a": [1, None]})
    with h5py.File(path) as file:
        assert set(file) == {*COLUMNS, "adversarials"}
        assert json.loads(file.attrs["description"]) == {"a": [1, None]}
        assert file.attrs["format"] == records.FORMAT
        assert all(file[name].shape == (9,) for name in COLUMNS)


def test_a_signal_waits_until_the_file_is_closed(path: Path) -> None:
    def exits(*_: object) -> None:
        raise SystemExit(143)

    for number, error in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)):
        before = signal.signal(number, exits if error is SystemExit else signal.default_int_handler)
        try:
            handler, closed = signal.getsignal(number), False
            with pytest.raises(error), new_hdf5(path) as file:
                inner = path.with_name("inner.h5")
                with new_hdf5(inner):
                    signal.raise_signal(number)
                file["a"] = [1, 2]
                closed = True
            assert closed
            assert signal.getsignal(number) is handler
        finally:
            signal.signal(number, before)
        with h5py.File(path) as file:
            assert file["a"][...].tolist() == [1, 2]
        assert sorted(path.parent.iterdir()) == [path, inner]


def test_a_signal_that_nobody_handles_ends_the_program_later(path: Path) -> None:
    code = """
import signal, sys
from pathlib import Path
from caffe_ext.storage.hdf5_file import new_hdf5
with new_hdf5(Path(sys.argv[1])) as file:
    signal.raise_signal(signal.SIGTERM)
    file["a"] = [1, 2]
print("not reached")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")
    with h5py.File(path) as file:
        assert file["a"][...].tolist() == [1, 2]


def test_other_threads_write_as_well(path: Path) -> None:
    some, images = made(4, 3)
    thread = threading.Thread(target=save_records, args=(path, some, [images], {}))
    thread.start()
    thread.join()
    assert len(load_records(path)) == 4
