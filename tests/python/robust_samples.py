"""Small stock nets, the robust nets that are written from them, and their blobs."""

from pathlib import Path
from typing import Any

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from numpy.typing import NDArray

from bounds_reference import Affine, convolution_matrix
from caffe_ext.training.robust_net import Chain, RobustLoss, read_chain, write_robust_net

DATA = """
layer { name: 'data' type: 'Data' top: 'data' top: 'label' include { phase: TRAIN }
  transform_param { scale: 0.01 } data_param { source: 'x' batch_size: 3 backend: LMDB } }
"""
LOSS = "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: '%s' bottom: 'label' top: 'loss' }\n"
SHAPE = (2, 8, 8)
EPSILON = 4.0
BATCH = 3


def convolution(name: str, bottom: str, outputs: int, settings: str) -> str:
    """Return a Convolution in text."""
    return (
        f"layer {{ name: '{name}' type: 'Convolution' bottom: '{bottom}' top: '{name}' "
        f"convolution_param {{ num_output: {outputs} {settings} }} }}\n"
    )


def inner_product(name: str, bottom: str, outputs: int) -> str:
    """Return an InnerProduct in text."""
    return (
        f"layer {{ name: '{name}' type: 'InnerProduct' bottom: '{bottom}' top: '{name}' "
        f"inner_product_param {{ num_output: {outputs} }} }}\n"
    )


def relu(name: str, blob: str) -> str:
    """Return a ReLU in place."""
    return f"layer {{ name: '{name}' type: 'ReLU' bottom: '{blob}' top: '{blob}' }}\n"


NETS = {
    "conv2": convolution("c1", "data", 3, "kernel_size: 4 stride: 2 pad: 1")
    + relu("r1", "c1")
    + convolution("c2", "c1", 4, "kernel_size: 2 stride: 2")
    + relu("r2", "c2")
    + inner_product("ip", "c2", 4)
    + LOSS % "ip",
    "conv1": convolution("c1", "data", 3, "kernel_size: 3 stride: 1 pad: 1 bias_term: false")
    + relu("r1", "c1")
    + inner_product("ip", "c1", 5)
    + LOSS % "ip",
    "fc": inner_product("i1", "data", 7)
    + relu("r1", "i1")
    + inner_product("i2", "i1", 6)
    + relu("r2", "i2")
    + inner_product("i3", "i2", 3)
    + LOSS % "i3",
    "conv_fc": convolution("c1", "data", 3, "kernel_size: 2 stride: 2")
    + relu("r1", "c1")
    + inner_product("i2", "c1", 6)
    + relu("r2", "i2")
    + inner_product("i3", "i2", 4)
    + LOSS % "i3",
}
"""Stock nets behind their data layer, by name."""


def write_stock(folder: Path, layers: str) -> Path:
    """Write the prototxt of a stock net."""
    path = folder / "stock.prototxt"
    path.write_text("name: 'net'\n" + DATA + layers)
    return path


def build(folder: Path, layers: str, loss: RobustLoss, seed: int = 0) -> tuple[Any, Chain]:
    """Return the robust net with random weights, images and labels, after Caffe's forward pass."""
    chain = read_chain(write_stock(folder, layers), SHAPE)
    network = text_format.Parse(write_robust_net(chain, loss), caffe_pb2.NetParameter())
    data = network.layer[0]
    data.CopyFrom(caffe_pb2.LayerParameter(name="data", type="Input", top=["data", "label"]))
    data.input_param.shape.add(dim=(BATCH, *SHAPE))
    data.input_param.shape.add(dim=(BATCH,))
    path = folder / "robust.prototxt"
    path.write_text(text_format.MessageToString(network))
    caffe.set_random_seed(seed)  # of the vectors that SpectralLoss begins with
    net = caffe.Net(str(path), caffe.TRAIN)
    random = np.random.default_rng(seed)
    for step in chain.steps:
        for blob in net.params[step.name]:
            fan_in = max(1, int(np.prod(blob.data.shape[1:])))
            blob.data[...] = random.normal(size=blob.data.shape) / np.sqrt(fan_in)
    classes = chain.steps[-1].above[0]
    net.blobs["data"].data[...] = random.normal(size=(BATCH, *SHAPE))
    net.blobs["label"].data[...] = random.integers(classes, size=BATCH)
    net.forward()
    return net, chain


def as_matrices(net: Any, chain: Chain) -> list[Affine]:
    """Return the linear layers as dense matrices and biases."""
    layers = []
    for step in chain.steps:
        weights, *bias = (np.array(blob.data, np.float64) for blob in net.params[step.name])
        units = step.above[0]
        places = 1
        if step.kernel:
            channels, height, width = step.below
            weights = convolution_matrix(
                weights,
                (channels, height, width),
                stride=step.stride,
                pad=step.pad,
                dilation=1,
                group=1,
            )
            places = len(weights) // units
        bias_of = bias[0] if bias else np.zeros(units)
        layers.append((weights, np.repeat(bias_of, places)))
    return layers


def images_of(net: Any) -> NDArray[np.float64]:
    """Return the images, flat."""
    return np.array(net.blobs["data"].data, np.float64).reshape(BATCH, -1)
