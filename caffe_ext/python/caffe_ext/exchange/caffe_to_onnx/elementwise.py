"""Layers that work on each value by itself, and those that do nothing in a deploy net."""

import math

import numpy as np
from onnx import TensorProto

from caffe_ext.exchange.caffe_to_onnx.graph import Graph
from caffe_ext.exchange.caffe_to_onnx.network import CaffeLayer
from caffe_ext.exchange.caffe_to_onnx.registry import make_error, read_single, register_converter

Values = list[str]
_NATURAL = -1
"""The value of Exp's and Log's base that stands for e."""


@register_converter("Split")
def convert_split(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """y = x, once for each top."""
    return inputs * len(layer.tops)


@register_converter("Dropout")
def convert_dropout(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """y = x: a deploy net drops nothing."""
    read_single(None, layer)
    return inputs


@register_converter("GaussianNoise")
def convert_noise(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """y = x, unless there is noise in the phase TEST, too."""
    noise = read_single(layer.parameter.caffe_ext_param.gaussian_noise, layer)
    if noise.phases != noise.TRAIN and noise.sigma > 0:
        raise make_error(
            layer,
            "its noise is random in each pass, so that the scores cannot be compared; it has "
            "`phases: TRAIN` if the noise is for training only",
        )
    return inputs


@register_converter("AbsVal", "BNLL", "Sigmoid", "TanH")
def convert_function(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """|x|, log(1 + exp(x)), 1 / (1 + exp(-x)), tanh(x)."""
    read_single(None, layer)
    operators = {"AbsVal": "Abs", "BNLL": "Softplus", "Sigmoid": "Sigmoid", "TanH": "Tanh"}
    return [graph.add(operators[layer.type], inputs, layer.tops[0])]


@register_converter("ReLU")
def convert_relu(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """max(x, 0) + negative_slope * min(x, 0)."""
    slope = read_single(layer.parameter.relu_param, layer).negative_slope
    if slope == 0:
        return [graph.add("Relu", inputs, layer.tops[0])]
    return [graph.add("LeakyRelu", inputs, layer.tops[0], alpha=slope)]


@register_converter("PReLU")
def convert_prelu(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """max(x, 0) + slope * min(x, 0), with one slope per channel, or one for all."""
    read_single(None, layer)
    behind = len(layer.bottom_shapes[0]) - 2
    slopes = layer.weights[0].reshape(-1, *[1] * behind)
    return [
        graph.add(
            "PRelu", [*inputs, graph.add_constant(f"{layer.name}.slopes", slopes)], layer.tops[0]
        )
    ]


@register_converter("ELU")
def convert_elu(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """x, and alpha (exp(x) - 1) below 0."""
    alpha = read_single(layer.parameter.elu_param, layer).alpha
    return [graph.add("Elu", inputs, layer.tops[0], alpha=alpha)]


@register_converter("Swish")
def convert_swish(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """x / (1 + exp(-beta x))."""
    beta = read_single(layer.parameter.swish_param, layer).beta
    steepened = graph.scale(inputs[0], beta, f"{layer.name}.scaled")
    gate = graph.add("Sigmoid", [steepened], f"{layer.name}.gate")
    return [graph.add("Mul", [inputs[0], gate], layer.tops[0])]


@register_converter("Clip")
def convert_clip(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """min(max(x, min), max)."""
    bounds = read_single(layer.parameter.clip_param, layer)
    ends = [
        graph.add_constant(f"{layer.name}.{name}", getattr(bounds, name)) for name in ("min", "max")
    ]
    return [graph.add("Clip", [*inputs, *ends], layer.tops[0])]


@register_converter("Threshold")
def convert_threshold(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """1 where x > threshold, else 0."""
    least = read_single(layer.parameter.threshold_param, layer).threshold
    limit = graph.add_constant(f"{layer.name}.threshold", least)
    above = graph.add("Greater", [*inputs, limit], f"{layer.name}.above")
    return [graph.add("Cast", [above], layer.tops[0], to=TensorProto.FLOAT)]


@register_converter("Power")
def convert_power(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """(shift + scale x)^power."""
    given = read_single(layer.parameter.power_param, layer)
    value = _add_linear(graph, layer, inputs[0], given.scale, given.shift)
    if given.power == 1:
        return [value]
    exponent = graph.add_constant(f"{layer.name}.power", given.power)
    return [graph.add("Pow", [value, exponent], layer.tops[0])]


@register_converter("Exp")
def convert_exp(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """base^(shift + scale x)."""
    given = read_single(layer.parameter.exp_param, layer)
    log_base = 1.0 if given.base == _NATURAL else math.log(given.base)
    value = _add_linear(graph, layer, inputs[0], log_base * given.scale, log_base * given.shift)
    return [graph.add("Exp", [value], layer.tops[0])]


@register_converter("Log")
def convert_log(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """log(shift + scale x) to the base."""
    given = read_single(layer.parameter.log_param, layer)
    value = _add_linear(graph, layer, inputs[0], given.scale, given.shift)
    natural = graph.add("Log", [value], f"{layer.name}.natural")
    log_base = 1.0 if given.base == _NATURAL else math.log(given.base)
    return [graph.scale(natural, 1 / log_base, layer.tops[0])]


@register_converter("Softmax")
def convert_softmax(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """exp(x) / sum exp(x) along the axis."""
    axis = layer.resolve_axis(read_single(layer.parameter.softmax_param, layer).axis)
    if axis == 0:
        raise make_error(layer, "its axis is the batch axis")
    return [graph.add("Softmax", inputs, layer.tops[0], axis=axis)]


@register_converter("MVN")
def convert_mvn(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """(x - mean) / (deviation + eps) over each channel of an image, or over the image."""
    given = read_single(layer.parameter.mvn_param, layer)
    first = 1 if given.across_channels else 2
    axes = list(range(first, len(layer.bottom_shapes[0])))
    name = layer.name
    mean = graph.add("ReduceMean", inputs, f"{name}.mean", axes=axes)
    if not given.normalize_variance:
        return [graph.add("Sub", [inputs[0], mean], layer.tops[0])]
    centred = graph.add("Sub", [inputs[0], mean], f"{name}.centred")
    squares = graph.add("Mul", [centred, centred], f"{name}.squares")
    variance = graph.add("ReduceMean", [squares], f"{name}.variance", axes=axes)
    deviation = graph.add("Sqrt", [variance], f"{name}.deviation")
    divisor = graph.add(
        "Add", [deviation, graph.add_constant(f"{name}.eps", given.eps)], f"{name}.divisor"
    )
    return [graph.add("Div", [centred, divisor], layer.tops[0])]


def _add_linear(graph: Graph, layer: CaffeLayer, value: str, scale: float, shift: float) -> str:
    """Return shift + scale x."""
    scaled = graph.scale(value, float(np.float32(scale)), f"{layer.name}.scaled")
    return graph.shift(scaled, float(np.float32(shift)), f"{layer.name}.shifted")
