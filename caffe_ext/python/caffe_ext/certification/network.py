"""BoundableNetwork: a Caffe net as the layers that can be bounded, and how it is read.

    network = read_network(description)

Convolution (group, stride, pad, dilation), InnerProduct, ReLU, Pooling (maximum, average),
BatchNorm with stored statistics, Scale, Bias, Flatten, Eltwise SUM. Dropout, which does nothing in
inference, and what follows the logits are left out. Anything else is refused by name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from caffe.proto import caffe_pb2

from caffe_ext.certification.layers import (
    AveragePooling,
    ChannelScale,
    Convolution,
    Flatten,
    InnerProduct,
    Layer,
    MaxPooling,
    Relu,
    Shape,
)
from caffe_ext.certification.windows import Doubles, SlidingKernel
from caffe_ext.models.description import ModelDescription
from caffe_ext.models.files import load_net, read_built_layers
from caffe_ext.models.layer_windows import read_convolution_sides, read_pooling_axes
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.models.smoothed_description import SmoothedDescription

_NOTHING = ("Dropout", "Split")


@dataclass(frozen=True, eq=False)
class Node:
    """A blob's value, computed by its layer from earlier nodes; the input has none.

    layer         None: the input, or the sum of the bottoms
    coefficients  of the sum, one per bottom
    """

    name: str
    shape: Shape
    layer: Layer | None = None
    bottoms: tuple[int, ...] = ()
    coefficients: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class BoundableNetwork:
    """Nodes in the order in which they are computed, the input first and the logits last.

    name  the model's, for messages
    """

    nodes: tuple[Node, ...]
    pixel_space: PixelSpace
    name: str = ""

    @property
    def classes(self) -> int:
        """Return K."""
        return self.nodes[-1].shape[0]


class UnboundableError(ValueError):
    """A net with a layer that cannot be bounded."""


def read_network(description: LoadableModel) -> BoundableNetwork:
    """Return the net of a model.

    Raises UnboundableError naming the layer that cannot be bounded, and for a committee or a
    smoothed net, which are not one net; and what load_net raises.
    """
    if isinstance(description, SmoothedDescription):
        raise UnboundableError(
            f"{description.name}: bounds are those of the network itself, and this is its vote on "
            "noisy copies; take `smoothing:` out of its file, or certify it by `caffe-ext evaluate "
            "--certify smoothing`"
        )
    if not isinstance(description, ModelDescription):
        raise UnboundableError(
            f"{description.name}: bounds are those of one network, and this is several; name one, "
            "or certify all together by `caffe-ext certify smoothing`"
        )
    model = description.load(1)
    net = load_net(description.deploy, description.weights)
    reader = _Reader(net, model.input_shape, f"{description.deploy}")
    for layer, built in read_built_layers(net):
        reader.add(layer, built)
    logits = reader.current[model.logits_blob]
    if isinstance(logits, UnboundableError):
        raise logits
    nodes = tuple(reader.nodes[: logits + 1])
    if nodes[-1].shape != (model.classes, 1, 1):
        raise UnboundableError(
            f"{description.deploy}: the logits '{model.logits_blob}' are {nodes[-1].shape}; bounds "
            "need a score for each of two or more classes"
        )
    return BoundableNetwork(nodes, description.pixel_space, description.name)


class _Reader:
    """Turns layers into nodes, one after another.

    current  by blob name, its current node, or why it cannot be bounded
    """

    def __init__(self, net: Any, input_shape: Shape, where: str) -> None:
        self.net, self.where = net, where
        self.nodes = [Node("input", input_shape)]
        self.current: dict[str, int | UnboundableError] = {}

    def add(self, layer: Any, built: Any) -> None:
        """Append a layer's node; what depends on a layer without bounds has none either.

        built  the caffe.Layer
        """
        found: int | UnboundableError
        self._blobs = built.blobs
        try:
            found = self._add_node(layer)
        except UnboundableError as error:
            found = error
        for top in layer.top:
            self.current[top] = found

    def refuse(self, layer: Any, why: str) -> NoReturn:
        """Raise UnboundableError."""
        known = ", ".join(sorted([*_MAKERS, *_NOTHING, "Eltwise"]))
        raise UnboundableError(
            f"{self.where}: layer '{layer.name}' ({layer.type}) cannot be bounded: {why}; layers "
            f"that can: {known}"
        )

    def read_blobs(self, layer: Any) -> list[Doubles]:
        """Return a layer's parameters."""
        return [np.array(blob.data, np.float64) for blob in self._blobs]

    def read_shape(self, layer: Any) -> Shape:
        """Return the shape of a layer's top, for one image."""
        dims = tuple(self.net.blobs[layer.top[0]].shape)[1:]
        if not 1 <= len(dims) <= 3:
            self.refuse(layer, f"its top has {len(dims) + 1} axes")
        sides = [*dims, 1, 1]
        return sides[0], sides[1], sides[2]

    def _add_node(self, layer: Any) -> int:
        """Return the number of the node that a layer makes."""
        if layer.type == "Input":
            return 0
        bottoms = []
        for bottom in layer.bottom:
            number = self.current[bottom]
            if isinstance(number, UnboundableError):
                raise number
            bottoms.append(number)
        if layer.type in _NOTHING:
            return bottoms[0]
        if len(layer.top) != 1:
            self.refuse(layer, f"it has {len(layer.top)} tops")
        if layer.type == "Eltwise":
            node = self._make_sum(layer, tuple(bottoms))
        elif layer.type in _MAKERS:
            made = _MAKERS[layer.type](self, layer, self.nodes[bottoms[0]].shape)
            node = Node(layer.name, self.read_shape(layer), made, (bottoms[0],))
        else:
            self.refuse(layer, "its type is not among them")
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _make_sum(self, layer: Any, bottoms: tuple[int, ...]) -> Node:
        param = layer.eltwise_param
        if param.operation != caffe_pb2.EltwiseParameter.SUM:
            self.refuse(layer, "only its operation SUM can")
        coefficients = tuple(param.coeff) or (1.0,) * len(bottoms)
        return Node(layer.name, self.nodes[bottoms[0]].shape, None, bottoms, coefficients)


