"""Labels that are names of classes: in folders, in listings, and of which model they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from caffe_ext.data import DataError, open_images, write_png
from caffe_ext.models.description import ModelDescription, collect_class_numbers, read_model
from image_samples import COLOUR, refused

CLASSES = {"cat": 0, "gold fish": 1, "Boeing 747": 2}


def put(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_png(folder / name, COLOUR.images[number])
    return folder


def labels(path: Path, classes: dict[str, int] | None = CLASSES) -> list[int] | None:
    source = open_images(path, classes=classes)
    found = source.load_labels()
    assert source.labelled == (found is not None) == (source.read(slice(1)).labels is not None)
    return None if found is None else found.tolist()


def test_folders_called_after_classes(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", "cat/1.png", "gold fish/1.png", "gold fish/2.png")
    assert labels(folder) == [0, 1, 1]
    assert labels(folder, None) is None  # which class has which number only the model knows
    assert labels(folder, {"dog": 0, "bird": 1}) is None
    below = put(tmp_path / "b", "cat/2019/1.png", "cat/2.png", "gold fish/tv/x/3.png")
    assert labels(below) == [0, 0, 1]
    parts = put(tmp_path / "c", "train/cat/1.png", "val/gold fish/2.png")
    assert labels(parts) == [0, 1]
    assert labels(put(tmp_path / "d", "7/1.png", "10/2.png")) == [7, 10]


def test_folders_of_which_only_some_are_called_after_classes(tmp_path: Path) -> None:
    why = ": 'dgo' is not among the model's classes"
    for number, (*names, says) in enumerate(
        (
            ("cat/1.png", "dgo/1.png", why),
            ("cat/1.png", "2.png", ""),
            ("0/1.png", "cat/2.png", ""),
        )
    ):
        folder = put(tmp_path / str(number), *names)
        with pytest.raises(DataError, match=rf"has a label \(.*\) but .* has none{says}; give the"):
            open_images(folder, classes=CLASSES)


def test_names_that_stand_for_several_classes(tmp_path: Path) -> None:
    model = ModelDescription("a", tmp_path, tmp_path, None)  # type: ignore[arg-type]
    cranes = replace(model, classes=("crane", "cat", "crane"))
    folder = put(tmp_path / "images", "crane/1.png", "cat/2.png")
    with pytest.raises(DataError, match="'crane' is ambiguous: it names several classes"):
        open_images(folder, classes=cranes.class_numbers)
    assert labels(put(tmp_path / "cats", "cat/1.png"), cranes.class_numbers) == [1]
    other = replace(model, classes=("cat", "crane"))
    with pytest.raises(DataError, match=r"'cat' is ambiguous.* different classes in different mod"):
        open_images(tmp_path / "cats", classes=collect_class_numbers([cranes, other]))
    numbers = put(tmp_path / "numbers", "1/1.png", "2/1.png")
    with pytest.raises(DataError, match="is the number of one class and the name of another"):
        open_images(numbers, classes={"1": 0, "2": 1})
    assert labels(numbers, {"1": 1, "2": 2}) == [1, 2]


def test_wordnet_ids(tmp_path: Path) -> None:
    for name in ("deploy.prototxt", "w.caffemodel"):
        (tmp_path / name).touch()
    (tmp_path / "words.txt").write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\n")
    (tmp_path / "m.yaml").write_text(
        "deploy: deploy.prototxt\nweights: w.caffemodel\nclasses: words.txt\n"
    )
    model = read_model(tmp_path / "m.yaml")
    assert model.classes == ("tench, Tinca tinca", "goldfish")
    folder = put(tmp_path / "images", "n01443537/1.png", "n01440764/1.png")
    assert labels(folder, model.class_numbers) == [0, 1]
    assert labels(put(tmp_path / "named", "goldfish/1.png"), model.class_numbers) == [1]


def test_listings_with_names_of_classes(tmp_path: Path) -> None:
    put(tmp_path, "a b.png", "c.png")
    listing = tmp_path / "val.txt"
    listing.write_text("a b.png gold fish\nc.png Boeing 747\nc.png\tcat\nc.png 1\n")
    assert labels(listing) == [1, 2, 0, 1]
    listing.write_text("a b.png cat\nc.png 2\n")
    source = open_images(tmp_path, listing, classes=CLASSES)
    assert np.array_equal(np.array(source.load_labels()), [0, 2])
    refused("line 1: .* is not .*`classes:` in the model's YAML", listing)
    listing.write_text("c.png dog\n")
    refused('line 1: .* is not "name label"$', listing, classes=CLASSES)
    listing.write_text("a\0.png 1\n")
    refused("line 1: a name cannot contain a NUL", listing)
