"""Labels that no class has: named, and no memory of others read or written."""

import os
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest

from caffe_nets import error_of, net

pytestmark = pytest.mark.any_device
ON_GPU = os.environ.get("CAFFE_EXT_TEST_MODE") == "GPU"

NET = """
force_backward: true
layer {{ name: "in" type: "Input" top: "scores" top: "label"
         input_param {{ shape {{ dim: 2 dim: 3 }} shape {{ dim: 2 }} }} }}
layer {{ name: "out" type: "{kind}" bottom: "scores" bottom: "label" top: "out" {settings} }}
"""
KINDS = {
    "SoftmaxWithLoss": "",
    "HingeLoss": "",
    "MultinomialLogisticLoss": "",
    "InfogainLoss": 'infogain_loss_param { source: "matrix" }',
    "Accuracy": "",
}
WRONG = {3: "3", -1: "-1", 1000: "1000", 1e8: r"1e\+08", np.nan: "-?nan", 1.5: "1.5"}
IGNORING = ["SoftmaxWithLoss", "InfogainLoss", "Accuracy"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory, with an infogain matrix."""
    monkeypatch.chdir(tmp_path)
    matrix = caffe.proto.caffe_pb2.BlobProto(num=1, channels=1, height=3, width=3)
    matrix.data.extend(np.eye(3).flat)
    Path("matrix").write_bytes(matrix.SerializeToString())


def build(kind: str, settings: str = "") -> Any:
    there = net(NET.format(kind=kind, settings=f"{KINDS[kind]} {settings}"))
    there.blobs["scores"].data[...] = [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]
    return there


@pytest.mark.parametrize("label", WRONG)
@pytest.mark.parametrize("kind", KINDS)
def test_no_class(kind: str, label: float) -> None:
    there = build(kind)
    for sample in (0, 1):
        there.blobs["label"].data[...] = [2, 0]
        there.forward()
        there.blobs["label"].data[sample] = label
        says = rf"label {WRONG[label]} of sample {sample} is not one of the 3 classes, 0 to 2"
        with pytest.raises(caffe.Error, match=rf"layer 'out': {says}"):
            there.forward()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "Accuracy"])
def test_changed_between_forward_and_backward(kind: str) -> None:
    there = build(kind)
    there.blobs["label"].data[...] = [2, 0]
    there.forward()
    there.blobs["label"].data[1] = 1000
    if ON_GPU and kind == "SoftmaxWithLoss":  # the others compute on the CPU
        there.backward()  # nothing is written; the next forward says so
        return
    with pytest.raises(caffe.Error, match="label 1000 of sample 1"):
        there.backward()


@pytest.mark.parametrize("kind", IGNORING)
def test_the_label_to_ignore(kind: str) -> None:
    there = build(
        kind, f"{'accuracy' if kind == 'Accuracy' else 'loss'}_param {{ ignore_label: 255 }}"
    )
    there.blobs["label"].data[...] = [255, 0]
    ignoring = there.forward()["out"].copy()
    only = build(kind)
    for name, values in (("scores", there.blobs["scores"].data[1:]), ("label", [0])):
        only.blobs[name].reshape(*there.blobs[name].shape)
        only.blobs[name].data[...] = values
    np.testing.assert_allclose(ignoring, only.forward()["out"], rtol=1e-6)
    there.blobs["label"].data[...] = [254, 0]
    with pytest.raises(caffe.Error, match="label 254 of sample 0"):
        there.forward()


def test_of_each_pixel() -> None:
    text = NET.format(kind="SoftmaxWithLoss", settings="").replace("dim: 3", "dim: 3 dim: 4")
    there = net(text.replace("{ dim: 2 }", "{ dim: 2 dim: 4 }"))
    there.blobs["label"].data[1, 2] = 7
    with pytest.raises(caffe.Error, match="label 7 of sample 1 is not one of the 3 classes"):
        there.forward()


def test_accuracy_per_class() -> None:
    text = NET.format(kind="Accuracy", settings='top: "each"')
    there = net(text)
    there.blobs["label"].data[...] = [2, 5]
    with pytest.raises(caffe.Error, match="label 5 of sample 1"):
        there.forward()


def test_accuracy_of_scores_that_are_no_numbers() -> None:
    there = build("Accuracy", 'top: "each"')
    there.blobs["label"].data[...] = [2, 1]
    there.blobs["scores"].data[...] = [[np.nan, 0.1, 0.5], [np.nan] * 3]
    assert there.forward()["out"] == 0
    assert there.blobs["each"].data.tolist() == [0, 0, 0]


@pytest.mark.parametrize("index", [4, -1, np.nan])
def test_embed(index: float) -> None:
    there = net("""
        layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 } } }
        layer { name: "e" type: "Embed" bottom: "x" top: "y"
                embed_param { input_dim: 4 num_output: 2
                              weight_filler { type: "constant" value: 1 } } }
    """)
    there.blobs["x"].data[...] = [3, index]
    with pytest.raises(caffe.Error, match=r"layer 'e': index \S+ is not one of 4, 0 to 3"):
        there.forward()


@pytest.mark.parametrize("kind", ["SGD", "BANG"])
def test_training_ends_with_a_sentence(kind: str) -> None:
    Path("train.prototxt").write_text("""
        layer { name: "d" type: "DummyData" top: "x" top: "label" dummy_data_param {
          shape { dim: 4 dim: 5 } shape { dim: 4 }
          data_filler { type: "gaussian" } data_filler { type: "constant" value: 7 } } }
        layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param {
          num_output: 3 weight_filler { type: "xavier" } } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
    """)
    Path("t").write_text(
        f'net: "train.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 9 type: "{kind}" '
        "snapshot_after_train: false"
    )
    says = error_of("caffe", "train", "-solver=t")
    assert "layer 'loss': label 7 of sample 0 is not one of the 3 classes, 0 to 2" in says
