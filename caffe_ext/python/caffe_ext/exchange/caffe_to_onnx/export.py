"""Export of a model: its layers are converted, checked with ONNX Runtime, and then written."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import caffe_ext.exchange.caffe_to_onnx.arithmetic
import caffe_ext.exchange.caffe_to_onnx.elementwise
import caffe_ext.exchange.caffe_to_onnx.pooling
import caffe_ext.exchange.caffe_to_onnx.shape
import caffe_ext.exchange.caffe_to_onnx.weighted  # noqa: F401  (these register the conversions)
from caffe_ext.exchange.caffe_to_onnx.graph import Graph
from caffe_ext.exchange.caffe_to_onnx.network import read_layers
from caffe_ext.exchange.caffe_to_onnx.preprocessing import add_preprocessing
from caffe_ext.exchange.caffe_to_onnx.registry import convert_layer
from caffe_ext.exchange.runtime import check_difference, run_onnx
from caffe_ext.exchange.samples import check_images
from caffe_ext.models.base import Floats
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.description import ModelDescription
from caffe_ext.storage.atomic import write_bytes
from caffe_ext.storage.regular_file import AnyPath

PIXELS, NETWORK_INPUT = "images", "input"
"""The names of the inputs: RGB or grey levels 0..255, or the preprocessed pixels."""
LOGITS, PROBABILITIES = "logits", "probabilities"
METADATA_INPUT = "caffe_ext.input"


@dataclass(frozen=True)
class OnnxModel:
    """A checked ONNX model.

    network        the file's content
    preprocessing  that of a separate file, which turns pixels into the input; None: it is inside
    nodes          the network's number of nodes
    difference     the largest difference of its logits from Caffe's, see
                   compute_largest_difference()
    checked        the number of images compared
    """

    network: bytes
    preprocessing: bytes | None
    nodes: int
    difference: float
    checked: int

    def write(self, path: AnyPath) -> list[Path]:
        """Write the file, and NAME_preprocessing.onnx if there is one; return their paths.

        Each file is replaced completely or not at all. Raises OSError.
        """
        path = Path(path)
        files = [path]
        write_bytes(path, self.network)
        if self.preprocessing is not None:
            files.append(locate_preprocessing(path))
            write_bytes(files[1], self.preprocessing)
        return files


def locate_preprocessing(path: Path) -> Path:
    """Return the path of the preprocessing file that belongs to a network's file."""
    return path.with_name(f"{path.stem}_preprocessing{path.suffix}")


def export_model(
    description: ModelDescription, *, beside: bool = False, probabilities: bool = False
) -> OnnxModel:
    """Convert a model to ONNX, and compare the two.

    beside         put the preprocessing into a separate model; the network's input is then the
                   Caffe net's. By default it is inside, and the input is (N, C, H, W), 0..255
    probabilities  add the softmax of the logits as a second output

    Raises FileNotFoundError and ValueError as ModelDescription.load does; ValueError that names the
    layer for one that ONNX cannot express, and where the logits differ by more than TOLERANCE.
    """
    classifier = description.load(batch_size=4)
    space, channels = classifier.pixel_space, classifier.input_shape[0]
    shape = classifier.image_shape
    graph, before = Graph(description.name), None
    if beside:
        separate = Graph(f"{description.name}: preprocessing")
        pixels = separate.add_input(PIXELS, shape)
        made = add_preprocessing(separate, pixels, shape, space)
        separate.add_output(NETWORK_INPUT, made, classifier.input_shape)
        before = separate.to_model({METADATA_INPUT: PIXELS})
        value = graph.add_input(NETWORK_INPUT, classifier.input_shape)
    else:
        pixels = graph.add_input(PIXELS, shape)
        value = add_preprocessing(graph, pixels, shape, space)
    _add_network(graph, description, classifier, value, probabilities)
    metadata = {
        METADATA_INPUT: NETWORK_INPUT if beside else PIXELS,
        "caffe_ext.channels": "grey" if channels == 1 else space.channel_order if beside else "RGB",
    }
    if description.classes:
        metadata["caffe_ext.classes"] = json.dumps(description.classes, ensure_ascii=False)
    network = graph.to_model(metadata)
    images = check_images(shape)
    difference = _check(classifier, network, before, images)
    return OnnxModel(network, before, graph.size, difference, len(images))


def _add_network(
    graph: Graph,
    description: ModelDescription,
    classifier: Classifier,
    value: str,
    probabilities: bool,
) -> None:
    """Write the layers up to the logits, and the outputs."""
    blob = classifier.logits_blob
    values: dict[str, str] = {}
    try:
        for layer in read_layers(description, blob):
            if layer.type == "Input":
                values[layer.tops[0]] = value
                continue
            inputs = [values[bottom] for bottom in layer.bottoms]
            values.update(zip(layer.tops, convert_layer(graph, layer, inputs), strict=True))
    except ValueError as error:
        raise ValueError(f"{description.deploy}: {error}") from error
    logits = graph.add("Flatten", [values[blob]], f"{LOGITS}.rows", axis=1)
    if classifier.single_score:
        none = graph.add("Sub", [logits, logits], f"{LOGITS}.zeros")
        logits = graph.add("Concat", [none, logits], f"{LOGITS}.both", axis=1)
    graph.add_output(LOGITS, logits, [classifier.classes])
    if probabilities:
        shares = graph.add("Softmax", [logits], f"{PROBABILITIES}.rows", axis=1)
        graph.add_output(PROBABILITIES, shares, [classifier.classes])


def _check(
    classifier: Classifier, network: bytes, before: bytes | None, images: NDArray[np.uint8]
) -> float:
    """Return the largest difference of the logits; ValueError if it is large."""
    return check_difference(
        lambda rows: _run(network, before, images[rows].astype(np.float32)),
        classifier.logits(images),
        "the logits of ONNX Runtime differ from Caffe's",
    )


def _run(network: bytes, before: bytes | None, pixels: Floats) -> Floats:
    if before is None:
        return run_onnx(network, {PIXELS: pixels}, LOGITS)
    given = run_onnx(before, {PIXELS: pixels}, NETWORK_INPUT)
    return run_onnx(network, {NETWORK_INPUT: given}, LOGITS)
