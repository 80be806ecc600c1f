"""open_images: all kinds of files and folders give the same images, and errors name the cause."""

import gzip
import os
import zipfile
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from numpy.typing import NDArray

from caffe_ext.data import (
    DataError,
    ImageSet,
    idx,
    load_images,
    open_images,
    write_database,
    write_png,
)
from caffe_ext.data.image_labels import as_labels, read_labels
from caffe_ext.data.mnist import NAMES
from caffe_ext.models.pixels import read_mean
from data_samples import cifar_batches, mnist_arrays, write_mnist
from image_samples import COLOUR, GREY, Array, check, put, refused, write_hdf5, write_images


@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
def test_databases_hdf5_and_numpy(tmp_path: Path, images: ImageSet) -> None:
    x, y = images.images, images.labels
    write_database(tmp_path / "db", images, 8)
    assert open_images(tmp_path / "db").read(slice(2)).names == ("00000000", "00000001")
    np.save(tmp_path / "x.npy", x)
    np.savez_compressed(tmp_path / "xy.npz", images=x, labels=y)
    floats = y.astype(np.float32)[:, np.newaxis]  # as Caffe's HDF5Data layer has them
    write_hdf5(tmp_path / "xy.h5", data=x, label=floats)
    write_hdf5(tmp_path / "nameless", images=x)
    for name, labels in (
        ("db", y),
        ("xy.npz", y),
        ("xy.h5", y),
        ("x.npy", None),
        ("nameless", None),
    ):
        source = open_images(str(tmp_path / name))
        check(source, x, labels)
        assert str(tmp_path / name) in source.origin
        if name != "db":
            assert source.read(slice(3, 5)).names == ("3", "4")
        swapped = open_images(tmp_path / name, channel_order="BGR")
        assert np.array_equal(swapped.read(slice(None)).images, x[:, ::-1])
    np.save(tmp_path / "y.npy", y)
    (tmp_path / "y.idx").write_bytes(idx.encode(y.astype(np.uint8)))
    check(open_images(tmp_path / "x.npy", tmp_path / "y.npy"), x, y)
    check(open_images(tmp_path / "nameless", str(tmp_path / "y.idx")), x, y)


@pytest.mark.parametrize("packed", [False, True])
def test_idx(tmp_path: Path, packed: bool) -> None:
    write_mnist(tmp_path, packed=packed)
    arrays, suffix = mnist_arrays(), ".gz" if packed else ""
    images, labels = arrays[NAMES[2]][:, np.newaxis], arrays[NAMES[3]]
    path = tmp_path / (NAMES[2] + suffix)
    check(open_images(path), images, labels)
    many = np.arange(20, dtype=np.uint8) + 30  # more than ten classes
    (tmp_path / "mine").write_bytes(gzip.compress(idx.encode(many)))
    check(open_images(path, tmp_path / "mine"), images, many)
    (tmp_path / (NAMES[3] + suffix)).unlink()
    check(open_images(path), images, None)
    refused("train-labels.* for 20 images", path, tmp_path / (NAMES[1] + suffix))
    path.write_bytes(path.read_bytes()[:-5])
    refused(f"{path} is truncated", path)


def test_cifar10_batches(tmp_path: Path) -> None:
    content = cifar_batches(7)["test_batch.bin"]
    records = np.frombuffer(content, np.uint8).reshape(7, -1)
    (tmp_path / "test_batch.bin").write_bytes(content)
    images = records[:, 1:].reshape(7, 3, 32, 32)
    check(open_images(tmp_path / "test_batch.bin"), images, records[:, 0])
    for name, bad in (("empty", b""), ("short", content[:-1]), ("label", b"\x0a" + content[1:])):
        (tmp_path / f"{name}.bin").write_bytes(bad)
        refused(f"{name}.bin", tmp_path / f"{name}.bin")


