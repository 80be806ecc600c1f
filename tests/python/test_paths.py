"""Whatever takes a path takes it as a text, too."""

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe_ext.certification.study import Study
from caffe_ext.data import open_images
from caffe_ext.data.image_files import find_images, read_image, write_png
from caffe_ext.data.load import load_images
from caffe_ext.evaluation.assessment import Assessment
from caffe_ext.evaluation.result import Settings
from caffe_ext.exchange.caffe_to_onnx.export import OnnxModel
from caffe_ext.exchange.onnx_to_caffe.importer import CaffeModel
from caffe_ext.models.description import describe_model, read_model
from caffe_ext.models.loadable_file import read_loadable
from caffe_ext.models.pixels import read_mean
from caffe_ext.models.settings import read_settings
from caffe_ext.runs.campaign import AttackCampaign
from data_samples import write_mnist
from hotcold_samples import write_yaml

AnyPath = str | PathLike[str]
Call = Callable[[AnyPath], Any]
MODEL, WEIGHTS = "model/model.yaml", "model/w.caffemodel"
NOTHING: Any = None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model, images, and a mean."""
    folder = tmp_path_factory.mktemp("paths")
    write_yaml(folder / "model")
    (folder / "images").mkdir()
    write_png(folder / "images" / "a.png", np.full((1, 4, 4), 7, np.uint8))
    np.save(folder / "mean.npy", np.ones(3, np.float32))
    write_mnist(folder / "raw")
    return folder


CALLS: dict[str, tuple[str, Call]] = {
    "read_model": (MODEL, lambda path: read_model(path).as_record()),
    "weights": (WEIGHTS, lambda path: read_model(Path(path).with_name("model.yaml"), path).name),
    "read_settings": (MODEL, read_settings),
    "read_loadable": (MODEL, lambda path: read_loadable(path).as_record()),
    "describe_model": (
        MODEL,
        lambda path: describe_model(read_settings(path), source=path).as_record(),
    ),
    "read_mean": ("mean.npy", lambda path: read_mean(path).tolist()),
    "find_images": ("images", find_images),
    "read_image": ("images/a.png", lambda path: read_image(path).tolist()),
    "open_images": ("images", lambda path: open_images(path).read(slice(0, 1)).images.tolist()),
    "data_dir": ("raw", lambda path: len(open_images("mnist", data_dir=path))),
    "homes": ("none", lambda path: load_images("digits", homes=[path]).labels.tolist()),
    "write_png": ("new.png", lambda path: write_png(path, np.zeros((1, 2, 2), np.uint8))),
    "OnnxModel": ("x.onnx", lambda path: OnnxModel(b"x", b"y", 1, 0.0, 1).write(path)),
    "CaffeModel": ("new", lambda path: CaffeModel({"a": b"x"}, 1, 0.0, 1, {}).write(path)),
    "AttackCampaign": ("new", lambda path: AttackCampaign([], [], NOTHING, path).folder),  # type: ignore[arg-type]
    "Study": ("new", lambda path: Study([], NOTHING, path, NOTHING).folder),  # type: ignore[arg-type]
    "Assessment": (
        "new",
        lambda path: Assessment([], NOTHING, Settings(), path).folder,  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_path_may_be_a_text(folder: Path, name: str) -> None:
    where, call = CALLS[name]
    (folder / "new").mkdir(exist_ok=True)
    assert call(str(folder / where)) == call(folder / where)
