"""Weights that would end the process are refused in one sentence that names the file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from caffe.proto import caffe_pb2

from caffe_ext.models.classifier import Classifier
from caffe_ext.models.pixels import PixelSpace
from classifier_models import write_model


def repacked(path: Path, names: Callable[[str], str] = str, **packing: Any) -> None:
    """Write the parameters of an HDF5 file once more, packed in another way."""
    with h5py.File(path, "r") as file:
        values = {number: file[f"data/score/{number}"][...] for number in ("0", "1")}
    with h5py.File(path, "w") as file:
        for number, array in values.items():
            file.create_dataset(f"data/score/{names(number)}", data=array, **packing)


def refuse(deploy: Path, weights: Path) -> str:
    with pytest.raises(ValueError, match=str(weights)) as raised:
        Classifier(deploy, weights, PixelSpace())
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_damaged_values_of_hdf5(tmp_path: Path) -> None:
    deploy, weights = write_model(tmp_path, hdf5=True)
    repacked(weights, compression="gzip", chunks=True)
    with h5py.File(weights, "r") as file:
        chunk = file["data/score/0"].id.get_chunk_info(0)
    content = bytearray(weights.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    weights.write_bytes(content)
    refuse(deploy, weights)


def test_hdf5_that_only_some_libraries_read(tmp_path: Path) -> None:
    deploy, weights = write_model(tmp_path, hdf5=True)
    repacked(weights, compression="lzf", chunks=True)
    refuse(deploy, weights)


@pytest.mark.parametrize("name", ["00", "٠", "0x0"])
def test_hdf5_with_other_names_of_parameters(tmp_path: Path, name: str) -> None:
    deploy, weights = write_model(tmp_path, hdf5=True)
    repacked(weights, lambda number: name if number == "0" else number)
    refuse(deploy, weights)


def add_diff(model: Any) -> None:
    model.layer[0].blobs[0].diff.append(1)


def add_twin(model: Any) -> None:
    model.layer.insert(0, caffe_pb2.LayerParameter(name="score", type="ReLU"))


def add_old_layer(model: Any) -> None:
    model.layers.add(name="x")


def become_of_the_first_version(model: Any) -> None:
    for layer in model.layer:
        model.layers.add(name=layer.name, blobs=layer.blobs)
    model.ClearField("layer")
    model.layers[0].layer.type = "zzz"


@pytest.mark.parametrize(
    "change",
    [add_diff, add_twin, add_old_layer, become_of_the_first_version],
)
def test_binary_files(tmp_path: Path, change: Callable[[Any], None]) -> None:
    deploy, weights = write_model(tmp_path)
    model = caffe_pb2.NetParameter.FromString(weights.read_bytes())
    score = next(layer for layer in model.layer if layer.name == "score")
    model = caffe_pb2.NetParameter(layer=[score])
    weights.write_bytes(model.SerializeToString())
    Classifier(deploy, weights, PixelSpace())
    change(model)
    weights.write_bytes(model.SerializeToString())
    refuse(deploy, weights)


@pytest.mark.parametrize("content", [b"", b"<html><body>404</body></html>", bytes(200)])
def test_files_with_something_else(tmp_path: Path, content: bytes) -> None:
    deploy, weights = write_model(tmp_path)
    weights.write_bytes(content)
    refuse(deploy, weights)
