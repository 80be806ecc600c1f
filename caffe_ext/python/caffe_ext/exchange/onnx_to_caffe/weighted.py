"""Operators with weights, convolutions and matrix products, and the padding before them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_ext.exchange.onnx_to_caffe.geometry import WindowAxis, compute_window_axes
from caffe_ext.exchange.onnx_to_caffe.graph import Node
from caffe_ext.exchange.onnx_to_caffe.net import Net, Padding
from caffe_ext.exchange.onnx_to_caffe.registry import register_converter

_SPATIAL = 2


@register_converter("Pad")
def convert_pad(net: Net, node: Node) -> list[str]:
    """Zeros around an image: recorded for the next convolution or pooling to add."""
    mode = bytes(node.attributes.get("mode", b"constant")).decode()
    given = net.require_constant(node, 1, node.attributes.get("pads"))
    value = np.reshape(net.require_constant(node, 2, node.attributes.get("value", 0.0)), ())
    if len(node.inputs) > 3 and node.inputs[3]:
        raise node.make_error("it names axes")
    pads = [int(number) for number in given]
    begins, ends = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    if not any(pads):
        return [net.find_blob(node, node.inputs[0])]
    if mode != "constant" or value != 0 or any(begins[:2] + ends[:2]) or min(pads) < 0:
        raise node.make_error("Caffe pads with zeros, around the rows and the columns")
    net.find_blob(node, node.inputs[0])
    net.paddings[node.outputs[0]] = Padding(node.inputs[0], tuple(begins[2:]), tuple(ends[2:]))
    return []


def absorb_pads(net: Net, node: Node, axes: tuple[WindowAxis, ...]) -> tuple[str, list[WindowAxis]]:
    """Return the blob of a node's input, without the zeros of a Pad, and the axes with them."""
    padding = net.paddings.get(node.inputs[0])
    if padding is None:
        return net.find_blob(node, node.inputs[0]), list(axes)
    both = zip(axes, padding.begins, padding.ends, strict=True)
    return net.find_blob(node, padding.value), [
        WindowAxis(
            axis.size - begin - end,
            axis.kernel,
            axis.stride,
            axis.dilation,
            axis.begin + begin,
            axis.end + end,
        )
        for axis, begin, end in both
    ]


@register_converter("Conv")
def convert_conv(net: Net, node: Node) -> list[str]:
    """A convolution; if the padding differs between the sides, zeros widen the kernel."""
    weights = net.require_constant(node, 1)
    if weights.ndim != 2 + _SPATIAL:
        raise node.make_error("only images with rows and columns are supported")
    blob, axes = absorb_pads(net, node, compute_window_axes(net, node, weights.shape[2:]))
    even = []
    for number, axis in enumerate(axes):
        more, left = divmod(abs(axis.begin - axis.end), axis.dilation)
        if left:
            raise node.make_error(
                "its padding differs between the sides, but not by a multiple of the dilation"
            )
        widths = [(0, 0)] * weights.ndim
        widths[2 + number] = (more, 0) if axis.end > axis.begin else (0, more)
        weights = np.pad(weights, widths)
        even.append(replace(axis, begin=max(axis.begin, axis.end)))
    return [_add(net, node, blob, weights, even)]


@register_converter("ConvTranspose")
def convert_conv_transpose(net: Net, node: Node) -> list[str]:
    """The transpose of a convolution."""
    weights = net.require_constant(node, 1)
    axes = compute_window_axes(net, node, weights.shape[2:])
    uneven = any(axis.begin != axis.end for axis in axes)
    if len(axes) != _SPATIAL or uneven or any(node.attributes.get("output_padding", [])):
        raise node.make_error("Caffe crops the same number of values on both sides")
    if "output_shape" in node.attributes:
        raise node.make_error("it has an output_shape")
    return [_add(net, node, net.find_blob(node, node.inputs[0]), weights, axes)]


@register_converter("Gemm")
def convert_gemm(net: Net, node: Node) -> list[str]:
    """alpha x W + beta b."""
    weights, bias = net.require_constant(node, 1), net.require_constant(node, 2)
    if node.attributes.get("transA", 0):
        raise node.make_error("it transposes the batch axis")
    if not node.attributes.get("transB", 0):
        weights = weights.T
    weights = weights * node.attributes.get("alpha", 1.0)
    if bias is not None:
        bias = np.broadcast_to(bias * node.attributes.get("beta", 1.0), (1, len(weights)))[0]
    return [_add_inner_product(net, node, weights, bias)]


@register_converter("MatMul")
def convert_matmul(net: Net, node: Node) -> list[str]:
    """x W, along the last axis."""
    weights = net.require_constant(node, 1)
    if weights.ndim != 2:
        raise node.make_error("its second input is not a matrix")
    return [_add_inner_product(net, node, weights.T, None)]


def _add_inner_product(
    net: Net, node: Node, weights: NDArray[Any], bias: NDArray[Any] | None
) -> str:
    shape = net.find_shape(node, node.inputs[0])
    if len(shape) < 2:
        raise node.make_error("its input has no batch axis")
    parts = [weights] if bias is None else [weights, bias]
    layer = net.add("InnerProduct", [net.find_blob(node, node.inputs[0])], node.outputs[0], parts)
    given = layer.inner_product_param
    given.num_output, given.bias_term, given.axis = len(weights), bias is not None, len(shape) - 1
    return str(layer.top[0])


def _add(net: Net, node: Node, blob: str, weights: NDArray[Any], axes: Sequence[WindowAxis]) -> str:
    """Add a layer with a convolution_param, padded by `begin` on either side; return its top."""
    kind = "Convolution" if node.operator == "Conv" else "Deconvolution"
    bias, group = net.require_constant(node, 2), node.attributes.get("group", 1)
    parts = [weights] if bias is None else [weights, bias]
    layer = net.add(kind, [blob], node.outputs[0], parts)
    given = layer.convolution_param
    given.num_output = len(weights) if node.operator == "Conv" else weights.shape[1] * group
    given.bias_term, given.group = bias is not None, group
    given.kernel_h, given.kernel_w = weights.shape[2:]
    given.stride_h, given.stride_w = (axis.stride for axis in axes)
    given.pad_h, given.pad_w = (axis.begin for axis in axes)
    given.dilation.extend(axis.dilation for axis in axes)
    return str(layer.top[0])
