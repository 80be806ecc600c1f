"""IDX files: what is written is read back; invalid files are refused."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from caffe_ext.data import DataError, idx
from data_samples import mnist_arrays

IMAGES = mnist_arrays()["train-images-idx3-ubyte"]
LABELS = mnist_arrays()["train-labels-idx1-ubyte"]


@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=6)))
def test_round_trip(values: NDArray[np.uint8]) -> None:
    again = idx.decode(idx.encode(values), "x")
    assert again.dtype == np.uint8
    assert np.array_equal(again, values)


@given(st.binary(max_size=40))
def test_any_bytes_are_an_array_or_a_data_error(content: bytes) -> None:
    try:
        values = idx.decode(content, "some.file")
    except DataError as error:
        assert "some.file" in str(error)
    else:
        assert idx.encode(values) == content


@given(st.integers(0, len(idx.encode(LABELS)) - 1))
def test_every_truncation_is_refused(length: int) -> None:
    with pytest.raises(DataError, match=r"some\.file"):
        idx.decode(idx.encode(LABELS)[:length], "some.file")


def test_header_is_that_of_mnist() -> None:
    assert idx.encode(IMAGES)[:16].hex() == "000008030000003c0000001c0000001c"
    assert idx.encode(LABELS)[:8].hex() == "000008010000003c"


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_gzip_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(idx.encode(IMAGES)))
    packed = idx.read_images(path)
    path.write_bytes(idx.encode(IMAGES))
    plain = idx.read_images(path)
    assert np.array_equal(packed.values, IMAGES)
    assert np.array_equal(plain.values, IMAGES)
    assert packed.md5 == plain.md5


def refused(path: Path, content: bytes, kind: str) -> str:
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        (idx.read_images if kind == "images" else idx.read_labels)(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    good = idx.encode(IMAGES)
    packed = gzip.compress(good)
    assert "truncated" in refused(path, good[:-1], "images")
    assert "47,039 follow" in refused(path, good[:-1], "images")
    assert "damaged" in refused(path, good + b"x", "images")
    assert "not an IDX file" in refused(path, b"<html>not found</html>", "images")
    assert "not an IDX file" in refused(path, b"", "images")
    assert "unsigned bytes" in refused(path, good[:2] + b"\x0d" + good[3:], "images")
    assert "truncated or damaged" in refused(path, packed[:-20], "images")
    assert "truncated or damaged" in refused(path, packed[:500] + b"xxx" + packed[503:], "images")


def test_what_unpacks_to_more_than_announced_is_not_read(tmp_path: Path) -> None:
    packed = gzip.compress(idx.encode(IMAGES) + bytes(50 << 20), 1)
    tracemalloc.start()
    try:
        assert "47,040 bytes, more follow" in refused(tmp_path / "file", packed, "images")
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_images_are_not_labels(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert "not labels" in refused(path, idx.encode(IMAGES), "labels")
    assert "not images" in refused(path, idx.encode(LABELS), "images")
    assert "not images" in refused(path, idx.encode(IMAGES[:0]), "images")


def test_labels_beyond_nine_are_refused(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[41] = 10
    message = refused(tmp_path / "file", idx.encode(labels), "labels")
    assert "label number 41 is 10" in message


def test_only_bytes_are_written() -> None:
    with pytest.raises(ValueError, match="uint8"):
        idx.encode(np.zeros(3, np.int32))
