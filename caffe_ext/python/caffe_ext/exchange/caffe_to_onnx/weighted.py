"""Layers with weights: Convolution, Deconvolution, InnerProduct."""

import numpy as np

from caffe_ext.exchange.caffe_to_onnx.graph import Graph
from caffe_ext.exchange.caffe_to_onnx.network import CaffeLayer
from caffe_ext.exchange.caffe_to_onnx.registry import make_error, read_single, register_converter
from caffe_ext.models.layer_windows import read_convolution_sides

Values = list[str]


@register_converter("Convolution", "Deconvolution")
def convert_convolution(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """A convolution, or its transpose, of each bottom, with the same weights."""
    given = layer.parameter.convolution_param
    if layer.resolve_axis(given.axis) != 1:
        raise make_error(layer, "its `axis:` is not 1, the channel axis")
    kernel = layer.weights[0].shape[2:]
    spatial = len(kernel)
    pads = read_convolution_sides(given, "pad", spatial, 0)
    attributes = {
        "kernel_shape": list(kernel),
        "pads": [*pads, *pads],
        "strides": read_convolution_sides(given, "stride", spatial, 1),
        "dilations": read_convolution_sides(given, "dilation", spatial, 1),
        "group": given.group,
    }
    constants = [
        graph.add_constant(f"{layer.name}.{name}", numbers)
        for name, numbers in zip(("weights", "bias"), layer.weights, strict=False)
    ]
    operator = "Conv" if layer.type == "Convolution" else "ConvTranspose"
    return [
        graph.add(operator, [value, *constants], top, **attributes)
        for value, top in zip(inputs, layer.tops, strict=True)
    ]


@register_converter("InnerProduct")
def convert_inner_product(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """W x + b, over the axes from `axis` on."""
    given = read_single(layer.parameter.inner_product_param, layer)
    axis, shape = layer.resolve_axis(given.axis), layer.bottom_shapes[0]
    if axis == 0:
        raise make_error(layer, "its axis is the batch axis")
    matrix = layer.weights[0] if given.transpose else layer.weights[0].T
    weights = graph.add_constant(f"{layer.name}.weights", matrix)
    value = inputs[0]
    if len(shape) != axis + 1:
        rows = graph.add_integers(f"{layer.name}.shape", [*[0] * axis, int(np.prod(shape[axis:]))])
        value = graph.add("Reshape", [value, rows], f"{layer.name}.rows")
    shifts = [graph.add_constant(f"{layer.name}.bias", one) for one in layer.weights[1:]]
    if axis == 1:
        return [graph.add("Gemm", [value, weights, *shifts], layer.tops[0])]
    product = graph.add("MatMul", [value, weights], layer.tops[0])
    return [graph.add("Add", [product, *shifts], layer.tops[0]) if shifts else product]
