"""Small Caffe models as files, for tests of the way to ONNX and back."""

from pathlib import Path

import caffe
import numpy as np
import yaml

from caffe_ext.models.description import ModelDescription, read_model

Shape = tuple[int, int, int]


def write_described(
    folder: Path, layers: str, shape: Shape = (3, 9, 8), scores: str = "x", **settings: object
) -> ModelDescription:
    """Write a net with random weights, whose body ends in a blob `scores`; return its description.

    layers    from `data` on; three scores and their softmax are put behind
    settings  of the model file
    """
    folder.mkdir(exist_ok=True, parents=True)
    sides = " ".join(f"dim: {side}" for side in (1, *shape))
    text = f"""
    layer {{ name: 'data' type: 'Input' top: 'data' input_param {{ shape {{ {sides} }} }} }}
    {layers}
    layer {{ name: 'scores' type: 'InnerProduct' bottom: '{scores}' top: 'scores'
             inner_product_param {{ num_output: 3 }} }}
    layer {{ name: 'prob' type: 'Softmax' bottom: 'scores' top: 'prob' }}
    """
    deploy = folder / "net.prototxt"
    deploy.write_text(text)
    net = caffe.Net(str(deploy), caffe.TEST)
    random = np.random.default_rng(0)
    for layer in net.layers:
        for number, blob in enumerate(layer.blobs):
            # Parameters of a BatchNorm: mean, variance, and what both are divided by.
            low = 0.5 if layer.type == "BatchNorm" and number else -1
            blob.data[...] = random.uniform(low, 1, blob.data.shape)
    scores_layer = net.params["scores"]
    scores_layer[0].data[...] /= scores_layer[0].data.shape[1]
    net.save(str(folder / "net.caffemodel"))
    given = {"deploy": "net.prototxt", "weights": "net.caffemodel", "scale": 0.01, "mean": 100.0}
    model = folder / "net.yaml"
    model.write_text(yaml.safe_dump(given | settings))
    return read_model(model)


def layer(kind: str, parameter: str = "", bottom: str = "data", top: str = "x") -> str:
    """Return a layer in the text of a prototxt."""
    return f"layer {{ name: '{top}' type: '{kind}' bottom: '{bottom}' top: '{top}' {parameter} }}\n"
