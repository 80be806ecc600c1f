"""Operators that join, cut and reshape."""

from typing import Any

import numpy as np

from caffe_ext.exchange.onnx_to_caffe.graph import BATCH, Node
from caffe_ext.exchange.onnx_to_caffe.net import Net
from caffe_ext.exchange.onnx_to_caffe.registry import register_converter

_WHOLE = 2**31 - 1


@register_converter("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def convert_reshape(net: Net, node: Node) -> list[str]:
    """The same values in another shape."""
    return [reshape_to(net, node, net.find_blob(node, node.inputs[0]))]


@register_converter("Transpose")
def convert_transpose(net: Net, node: Node) -> list[str]:
    """A permutation of the axes, only if no value changes its place in memory."""
    shape = net.find_shape(node, node.inputs[0])
    order = node.attributes.get("perm", range(len(shape))[::-1])
    moved = [axis for axis in order if shape[axis] != 1]
    if moved != sorted(moved) or order[0] != 0:
        raise node.make_error("Caffe has no layer that exchanges axes")
    return [reshape_to(net, node, net.find_blob(node, node.inputs[0]))]


def reshape_to(net: Net, node: Node, blob: str) -> str:
    """Give a blob the shape of the node's output, any number of images; return the new blob."""
    shape = net.find_shape(node, node.outputs[0])
    if shape == net.find_shape(node, node.inputs[0]):
        return blob
    if not shape or shape[0] != BATCH:
        raise node.make_error(f"{list(shape)} does not begin with the batch axis")
    # Never a Flatten: after a Reshape, Caffe's loses the gradient.
    layer = net.add("Reshape", [blob], node.outputs[0])
    layer.reshape_param.shape.dim.extend([0, *shape[1:]])
    return str(layer.top[0])


@register_converter("Concat")
def convert_concat(net: Net, node: Node) -> list[str]:
    """The inputs, concatenated."""
    rank = len(net.find_shape(node, node.outputs[0]))
    blobs = [net.find_blob(node, value) for value in node.inputs]
    layer = net.add("Concat", blobs, node.outputs[0])
    layer.concat_param.axis = _resolve_axis(node, node.attributes["axis"], rank)
    return list(layer.top)


@register_converter("Tile")
def convert_tile(net: Net, node: Node) -> list[str]:
    """The input, repeated along axes."""
    times = [int(number) for number in net.require_constant(node, 1)]
    blob = net.find_blob(node, node.inputs[0])
    for axis, tiles in enumerate(times):
        if tiles > 1:
            layer = net.add("Tile", [blob], node.outputs[0])
            layer.tile_param.axis = _resolve_axis(node, axis, len(times))
            layer.tile_param.tiles = tiles
            blob = layer.top[0]
    return [blob]


@register_converter("Split")
def convert_split(net: Net, node: Node) -> list[str]:
    """Parts of the input."""
    rank = len(net.find_shape(node, node.inputs[0]))
    axis = _resolve_axis(node, node.attributes.get("axis", 0), rank)
    sizes = [net.find_shape(node, value)[axis] for value in node.outputs]
    return _cut(net, net.find_blob(node, node.inputs[0]), node.outputs[0], axis, sizes)


@register_converter("Slice")
def convert_slice(net: Net, node: Node) -> list[str]:
    """A run of whole rows, columns or channels."""
    shape = net.find_shape(node, node.inputs[0])
    starts = net.require_constant(node, 1, node.attributes.get("starts"))
    ends = net.require_constant(node, 2, node.attributes.get("ends"))
    axes = net.require_constant(node, 3, node.attributes.get("axes", range(len(starts))))
    steps = net.require_constant(node, 4, [1] * len(starts))
    blob = net.find_blob(node, node.inputs[0])
    for start, end, one, step in zip(starts, ends, axes, steps, strict=True):
        if step != 1:
            raise node.make_error("Caffe slices in steps of one only")
        axis = int(one) % len(shape)
        first, last, _ = slice(int(start), min(int(end), _WHOLE)).indices(shape[axis])
        if (first, last) != (0, shape[axis]):
            sizes = [first, last - first, shape[axis] - last]
            blob = _cut_part(net, node, blob, _resolve_axis(node, axis, len(shape)), sizes)
    return [blob]


@register_converter("Gather")
def convert_gather(net: Net, node: Node) -> list[str]:
    """Channels, rows or columns in another order."""
    shape, order = net.find_shape(node, node.inputs[0]), net.require_constant(node, 1)
    axis = _resolve_axis(node, node.attributes.get("axis", 0), len(shape))
    indices = np.asarray(order).reshape(-1) % shape[axis]
    blob = net.find_blob(node, node.inputs[0])
    if len(indices) == 1:
        sizes = [int(indices[0]), 1, shape[axis] - int(indices[0]) - 1]
        return [reshape_to(net, node, _cut_part(net, node, blob, axis, sizes))]
    if order.ndim != 1 or sorted(indices) != list(range(shape[axis])):
        raise node.make_error("Caffe can take only one, or all of them in another order")
    parts = _cut(net, blob, f"{node.outputs[0]}_part", axis, [1] * shape[axis])
    layer = net.add("Concat", [parts[index] for index in indices], node.outputs[0])
    layer.concat_param.axis = axis
    return list(layer.top)


def _resolve_axis(node: Node, axis: Any, rank: int) -> int:
    """Return an axis counted from the front; ValueError for the batch axis."""
    if int(axis) % rank == 0:
        raise node.make_error("it works along the batch axis")
    return int(axis) % rank


def _cut(net: Net, blob: str, name: str, axis: int, sizes: list[int]) -> list[str]:
    """Add a Slice layer; return its tops."""
    if len(sizes) == 1:
        return [blob]
    layer = net.add("Slice", [blob], name, tops=len(sizes))
    layer.slice_param.axis = axis
    layer.slice_param.slice_point.extend(int(point) for point in np.cumsum(sizes)[:-1])
    return list(layer.top)


def _cut_part(net: Net, node: Node, blob: str, axis: int, sizes: list[int]) -> str:
    """Return the middle one of three parts; the others may be empty."""
    if sizes[1] <= 0:
        raise node.make_error("nothing is left")
    wanted = int(sizes[0] > 0)
    tops = _cut(net, blob, f"{node.outputs[0]}_cut", axis, [size for size in sizes if size])
    unused = [top for number, top in enumerate(tops) if number != wanted]
    if unused:
        silence = net.add("Silence", unused, f"{node.outputs[0]}_rest")
        silence.ClearField("top")
    return tops[wanted]
