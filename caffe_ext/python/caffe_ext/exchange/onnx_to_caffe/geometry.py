"""The attributes of ONNX operators with windows: kernel, strides, dilations, pads."""

from dataclasses import dataclass

from caffe_ext.exchange.onnx_to_caffe.graph import Node, Shape
from caffe_ext.exchange.onnx_to_caffe.net import Net


@dataclass(frozen=True)
class WindowAxis:
    """One axis of an image: begin and end are the numbers of zeros on its sides."""

    size: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    end: int


def compute_window_axes(net: Net, node: Node, kernel: Shape) -> tuple[WindowAxis, ...]:
    """Return the geometry of a node whose first input is (N, C, ...)."""
    sizes, spatial = net.find_shape(node, node.inputs[0])[2:], len(kernel)
    strides = node.attributes.get("strides", [1] * spatial)
    dilations = node.attributes.get("dilations", [1] * spatial)
    pads = list(node.attributes.get("pads", [0] * 2 * spatial))
    automatic = bytes(node.attributes.get("auto_pad", b"NOTSET")).decode()
    if automatic not in ("NOTSET", "VALID"):
        pads = _compute_same_pads(sizes, kernel, strides, dilations, automatic == "SAME_LOWER")
    return tuple(
        WindowAxis(sizes[i], kernel[i], strides[i], dilations[i], pads[i], pads[spatial + i])
        for i in range(spatial)
    )


def _compute_same_pads(
    sizes: Shape, kernel: Shape, strides: Shape, dilations: Shape, lower: bool
) -> list[int]:
    """Return the pads with which there are ceil(size / stride) windows, as ONNX defines them."""
    begins, ends = [], []
    for size, side, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        extent = (side - 1) * dilation + 1
        total = max(0, (-(-size // stride) - 1) * stride + extent - size)
        begins.append(total - total // 2 if lower else total // 2)
        ends.append(total - begins[-1])
    return begins + ends
