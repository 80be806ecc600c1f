"""MNIST, CIFAR-10 and the digits: reading them, and finding their files in a folder."""

import gzip
import io
import lzma
import os
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from caffe_ext.data import DataError, DataSet, ImageSet, SilentReporter, cifar, digits, idx, mnist
from caffe_ext.data.cifar import BATCHES, CIFAR10
from caffe_ext.data.collection import Collection
from caffe_ext.data.digest import compute_md5
from caffe_ext.data.mnist import MNIST, NAMES
from data_samples import cifar_batches, image_set, mnist_arrays, write_mnist

RECORDS = 20


def read_mnist(folder: Path) -> DataSet:
    files = MNIST.find(folder)
    assert files is not None
    return MNIST.load(files, SilentReporter())


def read_cifar10(folder: Path) -> DataSet:
    files = CIFAR10.find(folder)
    assert files is not None
    return CIFAR10.load(files, SilentReporter())


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    monkeypatch.setattr(cifar, "RECORDS", RECORDS)
    return cifar_batches(RECORDS)


def write_archive(path: Path, batches: dict[str, bytes]) -> None:
    pack = gzip.open if path.suffix == ".gz" else lzma.open
    with pack(path, "wb") as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in reversed(batches.items()):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("place", MNIST.subfolders)
@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_found_where_people_keep_it(tmp_path: Path, place: str, packed: bool) -> None:
    write_mnist(tmp_path / place, packed=packed)
    read = read_mnist(tmp_path)
    expected = mnist_arrays()
    assert read.train.images.shape == (60, 1, 28, 28)
    assert np.array_equal(read.train.images[:, 0], expected[NAMES[0]])
    assert np.array_equal(read.train.labels, expected[NAMES[1]])
    assert np.array_equal(read.test.images[:, 0], expected[NAMES[2]])
    assert np.array_equal(read.test.labels, expected[NAMES[3]])


def test_dotted_names_are_found(tmp_path: Path) -> None:
    for path in write_mnist(tmp_path).iterdir():
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert len(read_mnist(tmp_path).test) == 20


def test_other_images_than_mnists_are_read_and_marked(tmp_path: Path) -> None:
    read = read_mnist(write_mnist(tmp_path))
    assert not read.published
    assert all(name in read.remark for name in NAMES)


def test_published_mnist_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = tuple(compute_md5(idx.encode(values)) for values in mnist_arrays().values())
    monkeypatch.setattr(mnist, "PUBLISHED", digests)
    read = read_mnist(write_mnist(tmp_path, packed=True))
    assert read.published
    assert not read.remark


def test_mnist_files_must_fit_each_other(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path)
    (folder / NAMES[1]).write_bytes(idx.encode(np.zeros(59, np.uint8)))
    with pytest.raises(DataError, match=f"60 images but .*{NAMES[1]} 59 labels"):
        read_mnist(folder)
    write_mnist(folder)
    (folder / NAMES[2]).write_bytes(idx.encode(np.zeros((20, 8, 8), np.uint8)))
    with pytest.raises(DataError, match=NAMES[2]):
        read_mnist(folder)


def test_a_part_of_mnist_is_none(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "mnist")
    (folder / NAMES[3]).unlink()
    assert MNIST.find(tmp_path) is None
    assert f"{folder} holds only a part of MNIST: {NAMES[3]}" in MNIST.describe_missing(tmp_path)
    assert "holds no CIFAR-10" in CIFAR10.describe_missing(tmp_path)


@pytest.mark.parametrize("place", CIFAR10.subfolders)
def test_cifar10_is_read_from_batches(
    tmp_path: Path, small_batches: dict[str, bytes], place: str
) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in small_batches.items():
        (folder / name).write_bytes(content)
    read = read_cifar10(tmp_path)
    assert read.train.images.shape == (5 * RECORDS, 3, 32, 32)
    second = np.frombuffer(small_batches[BATCHES[1]], np.uint8).reshape(RECORDS, 3073)
    assert read.train.labels[RECORDS] == second[0, 0]
    # The record is red, green, blue, each row by row.
    assert read.train.images[RECORDS, 2, 31, 30] == second[0, -2]
    assert read.train.images[RECORDS, 0, 0, 1] == second[0, 2]


@pytest.mark.parametrize("suffix", ["gz", "xz"])
def test_cifar10_is_read_from_the_archive(
    tmp_path: Path, small_batches: dict[str, bytes], suffix: str
) -> None:
    write_archive(tmp_path / f"cifar-10-binary.tar.{suffix}", small_batches)
    packed = read_cifar10(tmp_path)
    for name, content in small_batches.items():
        (tmp_path / name).write_bytes(content)
    plain = read_cifar10(tmp_path)
    assert np.array_equal(packed.train.images, plain.train.images)
    assert np.array_equal(packed.test.labels, plain.test.labels)


