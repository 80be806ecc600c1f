"""ImageSource: images are read in parts, in one form, and identified by their digest."""

import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from caffe_ext.data import DataError, open_images, write_database, write_png
from data_samples import cifar_batches, image_set
from image_samples import COLOUR, check, put, refused, write_hdf5, write_images


def test_images_of_several_sizes_are_resized_if_asked_for(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.full((1, 8, 8), 100, np.uint8))
    checks = np.indices((16, 16)).sum(axis=0).astype(np.uint8) % 2 * 200
    write_png(tmp_path / "b.png", checks[np.newaxis])
    refused(r"b.png has 16 x 16 pixels \(H x W\) and a.png has 8 x 8; bring", tmp_path)
    source = open_images(tmp_path, resize=(8, 8))
    # Every pixel of the larger one counts: the mean of a chess board is grey.
    check(source, np.full((2, 1, 8, 8), 100, np.uint8), None)
    larger = open_images(tmp_path, resize=(16, 16)).read(slice(None)).images
    assert np.array_equal(larger[0], np.full((1, 16, 16), 100))
    assert np.array_equal(larger[1, 0], checks)
    assert open_images(tmp_path, resize=(20, 3), grey=False).image_shape == (3, 20, 3)
    np.save(tmp_path / "x.npy", COLOUR.images)
    small = open_images(tmp_path / "x.npy", resize=(2, 3)).read(slice(2)).images
    assert small.shape == (2, 3, 2, 3)
    for size in ((0, 3), (3,), (1, 2, 3)):
        with pytest.raises(ValueError, match="resize"):
            open_images(tmp_path, resize=size)  # type: ignore[arg-type]


def test_the_centre_is_that_of_caffes_crop(tmp_path: Path) -> None:
    images = np.arange(2 * 3 * 7 * 9, dtype=np.uint8).reshape(2, 3, 7, 9)
    np.save(tmp_path / "x.npy", images)
    check(open_images(tmp_path / "x.npy", crop=(4, 6)), images[:, :, 1:5, 1:7], None)
    check(open_images(tmp_path / "x.npy", crop=(7, 9)), images, None)
    # After resizing.
    larger = open_images(tmp_path / "x.npy", resize=(14, 18)).read(slice(None)).images
    check(
        open_images(tmp_path / "x.npy", resize=(14, 18), crop=(8, 8)),
        larger[:, :, 3:11, 5:13],
        None,
    )
    what = "a crop of 8 x 8 does not fit an image of 7 x 9; --resize"
    refused(what, tmp_path / "x.npy", crop=(8, 8))
    for size in ((0, 3), (3,)):
        with pytest.raises(ValueError, match="crop must be"):
            open_images(tmp_path / "x.npy", crop=size)  # type: ignore[arg-type]


