"""Pooling, with Caffe's windows, and LRN, which is built from it.

ONNX has its own ceil_mode, which runtimes interpret differently. With the end padding that Caffe's
windows need, rounding down gives exactly these windows; a factor per window corrects the divisors
of the means.
"""

import numpy as np
from caffe.proto import caffe_pb2

from caffe_ext.exchange.caffe_to_onnx.graph import Graph
from caffe_ext.exchange.caffe_to_onnx.network import CaffeLayer
from caffe_ext.exchange.caffe_to_onnx.registry import make_error, read_single, register_converter
from caffe_ext.models.layer_windows import read_pooling_axes

Values = list[str]
_Parameter = caffe_pb2.PoolingParameter


@register_converter("Pooling")
def convert_pooling(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """The maximum or the mean of windows; of the whole image with global_pooling."""
    given = read_single(layer.parameter.pooling_param, layer)
    if given.pool == _Parameter.STOCHASTIC:
        raise make_error(layer, "ONNX has no stochastic pooling")
    mean, top = given.pool == _Parameter.AVE, layer.tops[0]
    axes = read_pooling_axes(given, *layer.bottom_shapes[0][2:])
    if given.global_pooling and not any(axis.pad for axis in axes):
        return [graph.add("GlobalAveragePool" if mean else "GlobalMaxPool", inputs, top)]
    attributes = {
        "kernel_shape": [axis.kernel for axis in axes],
        "strides": [axis.stride for axis in axes],
        "pads": [*(axis.pad for axis in axes), *(axis.end_pad for axis in axes)],
    }
    if not mean:
        return [graph.add("MaxPool", inputs, top, **attributes)]
    value = graph.add("AveragePool", inputs, top, count_include_pad=1, **attributes)
    rows, columns = ([axis.kernel / divisor for divisor in axis.divisors] for axis in axes)
    factors = np.outer(rows, columns)
    if (factors == 1).all():
        return [value]
    return [graph.add("Mul", [value, graph.add_constant(f"{layer.name}.factors", factors)], top)]


@register_converter("LRN")
def convert_lrn(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """x / (k + alpha * the mean of x^2)^beta, over channels, or over windows of each (k is 1)."""
    given = read_single(layer.parameter.lrn_param, layer)
    size, alpha, beta = given.local_size, given.alpha, given.beta
    if given.norm_region == caffe_pb2.LRNParameter.ACROSS_CHANNELS:
        return [
            graph.add("LRN", inputs, layer.tops[0], size=size, alpha=alpha, beta=beta, bias=given.k)
        ]
    name = layer.name
    squares = graph.add("Mul", [inputs[0], inputs[0]], f"{name}.squares")
    mean = graph.add(
        "AveragePool",
        [squares],
        f"{name}.mean",
        kernel_shape=[size] * 2,
        pads=[size // 2] * 4,
        count_include_pad=1,
    )
    base = graph.shift(graph.scale(mean, alpha, f"{name}.scaled"), 1, f"{name}.base")
    exponent = graph.add_constant(f"{name}.exponent", -beta)
    factors = graph.add("Pow", [base, exponent], f"{name}.factors")
    return [graph.add("Mul", [inputs[0], factors], layer.tops[0])]
