"""Small Caffe models as files, for tests of the way to ONNX and back."""

import re
from functools import partial
from pathlib import Path

import caffe
import numpy as np
import yaml

from caffe_ext.models.description import ModelDescription, read_model

Shape = tuple[int, int, int]


def write_described(
    folder: Path, layers: str, shape: Shape = (3, 9, 8), **settings: object
) -> ModelDescription:
    """Write a net with random weights; return its description.

    layers    from `data` to `scores`; a Softmax is put behind
    settings  of the model file
    """
    folder.mkdir(exist_ok=True, parents=True)
    sides = " ".join(f"dim: {side}" for side in (1, *shape))
    text = f"""
    layer {{ name: 'data' type: 'Input' top: 'data' input_param {{ shape {{ {sides} }} }} }}
    {layers}
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
    net.save(str(folder / "net.caffemodel"))
    given = {"deploy": "net.prototxt", "weights": "net.caffemodel", "scale": 0.01, "mean": 100.0}
    model = folder / "net.yaml"
    model.write_text(yaml.safe_dump(given | settings))
    return read_model(model)


def layer(kind: str, parameter: str = "", bottom: str = "data", top: str = "x") -> str:
    """Return a layer in the text of a prototxt."""
    return f"layer {{ name: '{top}' type: '{kind}' bottom: '{bottom}' top: '{top}' {parameter} }}\n"


SCORES = layer("InnerProduct", "inner_product_param { num_output: 3 }", "x", "scores")


def joined(bodies: dict[str, str]) -> str:
    """Return layers that put the values of all bodies, each from `data` to `x`, into `scores`."""
    text, ends = "", ""
    for number, body in enumerate(bodies.values()):
        text += re.sub("'([a-z]{1,5})'", partial(_own, number=number), body)
        rows = "reshape_param { shape { dim: 0 dim: -1 } }"
        text += layer("Reshape", rows, f"x_{number}", f"flat_{number}")
        ends += f"bottom: 'flat_{number}' "
    return text + f"layer {{ name: 'scores' type: 'Concat' {ends} top: 'scores' }}"


def _own(found: re.Match[str], number: int) -> str:
    return found[0] if found[1] == "data" else f"'{found[1]}_{number}'"


PAIR = layer("Convolution", "convolution_param { num_output: 3 kernel_size: 1 }", top="y")
BODIES = {
    "Convolution": layer(
        "Convolution",
        "convolution_param { num_output: 4 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 "
        "pad_h: 2 pad_w: 1 }",
    ),
    "Convolution, groups": layer(
        "Convolution",
        "convolution_param { num_output: 6 kernel_size: 3 group: 3 dilation: 2 bias_term: false }",
    ),
    "Convolution, two bottoms": PAIR
    + "layer { name: 'two' type: 'Convolution' bottom: 'data' bottom: 'y' top: 'a' top: 'b' "
    "convolution_param { num_output: 2 kernel_size: 3 } }"
    "layer { name: 'x' type: 'Eltwise' bottom: 'a' bottom: 'b' top: 'x' }",
    "Deconvolution": layer(
        "Deconvolution",
        "convolution_param { num_output: 6 kernel_size: 4 stride: 2 pad: 1 group: 3 }",
    ),
    "InnerProduct, axis and transpose": layer(
        "InnerProduct", "inner_product_param { num_output: 5 axis: -1 transpose: true }"
    ),
    "InnerProduct, no bias": layer(
        "InnerProduct", "inner_product_param { num_output: 5 bias_term: false axis: 2 }"
    ),
    "ReLU in place": PAIR
    + "layer { name: 'relu' type: 'ReLU' bottom: 'y' top: 'y' }"
    + layer("AbsVal", bottom="y"),
    "ReLU, leaky": layer("ReLU", "relu_param { negative_slope: 0.3 }"),
    "PReLU": layer("PReLU"),
    "PReLU, shared": layer("PReLU", "prelu_param { channel_shared: true }"),
    "Sigmoid": layer("Sigmoid"),
    "TanH": layer("TanH"),
    "ELU": layer("ELU", "elu_param { alpha: 0.7 }"),
    "Swish": layer("Swish", "swish_param { beta: 1.5 }"),
    "BNLL": layer("BNLL"),
    "GaussianNoise, in training": layer(
        "GaussianNoise", "caffe_ext_param { gaussian_noise { sigma: 8 } }"
    ),
    "Clip": layer("Clip", "clip_param { min: -0.5 max: 0.25 }"),
    "Threshold": layer("Threshold", "threshold_param { threshold: 0.1 }"),
    "Power": layer("Power", "power_param { power: 2 scale: -0.5 shift: 3 }"),
    "Exp": layer("Exp"),
    "Exp, base": layer("Exp", "exp_param { base: 2 scale: 0.5 shift: 0.25 }"),
    "Log": layer("Log", "log_param { shift: 3 }"),
    "Log, base": layer("Log", "log_param { base: 10 scale: 0.5 shift: 3 }"),
    "LRN": layer("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 k: 2 }"),
    "LRN in a channel": layer(
        "LRN", "lrn_param { local_size: 3 alpha: 0.5 norm_region: WITHIN_CHANNEL }"
    ),
    "MVN": layer("MVN", "mvn_param { eps: 0.1 }"),
    "MVN, mean of all": layer(
        "MVN", "mvn_param { across_channels: true normalize_variance: false }"
    ),
    "BatchNorm, Scale": layer("BatchNorm", "batch_norm_param { eps: 0.001 }", top="y")
    + layer("Scale", "scale_param { bias_term: true }", "y"),
    "Scale along rows": layer("Scale", "scale_param { axis: 2 num_axes: 2 }"),
    "Scale by a blob": layer("Pooling", "pooling_param { global_pooling: true pool: AVE }", top="p")
    + layer("Flatten", bottom="p", top="f")
    + "layer { name: 'x' type: 'Scale' bottom: 'data' bottom: 'f' top: 'x' "
    "scale_param { axis: 0 } }",
    "Bias": layer("Bias"),
    "Bias by a blob": layer("AbsVal", top="y")
    + "layer { name: 'x' type: 'Bias' bottom: 'data' bottom: 'y' top: 'x' bias_param { axis: 0 } }",
    "Eltwise, sum": PAIR + "layer { name: 'x' type: 'Eltwise' bottom: 'data' bottom: 'y' top: 'x' "
    "eltwise_param { coeff: 1 coeff: -0.5 } }",
    "Eltwise, product": PAIR
    + "layer { name: 'x' type: 'Eltwise' bottom: 'data' bottom: 'y' bottom: 'y' top: 'x' "
    "eltwise_param { operation: PROD } }",
    "Eltwise, maximum": PAIR
    + "layer { name: 'x' type: 'Eltwise' bottom: 'data' bottom: 'y' top: 'x' "
    "eltwise_param { operation: MAX } }",
    "Concat, Slice": "layer { name: 's' type: 'Slice' bottom: 'data' top: 'a' top: 'b' "
    "slice_param { axis: -2 slice_point: 2 } }"
    "layer { name: 'x' type: 'Concat' bottom: 'b' bottom: 'a' top: 'x' concat_param { axis: 2 } }",
    "Slice into equal parts": "layer { name: 's' type: 'Slice' bottom: 'data' top: 'a' top: 'b' "
    "top: 'c' } layer { name: 'x' type: 'Eltwise' bottom: 'a' bottom: 'b' bottom: 'c' top: 'x' }",
    "Crop": layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", top="small")
    + "layer { name: 'x' type: 'Crop' bottom: 'data' bottom: 'small' top: 'x' "
    "crop_param { axis: 2 offset: 1 offset: 3 } }",
    "Flatten": layer("Flatten", "flatten_param { axis: 2 }"),
    "Reshape": layer("Reshape", "reshape_param { shape { dim: 0 dim: 6 dim: -1 } }"),
    "Tile": layer("Tile", "tile_param { axis: 1 tiles: 3 }"),
    "Reduction": layer("Reduction", "reduction_param { axis: 2 operation: ASUM coeff: 0.1 }"),
    "Reduction, sum": layer("Reduction", "reduction_param { axis: 2 coeff: 0.1 }"),
    "Softmax, Dropout": layer("Softmax", top="y") + layer("Dropout", bottom="y"),
    "Pooling of all": layer("Pooling", "pooling_param { global_pooling: true }"),
}
