"""Small networks and image sources with known answers, for the tests of attacks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import caffe
import numpy as np
from numpy.typing import NDArray

from caffe_ext.models.classifier import Classifier
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.runtime.quiet import silence_caffe

Images = NDArray[np.uint8]
Ints = NDArray[np.int64]

# ip1 is the name of a layer and of a blob that a ReLU changes in place; the scores are split.
TWO_LAYERS = """
layer {{ name: 'data' type: 'Input' top: 'data'
  input_param {{ shape {{ dim: 1 dim: 1 dim: {height} dim: {width} }} }} }}
layer {{ name: 'ip1' type: 'InnerProduct' bottom: 'data' top: 'ip1'
  inner_product_param {{ num_output: {hidden} }} }}
layer {{ name: 'relu1' type: 'ReLU' bottom: 'ip1' top: 'ip1' }}
layer {{ name: 'ip2' type: 'InnerProduct' bottom: 'ip1' top: 'ip2'
  inner_product_param {{ num_output: {classes} }} }}
layer {{ name: 'prob' type: 'Softmax' bottom: 'ip2' top: 'prob' }}
layer {{ name: 'side' type: 'Power' bottom: 'ip2' top: 'side' power_param {{ scale: 2 }} }}
"""
ONE_LAYER = """
layer {{ name: 'data' type: 'Input' top: 'data'
  input_param {{ shape {{ dim: 1 dim: {channels} dim: {height} dim: {width} }} }} }}
layer {{ name: 'score' type: 'InnerProduct' bottom: 'data' top: 'score'
  inner_product_param {{ num_output: {classes} }} }}
layer {{ name: 'prob' type: 'Softmax' bottom: 'score' top: 'prob' }}
"""


def net(folder: Path, text: str, weights: Sequence[Any], **options: Any) -> Classifier:
    """Return the classifier of a net with these parameters, in the net's order; scale 1."""
    folder.mkdir(parents=True, exist_ok=True)
    deploy, file = folder / "deploy.prototxt", folder / "net.caffemodel"
    deploy.write_text(text)
    with silence_caffe():
        made = caffe.Net(str(deploy), caffe.TEST)
    blobs = [blob for layer in made.params.values() for blob in layer]
    for blob, values in zip(blobs, weights, strict=True):
        blob.data[...] = values
    made.save(str(file))
    return Classifier(deploy, file, PixelSpace(options.pop("scale", 1.0)), **options)


def linear(
    folder: Path,
    weights: Any,
    bias: Any = 0,
    *,
    shape: tuple[int, int, int] | None = None,
    **options: Any,
) -> Classifier:
    """Return the net with scores W x + b; W is (K, values)."""
    weights = np.asarray(weights, np.float32)
    channels, height, width = shape or (1, 1, weights.shape[1])
    text = ONE_LAYER.format(channels=channels, height=height, width=width, classes=len(weights))
    return net(folder, text, [weights, bias], **options)


def two_layers(folder: Path, first: Any, second: Any, bias: Any = 0, **options: Any) -> Classifier:
    """Return the net with scores W2 relu(W1 x + b), for images (1, 1, values)."""
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    text = TWO_LAYERS.format(height=1, width=first.shape[1], hidden=len(first), classes=len(second))
    return net(folder, text, [first, bias, second, 0], **options)


def bent_net(folder: Path, sizes: tuple[int, int, int], batch_size: int) -> Classifier:
    """Return a random net whose gradient changes from place to place.

    sizes  of the image (1, 1, values), of the hidden layer, of the scores
    """
    values, hidden, classes = sizes
    random = np.random.default_rng(3)
    first = random.normal(size=(hidden, values)) / 100
    second = random.normal(size=(classes, hidden))
    return two_layers(folder, first, second, batch_size=batch_size)


def random_rows(count: int, values: int = 6, seed: int = 0) -> Images:
    """Return random images (N, 1, 1, values)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 1, values), dtype=np.uint8)


def rows(*images: Sequence[int]) -> Images:
    """Return images (N, 1, 1, values)."""
    return np.array(images, np.uint8)[:, None, None, :]


def labels(*values: int) -> Ints:
    """Return labels (N,)."""
    return np.array(values, np.int64)


@dataclass
class Batch:
    """Some images of a source."""

    images: Images
    labels: Ints | None


@dataclass
class ArraySource:
    """Images in memory as a source; `asked` keeps what was read."""

    images: Images
    labels: Ints | None = None
    asked: list[slice] = field(default_factory=list)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.images)

    def read(self, rows: slice) -> Batch:
        """Return some of them."""
        self.asked.append(rows)
        return Batch(self.images[rows], None if self.labels is None else self.labels[rows])
