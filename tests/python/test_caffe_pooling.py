"""Pooling with a stride larger than the kernel: only windows that begin inside the image."""

import math
import os
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from caffe_nets import net

pytestmark = pytest.mark.any_device
ON_GPU = os.environ.get("CAFFE_EXT_TEST_MODE") == "GPU"

NET = """
force_backward: true
layer {{ name: "in" type: "Input" top: "x"
         input_param {{ shape {{ dim: 2 dim: 3 dim: {size} dim: {size} }} }} }}
layer {{ name: "pool" type: "Pooling" bottom: "x" top: "y" pooling_param {{
  pool: {pool} kernel_size: {kernel} stride: {stride} round_mode: {rounding} }} }}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def reference(x: NDArray[np.float32], pool: str, kernel: int, begins: list[int]) -> tuple[Any, Any]:
    """The pooled values, and for each the derivative with respect to x, by definition."""
    values = np.zeros((*x.shape[:2], len(begins), len(begins)))
    gradient = np.zeros(x.shape)
    for i, top in enumerate(begins):
        for j, left in enumerate(begins):
            window = x[:, :, top : top + kernel, left : left + kernel]
            share = gradient[:, :, top : top + kernel, left : left + kernel]
            if pool == "MAX":
                values[:, :, i, j] = window.max((2, 3))
                share += window == window.max((2, 3), keepdims=True)
            else:
                values[:, :, i, j] = window.mean((2, 3))
                share += 1 / (window.shape[2] * window.shape[3])
    return values, gradient


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("rounding", ["CEIL", "FLOOR"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(4, 1, 2), (5, 1, 2), (4, 2, 3), (8, 2, 3), (7, 2, 4), (3, 1, 5)]
)
def test_windows(pool: str, rounding: str, size: int, kernel: int, stride: int) -> None:
    there = net(NET.format(size=size, pool=pool, kernel=kernel, stride=stride, rounding=rounding))
    x = np.random.default_rng(0).random((2, 3, size, size), dtype=np.float32)
    there.blobs["x"].data[...] = x
    last = (size - kernel) / stride
    count = (math.ceil(last) if rounding == "CEIL" else math.floor(last)) + 1
    begins = [i * stride for i in range(count) if i * stride < size]
    values, gradient = reference(x, pool, kernel, begins)
    there.forward()
    assert there.blobs["y"].data.shape == values.shape
    np.testing.assert_allclose(there.blobs["y"].data, values, rtol=1e-6)
    there.blobs["y"].diff[...] = 1
    there.backward()
    np.testing.assert_allclose(there.blobs["x"].diff, gradient, rtol=1e-6)


@pytest.mark.skipif(not ON_GPU, reason="Caffe has no stochastic pooling on the CPU")
def test_stochastic() -> None:
    there = net(NET.format(size=4, pool="STOCHASTIC", kernel=1, stride=2, rounding="CEIL"))
    x = np.random.default_rng(0).random((2, 3, 4, 4), dtype=np.float32)
    there.blobs["x"].data[...] = x
    there.forward()
    np.testing.assert_allclose(there.blobs["y"].data, x[:, :, ::2, ::2], rtol=1e-6)
