"""Import of an ONNX file: converted, built by Caffe, compared with ONNX Runtime, and written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray

import caffe_ext.exchange.onnx_to_caffe.arithmetic
import caffe_ext.exchange.onnx_to_caffe.elementwise
import caffe_ext.exchange.onnx_to_caffe.pooling
import caffe_ext.exchange.onnx_to_caffe.reductions
import caffe_ext.exchange.onnx_to_caffe.shape
import caffe_ext.exchange.onnx_to_caffe.weighted  # noqa: F401  (these register the conversions)
from caffe_ext.exchange.onnx_to_caffe.graph import OnnxGraph, read_graph
from caffe_ext.exchange.onnx_to_caffe.net import Net
from caffe_ext.exchange.onnx_to_caffe.registry import convert_node
from caffe_ext.exchange.runtime import check_difference, run_onnx
from caffe_ext.exchange.samples import check_images
from caffe_ext.models.base import Floats
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.description import read_model
from caffe_ext.models.files import build_net
from caffe_ext.models.yaml_file import format_yaml
from caffe_ext.reporting import escape_text, is_showable
from caffe_ext.storage.atomic import write_bytes
from caffe_ext.storage.json_file import parse_json
from caffe_ext.storage.regular_file import AnyPath

PER_UNIT = 1 / 255
"""The default scale: most frameworks take pixels from 0 to 1."""
_PROBABILITIES = ("Softmax", "LogSoftmax")


@dataclass(frozen=True)
class CaffeModel:
    """A checked Caffe model.

    files       the contents of prototxt, weights and model file by file name, in the order in
                which they are written: the model file refers to the others
    layers      the net's number of layers
    difference  the largest difference from ONNX Runtime, see compute_largest_difference()
    checked     the number of images compared
    settings    of the model file
    """

    files: Mapping[str, bytes] = field(repr=False)
    layers: int
    difference: float
    checked: int
    settings: Mapping[str, Any]

    def write(self, folder: AnyPath) -> list[Path]:
        """Write the files, each completely or not at all; return their paths. Raises OSError."""
        folder = Path(folder)
        for name, content in self.files.items():
            write_bytes(folder / name, content)
        return [folder / name for name in self.files]


def make_file_names(name: str) -> tuple[str, str, str]:
    """Return the names of prototxt, weights and model file."""
    return f"{name}_deploy.prototxt", f"{name}.caffemodel", f"{name}.yaml"


def import_model(
    path: AnyPath,
    name: str,
    settings: Mapping[str, Any] | None = None,
    *,
    output: str | None = None,
    sides: tuple[int, ...] | None = None,
) -> CaffeModel:
    """Convert an ONNX file, and compare the two.

    name      of the files, and of the model
    settings  of the model file: scale or std, mean, channel_order, crop; by default pixels / 255,
              or as they are for a file of export_model() with the preprocessing inside
    output    name of the output with the scores; by default the only one
    sides     (C, H, W) of the input, if the file leaves it open

    Raises FileNotFoundError and ValueError as read_graph does; ValueError, naming node and
    operator, if Caffe has no layers for a node, if Caffe cannot build the net, and if the outputs
    differ by more than TOLERANCE.
    """
    path = Path(path)
    if not is_showable(name):  # nor may it end the comment that names it in the prototxt
        raise ValueError(f"the name {name!a} has characters that cannot be shown; give another")
    graph = read_graph(path, output, sides)
    with TemporaryDirectory() as temporary:
        try:
            return _import_graph(graph, name, dict(settings or {}), Path(temporary), path.name)
        except ValueError as error:
            # Errors about the files written there on the way are about the user's file.
            raise ValueError(f"{path}: {error}".replace(f"{temporary}/", "")) from error


def _import_graph(
    graph: OnnxGraph, name: str, settings: dict[str, Any], folder: Path, origin: str
) -> CaffeModel:
    net = _convert(graph, name)
    blob = net.blobs[graph.output]
    _add_softmax(net)
    deploy, weights, model = make_file_names(name)
    given = _make_settings(graph, name, settings)
    text = text_format.MessageToString(net.parameter)
    (folder / deploy).write_text(f"# {name}, imported from {escape_text(origin)}.\n{text}")
    _build(folder / deploy, net).save(str(folder / weights))
    (folder / model).write_text(format_yaml(given))
    files = {one: (folder / one).read_bytes() for one in (deploy, weights, model)}
    classifier = read_model(folder / model).load(batch_size=4)
    images = check_images(classifier.image_shape)
    difference = _check(classifier, blob, graph, images)
    return CaffeModel(files, len(net.parameter.layer), difference, len(images), given)


def _convert(graph: OnnxGraph, name: str) -> Net:
    net = Net(graph, name)
    for node in graph.nodes:
        convert_node(net, node)
    if graph.output not in net.blobs:
        raise ValueError(f"the output '{graph.output}' does not depend on the images")
    return net


def _add_softmax(net: Net) -> None:
    """Append a Softmax to the scores, by which a Classifier finds them, unless there is one."""
    graph = net.graph
    shape, last = graph.shapes[graph.output], graph.nodes[-1].operator
    if len(shape) < 2 or any(side != 1 for side in shape[2:]):
        raise ValueError(f"the output '{graph.output}' is {list(shape)}, not (N, K)")
    if last not in _PROBABILITIES and not (last == "Sigmoid" and shape[1] == 1):
        net.add("Softmax", [net.blobs[graph.output]], "prob")


def _make_settings(graph: OnnxGraph, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the model file."""
    deploy, weights, _ = make_file_names(name)
    settings: dict[str, Any] = {"name": name, "deploy": deploy, "weights": weights}
    if "std" not in given:
        own = graph.metadata.get("caffe_ext.input") == graph.entry == "images"
        settings["scale"] = 1 if own else PER_UNIT
    classes = graph.metadata.get("caffe_ext.classes")
    if classes is not None:
        settings["classes"] = _read_classes(classes)
    return settings | given


