"""Operators that work on each value by itself, and those that do nothing to images."""

from typing import Any

import numpy as np

from caffe_ext.exchange.onnx_to_caffe.graph import Node
from caffe_ext.exchange.onnx_to_caffe.net import Net
from caffe_ext.exchange.onnx_to_caffe.registry import register_converter

_LARGEST = float(np.finfo(np.float32).max)
_SEVERAL_AXES = 13
"""Before this opset, Softmax ran over all axes from `axis` on."""


@register_converter("Identity", "Dropout", "Cast")
def convert_identity(net: Net, node: Node) -> list[str]:
    """y = x: nothing is dropped, and Caffe has only one type."""
    return [net.find_blob(node, node.inputs[0])]


def add_neuron(net: Net, node: Node, kind: str, bottom: str | None = None) -> Any:
    """Add a layer with one bottom and one top; return it."""
    return net.add(kind, [bottom or net.find_blob(node, node.inputs[0])], node.outputs[0])


@register_converter("Relu", "Sigmoid", "Tanh", "Abs", "Exp", "Log", "Softplus")
def convert_function(net: Net, node: Node) -> list[str]:
    """The functions that ONNX and Caffe share."""
    kinds = {"Relu": "ReLU", "Tanh": "TanH", "Abs": "AbsVal", "Softplus": "BNLL"}
    return list(add_neuron(net, node, kinds.get(node.operator, node.operator)).top)


@register_converter("LeakyRelu")
def convert_leaky_relu(net: Net, node: Node) -> list[str]:
    """max(x, 0) + alpha min(x, 0)."""
    layer = add_neuron(net, node, "ReLU")
    layer.relu_param.negative_slope = node.attributes.get("alpha", 0.01)
    return list(layer.top)


@register_converter("PRelu")
def convert_prelu(net: Net, node: Node) -> list[str]:
    """max(x, 0) + slope min(x, 0)."""
    slopes, shape = net.require_constant(node, 1), net.find_shape(node, node.inputs[0])
    blob = net.find_blob(node, node.inputs[0])
    if slopes.size == 1:
        layer = net.add("PReLU", [blob], node.outputs[0], [slopes.reshape(())])
        layer.prelu_param.channel_shared = True
    elif slopes.size == shape[1] and slopes.shape[slopes.ndim - len(shape) + 1 :][0] == shape[1]:
        layer = net.add("PReLU", [blob], node.outputs[0], [slopes.reshape(-1)])
    else:
        raise node.make_error("Caffe has one slope per channel, or one for all")
    return list(layer.top)


@register_converter("Elu")
def convert_elu(net: Net, node: Node) -> list[str]:
    """x, and alpha (exp(x) - 1) below 0."""
    layer = add_neuron(net, node, "ELU")
    layer.elu_param.alpha = node.attributes.get("alpha", 1.0)
    return list(layer.top)


@register_converter("Neg", "Sqrt", "Reciprocal")
def convert_fixed_power(net: Net, node: Node) -> list[str]:
    """-x, sqrt(x), 1 / x."""
    layer = add_neuron(net, node, "Power")
    if node.operator == "Neg":
        layer.power_param.scale = -1
    else:
        layer.power_param.power = {"Sqrt": 0.5, "Reciprocal": -1}[node.operator]
    return list(layer.top)


@register_converter("Pow")
def convert_power(net: Net, node: Node) -> list[str]:
    """x^p for a number p."""
    exponent = net.require_constant(node, 1)
    if exponent.size != 1:
        raise node.make_error("Caffe has one exponent for all values")
    layer = add_neuron(net, node, "Power")
    layer.power_param.power = float(exponent.reshape(()))
    return list(layer.top)


@register_converter("Clip")
def convert_clip(net: Net, node: Node) -> list[str]:
    """min(max(x, low), high)."""
    ends = [("min", 1, -_LARGEST), ("max", 2, _LARGEST)]
    low, high = (
        float(np.reshape(net.require_constant(node, number, node.attributes.get(name, far)), ()))
        for name, number, far in ends
    )
    return [add_clip(net, node, net.find_blob(node, node.inputs[0]), low, high)]


def add_clip(net: Net, node: Node, bottom: str, low: float, high: float) -> str:
    """Add a Clip layer, or a ReLU if that is equivalent; return its top."""
    if low == 0 and high >= _LARGEST:
        return str(add_neuron(net, node, "ReLU", bottom).top[0])
    layer = add_neuron(net, node, "Clip", bottom)
    layer.clip_param.min, layer.clip_param.max = low, high
    return str(layer.top[0])


@register_converter("HardSigmoid", "HardSwish")
def convert_hard_sigmoid(net: Net, node: Node) -> list[str]:
    """min(max(alpha x + beta, 0), 1); HardSwish: x times that."""
    swish = node.operator == "HardSwish"
    blob = net.find_blob(node, node.inputs[0])
    line = net.add("Power", [blob], f"{node.outputs[0]}_line")
    line.power_param.scale = 1 / 6 if swish else node.attributes.get("alpha", 0.2)
    line.power_param.shift = 0.5 if swish else node.attributes.get("beta", 0.5)
    gate = add_clip(net, node, line.top[0], 0, 1)
    if not swish:
        return [gate]
    product = net.add("Eltwise", [blob, gate], f"{node.outputs[0]}_product")
    product.eltwise_param.operation = 0
    return list(product.top)


@register_converter("Softmax", "LogSoftmax")
def convert_softmax(net: Net, node: Node) -> list[str]:
    """exp(x) / sum exp(x) along an axis, and its logarithm."""
    rank = len(net.find_shape(node, node.inputs[0]))
    old = net.graph.opset < _SEVERAL_AXES
    axis = node.attributes.get("axis", 1 if old else -1) % rank
    if axis == 0 or (old and axis != rank - 1):
        raise node.make_error("Caffe's softmax is along one axis, other than the batch axis")
    layer = add_neuron(net, node, "Softmax")
    layer.softmax_param.axis = axis
    if node.operator == "LogSoftmax":
        layer = net.add("Log", [layer.top[0]], f"{node.outputs[0]}_log")
    return list(layer.top)
