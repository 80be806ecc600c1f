"""LMDBs and the mean image: Caffe reads exactly what was written."""

import gzip
import mmap
import os
import shutil
import subprocess
from pathlib import Path

import caffe
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from caffe_ext.data import (
    DataError,
    ImageSet,
    SilentReporter,
    compute_mean_image,
    read_database,
    write_database,
    write_mean_image,
)
from caffe_ext.data.cifar import CIFAR10
from caffe_ext.data.database import Records, compute_map_size, count_records
from caffe_ext.data.mnist import MNIST, NAMES
from data_samples import cifar_batches, image_set, records, write_mnist


@pytest.mark.parametrize(("key_digits", "shape"), [(8, (1, 28, 28)), (5, (3, 32, 32))])
def test_records_are_exact(tmp_path: Path, key_digits: int, shape: tuple[int, int, int]) -> None:
    images = image_set(25, shape)
    write_database(tmp_path / "db", images, key_digits)
    stored = records(tmp_path / "db")
    assert list(stored) == [f"{number:0{key_digits}d}".encode() for number in range(25)]
    for number, value in enumerate(stored.values()):
        datum = caffe_pb2.Datum.FromString(value)
        assert (datum.channels, datum.height, datum.width) == shape
        assert datum.data == images.images[number].tobytes()
        assert datum.label == images.labels[number]
        # Caffe's converters write the label 0 as well, which is the field's default.
        assert datum.HasField("label")
        assert not datum.HasField("encoded")


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    images = image_set(25, (3, 5, 7))
    write_database(tmp_path / "db", images, 8)
    again = read_database(tmp_path / "db")
    assert np.array_equal(again.images, images.images)
    assert np.array_equal(again.labels, images.labels)


@pytest.mark.parametrize(
    ("count", "shape"),
    [(1, (1, 1, 1)), (12_000, (1, 8, 8)), (5_500, (1, 28, 28)), (600, (1, 44, 44)),
     (600, (1, 45, 45)), (300, (3, 36, 37)), (40, (3, 128, 128))],
)  # fmt: skip
def test_map_is_large_enough_and_not_huge(
    tmp_path: Path, count: int, shape: tuple[int, int, int]
) -> None:
    images = ImageSet(np.zeros((count, *shape), np.uint8), np.zeros(count, np.int64))
    write_database(tmp_path / "db", images, 8)
    written = (tmp_path / "db" / "data.mdb").stat().st_size
    assert written < compute_map_size(count, shape) < 3 * written + (2 << 20)


def test_an_existing_database_is_not_written_into(tmp_path: Path) -> None:
    write_database(tmp_path / "db", image_set(2), 8)
    with pytest.raises(FileExistsError):
        write_database(tmp_path / "db", image_set(3), 8)


def put(folder: Path, **values: bytes) -> Path:
    with lmdb.open(str(folder)) as env, env.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key.encode(), value)
    return folder


def test_a_folder_that_caffe_cannot_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"caf.udce9' is not UTF-8: Caffe cannot read a database"):
        write_database(tmp_path / os.fsdecode(b"caf\xe9"), image_set(3), 8)
    assert not list(tmp_path.iterdir())


def test_what_is_no_database_of_images_is_refused_by_name(tmp_path: Path) -> None:
    good = caffe_pb2.Datum(channels=1, height=1, width=2, data=b"ab").SerializeToString()
    other = caffe_pb2.Datum(channels=1, height=2, width=1, data=b"ab").SerializeToString()
    encoded = caffe_pb2.Datum(channels=1, height=1, width=2, data=b"ab", encoded=True)
    empty, mixed, png, junk = (tmp_path / name for name in ("empty", "mixed", "png", "junk"))
    put(empty)
    put(mixed, a=good, b=other)
    put(png, a=encoded.SerializeToString())
    put(junk, a=b"\xff\xff\xff")
    for folder in (empty, mixed, png, junk, tmp_path / "none"):
        with pytest.raises(DataError, match=folder.name):
            read_database(folder)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data.mdb")
    with pytest.raises(DataError, match=r"data\.mdb is not a file"):
        read_database(tmp_path)
    assert count_records(tmp_path) is None


def test_mean_is_the_exact_one_rounded_once(tmp_path: Path) -> None:
    images = image_set(997, (3, 8, 9))
    mean = compute_mean_image(images)
    assert mean.dtype == np.float32
    exact = images.images.astype(np.float64).mean(axis=0)
    assert np.array_equal(mean, exact.astype(np.float32))

    write_mean_image(tmp_path / "mean.binaryproto", mean)
    blob = caffe_pb2.BlobProto.FromString((tmp_path / "mean.binaryproto").read_bytes())
    assert (blob.num, blob.channels, blob.height, blob.width) == (1, 3, 8, 9)
    assert np.array_equal(np.array(blob.data, np.float32).reshape(3, 8, 9), mean)


