"""Deploy nets and their weights, checked before Caffe reads them, so that errors are clear."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import caffe
import h5py
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from caffe_ext.errors import DataError
from caffe_ext.models.text_file import check_utf8, read_text
from caffe_ext.reporting import list_names, pluralize
from caffe_ext.runtime.quiet import silence_caffe
from caffe_ext.storage.hdf5_file import open_hdf5

Shape = tuple[int, ...]
Shapes = Mapping[str, Mapping[int, Shape]]
"""The shapes of parameters, by the layer's name and the parameter's number."""

_READS_FILES = {"Data", "ImageData", "HDF5Data", "WindowData"}
_SHAPE_SIZE = 4
"""The number of input_dim values per input."""
_LEGACY_SIDES = ("num", "channels", "height", "width")


def load_net(deploy: Path, weights: Path, batch_size: int = 1) -> Any:
    """Return the caffe.Net (TEST phase) of a deploy prototxt, with its weights loaded.

    force_backward is set, whatever the prototxt says, so that gradients reach the input; gradients
    of the weights are not computed, which halves the arithmetic of the backward pass. The prototxt
    may be in any format that Caffe reads; the weights are binary (.caffemodel) or HDF5 (.h5). Only
    the warnings in Caffe's log are shown.

    batch_size  the most images that it will take at a time

    Raises FileNotFoundError for a missing file, and ValueError that names file and layer: for a
    prototxt that cannot be parsed, has data layers, layers of unknown type or not exactly one
    input, for a net that Caffe cannot build, and for weights that are damaged, missing for a
    layer, of another shape, or not finite.
    """
    for path in (deploy, weights):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not a file")
        with path.open(
            "rb"
        ):  # what the system says about it is clearer than what HDF5 makes of that
            pass
    parameter = read_prototxt(deploy)
    parameter.force_backward = True
    text = text_format.MessageToString(parameter)
    try:
        net = build_net(text)
    except ValueError as error:
        raise ValueError(f"{deploy}: Caffe cannot build this network: {error}") from error
    if len(net.inputs) != 1:
        raise ValueError(f"{deploy} must have one input, not {len(net.inputs)}: {net.inputs}")
    try:
        _try_batches(net, batch_size)
    except caffe.Error as error:
        raise ValueError(
            f"{deploy}: Caffe cannot build this network with another number of images: {error}"
        ) from error
    _check_weights(net, deploy, weights)
    try:
        with silence_caffe():
            net.copy_from(os.fsencode(weights))  # as text, it would have to be UTF-8
    except caffe.Error as error:
        reason = re.sub(rf"^{re.escape(str(weights))}[,:] ", "", str(error))
        raise ValueError(f"{weights}: Caffe cannot load these weights: {reason}") from error
    for name, blobs in net.params.items():
        if not all(np.isfinite(blob.data).all() for blob in blobs):
            raise ValueError(
                f"{weights}: the weights of layer '{name}' are not all finite numbers: the "
                "training run that produced them diverged"
            )
    for layer in net.layers:
        for number in range(len(layer.blobs)):
            layer.set_param_propagate_down(number, False)
    return net


def read_prototxt(path: Path) -> Any:
    """Return the NetParameter in a file, if Caffe can build it without data."""
    parameter = caffe_pb2.NetParameter()
    try:
        text_format.Parse(read_text(path), parameter)
    except (text_format.ParseError, RecursionError) as error:
        raise ValueError(f"{path} is not the prototxt of a network: {error}") from error
    check_utf8(path, text_format.MessageToString(parameter, as_utf8=True))
    if parameter.layer and parameter.layers:
        raise ValueError(
            f"{path} has both `layer` and the older `layers`; write all layers in one form"
        )
    _convert_input(parameter)
    known = set(caffe.layer_type_list())
    for layer in parameter.layer:
        if layer.type in _READS_FILES:
            raise ValueError(
                f"{path}: layer '{layer.name}' ({layer.type}) reads data; use a deploy net, "
                "with an Input layer in its place"
            )
        if layer.type == "HDF5Output":
            raise ValueError(f"{path}: layer '{layer.name}' (HDF5Output) writes a file; remove it")
        if layer.type not in known:
            raise ValueError(f"{path}: layer '{layer.name}' has an unknown type, '{layer.type}'")
        dims = layer.reshape_param.shape.dim
        if layer.type == "Reshape" and not layer.reshape_param.axis and dims and dims[0] > 0:
            raise ValueError(
                f"{path}: layer '{layer.name}' (Reshape) fixes the batch size at {dims[0]}; "
                "`dim: 0` keeps the current one"
            )
    for old in parameter.layers:
        if caffe_pb2.V1LayerParameter.LayerType.Name(old.type).endswith("DATA"):
            raise ValueError(f"{path}: layer '{old.name}' reads data; use a deploy net")
        if old.type == caffe_pb2.V1LayerParameter.HDF5_OUTPUT:
            raise ValueError(f"{path}: layer '{old.name}' (HDF5Output) writes a file; remove it")
    return parameter


def _convert_input(parameter: Any) -> None:
    """Convert the older `input:` to an Input layer, as Caffe does, without its long warning.

    Invalid ones, and nets with the older `layers`, are left to Caffe.
    """
    names, dims = list(parameter.input), list(parameter.input_dim)
    shapes = [list(shape.dim) for shape in parameter.input_shape] or [
        dims[start : start + _SHAPE_SIZE] for start in range(0, len(dims), _SHAPE_SIZE)
    ]
    both = parameter.input_shape and dims
    if parameter.layers or both or len(shapes) != len(names) or len(dims) % _SHAPE_SIZE:
        return
    layers = list(parameter.layer)
    for field in ("layer", "input", "input_dim", "input_shape"):
        parameter.ClearField(field)
    if names:
        layer = parameter.layer.add(name="input", type="Input", top=names)
        for shape in shapes:
            layer.input_param.shape.add(dim=shape)
    parameter.layer.extend(layers)


def read_built_layers(net: Any) -> list[tuple[Any, Any]]:
    """Return a net's layers in the order in which Caffe runs them: LayerParameter and caffe.Layer.

    They are those of the phase that the net was built for, in the current form of the format, with
    the Splits that Caffe inserts.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.caffemodel"
        net.save(str(path))
        saved = caffe_pb2.NetParameter.FromString(path.read_bytes())
    return list(zip(saved.layer, net.layers, strict=True))