def _read_classes(text: str) -> list[str]:
    """Return the class names in the metadata; never the name of a file with them."""
    try:
        return parse_json(text, list[str])
    except ValueError as error:
        raise ValueError(
            f"its metadata caffe_ext.classes is not a list of names: {error}"
        ) from error


def _build(deploy: Path, net: Net) -> Any:
    """Return the net as Caffe builds it, with its weights."""
    try:
        built = build_net(deploy.read_text())
    except ValueError as error:
        raise ValueError(f"Caffe cannot build this network: {error}") from error
    for name, arrays in net.weights.items():
        for blob, array in zip(built.params[name], arrays, strict=True):
            if blob.data.shape != array.shape:
                raise ValueError(
                    f"the weights of layer '{name}' are {array.shape}, and Caffe takes "
                    f"{blob.data.shape}"
                )
            blob.data[...] = array
    return built


def _check(classifier: Classifier, blob: str, graph: OnnxGraph, images: NDArray[np.uint8]) -> float:
    """Return the largest difference of the outputs; ValueError if it is large."""
    given = classifier.pixel_space.to_input(images)
    if graph.free_batch:
        expected = run_onnx(graph.content, {graph.entry: given}, graph.output)
    else:
        alone = [run_onnx(graph.content, {graph.entry: one[None]}, graph.output) for one in given]
        expected = np.concatenate(alone)
    if len(expected) != len(images):
        raise ValueError(
            f"the output '{graph.output}' is {list(expected.shape)} for {len(images)} "
            "images, not one row per image"
        )

    def compute(rows: slice) -> Floats:
        found = classifier.features(images[rows], blob)
        if blob == classifier.logits_blob and classifier.single_score:
            found = found[:, 1:]
        return found.reshape(expected[rows].shape)

    return check_difference(compute, expected, "Caffe's output differs from ONNX Runtime's")
