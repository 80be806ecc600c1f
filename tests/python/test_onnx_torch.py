"""Networks of PyTorch as Caffe models, by way of ONNX: the scores and gradients are PyTorch's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe_ext.models.description import read_model

torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra `torch`")
pytest.importorskip("onnx", reason="ONNX is not installed: the extra `onnx`")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: the extra `onnx`")

from torch import nn  # noqa: E402  (needs PyTorch)

from caffe_ext.bridges.torch import as_module  # noqa: E402
from caffe_ext.exchange.onnx_to_caffe.importer import import_model  # noqa: E402

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


class Sum(nn.Module):  # type: ignore[misc]
    """The sum of what branches make of the same images."""

    def __init__(self, *branches: Any) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Any) -> Any:
        return sum(branch(x) for branch in self.branches)


class Excited(nn.Module):  # type: ignore[misc]
    """Squeeze and excitation: channels by a factor of their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.Hardsigmoid())

    def forward(self, x: Any) -> Any:
        return x * self.gate(nn.functional.adaptive_avg_pool2d(x, 1))


class View(nn.Module):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        return x.view(x.size(0), -1)


def convolution(*sides: int, act: Any = nn.ReLU, **settings: Any) -> Any:
    """Return a convolution with batch normalization, and what follows it."""
    layers = [nn.Conv2d(*sides, bias=False, **settings), nn.BatchNorm2d(sides[1])]
    return nn.Sequential(*layers, *([act()] if act else []))


def resnet() -> Any:
    def block(channels: int, out: int, stride: int) -> Any:
        inner = nn.Sequential(
            convolution(channels, out, 3, stride=stride, padding=1),
            convolution(out, out, 3, padding=1, act=None),
        )
        plain = channels == out and stride == 1
        other = nn.Identity() if plain else convolution(channels, out, 1, stride=stride, act=None)
        return nn.Sequential(Sum(inner, other), nn.ReLU())

    return nn.Sequential(
        convolution(3, 8, 7, stride=2, padding=3),
        nn.MaxPool2d(3, 2, 1),
        block(8, 8, 1),
        block(8, 16, 2),
        nn.AdaptiveAvgPool2d(1),
        View(),
        nn.Linear(16, 5),
    )


def mobilenet() -> Any:
    expanded = nn.Sequential(
        convolution(8, 24, 1, act=nn.Hardswish),
        convolution(24, 24, 3, padding=1, groups=24, act=nn.ReLU6),
        Excited(24),
        convolution(24, 8, 1, act=None),
    )
    return nn.Sequential(
        convolution(3, 8, 3, stride=2, padding=1, act=nn.Hardswish),
        Sum(expanded, nn.Identity()),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(8, 5),
    )


@pytest.mark.parametrize("network", [resnet, mobilenet])
@pytest.mark.filterwarnings("ignore")
def test_networks_of_pytorch(network: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = network()
    with torch.no_grad():
        net.train()(torch.rand(8, 3, 32, 32))  # statistics of the batch normalization
    net.eval()
    path, images = tmp_path / "net.onnx", torch.rand(1, 3, 32, 32)
    torch.onnx.export(
        net, (images,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "N"}}
    )
    settings = {name: [255 * one for one in numbers] for name, numbers in _statistics().items()}
    import_model(path, "net", settings).write(tmp_path)
    module = as_module(read_model(tmp_path / "net.yaml").load())
    mine, theirs = (torch.rand(6, 3, 32, 32).requires_grad_() for _ in range(2))
    theirs.data.copy_(mine.data)
    mean, std = (torch.tensor(one)[:, None, None] for one in (MEAN, STD))
    found, expected = module(mine), net((theirs - mean) / std)
    np.testing.assert_allclose(found.detach(), expected.detach(), rtol=1e-4, atol=1e-4)
    found[:, 1].sum().backward()
    expected[:, 1].sum().backward()
    largest = float(theirs.grad.abs().max())
    np.testing.assert_allclose(mine.grad, theirs.grad, rtol=0, atol=1e-3 * largest)


def _statistics() -> dict[str, tuple[float, ...]]:
    return {"mean": MEAN, "std": STD}
