"""prepare() and load_images(): which source is used, and the result."""

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from caffe_ext.data import (
    DataError,
    ImageSet,
    PreparedFolder,
    Request,
    SilentReporter,
    cifar,
    compute_mean_image,
    load_images,
    preparation,
    prepare,
    read_database,
    write_database,
    write_mean_image,
)
from caffe_ext.data.cifar import CIFAR10
from caffe_ext.data.digits import TITLE
from caffe_ext.data.mnist import MNIST, NAMES
from caffe_ext.reporting import Step
from data_samples import (
    Server,
    cifar_batches,
    elsewhere,
    image_set,
    mnist_arrays,
    nobody,
    packed_mnist,
    serving,
    snapshot,
    write_mnist,
)


class Listener(SilentReporter):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.work: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def show_progress(
        self, what: str, total: int, unit: str, done: int = 0
    ) -> AbstractContextManager[Step]:
        self.work.append(what)
        return super().show_progress(what, total, unit, done)


@pytest.fixture(autouse=True)
def _no_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's data, and the network, out of the tests."""
    monkeypatch.delenv("CAFFE_EXT_DATA", raising=False)
    for collection in (MNIST, CIFAR10):
        names = dict.fromkeys((remote.name for remote in collection.remotes), b"x")
        unreachable = elsewhere(collection, nobody(), names)
        monkeypatch.setitem(preparation.COLLECTIONS, collection.name, unreachable)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_mnist(tmp_path / "raw")


@pytest.fixture
def asked(tmp_path: Path, raw: Path) -> Request:
    return Request("mnist", tmp_path / "out", data_dir=raw)


def images_of(prepared: PreparedFolder, split: str) -> ImageSet:
    return read_database(prepared.folder / f"{split}_lmdb")


def redone(request: Request) -> bool:
    """Prepare, and tell whether that was work; if not, nothing may have been touched."""
    before = snapshot(request.folder)
    made = prepare(request).made
    assert made or snapshot(request.folder) == before
    return made


def test_mnist(asked: Request) -> None:
    prepared = prepare(asked)
    expected = mnist_arrays()
    assert prepared.made
    assert np.array_equal(images_of(prepared, "train").images[:, 0], expected[NAMES[0]])
    assert np.array_equal(images_of(prepared, "train").labels, expected[NAMES[1]])
    assert np.array_equal(images_of(prepared, "test").images[:, 0], expected[NAMES[2]])
    assert sorted(path.name for path in prepared.folder.iterdir()) == [
        "source.json",
        "test_lmdb",
        "train_lmdb",
    ]
    record = json.loads((prepared.folder / "source.json").read_text())
    assert record["finished"]
    assert not record["published"]
    assert record["images"] == {"train_lmdb": 60, "test_lmdb": 20}
    assert len(record["files"]) == 4


def test_unpublished_files_are_warned_of(asked: Request) -> None:
    listener = Listener()
    prepare(asked, listener)
    assert "not the published MNIST" in listener.warnings[0]


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "RECORDS", 20)
    for name, content in cifar_batches(20).items():
        (tmp_path / name).write_bytes(content)
    request = Request("cifar10", tmp_path / "out", data_dir=tmp_path)
    prepared = prepare(request)
    train = images_of(prepared, "train")
    assert train.images.shape == (100, 3, 32, 32)
    write_mean_image(tmp_path / "expected", compute_mean_image(train))
    mean = prepared.folder / "mean.binaryproto"
    assert mean.read_bytes() == (tmp_path / "expected").read_bytes()
    assert not redone(request)
    mean.unlink()
    assert redone(request)
    assert mean.exists()


def test_digits(tmp_path: Path) -> None:
    request = Request("digits", tmp_path)
    prepared = prepare(request)
    assert len(images_of(prepared, "train")) == 1497
    assert len(images_of(prepared, "test")) == 300
    assert not redone(request)
    # The IDX files beside them are a data set for other tools, and for this one.
    again = prepare(Request("mnist", tmp_path, data_dir=prepared.folder / "idx"))
    assert np.array_equal(images_of(again, "test").images, images_of(prepared, "test").images)


def test_validation_is_kept_apart(asked: Request) -> None:
    prepared = prepare(dataclasses.replace(asked, validation=15))
    expected = mnist_arrays()
    assert np.array_equal(images_of(prepared, "train").images[:, 0], expected[NAMES[0]][:45])
    assert np.array_equal(images_of(prepared, "val").images[:, 0], expected[NAMES[0]][45:])
    assert len(images_of(prepared, "test")) == 20
    # Without it there must be no validation images of another split left.
    assert redone(asked)
    assert not (asked.folder / "val_lmdb").exists()


def test_too_many_validation_images_change_nothing(asked: Request) -> None:
    prepare(asked)
    before = snapshot(asked.output)
    with pytest.raises(DataError, match="cannot hold out 60 validation images of the 60"):
        prepare(dataclasses.replace(asked, validation=60))
    assert snapshot(asked.output) == before


