"""Prototxt as Caffe's users write it: a field on a line, short messages on one line."""

from collections.abc import Mapping
from typing import Any

from caffe.proto import caffe_pb2
from google.protobuf import message_factory, text_format
from google.protobuf.message import Message

from caffe_ext.storage.protobuf_field import is_repeated

_WIDTH = 96


def format_network(name: str, parts: Mapping[str, list[Any]], heading: str) -> str:
    """Return a prototxt.

    parts    layers (LayerParameter) by the comment above them; without one if it is empty
    heading  the comment at the top, without #
    """
    lines = [f"# {line}".rstrip() for line in heading.splitlines()]
    if name:
        lines.append(f'name: "{name}"')
    for comment, layers in parts.items():
        if comment:
            lines += ["", *(f"# {line}" for line in comment.splitlines())]
        for layer in layers:
            lines += _format_message("layer", layer, 0)
    return "\n".join(lines) + "\n"


def parse_layer(text: str) -> Any:
    """Return a LayerParameter."""
    return text_format.Parse(text, caffe_pb2.LayerParameter())


def _format_message(name: str, message: Message, depth: int) -> list[str]:
    """Return the lines of a message."""
    indent = "  " * depth
    short = text_format.MessageToString(message, as_one_line=True).strip()
    line = f"{indent}{name} {{ {short} }}" if short else f"{indent}{name} {{ }}"
    if depth and len(line) <= _WIDTH:
        return [line]
    lines = [f"{indent}{name} {{"]
    for field, value in message.ListFields():
        for one in value if is_repeated(field) else [value]:
            if field.message_type:
                lines += _format_message(field.name, one, depth + 1)
            else:
                lines.append(f"{indent}  {field.name}: {_format_value(field, one)}")
    return [*lines, f"{indent}}}"]


def _format_value(field: Any, value: Any) -> str:
    """Return a field's value as in a prototxt."""
    alone = message_factory.GetMessageClass(field.containing_type)()
    if is_repeated(field):
        getattr(alone, field.name).append(value)
    else:
        setattr(alone, field.name, value)
    return text_format.MessageToString(alone, as_one_line=True).split(": ", 1)[1].strip()
