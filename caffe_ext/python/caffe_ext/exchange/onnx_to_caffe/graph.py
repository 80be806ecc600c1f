"""An ONNX graph with known shapes: what depends on no input is computed, the rest become nodes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from caffe_ext.reporting import list_names
from caffe_ext.storage.regular_file import require_regular_file

Shape = tuple[int, ...]

BATCH = 1
"""The number of images that shapes are for."""
_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True, eq=False)
class Node:
    """One node: its operator, the names of its values, and its attributes."""

    name: str
    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]

    def make_error(self, why: str) -> ValueError:
        """Return the error about a node for which Caffe has no layers."""
        return ValueError(f"node '{self.name}' ({self.operator}) cannot be imported: {why}")


@dataclass(frozen=True, eq=False)
class OnnxGraph:
    """The part of a graph that one output depends on.

    nodes      in order, without those that depend on no input
    constants  the values that depend on no input
    shapes     of all other values, for one image
    entry      the input
    output     the output
    opset      the version of the operators
    content    the whole file, as ONNX Runtime takes it
    free_batch whether it takes any number of images
    metadata   of the file
    """

    nodes: list[Node]
    constants: dict[str, NDArray[Any]]
    shapes: dict[str, Shape]
    entry: str
    output: str
    opset: int
    content: bytes
    free_batch: bool
    metadata: dict[str, str]


def read_graph(path: Path, output: str | None = None, sides: Shape | None = None) -> OnnxGraph:
    """Read an ONNX file.

    output  name of the output with the scores; by default the only one
    sides   (C, H, W) of the images, if the file leaves it open

    Raises OSError, and ValueError saying what cannot be used: a file that is not an ONNX model,
    more than one input, open shapes, operators of other domains.
    """
    require_regular_file(path)
    try:
        model = onnx.load(str(path))  # with weights in separate files, if there are any
        onnx.checker.check_model(model)
        content = model.SerializeToString()
    except (DecodeError, EncodeError, onnx.checker.ValidationError, ValueError) as error:
        reason = " ".join(f"{error}".split())
        raise ValueError(f"{path} is not an ONNX model: {reason}") from error
    opset = max([one.version for one in model.opset_import if one.domain in _STANDARD] or [1])
    weights = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in weights]
    if len(inputs) != 1:
        names = list_names(one.name for one in inputs) or "none"
        raise ValueError(f"{path} must have one input, the images; it has {names}")
    outputs = [one.name for one in model.graph.output]
    if output is None and len(outputs) > 1:
        names = list_names(outputs)
        raise ValueError(f"{path} has several outputs; --scores names one of {names}")
    if output is not None and output not in outputs:
        raise ValueError(f"{path} has no output '{output}'; there are {list_names(outputs)}")
    free_batch = _fix_shape(path, inputs[0], sides)
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        reason = " ".join(f"{error}".split())
        raise ValueError(f"{path}: its shapes do not match: {reason}") from error
    constants = {one.name: _read_weights(path, one) for one in model.graph.initializer}
    shapes = {
        one.name: tuple(side.dim_value for side in one.type.tensor_type.shape.dim)
        for one in [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
    }
    nodes = _fold(path, model, constants, shapes, opset)
    wanted, needed = {output or outputs[0]}, []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            needed.append(node)
    if not needed:
        raise ValueError(f"{path} has no operators between the images and the scores")
    return OnnxGraph(
        needed[::-1],
        constants,
        shapes,
        inputs[0].name,
        output or outputs[0],
        opset,
        content,
        free_batch,
        {one.key: one.value for one in model.metadata_props},
    )


def _read_weights(path: Path, tensor: Any) -> NDArray[Any]:
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (LookupError, TypeError, ValueError) as error:
        kind = f"type {tensor.data_type} and shape {list(tensor.dims)}"
        raise ValueError(f"{path}: the weights '{tensor.name}' of {kind} cannot be read") from error


def _fix_shape(path: Path, entry: Any, sides: Shape | None) -> bool:
    """Set the input's shape to one image; return whether the number of images was open."""
    dims = entry.type.tensor_type.shape.dim
    if len(dims) != 4 or entry.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise ValueError(f"{path}: the input '{entry.name}' must be float32 (N, C, H, W)")
    known = [dim.dim_value for dim in dims]
    if sides is not None:
        if any(side not in (0, given) for side, given in zip(known[1:], sides, strict=True)):
            raise ValueError(f"{path}: the images are {known[1:]}, not {list(sides)}")
        known[1:] = sides
    if 0 in known[1:]:
        raise ValueError(
            f"{path}: the size of the images is variable; give it with --shape C,H,W, such as "
            "3,224,224"
        )
    free = bool(known[0] == 0)
    for dim, side in zip(dims, [BATCH, *known[1:]], strict=True):
        dim.dim_value = side
    if known[0] > BATCH:
        raise ValueError(
            f"{path} takes {known[0]} images at a time; export it with a variable batch size, "
            "or with one"
        )
    return free


def _fold(
    path: Path,
    model: Any,
    constants: dict[str, NDArray[Any]],
    shapes: dict[str, Shape],
    opset: int,
) -> list[Node]:
    """Compute what depends on no input, including shapes of values; return the other nodes."""
    nodes = []
    for number, one in enumerate(model.graph.node):
        node = Node(
            one.name or (one.output[0] if one.output else f"{number}"),
            one.op_type,
            list(one.input),
            list(one.output),
            {given.name: helper.get_attribute_value(given) for given in one.attribute},
        )
        if one.domain not in _STANDARD:
            raise ValueError(f"{path}: {node.make_error(f'its domain is {one.domain}')}")
        if node.operator == "Shape" and 0 not in shapes.get(node.inputs[0], (0,)):
            start, end = node.attributes.get("start", 0), node.attributes.get("end")
            constants[node.outputs[0]] = np.array(shapes[node.inputs[0]][start:end], np.int64)
        elif _is_constant(one, constants):
            try:
                values = _evaluate(one, constants, opset)
            except Exception as error:  # of any kind that the operator's reference raises
                why = " ".join(f"it cannot be computed: {error}".split())
                raise ValueError(f"{path}: {node.make_error(why)}") from error
            constants.update(zip(node.outputs, values, strict=False))
        else:
            nodes.append(node)
    return nodes


def _is_constant(node: Any, constants: dict[str, NDArray[Any]]) -> bool:
    """Tell whether a node depends on constants only; graphs inside it may use any value."""
    graphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    return all(name in constants or not name for name in node.input) and not any(
        given.type in graphs for given in node.attribute
    )


def _evaluate(node: Any, constants: dict[str, NDArray[Any]], opset: int) -> list[NDArray[Any]]:
    given = {name: constants[name] for name in node.input if name}
    inputs = [helper.make_tensor_value_info(name, 0, None) for name in given]
    outputs = [helper.make_tensor_value_info(name, 0, None) for name in node.output]
    graph = helper.make_graph([node], "constant", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, given)]
