"""Small nets with weights, shared by test_classifier*.py."""

from pathlib import Path

import caffe
import numpy as np

from caffe_ext.models.pixels import PixelSpace

LINEAR = """
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 1 dim: 1 dim: 2 dim: 2 } } }
layer { name: 'score' type: 'InnerProduct' bottom: 'data' top: 'score'
  inner_product_param { num_output: 3 } }
layer { name: 'prob' type: 'Softmax' bottom: 'score' top: 'prob' }
"""
WEIGHTS = np.array([[1, 2, 3, 4], [0, -1, 0, 1], [5, 0, 0, -5]], np.float32)
BIAS = np.array([1, 0, -2], np.float32)
IMAGES = np.array([[[[0, 1], [2, 3]]], [[[255, 0], [4, 8]]]], np.uint8)

# Colour in; the scores also go into a second branch, so that Caffe splits them.
DEEP = """
input: 'data' input_shape { dim: 10 dim: 3 dim: 6 dim: 6 }
layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv'
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: 'tanh' type: 'TanH' bottom: 'conv' top: 'conv' }
layer { name: 'last' type: 'Convolution' bottom: 'conv' top: 'scores'
  convolution_param { num_output: 5 kernel_size: 4 } }
layer { name: 'prob' type: 'Softmax' bottom: 'scores' top: 'prob' }
layer { name: 'double' type: 'Power' bottom: 'scores' top: 'double' power_param { scale: 2 } }
"""
SPACE = PixelSpace(0.02, [100, 120, 140], "BGR", crop=6)

Model = tuple[Path, Path]


def write_model(folder: Path, text: str = LINEAR, *, hdf5: bool = False, seed: int = 0) -> Model:
    """Write a net and weights for it: those above for LINEAR's layers, else random ones."""
    folder.mkdir(exist_ok=True)
    deploy, weights = folder / "deploy.prototxt", folder / ("w.h5" if hdf5 else "w.caffemodel")
    deploy.write_text(text)
    net = caffe.Net(str(deploy), caffe.TEST)
    random = np.random.default_rng(seed)
    for blobs in net.params.values():
        for blob in blobs:
            shape = blob.data.shape
            known = {WEIGHTS.shape: WEIGHTS, BIAS.shape: BIAS}.get(shape)
            blob.data[...] = random.normal(size=shape) / 3 if known is None else known
    (net.save_hdf5 if hdf5 else net.save)(str(weights))
    return deploy, weights
