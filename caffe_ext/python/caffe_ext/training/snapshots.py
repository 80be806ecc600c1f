"""Caffe's snapshots: whether they are complete, so that training can resume from them.

A power cut can leave empty files, which are valid protobuf messages; a kill during writing leaves
half a file. This Caffe writes snapshots completely or not at all, but others may have been written
by any Caffe, on any file system.
"""

from math import prod
from pathlib import Path

import h5py
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError

from caffe_ext.storage.hdf5_file import open_hdf5
from caffe_ext.storage.regular_file import read_regular_file


def is_whole_state(state: Path) -> bool:
    """Tell whether a solver state, and the weights beside it, can be restored.

    state  NAME.solverstate; its weights are NAME.caffemodel. Or both with .h5 appended
    """
    weights = state.with_name(state.name.replace(".solverstate", ".caffemodel"))
    count = _read_history_length(state)
    learned = _count_learned_blobs(weights)
    if count is None or learned is None:
        return False
    # Each solver keeps a history of each blob that learns.
    return count > 0 or learned == 0


def is_whole_weights(weights: Path) -> bool:
    """Tell whether a file of weights has layers, and all values of their blobs."""
    return _count_learned_blobs(weights) is not None


def _read_history_length(state: Path) -> int | None:
    """Return the number of blobs in a solver's history; None for an incomplete file."""
    if state.suffix == ".h5":
        return _read_hdf5(state, "history", ("iter", "current_step"))
    message = caffe_pb2.SolverState()
    if not _parse(message, state) or not message.HasField("iter"):
        return None
    return len(message.history) if all(map(_is_complete, message.history)) else None


def _count_learned_blobs(weights: Path) -> int | None:
    """Return the number of blobs in a file of weights; None for an incomplete one."""
    if weights.suffix == ".h5":
        return _read_hdf5(weights, "data", ())
    message = caffe_pb2.NetParameter()
    if not _parse(message, weights):
        return None
    layers = [*message.layer, *message.layers]
    blobs = [blob for layer in layers for blob in layer.blobs]
    return len(blobs) if layers and all(map(_is_complete, blobs)) else None


def _parse(message: caffe_pb2.SolverState | caffe_pb2.NetParameter, path: Path) -> bool:
    try:
        message.ParseFromString(read_regular_file(path))
    except (OSError, DecodeError):
        return False
    else:
        return True


def _is_complete(blob: caffe_pb2.BlobProto) -> bool:
    """Tell whether a blob has as many values as its shape requires."""
    old = (blob.num, blob.channels, blob.height, blob.width)
    shape = blob.shape.dim if blob.HasField("shape") else old
    return bool(prod(shape) == len(blob.data) + len(blob.double_data))


def _read_hdf5(path: Path, group: str, others: tuple[str, ...]) -> int | None:
    """Return the number of datasets in a group; None if it, or one of the others, is damaged."""
    counts: list[int] = []

    def read(_: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            item[()]
            counts.append(1)

    try:
        with open_hdf5(path, ValueError) as file:
            for other in others:
                file[other][()]
            file[group].visititems(read)
    except (OSError, ValueError):
        return None
    return len(counts)
