"""Which function converts which type of layer."""

from collections.abc import Callable
from typing import Any

from caffe_ext.exchange.caffe_to_onnx.graph import Graph
from caffe_ext.exchange.caffe_to_onnx.network import BATCH, CaffeLayer

Convert = Callable[[Graph, CaffeLayer, list[str]], list[str]]
"""(graph, layer, the values of its bottoms) -> the values of its tops."""

CONVERTERS: dict[str, Convert] = {}


def register_converter(*types: str) -> Callable[[Convert], Convert]:
    """Register a function for layer types."""

    def register(convert: Convert) -> Convert:
        CONVERTERS.update(dict.fromkeys(types, convert))
        return convert

    return register


def make_error(layer: CaffeLayer, why: str) -> ValueError:
    """Return the error about a layer that cannot be converted."""
    return ValueError(f"layer '{layer.name}' ({layer.type}) cannot be exported: {why}")


def convert_layer(graph: Graph, layer: CaffeLayer, inputs: list[str]) -> list[str]:
    """Write the nodes of a layer; return the values of its tops.

    Raises ValueError, naming the layer and its type, if it has no equivalent in ONNX.
    """
    convert = CONVERTERS.get(layer.type)
    if convert is None:
        raise make_error(layer, "there is no conversion for layers of this type")
    for blob, shape in zip(layer.tops, layer.top_shapes, strict=True):
        if not shape or shape[0] != BATCH:
            raise make_error(layer, f"its top '{blob}' does not have one row per image")
    return convert(graph, layer, inputs)


def read_single(parameter: Any, layer: CaffeLayer) -> Any:
    """Return a parameter of a layer with one bottom and one top."""
    if len(layer.bottoms) != 1 or len(layer.tops) != 1:
        raise make_error(layer, f"it has {len(layer.bottoms)} bottoms and {len(layer.tops)} tops")
    return parameter