def test_a_second_run_does_nothing(asked: Request, raw: Path) -> None:
    assert redone(asked)
    listener = Listener()
    assert not prepare(asked, listener).made
    assert not listener.work
    shutil.move(raw, raw.with_name("moved"))
    assert not redone(dataclasses.replace(asked, data_dir=raw.with_name("moved")))


def test_a_change_is_work(asked: Request, raw: Path) -> None:
    prepare(asked)
    assert redone(dataclasses.replace(asked, validation=1))
    assert redone(dataclasses.replace(asked))
    assert redone(dataclasses.replace(asked, force=True))
    write_mnist(raw, seed=5)
    assert redone(asked)
    shutil.rmtree(asked.folder / "test_lmdb")
    assert redone(asked)
    (asked.folder / "source.json").write_text("{")
    assert redone(asked)
    write_database(asked.output / "other", image_set(3), 8)
    shutil.rmtree(asked.folder / "train_lmdb")
    (asked.output / "other").rename(asked.folder / "train_lmdb")
    assert redone(asked)
    assert not redone(asked)


def test_data_bases_of_others_are_not_replaced(asked: Request) -> None:
    asked.folder.mkdir(parents=True)
    write_database(asked.folder / "train_lmdb", image_set(3), 8)
    before = snapshot(asked.folder)
    with pytest.raises(DataError, match=r"another program wrote; .* --again"):
        prepare(asked)
    assert snapshot(asked.folder) == before
    assert len(images_of(prepare(dataclasses.replace(asked, force=True)), "train")) == 60


