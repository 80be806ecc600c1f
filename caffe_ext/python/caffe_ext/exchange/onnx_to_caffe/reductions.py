"""Sums, means and maxima over axes."""

from caffe.proto import caffe_pb2

from caffe_ext.exchange.onnx_to_caffe.graph import Node
from caffe_ext.exchange.onnx_to_caffe.net import Net
from caffe_ext.exchange.onnx_to_caffe.pooling import pool_channels
from caffe_ext.exchange.onnx_to_caffe.registry import register_converter
from caffe_ext.exchange.onnx_to_caffe.shape import reshape_to

_Parameter = caffe_pb2.ReductionParameter
_OPERATIONS = {
    "ReduceMean": _Parameter.MEAN,
    "ReduceSum": _Parameter.SUM,
    "ReduceL1": _Parameter.ASUM,
    "ReduceSumSquare": _Parameter.SUMSQ,
}


@register_converter("ReduceMax", *_OPERATIONS)
def convert_reduction(net: Net, node: Node) -> list[str]:
    """Over rows and columns, Pooling of whole channels; over all trailing axes, a Reduction."""
    rank = len(net.find_shape(node, node.inputs[0]))
    given = net.require_constant(node, 1, node.attributes.get("axes", range(rank)))
    axes = sorted(int(axis) % rank for axis in given)
    name = f"{node.outputs[0]}_reduced"
    if axes == [2, 3] and rank == 4 and node.operator in ("ReduceMean", "ReduceMax"):
        layer = pool_channels(net, node, name, node.operator == "ReduceMean")
    elif axes[0] > 0 and axes == list(range(axes[0], rank)) and node.operator in _OPERATIONS:
        layer = net.add("Reduction", [net.find_blob(node, node.inputs[0])], name)
        layer.reduction_param.axis = axes[0]
        layer.reduction_param.operation = _OPERATIONS[node.operator]
    else:
        raise node.make_error(f"Caffe cannot reduce the axes {axes} of {rank}")
    return [reshape_to(net, node, layer.top[0])]
