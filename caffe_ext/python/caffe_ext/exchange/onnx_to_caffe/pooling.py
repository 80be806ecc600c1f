"""Pooling, where Caffe's windows are those of the node; and LRN."""

from typing import Any

import numpy as np
from caffe.proto import caffe_pb2

from caffe_ext.exchange.onnx_to_caffe.geometry import WindowAxis, compute_window_axes
from caffe_ext.exchange.onnx_to_caffe.graph import Node
from caffe_ext.exchange.onnx_to_caffe.net import Net
from caffe_ext.exchange.onnx_to_caffe.registry import register_converter
from caffe_ext.exchange.onnx_to_caffe.weighted import absorb_pads
from caffe_ext.models.layer_windows import PoolingAxis

_Parameter = caffe_pb2.PoolingParameter


@register_converter("MaxPool", "AveragePool")
def convert_pooling(net: Net, node: Node) -> list[str]:
    """The maximum or the mean of windows.

    Both begin at i * stride - begin. Caffe's divisor of a mean counts the padding; where the node
    divides by another number, a factor per window corrects that.
    """
    mean = node.operator == "AveragePool"
    padded = node.inputs[0] in net.paddings
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.make_error("Caffe returns no indices")
    axes = compute_window_axes(net, node, tuple(node.attributes["kernel_shape"]))
    if len(axes) != 2 or any(axis.dilation != 1 for axis in axes):
        raise node.make_error("Caffe pools rows and columns, without dilation")
    counts_padding = mean and bool(node.attributes.get("count_include_pad", 0))
    own = any(axis.begin or axis.end for axis in axes)
    if padded and (not mean or (own and not counts_padding)):
        raise node.make_error("the zeros of the Pad before it would not be values of the image")
    counts_padding = counts_padding or (padded and not own)
    blob, windows = absorb_pads(net, node, axes)
    sizes = net.find_shape(node, node.outputs[0])[2:]
    for mode in (_Parameter.CEIL, _Parameter.FLOOR):
        caffe = [
            PoolingAxis(axis.size, axis.kernel, axis.stride, axis.begin, mode == _Parameter.CEIL)
            for axis in windows
        ]
        if tuple(axis.windows for axis in caffe) == sizes:
            break
    else:
        raise node.make_error(
            f"Caffe's windows, rounded up or down, are not the node's {sizes[0]} x {sizes[1]}"
        )
    if any(axis.pad >= axis.kernel for axis in caffe):
        raise node.make_error("Caffe's padding is smaller than the kernel")
    layer = net.add("Pooling", [blob], node.outputs[0])
    given = layer.pooling_param
    given.pool = _Parameter.AVE if mean else _Parameter.MAX
    given.kernel_h, given.kernel_w = (axis.kernel for axis in caffe)
    given.stride_h, given.stride_w = (axis.stride for axis in caffe)
    given.pad_h, given.pad_w = (axis.pad for axis in caffe)
    given.round_mode = mode
    if not mean:
        return list(layer.top)
    rows, columns = (
        np.divide(axis.divisors, _compute_divisors(window, axis, counts_padding))
        for window, axis in zip(windows, caffe, strict=True)
    )
    factors = np.outer(rows, columns)
    if (factors == 1).all():
        return list(layer.top)
    scale = net.add("Scale", list(layer.top), f"{node.outputs[0]}_divisor", [factors])
    scale.scale_param.axis, scale.scale_param.num_axes = 2, 2
    return list(scale.top)


def _compute_divisors(window: WindowAxis, axis: PoolingAxis, counts_padding: bool) -> list[int]:
    """Return the node's divisors along one axis."""
    low, high = (-window.begin, window.size + window.end) if counts_padding else (0, window.size)
    starts = [number * window.stride - window.begin for number in range(axis.windows)]
    return [min(start + window.kernel, high) - max(start, low) for start in starts]


@register_converter("GlobalAveragePool", "GlobalMaxPool")
def convert_global_pooling(net: Net, node: Node) -> list[str]:
    """The maximum or the mean of each channel."""
    return list(pool_channels(net, node, node.outputs[0], "Average" in node.operator).top)


def pool_channels(net: Net, node: Node, name: str, mean: bool) -> Any:
    """Add the Pooling of whole channels; return it."""
    layer = net.add("Pooling", [net.find_blob(node, node.inputs[0])], name)
    layer.pooling_param.pool = _Parameter.AVE if mean else _Parameter.MAX
    layer.pooling_param.global_pooling = True
    return layer


@register_converter("LRN")
def convert_lrn(net: Net, node: Node) -> list[str]:
    """x / (bias + alpha * the mean of x^2)^beta, over neighbouring channels."""
    layer = net.add("LRN", [net.find_blob(node, node.inputs[0])], node.outputs[0])
    given = layer.lrn_param
    given.local_size = node.attributes["size"]
    if given.local_size % 2 == 0:
        raise node.make_error("Caffe takes an odd number of channels")
    given.alpha = node.attributes.get("alpha", 1e-4)
    given.beta = node.attributes.get("beta", 0.75)
    given.k = node.attributes.get("bias", 1.0)
    return list(layer.top)