def test_raw_files_in_the_output_folder_stay(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist")
    request = Request("mnist", tmp_path)
    assert redone(request)
    assert redone(dataclasses.replace(request, force=True))
    assert all((tmp_path / "mnist" / name).exists() for name in NAMES)


class TestSearchOrder:
    """Each place holds other images; the test asks whose were taken."""

    @pytest.fixture(autouse=True)
    def _places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for seed, name in enumerate(("named", "variable", "home"), 1):
            write_mnist(tmp_path / name, seed=seed)
        (tmp_path / "empty").mkdir()
        monkeypatch.setenv("CAFFE_EXT_DATA", str(tmp_path / "variable"))

    def taken(self, tmp_path: Path, data_dir: str | None = None) -> str:
        listener = Listener()
        folder = None if data_dir is None else tmp_path / data_dir
        homes = (tmp_path / "empty", tmp_path / "home")
        prepared = prepare(Request("mnist", tmp_path / "out", folder, homes), listener)
        pixels = images_of(prepared, "train").images[:, 0]
        (seed,) = (
            seed for seed in (1, 2, 3) if np.array_equal(pixels, mnist_arrays(seed=seed)[NAMES[0]])
        )
        return ("named", "variable", "home")[seed - 1] + ": " + " ".join(listener.notes)

    def test_named_folder_is_first(self, tmp_path: Path) -> None:
        assert self.taken(tmp_path, "named").startswith("named: MNIST found in")

    def test_variable_is_second(self, tmp_path: Path) -> None:
        assert self.taken(tmp_path).startswith("variable: ")
        assert "CAFFE_EXT_DATA" in self.taken(tmp_path)

    def test_homes_are_third(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CAFFE_EXT_DATA")
        assert self.taken(tmp_path).startswith("home: ")

    def test_variable_without_the_data_set_is_noted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CAFFE_EXT_DATA", str(tmp_path / "empty"))
        taken = self.taken(tmp_path)
        assert taken.startswith("home: CAFFE_EXT_DATA: ")
        assert "holds no MNIST" in taken

    def test_variable_that_names_no_folder_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CAFFE_EXT_DATA", str(tmp_path / "nowhere"))
        with pytest.raises(DataError, match=r"CAFFE_EXT_DATA names .*nowhere, which is not a fold"):
            self.taken(tmp_path)

    @pytest.mark.parametrize(
        ("data_dir", "message"), [("empty", "holds no MNIST"), ("nowhere", "not a folder")]
    )
    def test_named_folder_without_the_data_set_is_an_error(
        self, tmp_path: Path, data_dir: str, message: str
    ) -> None:
        with pytest.raises(DataError, match=message):
            self.taken(tmp_path, data_dir)
        assert not (tmp_path / "out").exists()


class TestNetwork:
    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
        with serving(Server(packed_mnist())) as running:
            collection = elsewhere(MNIST, running.url, running.files)
            monkeypatch.setitem(preparation.COLLECTIONS, "mnist", collection)
            yield running

    def test_downloads_are_kept_and_found(self, tmp_path: Path, server: Server) -> None:
        request = Request("mnist", tmp_path)
        assert redone(request)
        assert len(server.asked) == 4
        assert (tmp_path / "mnist" / "raw" / f"{NAMES[0]}.gz").exists()
        assert not redone(request)
        shutil.rmtree(tmp_path / "mnist" / "train_lmdb")
        assert redone(request)
        assert len(server.asked) == 4

    def test_a_part_that_lies_there_is_not_downloaded(self, tmp_path: Path, server: Server) -> None:
        (tmp_path / "mnist" / "raw").mkdir(parents=True)
        name = f"{NAMES[0]}.gz"
        (tmp_path / "mnist" / "raw" / name).write_bytes(server.files[name])
        prepare(Request("mnist", tmp_path))
        assert sorted(asked for asked, _ in server.asked) == sorted(set(server.files) - {name})

    def test_what_is_there_needs_no_download(self, asked: Request, server: Server) -> None:
        prepare(asked)
        assert not redone(dataclasses.replace(asked, data_dir=None))
        assert not server.asked

    def test_downloading_can_be_forbidden(self, tmp_path: Path, server: Server) -> None:
        listener = Listener()
        prepare(Request("mnist", tmp_path, download=False), listener)
        assert not server.asked
        assert "downloading was not allowed" in listener.warnings[0]

    def test_digits_give_way_to_mnist(self, tmp_path: Path, server: Server) -> None:
        prepare(Request("mnist", tmp_path, download=False))
        prepared = prepare(Request("mnist", tmp_path))
        assert prepared.made
        assert prepared.record.holds == "MNIST"
        assert not (prepared.folder / "idx").exists()


class TestNoNetwork:
    def test_digits_take_mnists_place_loudly(self, tmp_path: Path) -> None:
        request = Request("mnist", tmp_path)
        for made in (True, False):
            listener = Listener()
            prepared = prepare(request, listener)
            assert prepared.made == made
            assert prepared.record.holds == TITLE
            (warning,) = listener.warnings
            assert "NOT results on MNIST" in warning
            assert "--data-dir" in warning
        assert len(images_of(prepared, "train")) == 1497
        assert (prepared.folder / "idx" / NAMES[0]).exists()

    def test_digits_never_replace_mnist(self, asked: Request) -> None:
        prepare(asked)
        before = snapshot(asked.folder)
        for change in ({"validation": 5}, {"force": True}):
            request = dataclasses.replace(asked, data_dir=None, **change)
            with pytest.raises(DataError, match="no mirror could be reached"):
                prepare(request)
            assert snapshot(asked.folder) == before
        shutil.rmtree(asked.folder / "test_lmdb")
        with pytest.raises(DataError, match="no mirror could be reached"):
            prepare(dataclasses.replace(asked, data_dir=None))

    def test_cifar10_says_where_to_put_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"put cifar-10-binary\.tar\.gz .* into .*cifar10"):
            prepare(Request("cifar10", tmp_path))


class TestLoadImages:
    def test_from_raw_files(self, raw: Path) -> None:
        test = load_images("mnist", data_dir=raw)
        assert np.array_equal(test.images[:, 0], mnist_arrays()[NAMES[2]])
        assert len(load_images("mnist", "train", data_dir=raw)) == 60
        assert len(load_images("mnist", "val", data_dir=raw, validation=7)) == 7

    def test_from_data_bases_when_the_raw_files_are_gone(self, asked: Request) -> None:
        prepare(dataclasses.replace(asked, validation=7))
        homes = (asked.output,)
        test = load_images("mnist", homes=homes)
        assert np.array_equal(test.images[:, 0], mnist_arrays()[NAMES[2]])
        assert "test_lmdb" in test.origin
        assert len(load_images("mnist", "val", homes=homes, validation=7)) == 7
        with pytest.raises(DataError, match="run `caffe-ext get-data mnist` first"):
            load_images("mnist", "train", homes=homes)

    def test_from_data_bases_made_of_the_same_files_only(self, asked: Request, raw: Path) -> None:
        prepare(asked)
        homes = (asked.output,)
        assert "test_lmdb" in load_images("mnist", data_dir=raw, homes=homes).origin
        write_mnist(raw, seed=9)
        test = load_images("mnist", data_dir=raw, homes=homes)
        assert np.array_equal(test.images[:, 0], mnist_arrays(seed=9)[NAMES[2]])

    def test_what_is_not_there(self, tmp_path: Path) -> None:
        for arguments, message in (
            (("mnist",), "MNIST is not on this machine"),
            (("imagenet",), "unknown data set 'imagenet'"),
            (("digits", "dev"), "unknown split 'dev': train or test$"),
            (("digits", "tset"), r"unknown split 'tset': train or test; did you mean test\?$"),
            (("digits", "val"), "unknown split 'val': train or test; val needs validation above 0"),
        ):
            with pytest.raises(DataError, match=message):
                load_images(*arguments, homes=(tmp_path,))
        with pytest.raises(
            DataError, match=f"searched: {re.escape(str(tmp_path))}; in Python homes="
        ):
            load_images("mnist", homes=(tmp_path,))

    def test_digits(self) -> None:
        assert load_images("digits").images.shape == (300, 1, 28, 28)