def build_net(text: str) -> Any:
    """Return the net of a prototxt's text (TEST phase).

    Raises ValueError with Caffe's message or a Python layer's exception, and the layer's name.
    """
    with TemporaryDirectory() as folder, silence_caffe():
        path = Path(folder) / "deploy.prototxt"
        path.write_text(text, encoding="utf-8")
        try:
            return caffe.Net(str(path), caffe.TEST)
        except caffe.Error as error:
            reason = str(error).replace(f"{path}, ", "").replace(f"{path}:", "line ")
            raise ValueError(reason) from error
        except Exception as error:
            # str() of a KeyError is quoted.
            text = str(error.args[0] if isinstance(error, KeyError) else error)
            named = re.fullmatch("(layer '.*?': )?(.*)", text.replace(f"{path}, ", ""), re.DOTALL)
            layer, reason = named.groups("") if named else ("", text)
            raise ValueError(f"{layer}{type(error).__name__}: {reason}") from error


def _try_batches(net: Any, batch_size: int) -> None:
    """Reshape a net to one image and, if there will be more, to two; caffe.Error where it fails."""
    blob = net.blobs[net.inputs[0]]
    shape = list(blob.shape)
    with silence_caffe():
        for images in (*range(1, min(2, batch_size) + 1), shape[0]):
            blob.reshape(images, *shape[1:])
            net.reshape()


def _check_weights(net: Any, deploy: Path, weights: Path) -> None:
    """Raise ValueError if a layer's parameters in the file differ from those in the net."""
    hdf5 = h5py.is_hdf5(weights)
    found = _read_hdf5_shapes(weights) if hdf5 else _read_binary_shapes(weights)
    wanted = {name: [tuple(b.shape) for b in blobs] for name, blobs in net.params.items()}
    named = Counter(
        name for name, layer in zip(net._layer_names, net.layers, strict=True) if len(layer.blobs)
    )
    for name, layers in named.items():
        if layers > 1:  # Caffe would give them to the first one only
            raise ValueError(
                f"{deploy}: {layers} layers with parameters have the name '{name}', but weights "
                "are assigned to layers by name"
            )
    text = f"{weights} does not fit {deploy}: layer"
    shared = _find_shared(net)
    for name, shapes in wanted.items():
        if name not in found:
            present = list_names(found) or "none"
            raise ValueError(f"{text} '{name}' is missing in the weights; they have {present}")
        # HDF5 holds a parameter that layers share just once, with the first of them.
        expected = {n: s for n, s in enumerate(shapes) if not (hdf5 and (name, n) in shared)}
        if expected.keys() != found[name].keys():
            raise ValueError(
                f"{text} '{name}' has {_describe_parameters(expected)}, in the weights "
                f"{_describe_parameters(found[name])}"
            )
        for number, mine in expected.items():
            theirs = found[name][number]
            if theirs != (_to_legacy_shape(mine) if isinstance(theirs, _LegacyShape) else mine):
                raise ValueError(
                    f"{text} '{name}', parameter {number}, has shape {mine}, in the weights "
                    f"{theirs}"
                )
    for name in net._layer_names:
        if found.get(name) and name not in wanted:
            raise ValueError(
                f"{text} '{name}' has no parameters, in the weights "
                f"{_describe_parameters(found[name])}"
            )


