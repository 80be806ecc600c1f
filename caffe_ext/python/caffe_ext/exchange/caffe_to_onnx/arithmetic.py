"""Layers that combine several blobs, or a blob with per-channel numbers."""

from functools import reduce

import numpy as np
from caffe.proto import caffe_pb2

from caffe_ext.exchange.caffe_to_onnx.graph import Graph
from caffe_ext.exchange.caffe_to_onnx.network import CaffeLayer
from caffe_ext.exchange.caffe_to_onnx.registry import make_error, read_single, register_converter
from caffe_ext.models.base import Floats

Values = list[str]


@register_converter("Eltwise")
def convert_eltwise(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """The sum (with coefficients), the product or the maximum of the bottoms."""
    given = layer.parameter.eltwise_param
    top = layer.tops[0]
    if given.operation == caffe_pb2.EltwiseParameter.MAX:
        return [graph.add("Max", inputs, top)]
    if given.operation == caffe_pb2.EltwiseParameter.PROD:
        return [reduce(lambda one, other: graph.add("Mul", [one, other], top), inputs)]
    coefficients = list(given.coeff) or [1.0] * len(inputs)
    terms = [
        graph.scale(value, coefficient, f"{layer.name}.term")
        for value, coefficient in zip(inputs, coefficients, strict=True)
    ]
    return [reduce(lambda one, other: graph.add("Add", [one, other], top), terms)]


@register_converter("BatchNorm")
def convert_batch_norm(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """(x - mean) / sqrt(variance + eps), both statistics divided by the third parameter."""
    given = read_single(layer.parameter.batch_norm_param, layer)
    if given.HasField("use_global_stats") and not given.use_global_stats:
        raise make_error(layer, "`use_global_stats: false` uses the statistics of each batch")
    mean, variance, (count,) = layer.weights
    factor = 0 if count == 0 else 1 / np.float32(count)
    ones = np.ones(len(mean), np.float32)
    numbers = {
        "scale": ones,
        "shift": 0 * ones,
        "mean": mean * factor,
        "variance": variance * factor,
    }
    constants = [
        graph.add_constant(f"{layer.name}.{name}", array) for name, array in numbers.items()
    ]
    return [
        graph.add("BatchNormalization", [*inputs, *constants], layer.tops[0], epsilon=given.eps)
    ]


@register_converter("Scale")
def convert_scale(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """x * factors + shifts, along some axes; the factors are weights, or the second bottom."""
    given = layer.parameter.scale_param
    weights = list(layer.weights)
    if len(inputs) == 1:
        factors = _add_weights(graph, layer, weights.pop(0), given.axis, "factors")
        shape = layer.weights[0].shape
    else:
        factors, shape = (
            _broadcast_second_bottom(graph, layer, inputs[1], given.axis),
            layer.bottom_shapes[1],
        )
    if not given.bias_term:
        return [graph.add("Mul", [inputs[0], factors], layer.tops[0])]
    scaled = graph.add("Mul", [inputs[0], factors], f"{layer.name}.scaled")
    shifts = _add_weights(graph, layer, weights.pop(0).reshape(shape), given.axis, "shifts")
    return [graph.add("Add", [scaled, shifts], layer.tops[0])]


@register_converter("Bias")
def convert_bias(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """x + shifts, along some axes; the shifts are weights, or the second bottom."""
    axis = layer.parameter.bias_param.axis
    if len(inputs) == 1:
        shifts = _add_weights(graph, layer, layer.weights[0], axis, "shifts")
    else:
        shifts = _broadcast_second_bottom(graph, layer, inputs[1], axis)
    return [graph.add("Add", [inputs[0], shifts], layer.tops[0])]


def _count_trailing_axes(layer: CaffeLayer, axis: int, axes: int) -> int:
    """Return how many axes of the first bottom follow those that the numbers lie along."""
    return len(layer.bottom_shapes[0]) - layer.resolve_axis(axis) - axes if axes else 0


def _add_weights(graph: Graph, layer: CaffeLayer, numbers: Floats, axis: int, name: str) -> str:
    if numbers.ndim and layer.resolve_axis(axis) == 0:
        raise make_error(layer, "its weights lie along the batch axis")
    behind = _count_trailing_axes(layer, axis, numbers.ndim)
    return graph.add_constant(
        f"{layer.name}.{name}", numbers.reshape(*numbers.shape, *[1] * behind)
    )


def _broadcast_second_bottom(graph: Graph, layer: CaffeLayer, value: str, axis: int) -> str:
    """Return the second bottom with the axes needed to broadcast it."""
    axes = len(layer.bottom_shapes[1])
    behind = _count_trailing_axes(layer, axis, axes)
    if axes == 0 or layer.resolve_axis(axis) != 0:
        raise make_error(layer, "its second bottom does not begin with the batch axis")
    if behind == 0:
        return value
    new = graph.add_integers(f"{layer.name}.axes", range(axes, axes + behind))
    return graph.add("Unsqueeze", [value, new], f"{layer.name}.factors")
