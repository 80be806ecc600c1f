"""Which function converts which operator."""

from collections.abc import Callable

from caffe_ext.exchange.onnx_to_caffe.graph import Node
from caffe_ext.exchange.onnx_to_caffe.net import Net

Convert = Callable[[Net, Node], list[str]]
"""Adds the layers of a node; returns the blobs of its outputs, none for a Padding."""

CONVERTERS: dict[str, Convert] = {}


def register_converter(*operators: str) -> Callable[[Convert], Convert]:
    """Register a function for operators."""

    def register(convert: Convert) -> Convert:
        CONVERTERS.update(dict.fromkeys(operators, convert))
        return convert

    return register


def convert_node(net: Net, node: Node) -> None:
    """Add the layers of a node; ValueError, naming it and its operator, if Caffe has none."""
    convert = CONVERTERS.get(node.operator)
    if convert is None:
        raise node.make_error("Caffe has no layer for this operator")
    try:
        blobs = convert(net, node)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        if f"node '{node.name}'" in f"{error}":
            raise
        # Attributes and constants of an unexpected size, kind or number.
        why = " ".join(f"its settings or constants are not supported: {error}".split())
        raise node.make_error(why) from error
    # Further outputs, such as the mask of a Dropout, exist in training only.
    net.blobs.update(zip(node.outputs, blobs, strict=False))
