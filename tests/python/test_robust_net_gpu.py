"""Robust training on a GPU: the same weights as on the CPU, up to the order of summation."""

from pathlib import Path

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from numpy.typing import NDArray

from caffe_ext.runtime.device import Device
from data_samples import CHECKOUT

BATCH = 2
ITERATIONS = 3


def read_solver(name: str) -> caffe_pb2.SolverParameter:
    """Return a solver of the checkout with small batches of our own, and without tests.

    Adam's first step takes the signs of all gradients, tiny ones too, and so those of their
    rounding: it is plain descent here.
    """
    text = (CHECKOUT / "solvers" / f"mnist_{name}.prototxt").read_text()
    solver = text_format.Parse(text, caffe_pb2.SolverParameter())
    net = solver.train_net_param
    text_format.Parse((CHECKOUT / solver.net).read_text(), net)
    stock = [layer for layer in net.layer if layer.type != "Data"]
    data = caffe_pb2.LayerParameter(name="data", type="Input", top=["data", "label"])
    data.input_param.shape.add(dim=(BATCH, 1, 28, 28))
    data.input_param.shape.add(dim=(BATCH,))
    del net.layer[:]
    net.layer.extend([data, *stock])
    for field in ("net", "test_iter", "test_interval", "snapshot", "stepvalue", "momentum2"):
        solver.ClearField(field)
    solver.type, solver.lr_policy, solver.base_lr, solver.momentum = "SGD", "fixed", 0.01, 0.5
    solver.snapshot_after_train = False
    return solver


def train(path: Path, iterations: int) -> list[NDArray[np.float32]]:
    """Return the weights after some iterations on random digits."""
    solver = caffe.get_solver(str(path))
    random = np.random.default_rng(1)
    for _ in range(iterations):
        solver.net.blobs["data"].data[...] = random.random((BATCH, 1, 28, 28))
        solver.net.blobs["label"].data[...] = random.integers(10, size=BATCH)
        solver.step(1)
    return [blob.data.copy() for name in ("conv1", "ip") for blob in solver.net.params[name]]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["sm", "kw", "jacob", "spectral", "conv1_sm", "conv1_kw"])
def test_solvers_train_the_same_weights(tmp_path: Path, name: str) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text(text_format.MessageToString(read_solver(name)))
    start, expected = train(path, 0), train(path, ITERATIONS)
    with Device(0).activate():
        found = train(path, ITERATIONS)
    for before, cpu, gpu in zip(start, expected, found, strict=True):
        moved = np.abs(cpu - before).max()
        assert moved > 0
        assert np.abs(gpu - cpu).max() < 1e-3 * moved
