"""prototxt/zoo/: every description is read, and says what Caffe's own files say of the input."""

import shutil
from pathlib import Path

import caffe
import numpy as np
import pytest
import yaml
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_ext.models.description import ModelDescription, read_model
from data_samples import CHECKOUT

ZOO = sorted((CHECKOUT / "prototxt" / "zoo").glob("*.yaml"))
MODELS = Path(caffe.__file__).parents[2] / "caffe" / "src" / "models"
CAFFES = {
    "alexnet": "bvlc_alexnet",
    "caffenet": "bvlc_reference_caffenet",
    "googlenet": "bvlc_googlenet",
}
# The side of the mean images that come with the models.
MEAN_SIDES = {"imagenet_mean.binaryproto": 256, "ResNet_mean.binaryproto": 224}


def read(path: Path, folder: Path) -> ModelDescription:
    """Read a description in a folder with the files that it names."""
    given = yaml.safe_load(path.read_text())
    for key in ("deploy", "weights"):
        (folder / given[key]).touch()
    if isinstance(given["mean"], str):
        side = MEAN_SIDES[given["mean"]]
        blob = caffe.io.array_to_blobproto(np.full((1, 3, side, side), 110.0))
        (folder / given["mean"]).write_bytes(blob.SerializeToString())
    return read_model(Path(shutil.copy(path, folder)))


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_descriptions(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    assert "https://" in text
    model = read(path, tmp_path)
    space = model.pixel_space
    assert space.channel_order == "BGR"
    height, width = space.mean_size or (256, 256)
    side = space.crop or height
    images = np.full((1, 3, height, width), 200, np.uint8)
    assert space.to_input(images).shape == (1, 3, side, side)
    assert side in {224, 227}


@pytest.mark.parametrize(("name", "folder"), CAFFES.items())
def test_the_input_is_that_of_caffes_own_files(name: str, folder: str, tmp_path: Path) -> None:
    if not MODELS.is_dir():
        pytest.skip(f"{MODELS} is not there: pycaffe is not that of a build folder")
    (path,) = (one for one in ZOO if one.stem == name)
    space = read(path, tmp_path).pixel_space
    net = text_format.Parse(
        (MODELS / folder / "train_val.prototxt").read_text(), caffe_pb2.NetParameter()
    )
    (transform,) = (
        layer.transform_param
        for layer in net.layer
        if layer.type == "Data" and layer.include[0].phase == caffe.TEST
    )
    assert (space.crop, space.scale) == (transform.crop_size, transform.scale)
    given = yaml.safe_load(path.read_text())
    if transform.mean_value:
        assert given["mean"] == list(transform.mean_value)
    else:
        assert given["mean"] == Path(transform.mean_file).name
    assert given["weights"] in (MODELS / folder / "readme.md").read_text()
    deploy = text_format.Parse(
        (MODELS / folder / given["deploy"]).read_text(), caffe_pb2.NetParameter()
    )
    assert deploy.layer[0].input_param.shape[0].dim[1:] == [3, space.crop, space.crop]
