"""Layers that join, cut, repeat, sum and reshape."""

from caffe.proto import caffe_pb2

from caffe_ext.exchange.caffe_to_onnx.graph import Graph
from caffe_ext.exchange.caffe_to_onnx.network import CaffeLayer
from caffe_ext.exchange.caffe_to_onnx.registry import make_error, read_single, register_converter

Values = list[str]


@register_converter("Concat")
def convert_concat(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """The bottoms, concatenated."""
    given = layer.parameter.concat_param
    axis = given.concat_dim if given.HasField("concat_dim") else layer.resolve_axis(given.axis)
    _refuse_image_axis(layer, axis)
    return [graph.add("Concat", inputs, layer.tops[0], axis=axis)]


@register_converter("Slice")
def convert_slice(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """Parts of the bottom."""
    given = layer.parameter.slice_param
    axis = given.slice_dim if given.HasField("slice_dim") else layer.resolve_axis(given.axis)
    _refuse_image_axis(layer, axis)
    sizes = graph.add_integers(f"{layer.name}.sizes", [shape[axis] for shape in layer.top_shapes])
    return graph.add_several("Split", [inputs[0], sizes], layer.tops, axis=axis)


@register_converter("Crop")
def convert_crop(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """The part of the first bottom that has the size of the second, from an axis on."""
    given = layer.parameter.crop_param
    first = layer.resolve_axis(given.axis)
    _refuse_image_axis(layer, first)
    axes = range(first, len(layer.bottom_shapes[0]))
    offsets = list(given.offset) or [0]
    starts = offsets * len(axes) if len(offsets) == 1 else offsets
    ends = [start + layer.bottom_shapes[1][axis] for start, axis in zip(starts, axes, strict=True)]
    numbers = {"starts": starts, "ends": ends, "axes": list(axes)}
    constants = [
        graph.add_integers(f"{layer.name}.{name}", these) for name, these in numbers.items()
    ]
    return [graph.add("Slice", [inputs[0], *constants], layer.tops[0])]


@register_converter("Flatten", "Reshape")
def convert_reshape(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """The same values in another shape; the batch axis stays."""
    read_single(None, layer)
    shape = graph.add_integers(f"{layer.name}.shape", [0, *layer.top_shapes[0][1:]])
    return [graph.add("Reshape", [inputs[0], shape], layer.tops[0])]


@register_converter("Tile")
def convert_tile(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """The bottom, repeated along an axis."""
    given = read_single(layer.parameter.tile_param, layer)
    axis = layer.resolve_axis(given.axis)
    _refuse_image_axis(layer, axis)
    repeats = [1] * len(layer.bottom_shapes[0])
    repeats[axis] = given.tiles
    return [
        graph.add(
            "Tile", [inputs[0], graph.add_integers(f"{layer.name}.tiles", repeats)], layer.tops[0]
        )
    ]


@register_converter("Reduction")
def convert_reduction(graph: Graph, layer: CaffeLayer, inputs: Values) -> Values:
    """coeff times a sum or mean over the axes from `axis` on."""
    given = read_single(layer.parameter.reduction_param, layer)
    first = layer.resolve_axis(given.axis)
    _refuse_image_axis(layer, first)
    axes = list(range(first, len(layer.bottom_shapes[0])))
    operations = caffe_pb2.ReductionParameter
    operator = {
        operations.SUM: "ReduceSum",
        operations.ASUM: "ReduceL1",
        operations.SUMSQ: "ReduceSumSquare",
        operations.MEAN: "ReduceMean",
    }[given.operation]
    name = f"{layer.name}.reduced"
    if operator == "ReduceSum":  # the first for which the axes became an input
        along = graph.add_integers(f"{layer.name}.axes", axes)
        value = graph.add(operator, [inputs[0], along], name, keepdims=0)
    else:
        value = graph.add(operator, inputs, name, axes=axes, keepdims=0)
    return [graph.scale(value, given.coeff, layer.tops[0])]


def _refuse_image_axis(layer: CaffeLayer, axis: int) -> None:
    if axis == 0:
        raise make_error(layer, "its axis is the batch axis")