def test_cifar10_test_batch_may_have_another_order(
    tmp_path: Path, small_batches: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def published() -> bool:
        write_archive(tmp_path / "cifar-10-binary.tar.gz", small_batches)
        return read_cifar10(tmp_path).published

    digests = [compute_md5(small_batches[name]) for name in BATCHES]
    monkeypatch.setattr(cifar, "PUBLISHED_TRAINING", tuple(digests[:5]))
    known = cifar.hash_records(small_batches[BATCHES[5]])
    monkeypatch.setattr(cifar, "PUBLISHED_TEST_RECORDS", known)
    assert published()
    test = small_batches[BATCHES[5]]
    small_batches[BATCHES[5]] = test[3073:] + test[:3073]
    assert published()
    small_batches[BATCHES[5]] = test[:3073] + test[:-3073]
    assert not published()


@pytest.mark.parametrize("target", ["data_batch_1.bin", "/etc/passwd"])
def test_links_in_an_archive_are_refused(tmp_path: Path, target: str) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("data_batch_1.bin")
        member.type, member.linkname = tarfile.SYMTYPE, target
        archive.addfile(member)
    with pytest.raises(DataError, match=f"^{path} is truncated or damaged"):
        read_cifar10(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("data_batch_1.bin", tarfile.REGTYPE),
        ("x", tarfile.REGTYPE),
        ("x", tarfile.GNUTYPE_LONGNAME),
        ("x", tarfile.XHDTYPE),
    ],
)
def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, small_batches: dict[str, bytes], name: str, kind: bytes
) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, 1 << 40
    write_archive(path, small_batches)
    batches = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + batches))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=f"^{path} is damaged: it unpacks to more than 512 MiB"):
            read_cifar10(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_damaged_cifar10_is_refused_by_name(
    tmp_path: Path, small_batches: dict[str, bytes]
) -> None:
    def refused(batches: dict[str, bytes], message: str, cut: int | None = None) -> None:
        path = tmp_path / "cifar-10-binary.tar.gz"
        write_archive(path, batches)
        path.write_bytes(path.read_bytes()[:cut])
        with pytest.raises(DataError, match=message) as caught:
            read_cifar10(tmp_path)
        assert str(path) in str(caught.value)

    name = BATCHES[2]
    batch = small_batches[name]
    refused(small_batches | {name: batch[:-1]}, f"{name} is truncated")
    refused(small_batches | {name: batch + batch}, f"{name} is damaged")
    refused(small_batches | {name: b"\x0b" + batch[1:]}, f"{name}: label number 0 is 11")
    refused({k: v for k, v in small_batches.items() if k != name}, f"lacks {name}")
    refused(small_batches, "truncated or damaged", cut=-30_000)
    refused(small_batches, "truncated or damaged|damaged", cut=20)


def test_digits_are_the_same_bytes_everywhere() -> None:
    made = digits.make_digits()
    files = digits.make_idx_files(made)
    assert {name: compute_md5(content) for name, content in files.items()} == {
        "train-images-idx3-ubyte": "5f8967338c4ebc9b3f22669f64c83c03",
        "train-labels-idx1-ubyte": "216bcaf91437dc8d266989079dbe7be4",
        "t10k-images-idx3-ubyte": "ac6353043e7324f8f0112c49ab70903e",
        "t10k-labels-idx1-ubyte": "348f9f0145b7f9dd6d12c893d5d02abd",
    }
    assert np.bincount(made.test.labels).tolist() == [30] * 10
    assert len(made.train) == 1497
    everything = np.concatenate([made.train.images, made.test.images])
    from_sklearn = load_digits().images
    # No image is in both parts, and none is lost.
    expected = digits.enlarge(from_sklearn.astype(np.int64)).reshape(len(everything), -1)
    assert sorted(map(bytes, everything.reshape(expected.shape))) == sorted(map(bytes, expected))


def test_digits_are_enlarged_as_documented() -> None:
    small = np.zeros((1, 8, 8), np.int64)
    assert not digits.enlarge(small).any()
    large = digits.enlarge(small + 16)[0]
    assert (large[4:24, 4:24] == 255).all()
    assert large.sum() == 20 * 20 * 255
    small[0, :, 3:] = 16
    row = digits.enlarge(small)[0, 10, 4:24]
    # Pixel 6 of 20 has its centre at 2.1 of the 8, pixel 7 at 2.5, pixel 8 at 2.9.
    assert row[5:10].tolist() == [0, 26, 128, 230, 255]


def test_image_set_is_checked_and_read_only() -> None:
    images = image_set(3)
    with pytest.raises(ValueError, match="read-only"):
        images.images[0] = 0
    with pytest.raises(ValueError, match="uint8"):
        ImageSet(images.images.astype(np.float32), images.labels)
    with pytest.raises(ValueError, match="labels"):
        ImageSet(images.images, images.labels[:2])


def test_an_image_set_leaves_its_callers_arrays_writable() -> None:
    pixels = np.zeros((1, 1, 2, 2), np.uint8)
    ImageSet(pixels, np.zeros(1, np.int64))
    pixels[0] = 1


def test_validation_is_the_end_of_the_training_images() -> None:
    images = image_set(10)
    splits = DataSet(images, images[:2], published=False).keep_apart(3)
    assert {name: len(part) for name, part in splits.items()} == {"train": 7, "val": 3, "test": 2}
    assert np.array_equal(splits["val"].images, images.images[7:])
    for validation in (-1, 10, 11):
        with pytest.raises(DataError, match="validation images of the 10"):
            DataSet(images, images, published=False).keep_apart(validation)


@pytest.mark.parametrize("collection", [MNIST, CIFAR10], ids=lambda c: str(c.name))
def test_published_data_is_recognised(collection: Collection) -> None:
    folder = os.environ.get("CAFFE_EXT_DATA")
    files = collection.find(Path(folder)) if folder else None
    if files is None:
        pytest.skip(f"no {collection.title} in CAFFE_EXT_DATA")
    read = collection.load(files, SilentReporter())
    assert read.published, read.remark
