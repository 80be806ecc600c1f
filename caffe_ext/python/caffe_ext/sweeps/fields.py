"""Fields of a solver by dotted path, such as bang_param.beta: found, checked and set."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from caffe.proto import caffe_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from caffe_ext.reporting import suggest
from caffe_ext.storage.protobuf_field import is_repeated

# What a point does not depend on, or what the sweep sets itself.
OWN: Mapping[str, str] = {
    **dict.fromkeys(("net", "train_net", "test_net"), "use the axis `net`"),
    **dict.fromkeys(
        ("net_param", "train_net_param", "test_net_param"),
        "the networks are files",
    ),
    **dict.fromkeys(
        ("snapshot", "snapshot_prefix", "snapshot_format", "snapshot_after_train"),
        "a point is computed in one piece and keeps its last weights",
    ),
    **dict.fromkeys(
        ("test_iter", "test_interval", "test_initialization", "test_compute_loss", "test_state"),
        "the trained network is measured by `evaluation:`",
    ),
    **dict.fromkeys(("solver_mode", "device_id"), "use --gpu"),
    "weights": "a sweep trains from scratch",
    "bang_param.diagnostics_csv": "a point keeps its figures and weights, and no other files",
}

_WHOLE = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64),
}


def check_field(path: str, value: Any) -> None:
    """Raise ValueError as set_field() does, for a field of a solver and a value of it."""
    set_field(caffe_pb2.SolverParameter(), path, value)


def set_field(message: Message, path: str, value: Any) -> None:
    """Set a field to a value read from YAML; a list replaces a repeated field as a whole.

    Raises ValueError for a field that does not exist, that the sweep sets itself, or of another
    type.
    """
    *groups, name = path.split(".")
    for own in (path, path.split(".", maxsplit=1)[0]):
        if own in OWN:
            raise ValueError(f"{path} cannot be set here: {OWN[own]}")
    owner = message
    for group in groups:
        field = _find(owner.DESCRIPTOR, group, path)
        if field.message_type is None or is_repeated(field):
            raise ValueError(f"{path}: {group} has no fields that can be set by name")
        owner = getattr(owner, group)
    field = _find(owner.DESCRIPTOR, name, path)
    if field.message_type is not None:
        inner = ", ".join(f"{path}.{one.name}" for one in field.message_type.fields)
        raise ValueError(f"{path} is a group of fields; name one of them: {inner}")
    if is_repeated(field):
        if not isinstance(value, list):
            raise ValueError(f"{path} takes a list of values, not {value!r}")
        owner.ClearField(name)
        getattr(owner, name).extend([_convert(field, path, one) for one in value])
    else:
        setattr(owner, name, _convert(field, path, value))


def _find(descriptor: Any, name: str, path: str) -> FieldDescriptor:
    found: FieldDescriptor | None = descriptor.fields_by_name.get(name)
    if found is None:
        meant = suggest(name, descriptor.fields_by_name)
        raise ValueError(
            f"{path}: {descriptor.name} has no field {name!r}{f'; {meant}' if meant else ''}"
        )
    return found


def _convert(field: FieldDescriptor, path: str, value: Any) -> Any:
    """Return the value for protobuf; ValueError if it is not of the field's type."""
    if field.enum_type is not None:
        names = list(field.enum_type.values_by_name)
        if value not in names:
            raise ValueError(f"{path} must be one of {', '.join(names)}, not {value!r}")
        return value
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            raise ValueError(f"{path} must be true or false, not {value!r}")
        return value
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if not isinstance(value, str):
            raise ValueError(f"{path} must be text, not {value!r}")
        return value
    if field.cpp_type in _WHOLE:
        least, end = _WHOLE[field.cpp_type]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < end:
            raise ValueError(f"{path} must be a whole number, not {value!r}")
        return value
    return _read_number(path, value)


def _read_number(path: str, value: Any) -> float:
    """Return a number; 4e-3, which YAML reads as text, is accepted."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            pass
        else:
            if isfinite(number):
                return number
    raise ValueError(f"{path} must be a number, not {value!r}")
