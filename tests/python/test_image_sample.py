"""A limit of a folder or a listing takes a sample in which each class has its share."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_ext.data import ImageSource, open_images, write_database
from caffe_ext.data.sample import sample_rows
from data_samples import image_set
from image_samples import write_images

IMAGES = image_set(60, (1, 4, 4))


@given(labels=st.lists(st.integers(0, 6), min_size=1, max_size=60), data=st.data())
@settings(deadline=None)
def test_each_class_has_its_share(labels: list[int], data: st.DataObject) -> None:
    count, seed = data.draw(st.integers(1, len(labels))), data.draw(st.integers(0, 3))
    names, every = [f"{n}.png" for n in range(len(labels))], np.array(labels)
    rows = sample_rows(names, every, count, seed)
    assert rows == sorted(set(rows))
    assert len(rows) == count
    for label in set(labels):
        share = labels.count(label) * count / len(labels)
        assert abs(int((every[rows] == label).sum()) - share) < 1
    without = sample_rows(names, None, count, seed)
    assert len(set(without)) == count
    assert without == sorted(without)


def test_chance_takes_all_images_alike() -> None:
    names, taken = [f"{n}.png" for n in range(20)], np.zeros(20)
    for seed in range(400):
        taken[sample_rows(names, np.arange(20) // 10, 6, seed)] += 1
    assert taken.min() > 70
    assert taken.max() < 170


def _same(one: ImageSource, other: ImageSource) -> bool:
    return one.compute_digest() == other.compute_digest()


def test_folders_and_listings(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", IMAGES)
    listing = tmp_path / "list.txt"
    names = sorted(path.relative_to(tmp_path) for path in folder.rglob("*.png"))
    listing.write_text("".join(f"{name} {name.parent.name}\n" for name in names))
    for path in (folder, listing):
        whole = open_images(path)
        every = whole.load_labels()
        assert every is not None
        some = whole.sample(10)
        assert some.selection == "a sample of 10 of 60, each class with its share (seed 0)"
        classes, counts = np.unique(every, return_counts=True)
        found = some.load_labels()
        assert found is not None
        for label, count in zip(classes, counts, strict=True):
            assert abs((found == label).sum() - count / 6) < 1
        batch, names_of_all = some.read(slice(None)), whole.read(slice(None)).names
        rows = [names_of_all.index(name) for name in batch.names]
        assert rows == sorted(rows)
        assert np.array_equal(batch.images, whole.read(slice(None)).images[rows])
        assert _same(some, open_images(path).sample(10, 0))
        assert not _same(some, whole.sample(10, 1))
        assert whole.sample(None) is whole.sample(60) is whole
        assert whole.selection == "all 60"


def test_images_without_labels_are_sampled_too(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", IMAGES)
    for number in sorted({path.name for path in folder.iterdir()}):
        (folder / number).rename(folder / f"x{number}")
    some = open_images(folder).sample(10)
    assert not some.labelled
    assert some.selection == "a sample of 10 of 60 (seed 0)"
    assert len({name.split("/")[0] for name in some.read(slice(None)).names}) > 3


@pytest.mark.parametrize("kind", ["database", "array"])
def test_what_has_an_order_of_its_own_keeps_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("db" if kind == "database" else "x.npy")
    if kind == "database":
        write_database(path, IMAGES, 5)
    else:
        np.save(path, IMAGES.images)
    some = open_images(path).sample(10, 3)
    assert some.selection == "the first 10 of 60"
    assert np.array_equal(some.read(slice(None)).images, IMAGES.images[:10])
