"""What versions of protobuf say in different ways about a field of a message."""

from google.protobuf.descriptor import FieldDescriptor

_LABEL_REPEATED = 3


def is_repeated(field: FieldDescriptor) -> bool:
    """Tell whether a field holds a list of values."""
    known = getattr(field, "is_repeated", None)  # from protobuf 6.31 on, which deprecates label
    return getattr(field, "label", None) == _LABEL_REPEATED if known is None else bool(known)
