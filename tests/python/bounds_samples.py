"""Small nets with random weights, to be bounded."""

from pathlib import Path

import caffe
import numpy as np

from caffe_ext.models.description import ModelDescription
from caffe_ext.models.pixels import PixelSpace

INPUT = """
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 1 dim: %d dim: %d dim: %d } } }
"""
LAST = """
layer { name: 'last' type: 'InnerProduct' bottom: '%s' top: 'last'
  inner_product_param { num_output: 4 } }
layer { name: 'prob' type: 'Softmax' bottom: 'last' top: 'prob' }
"""
SPACE = PixelSpace(0.01, 100)
SHAPE = (1, 7, 6)


def layer(name: str, kind: str, bottom: str, settings: str = "", top: str | None = None) -> str:
    """Return a layer of a prototxt; `bottom` may be several."""
    bottoms = " ".join(f"bottom: '{one}'" for one in bottom.split())
    return f"layer {{ name: '{name}' type: '{kind}' {bottoms} top: '{top or name}' {settings} }}\n"


def write_net(
    folder: Path,
    layers: str,
    bottom: str,
    seed: int = 0,
    *,
    shape: tuple[int, int, int] = SHAPE,
    space: PixelSpace = SPACE,
) -> ModelDescription:
    """Write a net of these layers and a last one of 4 classes, with random parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    deploy, weights = folder / "deploy.prototxt", folder / "w.caffemodel"
    deploy.write_text(INPUT % shape + layers + LAST % bottom)
    net = caffe.Net(str(deploy), caffe.TEST)
    random = np.random.default_rng(seed)
    kinds = dict(zip(map(str, net._layer_names), (one.type for one in net.layers), strict=True))
    for name, blobs in net.params.items():
        for number, blob in enumerate(blobs):
            values = random.normal(size=blob.data.shape)
            if kinds[name] == "BatchNorm" and number:
                values = np.abs(values) + 0.5  # a variance, and by what it is divided
            fan_in = max(1, int(np.prod(blob.data.shape[1:])))
            blob.data[...] = values / np.sqrt(fan_in)
    net.save(str(weights))
    return ModelDescription("net", deploy, weights, space)
