"""The study of distorted digits: the images and networks of staged adversarial training."""

import json
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest

from attack_samples import linear
from caffe_ext.data import ImageSet, read_database, write_database
from caffe_ext.errors import DataError
from caffe_ext.reporting import SilentReporter
from caffe_ext.storage.staging import lock_for_making
from caffe_ext.studies.distortion.stages import (
    make_stage_images,
    make_stage_set,
    write_joined_network,
)
from caffe_nets import read_net
from data_samples import image_set

LENET = Path("prototxt/lenet_dropout_train_test.prototxt")


def test_stages_by_hand(tmp_path: Path) -> None:
    # z_0 - z_1 = 2 w (x_0 - 100). At 151, with label 0, R is -51 (0.2 of 255) in the first pixel, 0
    # in the second. At 100, p is 1/2, so that dL/dx is -w per grey level. For pixels in [0, 1],
    # c = 1 moves it by 255^2 w = 10 grey levels.
    w = 10 / 255**2
    model = linear(tmp_path, [[w, 0], [-w, 0]], [-100 * w, 100 * w])
    images = np.array([[151, 7], [49, 7]], np.uint8).reshape(2, 1, 1, 2)
    made = make_stage_images(model, images, np.array([0, 1]))
    assert made.reshape(2, 2).tolist() == [[90, 7], [110, 7]]


def test_stages_follow_equation_3(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    weights = random.normal(size=(4, 9)) / 2000
    model = linear(tmp_path, weights, batch_size=3)
    images = random.integers(0, 256, (11, 1, 1, 9), np.uint8)
    labels = random.integers(0, 4, 11)

    def differentiate(x: Any, label: int) -> Any:
        shares = np.exp(255 * weights @ x)
        shares /= shares.sum()
        return 255 * (shares - np.eye(4)[label]) @ weights

    expected = []
    for image, label in zip(images.reshape(11, 9) / 255, labels, strict=True):
        noisy = np.clip(image + 0.2 * np.sign(differentiate(image, label)), 0, 1)
        moved = np.clip(noisy + 1.0 * differentiate(noisy, label), 0, 1)
        expected.append(255 * moved)
    seen: list[int] = []
    made = make_stage_images(model, images, labels, seen.append)
    assert made.dtype == np.uint8
    assert made.reshape(11, 9) == pytest.approx(np.array(expected), abs=0.51)
    assert sum(seen) == 11
    with pytest.raises(ValueError, match=r"label 7 of image 0 .*0\.\.3"):
        make_stage_images(model, images, labels + 4)


def test_the_images_of_a_stage_are_made_once(tmp_path: Path) -> None:
    linear(tmp_path, np.random.default_rng(2).normal(size=(10, 784)) / 1e4, shape=(1, 28, 28))
    loaded: list[int] = []

    def load() -> Any:
        loaded.append(1)
        weights = np.random.default_rng(2).normal(size=(10, 784)) / 1e4
        return linear(tmp_path / "net", weights, shape=(1, 28, 28))

    clean = image_set(30)
    write_database(tmp_path / "clean", clean, 8)
    folder = tmp_path / "stage-1"

    def make(**depends: object) -> None:
        make_stage_set(folder, load, tmp_path / "clean", {"order": 3, **depends}, SilentReporter())

    make(weights="a")
    found = read_database(folder / "train_lmdb")
    order = np.random.default_rng(3).permutation(30)
    expected = make_stage_images(load(), clean.images, clean.labels)[order]
    assert np.array_equal(found.images, expected)
    assert np.array_equal(found.labels, clean.labels[order])
    del loaded[:]
    make(weights="a")
    assert not loaded
    make(weights="b")
    assert len(loaded) == 1
    # What is damaged is made again.
    record = folder / "set.json"
    good = json.loads(record.read_text())
    for content in ("{", "[]", json.dumps(good | {"images_written": 29})):
        record.write_text(content)
        make(weights="b")
        assert json.loads(record.read_text()) == good
    data = folder / "train_lmdb" / "data.mdb"
    data.write_bytes(data.read_bytes()[:5000])
    make(weights="b")
    assert len(loaded) == 5
    assert np.array_equal(read_database(folder / "train_lmdb").images, expected)
    data.unlink()
    make(weights="b")
    assert len(loaded) == 6
    with lock_for_making(folder), pytest.raises(DataError, match="another process"):
        make(weights="c")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_batches_have_equal_shares_of_all_sets(tmp_path: Path, count: int) -> None:
    names = [f"set{number}" for number in range(count + 1)]
    for number, name in enumerate(names):
        images = np.full((30, 1, 28, 28), number, np.uint8)
        write_database(tmp_path / name, ImageSet(images, np.full(30, number), "x"), 8)
    template = tmp_path / "template.prototxt"
    places = {"train_lmdb": "set0", "test_lmdb": f"set{count}"}
    text = LENET.read_text()
    for old, new in places.items():
        text = text.replace(f"data/mnist/{old}", f"{tmp_path / new}")
    template.write_text(text)
    joined = tmp_path / "joined.prototxt"
    write_joined_network(template, joined, [f"{tmp_path / name}" for name in names[1:]])
    net = caffe.Net(str(joined), caffe.TRAIN)
    net.forward()
    labels = net.blobs["label"].data
    values = 256 * net.blobs["data"].data
    assert values == pytest.approx(np.broadcast_to(labels[:, None, None, None], (64, 1, 28, 28)))
    shares = np.bincount(labels.astype(int), minlength=count + 1)
    assert shares.sum() == 64
    assert shares.max() - shares.min() <= 1
    # Besides, it is the template.
    net = caffe.Net(str(joined), caffe.TEST)
    net.forward()
    assert net.blobs["label"].data.tolist() == [count] * 100
    kept = [layer for layer in read_net(joined).layer if layer.type not in ("Data", "Concat")]
    assert kept == [layer for layer in read_net(template).layer if layer.type != "Data"]