def _read_pair(param: Any, name: str, default: int) -> tuple[int, int]:
    """Return a convolution's setting for height and width."""
    height, width = read_convolution_sides(param, name, 2, default)
    return height, width


def _read_convolution(reader: _Reader, layer: Any, shape: Shape) -> Layer:
    param = layer.convolution_param
    weights, *bias = reader.read_blobs(layer)
    if weights.ndim != 4 or param.axis != 1:
        reader.refuse(layer, "only one over height and width can")
    sliding = SlidingKernel(
        shape,
        (weights.shape[2], weights.shape[3]),
        _read_pair(param, "stride", 1),
        _read_pair(param, "pad", 0),
        reader.read_shape(layer)[1:],
        _read_pair(param, "dilation", 1),
    )
    return Convolution(
        shape, weights, bias[0] if bias else np.zeros(len(weights)), sliding, param.group
    )


def _read_inner_product(reader: _Reader, layer: Any, shape: Shape) -> Layer:
    param = layer.inner_product_param
    weights, *bias = reader.read_blobs(layer)
    if param.axis != 1:
        reader.refuse(layer, "only axis 1 can")
    weights = weights.T if param.transpose else weights
    return InnerProduct(shape, weights, bias[0] if bias else np.zeros(len(weights)))


def _read_relu(reader: _Reader, layer: Any, shape: Shape) -> Layer:
    if layer.relu_param.negative_slope:
        reader.refuse(layer, "only negative_slope 0 can")
    return Relu(shape)


def _read_pooling(reader: _Reader, layer: Any, shape: Shape) -> Layer:
    param = layer.pooling_param
    rows, columns = read_pooling_axes(param, *shape[1:])
    sliding = SlidingKernel(
        shape,
        (rows.kernel, columns.kernel),
        (rows.stride, columns.stride),
        (rows.pad, columns.pad),
        reader.read_shape(layer)[1:],
    )
    if param.pool == caffe_pb2.PoolingParameter.MAX:
        return MaxPooling(shape, sliding)
    if param.pool != caffe_pb2.PoolingParameter.AVE:
        reader.refuse(layer, "only MAX and AVE can")
    divisors = np.multiply.outer(rows.divisors, columns.divisors).astype(np.float64)
    return AveragePooling(shape, sliding, divisors)


def _read_batch_norm(reader: _Reader, layer: Any, shape: Shape) -> Layer:
    param = layer.batch_norm_param
    if param.HasField("use_global_stats") and not param.use_global_stats:
        reader.refuse(layer, "only with global statistics can it")
    mean, variance, total = (blob.ravel() for blob in reader.read_blobs(layer))
    count = 1 / total[0] if total[0] else 0.0
    scale = 1 / np.sqrt(variance * count + param.eps)
    return ChannelScale(shape, scale, -mean * count * scale)


def _read_scale(reader: _Reader, layer: Any, shape: Shape) -> Layer:
    factors, *bias = reader.read_blobs(layer)
    if len(layer.bottom) > 1 or layer.scale_param.axis != 1 or factors.shape != shape[:1]:
        reader.refuse(layer, "only a number for each channel can")
    return ChannelScale(shape, factors, bias[0] if bias else np.zeros(shape[0]))


def _read_bias(reader: _Reader, layer: Any, shape: Shape) -> Layer:
    if len(layer.bottom) > 1 or layer.bias_param.axis != 1:
        reader.refuse(layer, "only a number for each channel can")
    (bias,) = reader.read_blobs(layer)
    if bias.shape != shape[:1]:
        reader.refuse(layer, "only a number for each channel can")
    return ChannelScale(shape, np.ones(shape[0]), bias)


def _read_flatten(reader: _Reader, layer: Any, shape: Shape) -> Layer:
    if layer.flatten_param.axis != 1 or reader.read_shape(layer)[1:] != (1, 1):
        reader.refuse(layer, "only all axes behind the first can")
    return Flatten(shape)


_MAKERS: dict[str, Callable[[_Reader, Any, Shape], Layer]] = {
    "Convolution": _read_convolution,
    "InnerProduct": _read_inner_product,
    "ReLU": _read_relu,
    "Pooling": _read_pooling,
    "BatchNorm": _read_batch_norm,
    "Scale": _read_scale,
    "Bias": _read_bias,
    "Flatten": _read_flatten,
}