def test_rows_are_chosen_from_any_kind(tmp_path: Path) -> None:
    images = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 1, 4, 4)
    np.savez(tmp_path / "x.npz", images=images, labels=[3, 1, 4, 1, 5])
    for number, image in enumerate(images):
        (tmp_path / "files" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        write_png(tmp_path / "files" / str(number % 2) / f"{number}.png", image)
    rows = np.array([1, 4])
    array = open_images(tmp_path / "x.npz")
    chosen = array.choose(rows, "two of five")
    check(chosen, images[rows], np.array([1, 5]))
    assert chosen.selection == "two of five"
    assert chosen.read(slice(None)).names == ("1", "4")
    files = open_images(tmp_path / "files")
    check(files.choose(rows, ""), images[[2, 3]], np.array([0, 1]))
    # In order where samples are the first ones, else as samples are drawn.
    assert array.draw_order(1).tolist() == [0, 1, 2, 3, 4]
    orders = [files.draw_order(seed).tolist() for seed in range(4)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert len(set(map(tuple, orders))) > 1


def test_a_size_that_no_memory_holds(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.zeros((1, 8, 8), np.uint8))
    refused(
        "images cannot be resized to 2000000000 x 2000000000", tmp_path, resize=(2 * 10**9,) * 2
    )


def test_grey_and_colour_do_not_mix(tmp_path: Path) -> None:
    grey = np.full((1, 4, 4), 77, np.uint8)
    write_png(tmp_path / "a.png", grey)
    write_png(tmp_path / "b.png", np.repeat(grey, 3, axis=0))
    refused("a.png is grey and b.png is in colour", tmp_path)
    check(open_images(tmp_path, grey=True), np.stack([grey] * 2), None)
    check(open_images(tmp_path, grey=False), np.full((2, 3, 4, 4), 77, np.uint8), None)
    red = np.zeros((3, 4, 4), np.uint8)
    red[0] = 255
    write_png(tmp_path / "b.png", red)
    assert open_images(tmp_path, grey=True).read(slice(1, 2)).images.max() == 76  # 0.299 * 255


def test_what_is_nothing_known_is_refused_with_what_is(tmp_path: Path) -> None:
    (tmp_path / "x.xyz").write_text("hello")
    known = ".*mnist, cifar10, digits.*LMDB.*folder.*listing.*CIFAR-10.*NumPy.*HDF5.*IDX"
    refused("x.xyz is not of a supported kind" + known, tmp_path / "x.xyz")
    refused("imagenet does not exist" + known, "imagenet")
    (tmp_path / "empty-idx3-ubyte").touch()
    refused("is not an IDX file", tmp_path / "empty-idx3-ubyte")


def test_arguments_that_do_not_go_with_the_images(tmp_path: Path) -> None:
    write_database(tmp_path / "db", COLOUR, 8)
    refused("--labels does not apply to .*db, an LMDB", tmp_path / "db", "labels.txt")
    folder = write_images(tmp_path / "images", COLOUR)
    refused("--image-order does not apply to .*images, a folder", folder, channel_order="BGR")
    refused("--image-order does not apply to the data set", "digits", channel_order="BGR")
    with pytest.raises(ValueError, match="channel_order must be RGB or BGR"):
        open_images(folder, channel_order="GBR")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="slice with step 1"):
        open_images(folder).read(slice(0, 4, 2))


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(5):
        write_png(folder / f"{number}.png", COLOUR.images[number])
    (folder / "3.png").write_bytes(b"damaged")
    x = caffe_pb2.Datum(channels=1, height=1, width=2, data=b"ab")
    junk = caffe_pb2.Datum(channels=1, height=1, width=2, data=b"a")
    database = put(tmp_path / "db", *[x] * 3, junk, x)
    for path, message in (
        (folder, "3.png is not an image"),
        (database, "b'0003' is not an uncompressed image"),
    ):
        source = open_images(path)
        for rows in (slice(0, 3), slice(4, 5)):
            assert len(source.read(rows).images) == rows.stop - rows.start
        for act in (source.compute_digest, lambda source=source: source.read(slice(2, 4))):
            with pytest.raises(DataError, match=message):
                act()


def many(tmp_path: Path, kind: str) -> Path:
    """Write 3,000 images of 3 x 32 x 32 pixels, 9 MB."""
    images = image_set(3_000, (3, 32, 32))
    path = tmp_path / f"x.{kind}"
    if kind == "npy":
        np.save(path, images.images)
    elif kind == "h5":
        write_hdf5(path, data=images.images)
    elif kind == "lmdb":
        write_database(path, images, 5)
    else:
        path.write_bytes(cifar_batches(3_000)["test_batch.bin"])
    return path


@pytest.mark.parametrize("kind", ["npy", "h5", "lmdb", "bin"])
def test_memory_does_not_grow_with_the_number(tmp_path: Path, kind: str) -> None:
    path = many(tmp_path, kind)
    tracemalloc.start()
    try:
        source = open_images(path)
        everything = source.read(slice(None)).images if kind == "lmdb" else None
        del everything
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        parts = [source.read(slice(start, start + 20)).images.sum() for start in (0, 2_980, 700)]
        assert tracemalloc.get_traced_memory()[1] - before < 1_000_000
    finally:
        tracemalloc.stop()
    assert all(parts)


def test_records_are_found_from_any_position(tmp_path: Path) -> None:
    images = image_set(1_100, (1, 2, 2))
    write_database(tmp_path / "db", images, 5)
    for starts in ([0, 256, 512, 1_099], [1_099, 300, 0], [255, 1_024, 511, 257, 1_000]):
        source = open_images(tmp_path / "db")
        for start in starts:
            batch = source.read(slice(start, start + 2))
            assert np.array_equal(batch.images, images.images[start : start + 2])
            assert batch.names[0] == f"{start:05}"


def test_a_database_that_shrinks_is_noticed(tmp_path: Path) -> None:
    put(tmp_path / "db", *[caffe_pb2.Datum(channels=1, height=1, width=1, data=b"a")] * 3)
    source = open_images(tmp_path / "db")
    with lmdb.open(str(tmp_path / "db")) as env, env.begin(write=True) as transaction:
        transaction.delete(b"0002")
    with pytest.raises(DataError, match="lost some of its 3 records"):
        source.compute_digest()


def test_digest_is_of_the_content_and_not_of_the_place(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "one", COLOUR)
    digest = open_images(folder).compute_digest()
    assert len(digest) == 64
    assert digest == open_images(shutil.copytree(folder, tmp_path / "other")).compute_digest()
    assert digest != open_images(folder, resize=(3, 3)).compute_digest()

    def changed(change: Callable[[Path], object]) -> None:
        copy = shutil.copytree(folder, tmp_path / "copy")
        change(copy / str(COLOUR.labels[0]) / "0.png")
        assert open_images(copy).compute_digest() != digest
        shutil.rmtree(copy)

    pixels = COLOUR.images[0].copy()
    pixels[0, 0, 0] ^= 1
    changed(lambda path: write_png(path, pixels))
    changed(Path.unlink)
    changed(lambda path: path.rename(path.with_name("1000.png")))
    changed(lambda path: path.parent.rename(path.parents[1] / "77"))
    np.save(tmp_path / "x.npy", COLOUR.images)
    np.savez(tmp_path / "x.npz", images=COLOUR.images)
    np.savez(tmp_path / "xy.npz", images=COLOUR.images, labels=COLOUR.labels)
    np.savez(tmp_path / "xz.npz", images=COLOUR.images, labels=COLOUR.labels + 1)
    x, same, xy, xz = (
        open_images(tmp_path / n).compute_digest() for n in ("x.npy", "x.npz", "xy.npz", "xz.npz")
    )
    assert x == same
    assert len({x, xy, xz}) == 3
