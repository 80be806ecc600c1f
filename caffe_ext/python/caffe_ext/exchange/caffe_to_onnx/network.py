"""The layers of a net as built by Caffe, from a prototxt of any version."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from caffe_ext.models.base import Floats
from caffe_ext.models.description import ModelDescription
from caffe_ext.models.files import load_net, read_built_layers

Shape = tuple[int, ...]

BATCH = 3
"""The number of images that shapes are for: an axis of another size is not the batch axis."""


@dataclass(frozen=True, eq=False)
class CaffeLayer:
    """One layer: its LayerParameter, its weights, and the shapes of its inputs and outputs."""

    name: str
    type: str
    parameter: Any
    weights: list[Floats]
    bottoms: list[str]
    tops: list[str]
    bottom_shapes: list[Shape]
    top_shapes: list[Shape]

    def resolve_axis(self, axis: int) -> int:
        """Return an axis of the first bottom that may be counted from the end."""
        return axis + len(self.bottom_shapes[0]) if axis < 0 else axis


def read_layers(description: ModelDescription, blob: str) -> list[CaffeLayer]:
    """Return the layers that a blob depends on, in the order in which Caffe runs them.

    Raises as load_net does.
    """
    net = load_net(description.deploy, description.weights, BATCH)
    entry = net.blobs[net.inputs[0]]
    entry.reshape(BATCH, *entry.shape[1:])
    net.reshape()
    wanted, layers = {blob}, []
    for layer, built in reversed(read_built_layers(net)):
        if wanted.isdisjoint(layer.top):
            continue
        wanted.update(layer.bottom)
        shapes = {name: tuple(net.blobs[name].shape) for name in [*layer.bottom, *layer.top]}
        layers.append(
            CaffeLayer(
                layer.name,
                layer.type,
                layer,
                [np.array(weights.data, np.float32) for weights in built.blobs],
                list(layer.bottom),
                list(layer.top),
                [shapes[name] for name in layer.bottom],
                [shapes[name] for name in layer.top],
            )
        )
    return layers[::-1]
