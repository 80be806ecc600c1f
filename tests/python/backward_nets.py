"""A network with everything for backward from an inner layer, for test_backward*.py."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import caffe
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

FILL = "weight_filler { type: 'gaussian' std: 0.5 } bias_filler { type: 'gaussian' std: 0.1 }"

# x feeds two branches (Caffe splits it); c is computed by three layers in place; two losses, the
# lower of which (aux) lies beside the path from `out` down.
NET = f"""
layer {{ name: 'data' type: 'Input' top: 'data' input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
layer {{ name: 'targets' type: 'DummyData' top: 'target' dummy_data_param {{
  shape {{ dim: 2 dim: 4 }} data_filler {{ type: 'constant' value: 0.5 }} }} }}
layer {{ name: 'layer_x' type: 'InnerProduct' bottom: 'data' top: 'x'
  inner_product_param {{ num_output: 4 {FILL} }} }}
layer {{ name: 'tanh' type: 'TanH' bottom: 'x' top: 'x' }}
layer {{ name: 'layer_b' type: 'InnerProduct' bottom: 'x' top: 'b'
  inner_product_param {{ num_output: 4 {FILL} }} }}
layer {{ name: 'aux' type: 'EuclideanLoss' bottom: 'b' bottom: 'target' top: 'aux'
  loss_weight: 0.3 }}
layer {{ name: 'layer_c' type: 'InnerProduct' bottom: 'x' top: 'c'
  inner_product_param {{ num_output: 4 {FILL} }} }}
layer {{ name: 'scale' type: 'Scale' bottom: 'c' top: 'c'
  scale_param {{ filler {{ type: 'constant' value: 2 }} }} }}
layer {{ name: 'sigmoid' type: 'Sigmoid' bottom: 'c' top: 'c' }}
layer {{ name: 'product' type: 'Eltwise' bottom: 'b' bottom: 'c' top: 'd'
  eltwise_param {{ operation: PROD }} }}
layer {{ name: 'out' type: 'InnerProduct' bottom: 'd' top: 'out'
  inner_product_param {{ num_output: 4 {FILL} }} }}
layer {{ name: 'loss' type: 'EuclideanLoss' bottom: 'out' bottom: 'target' top: 'loss' }}
"""
BLOBS = ["data", "x", "b", "c", "d", "out", "aux", "loss"]


def build(folder: Path, text: str) -> Any:
    """Return the net of a prototxt, with random weights and data, after its forward pass."""
    caffe.set_random_seed(3)
    path = folder / "net.prototxt"
    path.write_text(text)
    net = caffe.Net(str(path), caffe.TRAIN)
    shape = net.blobs["data"].data.shape
    net.blobs["data"].data[...] = np.random.default_rng(4).normal(size=shape)
    net.forward()
    return net


def random_diff(net: Any, blob: str, seed: int = 0) -> Array:
    shape = net.blobs[blob].data.shape
    return np.asarray(np.random.default_rng(seed).normal(size=shape), np.float32)


def soil(net: Any) -> None:
    """Leave in every diff what a pass must not read; a loss keeps its weight there."""
    for name, blob in net.blobs.items():
        if net.blob_loss_weights[name] == 0:
            blob.diff[...] = 1e3


def data_gradient(net: Any, **given: Any) -> Array:
    return np.array(net.backward(**given)["data"])


def numeric(net: Any, given: Mapping[str, Array]) -> NDArray[np.float64]:
    """Central differences of sum_b <g_b, b> by the data."""
    step = 1e-2

    def objective() -> float:
        net.forward()
        return float(sum(np.sum(g * net.blobs[b].data.astype(float)) for b, g in given.items()))

    gradient = np.zeros(net.blobs["data"].data.shape)
    for index in np.ndindex(*gradient.shape):
        # On a GPU, `.data` brings the values back each time, and says that they are to be changed.
        value = float(net.blobs["data"].data[index])
        net.blobs["data"].data[index] = value + step
        above = objective()
        net.blobs["data"].data[index] = value - step
        gradient[index] = (above - objective()) / (2 * step)
        net.blobs["data"].data[index] = value
    net.forward()
    return gradient