def test_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAFFE_EXT_DATA", raising=False)
    write_mnist(tmp_path)
    for spec, split in (("mnist", "test"), ("mnist:test", "test"), ("mnist:train", "train")):
        source = open_images(spec, data_dir=tmp_path)
        images = load_images("mnist", split, data_dir=tmp_path)
        check(source, images.images, images.labels)
        assert source.origin == f"mnist, {split} images: {tmp_path}"
    assert len(open_images("mnist", homes=[tmp_path])) == 20
    assert len(open_images("digits")) == 300
    refused("not on this machine", "cifar10")
    refused("unknown split 'val'", "mnist:val")
    refused("unknown split ''", "mnist:")
    refused("--labels does not apply to the data set digits", "digits", "labels.txt")
    # A path is never the name of a data set.
    monkeypatch.chdir(tmp_path)
    refused("mnist does not exist", Path("mnist"))
    refused("mnist does not exist", "./mnist")


def test_a_folder_of_images(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", COLOUR)
    order = np.argsort(COLOUR.labels, kind="stable")
    source = open_images(folder)
    check(source, COLOUR.images[order], COLOUR.labels[order])
    names = tuple(f"{COLOUR.labels[number]}/{number}.png" for number in order)
    assert source.read(slice(None)).names == names
    assert source.origin == f"image files in {folder}"
    listing = tmp_path / "labels.txt"
    listing.write_text(
        "unused.png 3\n" + "".join(f"{n} {i * 1000}\r\n" for i, n in enumerate(names))
    )
    check(open_images(folder, listing), COLOUR.images[order], np.arange(7) * 1000)
    check(open_images(folder / names[2]), COLOUR.images[order[2:3]], None)
    listing.write_text(f"\ufeff{Path(names[2]).name}\t5\n\n", encoding="utf-8")
    check(open_images(folder / names[2], listing), COLOUR.images[order[2:3]], np.array([5]))
    refused(r"labels.txt has no label for .*\(7 such", folder, listing)
    (folder / "more.png").write_bytes((folder / names[0]).read_bytes())
    refused(f"{names[0]} has a label.* more.png has none", folder)


def test_a_listing(tmp_path: Path) -> None:
    write_images(tmp_path / "my images", COLOUR)
    rows = [(f"my images/{COLOUR.labels[n]}/{n}.png", n) for n in (4, 1, 4)]
    listing = tmp_path / "val.txt"
    listing.write_text("".join(f"{name} {label}\n" for name, label in rows))
    check(open_images(listing), COLOUR.images[[4, 1, 4]], np.array([4, 1, 4]))
    assert open_images(listing).read(slice(1)).names == (rows[0][0],)
    for line, message in (
        ("a.png", "line 2: 'a.png' is not"),
        ("a.png x", "line 2: 'a.png x' is not"),
        ("a.png -1", "line 2: -1 is not a label"),
        (f"a.png {2**63}", f"line 2: {2**63} is not a label"),
        ("a.png " + "9" * 5000, "line 2: 9+ is not a label"),
    ):
        listing.write_text(f"good.png 1\n{line}\n")
        refused(f"val.txt, {message}", listing)
    listing.write_text("\n")
    refused("val.txt has no lines", listing)
    listing.write_bytes(b"\xff\xfe")
    refused("val.txt is not a text file", listing)
    listing.write_text("gone.png 1\n")
    with pytest.raises(FileNotFoundError, match="gone"):
        open_images(listing)
    listing.write_text("a 1\na 2\n")
    refused("val.txt: a has two labels, 1 and 2", tmp_path / "my images", listing)


def test_labels_that_folders_have(tmp_path: Path) -> None:
    for name in ("-1", str(2**63)):
        folder = tmp_path / f"of{name}"
        (folder / name).mkdir(parents=True)
        write_png(folder / name / "a.png", COLOUR.images[0])
        refused(f"{folder}/{name}: {name} is not a label", folder)
    (tmp_path / "empty").mkdir()
    refused("empty holds no image files", tmp_path / "empty")


def test_encoded_datums(tmp_path: Path) -> None:
    def datum(image: Array, **fields: int) -> caffe_pb2.Datum:
        data = cv2.imencode(".png", image[::-1].transpose(1, 2, 0))[1].tobytes()
        return caffe_pb2.Datum(data=data, encoded=True, **fields)

    folder = put(tmp_path / "db", *(datum(image) for image in COLOUR.images))
    check(open_images(folder), COLOUR.images, None)
    check(open_images(folder, channel_order="BGR"), COLOUR.images, None)
    small = datum(COLOUR.images[0, :, :2], label=1)
    good = datum(COLOUR.images[0], label=1)
    junk = caffe_pb2.Datum(data=b"x", encoded=True, label=1)
    refused("0001 has 2 x 6 pixels", put(tmp_path / "sizes", good, small))
    refused("record b'0001' is not an image", put(tmp_path / "junk", good, junk))
    refused(
        "b'0001' has the label -1", put(tmp_path / "minus", good, datum(COLOUR.images[0], label=-1))
    )
    refused(
        "b'0001' has no label, and the first", put(tmp_path / "some", good, datum(COLOUR.images[0]))
    )
    two = caffe_pb2.Datum(channels=2, height=1, width=1, data=b"ab")
    refused(r"0000 is \(2, 1, 1\)", put(tmp_path / "two", two))
    floats = caffe_pb2.Datum(channels=1, height=1, width=1, float_data=[1.0])
    refused(r"b'0000' holds floats \(float_data\)", put(tmp_path / "floats", floats))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_refused_with_the_way_out(tmp_path: Path, dtype: Any) -> None:
    unit = (COLOUR.images / 255).astype(dtype)
    np.save(tmp_path / "x.npy", unit)
    np.savez(tmp_path / "x.npz", data=255 * unit)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data"] = 4 * unit - 2
    with pytest.raises(
        DataError, match=r"x.npy holds float.*0\.\.1, save np.rint\(255 \* images\)"
    ):
        open_images(tmp_path / "x.npy")
    with pytest.raises(DataError, match=r"'data' holds float.*0\.\.255, save np.rint\(images\)"):
        open_images(tmp_path / "x.npz")
    with pytest.raises(
        DataError, match=r"'data' holds float.*from -2 to .*: save the images before"
    ):
        open_images(tmp_path / "x.h5")


def test_floats_without_values_are_refused(tmp_path: Path) -> None:
    for number, shape in enumerate([(), (0, 1, 2, 2), (3, 0, 2, 2)]):
        np.save(tmp_path / f"{number}.npy", np.zeros(shape, np.float32))
        with pytest.raises(DataError, match="images are uint8"):
            open_images(tmp_path / f"{number}.npy")
    np.save(tmp_path / "nan.npy", np.full((1, 1, 2, 2), np.nan))
    with pytest.raises(DataError, match="from nan to nan"):
        open_images(tmp_path / "nan.npy")


def test_idx_files_of_floats_are_refused(tmp_path: Path) -> None:
    values = np.zeros((2, 3, 4), ">f4")
    header = bytes([0, 0, 0x0D, 3]) + np.array(values.shape, ">u4").tobytes()
    for path in (tmp_path / "nameless", tmp_path / "floats-idx3"):
        path.write_bytes(header + values.tobytes())
        with pytest.raises(DataError, match=f"{path} is an IDX file of 32-bit floats"):
            open_images(path)


def test_what_is_no_array_of_images_is_refused(tmp_path: Path) -> None:
    x, y = COLOUR.images, COLOUR.labels
    cases: list[tuple[str, dict[str, NDArray[Any]]]] = [
        ("must have one of images and data.*; it has nothing", {}),
        ("it has data, images", {"images": x, "data": x}),
        ("it has data, label, labels", {"data": x, "label": y, "labels": y}),
        ("'data' holds float64", {"data": x / 2}),
        (r"'data' holds uint8 \(3, 5, 6\).*\(N, H, W\), save images\[:, None\]", {"data": x[0]}),
        (r"\(H, W, C\), save images.transpose\(0, 3, 1, 2\)", {"data": x.transpose(0, 2, 3, 1)}),
        (r"'data' holds no images: its shape is \(0, 3", {"data": x[:0]}),
        (r"0 is \(5, 6, 3\)", {"data": x.transpose(0, 2, 3, 1)}),
        (r"labels int64 \(6,\) for 7 images", {"data": x, "labels": y[1:]}),
        ("label number 0 is -", {"data": x, "labels": y - 10}),
    ]
    for number, (message, arrays) in enumerate(cases):
        refused(message, write_hdf5(tmp_path / f"{number}.h5", **arrays))
        np.savez(tmp_path / f"{number}.npz", **arrays)  # type: ignore[arg-type]
        refused(message, tmp_path / f"{number}.npz")
    for name in ("names.h5", "names.npz"):
        path = tmp_path / name
        if path.suffix == ".h5":
            write_hdf5(path, **{"ima\nes": x})
        else:
            np.savez(path, **{"ima\nes": x})  # type: ignore[arg-type]
        refused(r"it has ima\\nes$", path)
    write_hdf5(tmp_path / "group.h5", **{"data/inner": x})
    refused("'data' is not a dataset", tmp_path / "group.h5")
    # NumPy reads headers as Python.
    for header in (b"[" * 117, b"{'shape': (", b"(" * 60_000):
        size = len(header + b"\n").to_bytes(2, "little")
        (tmp_path / "header.npy").write_bytes(b"\x93NUMPY\x01\x00" + size + header + b"\n")
        refused("header.npy cannot be read", tmp_path / "header.npy")
    for name in ("x.npy", "x.npz", "x.h5"):
        (tmp_path / name).write_bytes(b"\x93NUMPY damaged")
        refused(f"{name} (cannot be read|is damaged)", tmp_path / name)


@pytest.mark.parametrize("name", ["images", "labels"])
def test_a_member_of_an_npz_that_is_not_an_array(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.npz"
    arrays: dict[str, Any] = {"images": GREY.images, "labels": GREY.labels}
    del arrays[name]
    np.savez(path, **arrays)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{name}.npy", b"")
    refused(f"x.npz cannot be read: '{name}' is not an array", path)


def test_an_archive_with_the_name_of_an_array(tmp_path: Path) -> None:
    labels = tmp_path / "labels.npy"
    with labels.open("wb") as file:
        np.savez(file, labels=np.zeros(2))
    with pytest.raises(DataError, match=r"labels.npy cannot be read: it is an archive of arrays"):
        read_labels(labels, 2)
    with pytest.raises(ValueError, match=r"labels.npy cannot be read: it is an archive of arrays"):
        read_mean(labels)


def test_labels_are_whole_numbers_of_int64() -> None:
    for good in ([0, 2**62 + 1], np.array([0, 7], np.uint8), np.array([[1.0], [2.0]], np.float32)):
        assert as_labels(np.asarray(good), 2, "file").tolist() == np.ravel(good).tolist()
    bad: list[NDArray[np.generic]] = [
        np.array([0, 2**63], np.uint64),
        np.array([0, -1]),
        np.array([0, 0.5]),
        np.array([0, np.nan]),
        np.array([0, np.inf]),
        np.array([False, True]),
        np.array(["0", "1"]),
        np.zeros((2, 2), np.int64),
        np.array(1),
    ]
    for values in bad:
        with pytest.raises(DataError, match="file"):
            as_labels(values, 2, "file")


def test_published_mnist_is_the_same_in_both_ways() -> None:
    home = os.environ.get("CAFFE_EXT_DATA")
    path = Path(home or "") / "mnist" / f"{NAMES[2]}.gz"
    if not home or not path.is_file():
        pytest.skip("no MNIST in CAFFE_EXT_DATA")
    assert open_images(path).compute_digest() == open_images("mnist").compute_digest()
