"""A Caffe net of prototxt/zoo in PyTorch, layer by layer, with the same weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from caffe_ext.models.files import load_net, read_prototxt

Function = Callable[..., Any]


def read_torch_network(deploy: Path, weights: Path) -> Any:
    """Return a torch.nn.Module of a deploy prototxt: input (N, C, H, W) -> logits (N, K).

    What a Softmax at the end would read are the logits. Raises ValueError for other layers than
    those of prototxt/zoo.
    """
    blobs = {name: [b.data for b in p] for name, p in load_net(deploy, weights).params.items()}
    steps: list[tuple[str, list[str], str]] = []
    modules: dict[str, nn.Module] = {}
    for number, layer in enumerate(read_prototxt(deploy).layer):
        if layer.type in {"Input", "Softmax"}:
            continue
        name = f"layer{number}"
        if layer.type not in MODULES:
            raise ValueError(f"{deploy}: layer {layer.name} of type {layer.type} is not in the zoo")
        modules[name] = MODULES[layer.type](layer, blobs.get(layer.name, []))
        steps.append((name, list(layer.bottom), layer.top[0]))

    class Net(nn.Module):  # type: ignore[misc]  # torch may be missing when this is checked
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleDict(modules)
            self.requires_grad_(requires_grad=False)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            known = {"data": images}
            for name, bottoms, top in steps:
                known[top] = self.layers[name](*(known[one] for one in bottoms))
            return known[steps[-1][2]].flatten(1)

    return Net().eval()


def _own(tensor: Any) -> Any:
    """Return a parameter with a copy of the values."""
    return torch.nn.Parameter(torch.from_numpy(tensor.copy()), requires_grad=False)


def _convert_convolution(layer: Any, blobs: list[Any]) -> Any:
    settings = layer.convolution_param
    outputs, inputs, kernel, _ = blobs[0].shape
    made = nn.Conv2d(
        inputs * settings.group,
        outputs,
        kernel,
        stride=settings.stride[0] if settings.stride else 1,
        padding=settings.pad[0] if settings.pad else 0,
        groups=settings.group,
        bias=len(blobs) > 1,
    )
    made.weight = _own(blobs[0])
    if len(blobs) > 1:
        made.bias = _own(blobs[1])
    return made


def _convert_inner_product(_: Any, blobs: list[Any]) -> Any:
    made = nn.Linear(blobs[0].shape[1], blobs[0].shape[0])
    made.weight, made.bias = _own(blobs[0]), _own(blobs[1])
    return nn.Sequential(nn.Flatten(), made)


def _convert_pooling(layer: Any, _: list[Any]) -> Any:
    settings = layer.pooling_param
    if settings.global_pooling:
        return nn.AdaptiveAvgPool2d(1)
    kind = nn.MaxPool2d if settings.pool == settings.MAX else nn.AvgPool2d
    return kind(settings.kernel_size, settings.stride, settings.pad, ceil_mode=True)


def _convert_lrn(layer: Any, _: list[Any]) -> Any:
    settings = layer.lrn_param
    return nn.LocalResponseNorm(settings.local_size, settings.alpha, settings.beta, settings.k)


def _convert_batch_norm(layer: Any, blobs: list[Any]) -> Any:
    mean, variance, factor = blobs
    scale = 1 / factor[0] if factor[0] else 0
    made = nn.BatchNorm2d(len(mean), eps=layer.batch_norm_param.eps, affine=False)
    made.running_mean, made.running_var = _own(mean * scale).data, _own(variance * scale).data
    return made


def _scale(_: Any, blobs: list[Any]) -> Any:
    class Scale(nn.Module):  # type: ignore[misc]  # torch may be missing when this is checked
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = (_own(blob.reshape(-1, 1, 1)) for blob in blobs)

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values * self.weight + self.bias

    return Scale()


def _call(function: Function) -> Any:
    """Return a module without parameters that calls a function."""

    class Call(nn.Module):  # type: ignore[misc]  # torch may be missing when this is checked
        def forward(self, *values: Any) -> Any:
            return function(*values)

    return Call()


def _convert_concat(_: Any, __: list[Any]) -> Any:
    return _call(lambda *values: torch.cat(values, 1))


def _convert_relu(_: Any, __: list[Any]) -> Any:
    return nn.ReLU()


def _convert_sum(_: Any, __: list[Any]) -> Any:
    return _call(lambda one, other: one + other)


def _convert_identity(_: Any, __: list[Any]) -> Any:
    return nn.Identity()


MODULES: dict[str, Callable[[Any, list[Any]], Any]] = {
    "BatchNorm": _convert_batch_norm,
    "Concat": _convert_concat,
    "Convolution": _convert_convolution,
    "Dropout": _convert_identity,
    "Eltwise": _convert_sum,
    "InnerProduct": _convert_inner_product,
    "LRN": _convert_lrn,
    "Pooling": _convert_pooling,
    "ReLU": _convert_relu,
    "Scale": _scale,
}