class _LegacyShape(tuple[int, ...]):
    """A shape as in early versions of Caffe: four axes, padded with ones in front."""

    __slots__ = ()


def _to_legacy_shape(shape: Shape) -> _LegacyShape:
    return _LegacyShape((1,) * (4 - len(shape)) + shape)


def _describe_parameters(shapes: Mapping[int, Shape]) -> str:
    """Return the number of parameters, and which ones if some are missing."""
    numbers = sorted(shapes)
    left_out = numbers != list(range(len(numbers)))
    words = f" (numbers {', '.join(map(str, numbers))})" if left_out else ""
    return pluralize(len(numbers), "parameter") + words


def _find_shared(net: Any) -> set[tuple[str, int]]:
    """Return the parameters (layer, number) that share the memory of an earlier layer's."""
    seen: set[int] = set()
    shared = set()
    for name, blobs in net.params.items():
        for number, blob in enumerate(blobs):
            address = blob.data.ctypes.data
            if address in seen:
                shared.add((name, number))
            seen.add(address)
    return shared


def _read_hdf5_shapes(path: Path) -> Shapes:
    """Return the shapes in an HDF5 model: data/<layer>/<number>."""
    try:
        with open_hdf5(path, DataError) as file:
            layers = file.get("data")
            shapes = (
                {name: _read_layer_shapes(layer) for name, layer in layers.items()}
                if isinstance(layers, h5py.Group)
                else None
            )
    except DataError as error:
        raise ValueError(f"{error}") from error
    if shapes is None:
        raise ValueError(f"{path} is not a Caffe model: it has no group 'data'")
    for name, layer in shapes.items():
        if layer is None:
            raise ValueError(f"{path} is not a Caffe model: data/{name} holds other things")
    return {name: layer for name, layer in shapes.items() if layer is not None}


def _read_layer_shapes(layer: Any) -> dict[int, Shape] | None:
    """Return the shapes in a layer's group; None if it has anything but parameters."""
    if not isinstance(layer, h5py.Group):
        return None
    shapes: dict[int, Shape] = {}
    for number, values in layer.items():
        array = isinstance(values, h5py.Dataset) and values.dtype.kind in "iuf"
        # A dataset without values has no shape.
        if not array or values.shape is None or not re.fullmatch("[0-9]{1,4}", number):
            return None
        shapes[int(number)] = tuple(values.shape)
    return shapes


def _read_binary_shapes(path: Path) -> Shapes:
    """Return the shapes in a binary model; checks that each has as many values."""
    parameter = caffe_pb2.NetParameter()
    try:
        parameter.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(f"{path} is not a Caffe model, or is damaged: {error}") from error
    shapes = {}
    for layer in [*parameter.layer, *parameter.layers]:
        if not isinstance(layer.name, str):  # bytes: what is no UTF-8
            raise ValueError(f"{path} is damaged: a layer is called {layer.name!r}")
        shapes[layer.name] = dict(_list_blobs(path, layer))
    return shapes


def _list_blobs(path: Path, layer: Any) -> Iterator[tuple[int, Shape]]:
    """Yield number and shape of a layer's parameters."""
    for number, blob in enumerate(layer.blobs):
        shape: Shape = tuple(blob.shape.dim)
        if any(map(blob.HasField, _LEGACY_SIDES)):
            shape = _LegacyShape(getattr(blob, side) for side in _LEGACY_SIDES)
        count = 1
        for side in shape:
            count *= side
        if len(blob.data) + len(blob.double_data) != count:
            raise ValueError(f"{path} is damaged: layer '{layer.name}', parameter {number}")
        yield number, shape
