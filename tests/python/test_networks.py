"""prototxt/ and solvers/: Caffe's example networks with the papers' dropout and settings."""

from pathlib import Path
from typing import Any

import caffe
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_nets import read_net
from data_samples import CHECKOUT

EXAMPLES = Path(caffe.__file__).parents[2] / "caffe" / "src" / "examples"
UPSTREAM = {
    "lenet": EXAMPLES / "mnist" / "lenet_train_test.prototxt",
    "cifar10_quick": EXAMPLES / "cifar10" / "cifar10_quick_train_test.prototxt",
}
# Of the BANG paper, Sections 4.1 and 4.2, and of Caffe's examples.
PAPER: dict[str, dict[str, Any]] = {
    "lenet": {
        "max_iter": 10_000,
        "base_lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "lr_policy": "inv",
        "gamma": 0.0001,
        "power": 0.75,
        "stepvalue": [],
    },
    "cifar10_quick": {
        "max_iter": 20_000,
        "base_lr": 0.001,
        "momentum": 0.9,
        "weight_decay": 0.004,
        "lr_policy": "multistep",
        "gamma": 0.1,
        "stepvalue": [18_000, 19_000],
    },
}
BANG = {"lenet": (1.0, 0.815, 1.0), "cifar10_quick": (0.40, 0.855, 0.5)}

names = pytest.mark.parametrize("name", PAPER)


def solver(name: str) -> caffe_pb2.SolverParameter:
    path = CHECKOUT / "solvers" / f"{name}.prototxt"
    return text_format.Parse(path.read_text(), caffe_pb2.SolverParameter())


@names
def test_training_network_is_that_of_caffe_with_dropout(name: str) -> None:
    if not UPSTREAM[name].is_file():
        pytest.skip(f"{UPSTREAM[name]} is not there: pycaffe is not that of a build folder")
    ours = read_net(CHECKOUT / "prototxt" / f"{name}_train_test.prototxt")
    theirs = read_net(UPSTREAM[name])
    dropout = [layer for layer in ours.layer if layer.type == "Dropout"]
    assert [(layer.bottom, layer.top) for layer in dropout] == [(["ip1"], ["ip1"])]
    assert dropout[0].dropout_param.dropout_ratio == 0.5
    assert next(layer.type for layer in reversed(ours.layer) if "ip1" in layer.top) == "Dropout"
    for layer in (*ours.layer, *theirs.layer):
        layer.data_param.ClearField("source")
        layer.transform_param.ClearField("mean_file")
        # Written out there, left at its default here.
        layer.convolution_param.stride[:] = [s for s in layer.convolution_param.stride if s != 1]
    kept = [layer for layer in ours.layer if layer.type != "Dropout"]
    assert kept == list(theirs.layer)


@names
def test_deploy_network_is_the_training_network_without_its_ends(name: str) -> None:
    deploy = read_net(CHECKOUT / "prototxt" / f"{name}_deploy.prototxt")
    train = read_net(CHECKOUT / "prototxt" / f"{name}_train_test.prototxt")
    assert deploy.layer[0].type == "Input"
    assert (deploy.layer[-1].type, deploy.layer[-1].bottom) == ("Softmax", ["ip2"])
    ends = {"Data", "Accuracy", "SoftmaxWithLoss", "Dropout"}
    middle = [layer for layer in train.layer if layer.type not in ends]
    for layer in middle:  # what only training needs
        layer.ClearField("param")
        for param in (layer.convolution_param, layer.inner_product_param):
            param.ClearField("weight_filler")
            param.ClearField("bias_filler")
        for field in ("convolution_param", "inner_product_param"):
            if not getattr(layer, field).ByteSize():
                layer.ClearField(field)
    assert list(deploy.layer[1:-1]) == middle


@names
def test_solvers_have_the_papers_settings(name: str) -> None:
    plain, bang = solver(f"{name}_sgd"), solver(f"{name}_bang")
    for field, value in PAPER[name].items():
        found = getattr(plain, field)
        assert (list(found) if isinstance(value, list) else found) == pytest.approx(value), field
    param = bang.bang_param
    assert (param.beta, param.epsilon, param.incorrect_ratio) == BANG[name]
    assert (plain.type, bang.type, param.base_type) == ("SGD", "BANG", "SGD")
    # Twins: but for BANG and the place of the snapshots, they are the same.
    bang.ClearField("bang_param")
    bang.type, bang.snapshot_prefix = plain.type, plain.snapshot_prefix
    assert bang == plain


def test_fine_tuning_is_that_of_the_2016_paper() -> None:
    """Section 5.2: 20,000 iterations with the training parameters distributed with Caffe."""
    tuned, plain = solver("lenet_finetune"), solver("lenet_sgd")
    assert tuned.net == "prototxt/lenet_finetune_train_test.prototxt"
    assert (tuned.max_iter, tuned.snapshot_prefix) == (20_000, "snapshots/lenet_finetune")
    for field in ("net", "max_iter", "snapshot_prefix"):
        tuned.ClearField(field)
        plain.ClearField(field)
    assert tuned == plain


def test_fine_tuning_takes_lenets_weights_and_the_hard_positives() -> None:
    tuned = read_net(CHECKOUT / "prototxt" / "lenet_finetune_train_test.prototxt")
    plain = read_net(CHECKOUT / "prototxt" / "lenet_train_test.prototxt")
    train, test = (layer.data_param.source for layer in tuned.layer[:2])
    assert (train, test) == ("data/mnist_hardpositives/train_lmdb", "data/mnist/test_lmdb")
    tuned.layer[0].data_param.source = plain.layer[0].data_param.source
    # Caffe's own network, as in the paper: without dropout.
    assert list(tuned.layer) == [layer for layer in plain.layer if layer.type != "Dropout"]
