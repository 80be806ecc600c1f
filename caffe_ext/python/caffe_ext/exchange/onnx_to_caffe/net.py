"""Net: a Caffe net under construction, and where the values of the ONNX graph are in it."""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from caffe.proto import caffe_pb2
from numpy.typing import NDArray

from caffe_ext.exchange.onnx_to_caffe.graph import Node, OnnxGraph, Shape
from caffe_ext.models.base import Floats


@dataclass(frozen=True)
class Padding:
    """Zeros around a value, which the next layer must add: Caffe has no layer for padding."""

    value: str
    begins: tuple[int, ...]
    ends: tuple[int, ...]


@dataclass(eq=False)
class Net:
    """A Caffe net: its layers in order, and their weights by layer name.

    graph     the ONNX graph that it is made from
    blobs     the blob of each value of the graph
    paddings  values that are others with zeros around them, and have no blob yet
    """

    graph: OnnxGraph
    name: str
    parameter: Any = field(default_factory=caffe_pb2.NetParameter)
    weights: dict[str, list[Floats]] = field(default_factory=dict)
    blobs: dict[str, str] = field(default_factory=dict)
    paddings: dict[str, Padding] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Begin with the Input layer."""
        self.parameter.name = self.name
        layer = self.parameter.layer.add(name="data", type="Input", top=["data"])
        layer.input_param.shape.add(dim=self.graph.shapes[self.graph.entry])
        self._names.add("data")
        self.blobs[self.graph.entry] = "data"

    def add(
        self,
        kind: str,
        bottoms: list[str],
        name: str,
        weights: list[NDArray[Any]] | None = None,
        tops: int = 1,
    ) -> Any:
        """Add a layer with tops named after it; return its LayerParameter, to be filled in.

        bottoms  blobs
        weights  in Caffe's shapes
        """
        unique = self._make_unique(name)
        names = [unique] if tops == 1 else [f"{unique}_{number}" for number in range(tops)]
        layer = self.parameter.layer.add(name=unique, type=kind, bottom=bottoms, top=names)
        if weights:
            self.weights[unique] = [np.asarray(one, np.float32) for one in weights]
        return layer

    def find_constant(self, name: str) -> NDArray[Any] | None:
        """Return a value that depends on no input; None if it does."""
        return self.graph.constants.get(name)

    def require_constant(self, node: Node, number: int, default: Any = None) -> Any:
        """Return an input of a node that must be a constant; `default` if it is left out."""
        if number >= len(node.inputs) or not node.inputs[number]:
            return default
        found = self.find_constant(node.inputs[number])
        if found is None:
            raise node.make_error(f"its input {number} is computed from the images")
        return found

    def find_shape(self, node: Node, value: str) -> Shape:
        """Return the shape of a value, for one image."""
        constant = self.find_constant(value)
        if constant is not None:
            return constant.shape
        shape = self.graph.shapes.get(value, (0,))
        if 0 in shape:
            raise node.make_error(f"the shape of '{value}' is not known")
        return shape

    def find_blob(self, node: Node, value: str) -> str:
        """Return the blob of a value that depends on the images."""
        if value in self.paddings:
            raise node.make_error("its input is padded with zeros, for which Caffe has no layer")
        if value not in self.blobs:
            raise node.make_error(f"its input '{value}' does not depend on the images")
        return self.blobs[value]

    def _make_unique(self, name: str) -> str:
        """Return a name in characters that every format accepts, and that no layer has yet."""
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_") or "layer"
        number, unique = 1, plain
        while unique in self._names:
            number += 1
            unique = f"{plain}_{number}"
        self._names.add(unique)
        return unique
