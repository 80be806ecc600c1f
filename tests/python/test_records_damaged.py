"""runs/records.py: incomplete or damaged files, and those of something else, are refused."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from caffe_ext.errors import RecordError
from caffe_ext.runs import records
from caffe_ext.runs.records import load_adversarials, load_description, load_records, save_records
from record_samples import made


def test_a_file_that_is_not_there(record_path: Path) -> None:
    for load in (load_records, load_description, load_adversarials):
        with pytest.raises(FileNotFoundError, match="No such file"):
            load(record_path)


def truncated(record_path: Path) -> None:
    record_path.write_bytes(record_path.read_bytes()[:-900])


def emptied(record_path: Path) -> None:
    record_path.write_bytes(b"")


def text(record_path: Path) -> None:
    record_path.write_text("no HDF5")


def changed(name: str) -> Any:
    def change(record_path: Path) -> None:
        with h5py.File(record_path, "r+") as file:
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
def test_damaged_files(record_path: Path, damage: Any, load: Any) -> None:
    some, images = made(9, 7)
    save_records(record_path, some, [images], {})
    damage(record_path)
    with pytest.raises(RecordError, match=f"{record_path} is damaged"):
        load(record_path)
    record_path.unlink()
    save_records(record_path, some, [images], {})  # it was not left open


@pytest.mark.parametrize("name", ["indices", "l1", "l2", "linf", "classes"])
def test_damaged_columns(record_path: Path, name: str) -> None:
    some, images = made(9, 7)
    save_records(record_path, some, [images], {})
    changed(name)(record_path)
    with pytest.raises(RecordError, match=f"{record_path} is damaged"):
        load_records(record_path)


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
        ("labels", np.full(9, 2**24), "labels has values that are not classes"),
        ("classes", np.full(9, -2), "classes has values that are not classes"),
        ("attempted", np.zeros(9, np.bool_), "without an attempt"),
        ("linf", np.full(9, np.nan), "without a distance"),
    ],
)
def test_records_that_no_attack_leaves_are_refused(
    record_path: Path, name: str, values: Any, says: str
) -> None:
    some, images = made(9, 7)
    save_records(record_path, some, [images], {})
    with h5py.File(record_path, "r+") as file:
        kind = file[name].dtype
        del file[name]
        if isinstance(values, int):  # announced, never written
            shape = (values, 3, 4, 5) if name == "adversarials" else (values,)
            file.create_dataset(name, shape, kind, chunks=True)
        else:
            file[name] = values
    with pytest.raises(RecordError, match=f"{record_path} is damaged: .*{says}"):
        load_records(record_path)


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, 5, np.zeros(3)])
def test_a_description_of_another_kind(record_path: Path, text: Any) -> None:
    some, images = made(9, 7)
    save_records(record_path, some, [images], {})
    with h5py.File(record_path, "r+") as file:
        del file.attrs["description"]
        try:
            file.attrs["description"] = text
        except (OSError, ValueError, RuntimeError):  # HDF5 keeps attributes below 64 KiB
            file.attrs["description"] = text[:60_000]
    with pytest.raises(RecordError, match=f"{record_path} is damaged: "):
        load_description(record_path)


@pytest.mark.parametrize("name", ["format", "old", "several"])
def test_files_of_something_else(record_path: Path, name: str) -> None:
    some, images = made(9, 7)
    save_records(record_path, some, [images], {})
    changed(name)(record_path)
    for load in (load_records, load_description, load_adversarials):
        with pytest.raises(
            RecordError, match="not hold records of attacks that this version can read"
        ):
            load(record_path)
    with h5py.File(record_path, "r+"):
        pass  # it was not left open


@pytest.mark.parametrize("value", [None, "{", "3", 3.5])
def test_descriptions_that_are_none(record_path: Path, value: Any) -> None:
    save_records(record_path, made(1, 0)[0], [], {})
    with h5py.File(record_path, "r+") as file:
        del file.attrs["description"]
        if value is not None:
            file.attrs["description"] = value
    with pytest.raises(RecordError, match="is damaged"):
        load_description(record_path)
