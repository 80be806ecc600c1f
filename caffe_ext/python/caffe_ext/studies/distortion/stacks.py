"""The defences as model files: networks with a filter or an autoencoder before them, committees.

<output>/models/lowpass-5.yaml, lowpass-5.caffemodel   a stack, with the weights of all its parts
<output>/models/committee.yaml                         a committee, which names the members' files
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from caffe_ext.storage.atomic import write_bytes, write_text
from caffe_ext.storage.regular_file import read_regular_file
from caffe_ext.studies.distortion.models import DEFENCES, VARIANCES, Defence
from caffe_ext.training.lenet import MODEL_FILE
from caffe_ext.training.model_file import write_model_file

FILTER_LAYER, FIELD = "lowpass", 7
"""The convolution in prototxt/lenet_lowpass_deploy.prototxt, and its width."""
_END = 3.0


def write_network(folder: Path, name: str, weights: Path) -> Path:
    """Write the model file of a trained LeNet with this id; return it."""
    title = DEFENCES[name].title if name in DEFENCES else name
    path = folder / f"{name}.yaml"
    return write_model_file(MODEL_FILE, path, name=title, files={"weights": weights})


def write_defence(folder: Path, defence: Defence, weights: Mapping[str, Path]) -> Path:
    """Write the model file of a defence, and the weights of a stack; return the model file.

    weights  of the trained networks, by their ids
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = [weights[name] for name in defence.networks]
    path = folder / f"{defence.id}.yaml"
    if defence.is_committee:
        files = [write_network(folder, name, weights[name]).name for name in defence.networks]
        lines = [f"name: {defence.title}", "members:", *(f"- {file}" for file in files)]
        write_text(path, "\n".join(lines) + "\n")
        return path
    if not defence.width and len(own) == 1:
        return write_network(folder, defence.id, own[0])
    template = MODEL_FILE.with_name(
        "lenet_lowpass.yaml" if defence.width else "lenet_autoencoder.yaml"
    )
    merged = path.with_suffix(".caffemodel")
    kernels = {FILTER_LAYER: make_kernel(defence.width)} if defence.width else {}
    merge_weights(own, merged, kernels)
    return write_model_file(template, path, name=defence.title, files={"weights": merged})


def make_kernel(width: int) -> NDArray[np.float64]:
    """Return the low-pass filter of a width in VARIANCES, float64 (1, 1, FIELD, FIELD).

        k(u, v) = exp(-(u^2 + v^2) / (2 variance)) / sum,   u and v at `width` points of [-3, 3]

    It is surrounded by zeros.
    """
    points = np.linspace(-_END, _END, width)
    kernel = np.exp(-(points[:, None] ** 2 + points**2) / (2 * VARIANCES[width]))
    return np.pad(kernel / kernel.sum(), (FIELD - width) // 2)[None, None]


def merge_weights(
    parts: Sequence[Path], path: Path, others: Mapping[str, NDArray[np.float64]]
) -> None:
    """Write the weights of several networks, whose layers have different names, to one file.

    parts   .caffemodel files
    others  the only parameter of further layers, by their names

    Raises ValueError for a file that is damaged, and for a layer that is in two of them.
    """
    merged, names = caffe_pb2.NetParameter(), set(others)
    for name, values in others.items():
        blob = merged.layer.add(name=name).blobs.add(data=values.ravel())
        blob.shape.dim.extend(values.shape)
    for part in parts:
        network = caffe_pb2.NetParameter()
        try:
            network.ParseFromString(read_regular_file(part))
        except DecodeError as error:
            raise ValueError(f"{part} is not a Caffe model, or is damaged: {error}") from error
        for layer in network.layer:
            if not layer.blobs:
                continue
            if layer.name in names:
                raise ValueError(f"{part}: layer '{layer.name}' is in another part, too")
            names.add(layer.name)
            merged.layer.add(name=layer.name, type=layer.type, blobs=layer.blobs)
    write_bytes(path, merged.SerializeToString(deterministic=True))
