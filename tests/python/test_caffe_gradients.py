"""Gradients of Caffe's layers that were wrong: with a large eps, and in place."""

from typing import Any

import caffe
import numpy as np
import pytest

from caffe_nets import net

pytestmark = pytest.mark.any_device

NET = """
force_backward: true
layer {{ name: "in" type: "Input" top: "x"
         input_param {{ shape {{ dim: 2 dim: 3 dim: 4 dim: 4 }} }} }}
layer {{ name: "first" type: "Power" bottom: "x" top: "h" power_param {{ scale: 0.5 shift: 2 }} }}
layer {{ name: "l" type: "{kind}" bottom: "h" top: "{top}" {settings} }}
layer {{ name: "last" type: "Power" bottom: "{top}" top: "y" power_param {{ scale: 3 }} }}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def gradient(kind: str, settings: str, top: str, step: float = 0) -> tuple[Any, Any, Any]:
    """Return the loss sum(y t) with t constant, its gradient by Caffe, and by differences."""
    there = net(NET.format(kind=kind, settings=settings, top=top), phase=caffe.TRAIN)
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 3, 4, 4)).astype(np.float32)
    t = random.normal(size=x.shape).astype(np.float32)

    def output(values: Any) -> Any:
        there.blobs["x"].data[...] = values
        return there.forward()["y"].astype(np.float64)

    y = output(x)
    there.blobs["y"].diff[...] = t
    there.backward()
    found = there.blobs["x"].diff.copy()
    expected = np.zeros(x.shape)
    for place in np.ndindex(*x.shape) if step else ():
        sides = []
        for sign in (1, -1):
            moved = x.copy()
            moved[place] += sign * step
            sides.append((output(moved) * t).sum())
        expected[place] = (sides[0] - sides[1]) / (2 * step)
    return y, found, expected


@pytest.mark.parametrize("across", ["false", "true"])
@pytest.mark.parametrize("eps", [1e-9, 0.1, 2])
def test_mvn(eps: float, across: str) -> None:
    settings = f"mvn_param {{ eps: {eps} across_channels: {across} }}"
    _, found, expected = gradient("MVN", settings, "z", step=0.01)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_mvn_of_a_constant() -> None:
    there = net(NET.format(kind="MVN", settings="", top="z"), phase=caffe.TRAIN)
    there.blobs["x"].data[...] = 0
    there.forward()
    there.blobs["y"].diff[...] = 1
    there.backward()
    assert np.isfinite(there.blobs["x"].diff).all()


RIGHT_IN_PLACE = {
    "Power": ("", "power_param { scale: 3 shift: 1 }", "power_param { scale: 0 shift: 1 }"),
    "ReLU": ("", "relu_param { negative_slope: 0.1 }"),
    **dict.fromkeys(("ELU", "Exp", "Sigmoid", "TanH", "Swish", "Softmax", "PReLU"), ("",)),
}
WRONG_IN_PLACE = {
    "Power": ("power_param { power: 2 }", "power_param { power: 0.5 shift: 1 }"),
    "ReLU": ("relu_param { negative_slope: -0.5 }",),
    "ELU": ("elu_param { alpha: -0.5 }",),
    "Clip": ("clip_param { min: 1.8 max: 2.1 }",),
    **dict.fromkeys(("BNLL", "Log", "MVN"), ("",)),
}


def cases(kinds: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(kind, settings) for kind in kinds for settings in kinds[kind]]


@pytest.mark.parametrize(("kind", "settings"), cases(RIGHT_IN_PLACE))
def test_in_place_is_as_apart(kind: str, settings: str) -> None:
    for apart, there in zip(
        gradient(kind, settings, "z"), gradient(kind, settings, "h"), strict=True
    ):
        np.testing.assert_allclose(there, apart, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("kind", "settings"), cases(WRONG_IN_PLACE))
def test_no_gradient_in_place(kind: str, settings: str) -> None:
    there = net(NET.format(kind=kind, settings=settings, top="h"), phase=caffe.TRAIN)
    there.forward()
    sentence = rf"layer 'l': {kind} with these settings has no gradient in place"
    with pytest.raises(caffe.Error, match=sentence):
        there.backward()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("LRN", ""),
        ("Pooling", "pooling_param { kernel_size: 1 }"),
        ("Convolution", "convolution_param { num_output: 3 kernel_size: 1 }"),
        ("InnerProduct", "inner_product_param { num_output: 3 }"),
    ],
)
def test_what_cannot_be_computed_in_place(kind: str, settings: str) -> None:
    with pytest.raises(caffe.Error, match=rf"layer 'l': {kind} cannot be computed in place"):
        net(NET.format(kind=kind, settings=settings, top="h"))
