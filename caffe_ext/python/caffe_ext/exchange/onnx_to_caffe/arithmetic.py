"""Sums, products and quotients of values, and of values and constants."""

from typing import Any

import numpy as np
from caffe.proto import caffe_pb2
from numpy.typing import NDArray

from caffe_ext.exchange.onnx_to_caffe.graph import Node
from caffe_ext.exchange.onnx_to_caffe.net import Net
from caffe_ext.exchange.onnx_to_caffe.registry import register_converter

_Eltwise = caffe_pb2.EltwiseParameter


@register_converter("Add", "Sub", "Mul", "Div")
def convert_binary(net: Net, node: Node) -> list[str]:
    """x + y, x - y, x y, x / y; x or y may be a constant."""
    left, right = (net.find_constant(value) for value in node.inputs)
    if right is not None:
        blob = net.find_blob(node, node.inputs[0])
        if node.operator == "Sub":
            right = -right
        elif node.operator == "Div":
            right = 1 / right
        return [_add_constant(net, node, blob, right)]
    blob = net.find_blob(node, node.inputs[1])
    if node.operator in ("Sub", "Div"):
        layer = net.add("Power", [blob], f"{node.outputs[0]}_inverted")
        setattr(layer.power_param, *(("scale", -1) if _is_sum(node) else ("power", -1)))
        blob = layer.top[0]
    if left is not None:
        return [_add_constant(net, node, blob, left)]
    return [_add_binary(net, node, net.find_blob(node, node.inputs[0]), blob)]


@register_converter("Max", "Sum")
def convert_variadic(net: Net, node: Node) -> list[str]:
    """The maximum or the sum of values of the same shape."""
    shapes = {net.find_shape(node, value) for value in node.inputs}
    blobs = [net.find_blob(node, value) for value in node.inputs]
    if len(shapes) > 1:
        raise node.make_error("its inputs have different shapes")
    if len(blobs) == 1:
        return blobs
    layer = net.add("Eltwise", blobs, node.outputs[0])
    layer.eltwise_param.operation = _Eltwise.MAX if node.operator == "Max" else _Eltwise.SUM
    return list(layer.top)


@register_converter("BatchNormalization")
def convert_batch_normalization(net: Net, node: Node) -> list[str]:
    """scale (x - mean) / sqrt(variance + epsilon) + shift: Caffe's BatchNorm and Scale."""
    scale, shift, mean, variance = (net.require_constant(node, number) for number in range(1, 5))
    if node.attributes.get("training_mode", 0):
        raise node.make_error("it uses batch statistics; export the model in eval() mode")
    blob = net.find_blob(node, node.inputs[0])
    normalized = net.add(
        "BatchNorm", [blob], f"{node.outputs[0]}_normalized", [mean, variance, np.ones(1)]
    )
    normalized.batch_norm_param.eps = node.attributes.get("epsilon", 1e-5)
    layer = net.add("Scale", [normalized.top[0]], node.outputs[0], [scale, shift])
    layer.scale_param.bias_term = True
    return list(layer.top)


def _is_sum(node: Node) -> bool:
    return node.operator in ("Add", "Sub")


def _add_constant(net: Net, node: Node, blob: str, numbers: NDArray[Any]) -> str:
    """Add a layer that adds a constant to a blob, or multiplies it by one; return its top."""
    (value,) = (value for value in node.inputs if net.find_constant(value) is None)
    shape, additive = net.find_shape(node, value), _is_sum(node)
    result = net.find_shape(node, node.outputs[0])
    if result != shape:
        raise node.make_error(f"its constant turns {list(shape)} into {list(result)}")
    name = node.outputs[0]
    if numbers.size == 1:
        layer = net.add("Power", [blob], name)
        only = float(numbers.reshape(()))
        setattr(layer.power_param, "shift" if additive else "scale", only)
        return str(layer.top[0])
    full = numbers.reshape((1,) * (len(shape) - numbers.ndim) + numbers.shape)
    axes = [axis for axis, side in enumerate(full.shape) if side > 1]
    first, last = axes[0], axes[-1] + 1
    weights = np.broadcast_to(full.reshape(full.shape[first:last]), shape[first:last])
    layer = net.add("Bias" if additive else "Scale", [blob], name, [weights])
    given = layer.bias_param if additive else layer.scale_param
    given.axis, given.num_axes = first, last - first
    return str(layer.top[0])


def _add_binary(net: Net, node: Node, one: str, other: str) -> str:
    """Add a layer for two blobs; one may have fewer values, shared by whole channels."""
    additive = _is_sum(node)
    shapes = [net.find_shape(node, value) for value in node.inputs]
    if shapes[0] == shapes[1]:
        layer = net.add("Eltwise", [one, other], node.outputs[0])
        layer.eltwise_param.operation = _Eltwise.SUM if additive else _Eltwise.PROD
        return str(layer.top[0])
    if shapes[0] != net.find_shape(node, node.outputs[0]):
        one, other, shapes = other, one, shapes[::-1]
    large, small = shapes
    kept = max((axis + 1 for axis, side in enumerate(small) if side > 1), default=1)
    if len(small) != len(large) or small[:kept] != large[:kept]:
        raise node.make_error(f"Caffe has no layer for inputs of {list(large)} and {list(small)}")
    reshaped = net.add("Reshape", [other], f"{node.outputs[0]}_reshaped")
    reshaped.reshape_param.shape.dim.extend([0] * kept)
    reshaped.reshape_param.num_axes = -1
    layer = net.add("Bias" if additive else "Scale", [one, reshaped.top[0]], node.outputs[0])
    (layer.bias_param if additive else layer.scale_param).axis = 0
    return str(layer.top[0])
