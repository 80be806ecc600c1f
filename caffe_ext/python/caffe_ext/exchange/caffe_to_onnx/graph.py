"""Graph: an ONNX graph under construction."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
BATCH_NAME = "N"


class Graph:
    """Nodes and constants; each value has a unique name, after the layer that computes it."""

    def __init__(self, name: str) -> None:
        """Begin a graph."""
        self._name = name
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._names: set[str] = set()

    def add_input(self, name: str, sides: Sequence[int]) -> str:
        """Add an input (N, ...) of float32; return it."""
        value = self._make_unique(name)
        shape = [BATCH_NAME, *sides]
        self._inputs.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, shape))
        return value

    def add_output(self, name: str, value: str, sides: Sequence[int]) -> None:
        """Make a value (N, ...) an output with this name."""
        output = self.add("Identity", [value], name)
        shape = [BATCH_NAME, *sides]
        self._outputs.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))

    def add_constant(self, name: str, numbers: Any, dtype: Any = np.float32) -> str:
        """Add a constant; return it."""
        value = self._make_unique(name)
        array: NDArray[Any] = np.ascontiguousarray(numbers, dtype).reshape(np.shape(numbers))
        self._constants.append(numpy_helper.from_array(array, value))
        return value

    def add_integers(self, name: str, numbers: Sequence[int]) -> str:
        """Add a list of integers, such as a shape or axes; return it."""
        return self.add_constant(name, list(numbers), np.int64)

    def add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node with one output; return that."""
        return self.add_several(operator, inputs, [name], **attributes)[0]

    def add_several(
        self, operator: str, inputs: Sequence[str], names: Sequence[str], **attributes: Any
    ) -> list[str]:
        """Add a node; return its outputs."""
        outputs = [self._make_unique(name) for name in names]
        node = helper.make_node(operator, list(inputs), outputs, outputs[0], **attributes)
        self._nodes.append(node)
        return outputs

    def scale(self, value: str, factor: float, name: str) -> str:
        """Multiply a value by a number; for 1, return it as it is."""
        if factor == 1:
            return value
        return self.add("Mul", [value, self.add_constant(f"{name}.factor", factor)], name)

    def shift(self, value: str, number: float, name: str) -> str:
        """Add a number to a value; for 0, return it as it is."""
        if number == 0:
            return value
        return self.add("Add", [value, self.add_constant(f"{name}.number", number)], name)

    @property
    def size(self) -> int:
        """Return the number of nodes."""
        return len(self._nodes)

    def to_model(self, metadata: dict[str, str]) -> bytes:
        """Return the ONNX model; ValueError if it is too large for an ONNX file."""
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, self._constants
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="caffe_ext"
        )
        model.ir_version = IR_VERSION
        helper.set_model_props(model, metadata)
        if model.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF:
            raise ValueError("the weights are larger than an ONNX file can be, 2 GiB")
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString()
        return content

    def _make_unique(self, name: str) -> str:
        """Return a name that no value has yet."""
        number, unique = 1, name
        while unique in self._names:
            number += 1
            unique = f"{name}.{number}"
        self._names.add(unique)
        return unique
