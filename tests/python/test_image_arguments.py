"""cli/image_arguments.py: which images are taken where the arguments name none."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffe_ext.cli import image_arguments
from caffe_ext.cli.image_arguments import add_image_arguments, open_source
from caffe_ext.cli.model_arguments import add_model_arguments
from caffe_ext.data import DataError
from data_samples import write_mnist


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the demo's record is to be; MNIST can be found."""
    monkeypatch.setenv("CAFFE_EXT_DATA", str(write_mnist(tmp_path / "raw")))
    monkeypatch.setattr(image_arguments, "HOMES", ())
    path = tmp_path / "result.json"
    monkeypatch.setattr(image_arguments, "DEMO_RECORD", path)
    return path


def write_image_folder(folder: Path) -> Path:
    """Write a folder with an image, and return it."""
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((4, 4), np.uint8))
    return folder


def parse(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_model_arguments(parser, several=True)
    add_image_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def write_record(path: Path, *, embedded: bool) -> None:
    path.write_text(json.dumps({"seed": 1, "data": {"data_set": "mnist", "embedded": embedded}}))


def test_the_models_of_the_demo_get_its_images(record: Path) -> None:
    assert open_source(parse()).origin.startswith("mnist, test images")
    write_record(record, embedded=True)
    assert open_source(parse()).origin.startswith("digits, test images")
    write_record(record, embedded=False)
    assert open_source(parse()).origin.startswith("mnist, test images")


def test_other_models_and_trainings_do_not(record: Path, tmp_path: Path) -> None:
    write_record(record, embedded=True)
    for given in (["--weights", "a.caffemodel"], ["--model", "a.yaml"], ["--images", "mnist"]):
        assert open_source(parse(*given)).origin.startswith("mnist")
    assert open_source(parse("--data-dir", tmp_path / "raw")).origin.startswith("mnist")
    trainings = parse()
    trainings.first = ["mine"]
    assert open_source(trainings).origin.startswith("mnist")
    trainings.first, trainings.model = None, ["a.yaml"]
    assert open_source(trainings).origin.startswith("digits")


def test_the_demo_s_images_are_gone(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digits, which others fall back on, are not what these models were trained on."""
    monkeypatch.delenv("CAFFE_EXT_DATA")
    assert open_source(parse()).origin.startswith("digits")
    write_record(record, embedded=False)
    with pytest.raises(DataError, match="MNIST is not on this machine"):
        open_source(parse())


def test_a_damaged_record(record: Path) -> None:
    record.write_text('{"data": 1}')
    with pytest.raises(DataError, match="is damaged: run `make demo` again, or name the images"):
        open_source(parse())


def test_what_is_written_is_not_read_again(tmp_path: Path) -> None:
    images = write_image_folder(tmp_path / "images")
    (tmp_path / "link").symlink_to(images)
    for output in (images, images / "out", tmp_path / "link" / "out"):
        arguments = parse("--images", images)
        arguments.output = output
        with pytest.raises(ValueError, match=f"^--output {output} lies in the folder of --images"):
            open_source(arguments)
    arguments.output = tmp_path / "out"
    assert len(open_source(arguments)) == 1
