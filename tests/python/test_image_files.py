"""Image files: what is written is read back, completely or not at all; others are refused."""

import errno
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from caffe_ext.data import DataError, open_images, read_image, write_png
from caffe_ext.data.image_files import decode_image, find_images
from disk_samples import files_of_at_most

SHAPES = st.tuples(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))
IMAGE = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


@given(image=SHAPES.flatmap(lambda shape: arrays(np.uint8, shape)))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_png_round_trip(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    before = image.copy()
    write_png(tmp_path / "a.png", image)
    again = read_image(tmp_path / "a.png")
    assert again.dtype == np.uint8
    assert again.flags.c_contiguous
    assert np.array_equal(again, image)
    assert np.array_equal(image, before)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@given(
    content=st.binary(max_size=60), start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"P5 2 2"])
)
def test_any_bytes_are_an_image_or_a_data_error(content: bytes, start: bytes) -> None:
    try:
        image = decode_image(start + content, "some.file")
    except DataError as error:
        assert "some.file" in str(error)
    else:
        assert image.ndim == 3


def test_views_and_read_only_arrays_are_written(tmp_path: Path) -> None:
    view = np.broadcast_to(IMAGE[:1, ::2, ::-1], (3, 2, 5))
    write_png(tmp_path / "a.png", view)
    assert np.array_equal(read_image(tmp_path / "a.png"), view)


def test_colours_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[:, :, 2] = 255  # OpenCV's order is BGR
    for name in ("a.png", "a.bmp", "a.ppm", "a.tif", "a.webp", "a.jpg"):
        assert cv2.imwrite(str(tmp_path / name), red, [cv2.IMWRITE_WEBP_QUALITY, 101])
        image = read_image(tmp_path / name)
        assert image.shape == (3, 4, 4)
        assert image[0].min() > 250
        assert image[1:].max() < 5


def test_what_is_no_image_for_a_png_is_refused(tmp_path: Path) -> None:
    for image in (
        IMAGE.astype(np.float32),
        IMAGE.astype(np.uint16),
        IMAGE[0],
        IMAGE[:2],
        IMAGE[:, :0],
        np.zeros((4, 5, 3), np.uint8),
        np.zeros((1, 1, 1_000_001), np.uint8),
    ):
        with pytest.raises(ValueError, match=r"a\.png"):
            write_png(tmp_path / "a.png", image)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("was_there", [False, True])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, was_there: bool) -> None:
    path = tmp_path / "a.png"
    if was_there:
        write_png(path, IMAGE)
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    with files_of_at_most(1_000), pytest.raises(OSError, match="too large") as caught:
        write_png(path, noise)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == ([path] if was_there else [])
    if was_there:
        assert np.array_equal(read_image(path), IMAGE)


def test_folders_that_cannot_hold_it_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in ("file", "missing"):
        with pytest.raises(OSError, match=folder) as caught:
            write_png(tmp_path / folder / "a.png", IMAGE)
        assert caught.value.filename == str(tmp_path / folder / "a.png")


def test_a_killed_writers_file_is_no_image(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", IMAGE)
    (tmp_path / ".b.png.partial").write_bytes(b"x")
    (tmp_path / "._a.png").write_bytes(b"x")
    assert find_images(tmp_path) == [Path("a.png")]


def test_images_that_cannot_be_read_are_refused_by_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.png"

    def refused(message: str, pixels: NDArray[np.integer] | bytes) -> None:
        content = pixels if isinstance(pixels, bytes) else cv2.imencode(".png", pixels)[1].tobytes()
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"a\.png {message}"):
            read_image(path)

    good = cv2.imencode(".png", IMAGE.transpose(1, 2, 0))[1].tobytes()
    refused("is not an image", b"")
    refused("is not an image", b"<html>")
    refused("is not an image", good[:20])
    refused("is transparent in places", np.zeros((4, 4, 4), np.uint8))
    huge = good[:16] + (2**31 - 1).to_bytes(4, "big") * 2 + good[24:]
    refused("is not an image", huge)
    jpeg = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    for cut in (2, 40, len(jpeg) // 2):
        refused("is not an image", jpeg[:-cut])
    for pixels, message in (
        (np.zeros((4, 4), np.uint16), "has 16 bits per channel"),
        (np.zeros((4, 4, 4), np.uint8), "has 4 channels"),
    ):
        with pytest.raises(DataError, match=f"record {message}"):
            decode_image(cv2.imencode(".png", pixels)[1].tobytes(), "record")
    with pytest.raises(FileNotFoundError, match="missing"):
        read_image(tmp_path / "missing.png")
    assert "ERROR" not in capfd.readouterr().err


def test_numbers_in_names_are_sorted_by_size(tmp_path: Path) -> None:
    wanted = ["2/9.png", "10/1.PNG", "10/2.png", "img1.png", "img2.jpg", "img10.png", "x.png"]
    for name in reversed(wanted):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    assert [path.as_posix() for path in find_images(tmp_path)] == wanted


@pytest.mark.parametrize("name", [b"\xff.png", b"a\nb.png", b"\x1b[31m.png"])
def test_names_that_no_record_can_hold(tmp_path: Path, name: bytes) -> None:
    write_png(tmp_path / "a.png", IMAGE)
    (tmp_path / "a.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    with pytest.raises(DataError, match="has a name that is not UTF-8, or cannot be shown"):
        find_images(tmp_path)


def test_names_with_spaces_of_all_kinds(tmp_path: Path) -> None:
    name = "a\u202fb\u3000c\u00a0d é 猫.png"
    write_png(tmp_path / name, IMAGE)
    assert find_images(tmp_path) == [Path(name)]


def test_what_never_ends_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name in ("fifo.png", "zero.png"):
        with pytest.raises(OSError, match=f"not a regular file.*{name}"):
            read_image(tmp_path / name)
    write_png(tmp_path / "a.png", IMAGE)
    os.mkfifo(tmp_path / "labels.txt")
    with pytest.raises(OSError, match=r"not a regular file.*labels\.txt"):
        open_images(tmp_path / "a.png", tmp_path / "labels.txt")


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (other / "a.png").touch()
    (folder / "link").symlink_to(other)
    assert find_images(folder) == [Path("link/a.png")]
    (other / "back").symlink_to(folder)
    with pytest.raises(DataError, match="back is a link to"):
        find_images(folder)