def test_caffes_data_layer_reads_both(tmp_path: Path) -> None:
    if not hasattr(caffe, "Net"):
        pytest.skip("only Caffe's messages are here, not pycaffe")
    images = image_set(7, (3, 8, 9))
    mean = compute_mean_image(images)
    write_database(tmp_path / "db", images, 5)
    write_mean_image(tmp_path / "mean.binaryproto", mean)
    (tmp_path / "net.prototxt").write_text(
        f"""
        layer {{
          name: "data" type: "Data" top: "data" top: "label"
          transform_param {{ mean_file: "{tmp_path}/mean.binaryproto" }}
          data_param {{ source: "{tmp_path}/db" batch_size: 7 backend: LMDB }}
        }}
        """
    )
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    # What forward() returns are views of the network's memory, valid as long as the network.
    tops = net.forward()
    assert np.array_equal(tops["data"], images.images.astype(np.float32) - mean)
    assert np.array_equal(tops["label"], images.labels)


def caffes(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"Caffe's program {program} is not on PATH")
    return path


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


def compare_mnist(folder: Path, tmp_path: Path) -> None:
    converter = caffes("convert_mnist_data")
    files = MNIST.find(folder)
    assert files is not None
    for file, name in zip(files, NAMES, strict=True):
        content = file.read_bytes()
        plain = gzip.decompress(content) if file.suffix == ".gz" else content
        (tmp_path / name).write_bytes(plain)
    data_set = MNIST.load(files, SilentReporter())
    for part, at in ((data_set.train, 0), (data_set.test, 2)):
        ours, theirs = tmp_path / f"ours{at}", tmp_path / f"theirs{at}"
        write_database(ours, part, MNIST.key_digits)
        run(converter, tmp_path / NAMES[at], tmp_path / NAMES[at + 1], theirs)
        assert records(ours) == records(theirs)


def test_mnist_is_what_caffes_converter_writes(tmp_path: Path) -> None:
    compare_mnist(write_mnist(tmp_path / "raw"), tmp_path)


def test_published_mnist_is_what_caffes_converter_writes(tmp_path: Path) -> None:
    folder = os.environ.get("CAFFE_EXT_DATA")
    if not folder or not MNIST.find(Path(folder)):
        pytest.skip("no MNIST in CAFFE_EXT_DATA")
    compare_mnist(Path(folder), tmp_path)


def test_cifar10_and_its_mean_are_what_caffes_programs_write(tmp_path: Path) -> None:
    converter, averager = caffes("convert_cifar_data"), caffes("compute_image_mean")
    # The converter knows batches of 10,000 only.
    for name, content in cifar_batches(10_000).items():
        (tmp_path / name).write_bytes(content)
    run(converter, tmp_path, tmp_path, "lmdb")
    files = CIFAR10.find(tmp_path)
    assert files is not None
    data_set = CIFAR10.load(files, SilentReporter())
    for part, name in ((data_set.train, "train"), (data_set.test, "test")):
        write_database(tmp_path / name, part, CIFAR10.key_digits)
        assert records(tmp_path / name) == records(tmp_path / f"cifar10_{name}_lmdb")
    run(averager, tmp_path / "train", tmp_path / "theirs")
    write_mean_image(tmp_path / "ours", compute_mean_image(data_set.train))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_a_database_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    write_database(folder, image_set(300), 8)
    file, count = folder / "data.mdb", len(records(folder))
    ready = Records(folder)
    whole = file.stat().st_size
    os.truncate(file, whole + 99)
    assert count_records(folder) == count
    os.truncate(file, whole // 2)
    text = f"^{folder} is truncated: it has {whole // 2:,} bytes and needs at least [0-9,]+$"
    for read in (lambda: Records(folder), lambda: ready.read(slice(299, 300))):
        with pytest.raises(DataError, match=text):
            read()
    assert count_records(folder) is None


def test_a_database_may_be_shorter_than_its_pages_are_numbered(tmp_path: Path) -> None:
    # LMDB does not write pages that the same transaction takes and gives back.
    folder, random = tmp_path / "db", np.random.default_rng(1)
    with lmdb.open(str(folder), map_size=1 << 26) as env:
        for start in (0, 1000, 2000):
            with env.begin(write=True) as transaction:
                for number in range(start, start + 1000):
                    size = int(random.choice([50, 700, 3000]))
                    datum = caffe_pb2.Datum(channels=1, height=1, width=size, data=bytes(size))
                    transaction.put(b"%08d" % number, datum.SerializeToString())
                for number in range(start + 999, start + 299, -1):
                    transaction.delete(b"%08d" % number)
        numbered = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    assert (folder / "data.mdb").stat().st_size < numbered
    assert len(Records(folder).read(slice(None))) == 900


def test_pages_that_are_not_in_the_file_are_refused(tmp_path: Path) -> None:
    write_database(tmp_path / "db", ImageSet(np.zeros((5, 1, 4, 4), np.uint8), np.arange(5)), 8)
    path = tmp_path / "db" / "data.mdb"
    content = bytearray(path.read_bytes())
    for meta in (0, mmap.PAGESIZE):  # both copies of what LMDB knows of its file
        for at, value in ((32, 1 << 26), (128, 5_000), (136, 10_000)):  # its size, root, last page
            content[meta + at : meta + at + 8] = value.to_bytes(8, "little")
    path.write_bytes(content)
    records = Records(tmp_path / "db")
    with pytest.raises(
        DataError, match=r"db is damaged: reading its records 0 to 4 ends in SIGBUS"
    ):
        records.read(slice(2))
    with pytest.raises(DataError, match="SIGBUS"):
        read_database(tmp_path / "db")
