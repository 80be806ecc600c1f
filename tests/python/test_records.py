"""runs/records.py: what is saved is read back."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caffe_ext.errors import RecordError
from caffe_ext.runs import records
from caffe_ext.runs.records import (
    COLUMNS,
    AttackRecords,
    concatenate,
    load_adversarials,
    load_description,
    load_records,
    make_empty_columns,
    read_adversarial_batches,
    save_records,
    set_verified,
)
from record_samples import KINDS, equal, made

QUICK = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


DESCRIPTIONS = st.dictionaries(
    st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5) | st.lists(st.booleans())
)


@QUICK
@given(st.integers(0, 9), st.integers(0, 2**32 - 1), DESCRIPTIONS, st.integers(1, 4))
def test_what_is_saved_comes_back(
    record_path: Path, count: int, seed: int, description: dict[str, Any], at_a_time: int
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
    save_records(record_path, some, parts, description)
    equal(some, load_records(record_path))
    assert load_description(record_path) == description
    assert np.array_equal(load_adversarials(record_path), images)
    batches = list(read_adversarial_batches(record_path, at_a_time))
    assert [rows.start for rows, _ in batches] == list(range(0, found, at_a_time))
    for rows, part in batches:
        assert np.array_equal(part, images[rows])
    assert [file.name for file in record_path.parent.iterdir()] == [record_path.name]


def test_parts_without_images_say_how_large_they_would_be(record_path: Path) -> None:
    nothing, images = made(4, 0)
    save_records(record_path, nothing, [images, images], {})
    assert load_adversarials(record_path).shape == (0, 3, 4, 5)
    assert list(read_adversarial_batches(record_path, 2)) == []
    save_records(record_path, nothing, [], {})
    assert len(load_adversarials(record_path)) == 0
    some, images = made(4, 2)
    save_records(record_path, some, [images[:0], images, images[:0]], {})
    assert np.array_equal(load_adversarials(record_path), images)


def test_adversarials_are_read_as_they_are_needed(record_path: Path) -> None:
    some, images = made(9, 7)
    save_records(record_path, some, [images[:3], images[3:]], {})
    for rows in (slice(2, 5), slice(5, None), np.array([0, 3, 6]), np.array([], np.int64)):
        assert np.array_equal(load_adversarials(record_path, rows), images[rows])
    with h5py.File(record_path) as file:
        assert file["adversarials"].chunks == (1, 3, 4, 5)
        assert file["adversarials"].compression == "gzip"


def test_the_number_of_adversarials_must_be_that_of_the_found(record_path: Path) -> None:
    some, images = made(5, 3)
    for parts in ([images[:2]], []):
        with pytest.raises(
            ValueError, match=f"3 images were found, but there are {len(parts) * 2}"
        ):
            save_records(record_path, some, parts, {})
    with pytest.raises((ValueError, TypeError)):
        save_records(record_path, some, [np.concatenate([images, images])], {})
    assert not list(record_path.parent.iterdir())


def test_concatenate() -> None:
    one, two = made(3, 1)[0], made(2, 2, seed=1)[0]
    both = concatenate([one, two])
    assert len(both) == 5
    assert both.indices.tolist() == [0, 1, 2, 0, 1]
    assert np.array_equal(both.l2, np.concatenate([one.l2, two.l2]))
    equal(concatenate([both]), both)
    assert len(concatenate([])) == 0
    assert concatenate([]).found.dtype == np.bool_


def test_verified_is_filled_in_later(record_path: Path) -> None:
    some, images = made(6, 4)
    save_records(record_path, some, [images], {})
    assert not load_records(record_path).verified.any()
    set_verified(record_path, some.found)
    assert np.array_equal(load_records(record_path).verified, some.found)
    assert np.array_equal(load_adversarials(record_path), images)


def test_columns_are_of_one_length_and_read_only() -> None:
    full = make_empty_columns(3)
    some = AttackRecords(**full)
    with pytest.raises(ValueError, match="read-only"):
        some.l2[0] = 1
    with pytest.raises(AttributeError):
        some.l2 = some.l1  # type: ignore[misc]
    full["l2"][0] = 1  # whose it is may still write
    with pytest.raises(
        ValueError, match=r"l2 \(2,\) and indices \(3,\) must have one row per image"
    ):
        AttackRecords(**full | {"l2": np.zeros(2)})
    with pytest.raises(ValueError, match=r"indices \(3, 1\)"):
        AttackRecords(**{name: column[:, None] for name, column in full.items()})
    assert np.isnan(some.linf).all()
    assert some.classes.tolist() == [-1, -1, -1]


def test_records_are_those_of_the_images_asked_for(record_path: Path) -> None:
    some, images = made(9, 7)
    save_records(record_path, some, [images], {})
    equal(some, load_records(record_path, slice(0, 9)))
    for rows, says in (
        (slice(0, 12), r"indices has the shape \(9,\), for 12 images"),
        (slice(0, 8), r"indices has the shape \(9,\), for 8 images"),
        (slice(1, 10), "its images are not those from 1 to 9"),
    ):
        with pytest.raises(RecordError, match=f"{record_path} is damaged: {says}"):
            load_records(record_path, rows)


@pytest.mark.parametrize("number", [1, 2])
def test_files_of_earlier_formats_are_read(record_path: Path, number: int) -> None:
    some, images = made(9, 7)
    save_records(record_path, some, [images], {"limit": 9})
    with h5py.File(record_path, "r+") as file:
        file.attrs["format"] = number
        for new, old in records._NAMES_OF_1.items() if number == 1 else ():
            file.move(new, old)
        for new in records._SINCE_3:
            del file[new]
    found = load_records(record_path)
    for new, old in records._SINCE_3.items():
        np.testing.assert_array_equal(getattr(found, new), getattr(some, old))
    for name in set(records.COLUMNS) - set(records._SINCE_3):
        np.testing.assert_array_equal(getattr(found, name), getattr(some, name))
    assert load_description(record_path) == {"limit": 9}
    np.testing.assert_array_equal(load_adversarials(record_path), images)


def test_the_file_is_as_its_head_says(record_path: Path) -> None:
    some, images = made(9, 7)
    save_records(record_path, some, [images], {"a": [1, None]})
    with h5py.File(record_path) as file:
        assert set(file) == {*COLUMNS, "adversarials"}
        assert json.loads(file.attrs["description"]) == {"a": [1, None]}
        assert file.attrs["format"] == records.FORMAT
        assert all(file[name].shape == (9,) for name in COLUMNS)
