"""Nets whose settings make no sense: one sentence that names the layer, before training."""

from pathlib import Path

import caffe
import pytest

from caffe_nets import TRAIN_NET, error_of, net, write_files


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a net to train and a solver, as the working directory."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    return tmp_path


NETS = {
    TRAIN_NET.replace("dim: 8 dim: 5", "dim: 0 dim: 5"): "layer 'd': a blob is empty",
    TRAIN_NET.replace(
        "shape { dim: 8 }", "shape { dim: 7 }"
    ): "layer 'loss': The data and label should",
    TRAIN_NET.replace('type: "InnerProduct"', 'type: "Inner"'): "layer 'fc': Unknown layer type",
    TRAIN_NET.replace("num_output: 3", "num_outputs: 3"): 'no field named "num_outputs"',
    TRAIN_NET.replace("num_output: 3", ""): "layer 'fc': ",
    "": "the net has no layers in this phase",
    TRAIN_NET.replace("num_output: 3", "num_output: 0"): "layer 'fc': a blob is empty",
    TRAIN_NET.replace(
        'bottom: "x"', 'bottom: "x" include { phase: TRAIN } exclude { phase: TEST }'
    ): "layer 'fc': Specify either include rules or exclude rules; not both",
    TRAIN_NET.replace(
        "num_output: 3", "num_output: 3 weight_filler { type: 'gaussian' std: -1 }"
    ): "layer 'fc': std of a gaussian filler must be more than 0",
    TRAIN_NET.replace(
        "num_output: 3", "num_output: 3 weight_filler { type: 'uniform' min: 2 }"
    ): "layer 'fc': min of a uniform filler is larger than its max",
    TRAIN_NET.replace(
        'type: "DummyData"', 'type: "Data" data_param { backend: LMDB }'
    ): "layer 'd': source, the path of the database, is missing",
    TRAIN_NET + 'layer { name: "a" type: "Accuracy" bottom: "fc" bottom: "label" top: "a" '
    "accuracy_param { top_k: 0 } }": "layer 'a': top_k is 0; it must be 1 or more",
    TRAIN_NET.replace("num_output: 3", "num_output: 4294967295"): "layer 'fc': inner_product_param"
    ".num_output is 4294967295; it must be at most 2147483647",
    TRAIN_NET + 'layer { name: "i" type: "ImageData" top: "i" top: "j" transform_param '
    "{ scale: 0 } }": "layer 'i': scale is 0: all images would be the same",
}
# Numbers of the layer fc that make no sense.
FINITE = "; it must be a finite number"
NUMBERS = {
    "param { lr_mult: nan }": "param.lr_mult is nan" + FINITE,
    "param { decay_mult: inf }": "param.decay_mult is inf" + FINITE,
    "loss_weight: nan": "loss_weight is nan" + FINITE,
    "blobs { double_data: nan } param { decay_mult: -inf }": "param.decay_mult is -inf" + FINITE,
    "param { lr_mult: -1 }": "param.lr_mult is -1; it must be 0 or more",
    "blobs { data: 1 }": "blobs: 1 are given, the layer has 2",
    "blobs { } blobs { }": "blobs: number 0 must have the shape 3 5 (15)",
    "param { } param { decay_mult: -2 }": "param.decay_mult is -2; it must be 0 or more",
}


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_of_a_layer(text: str, folder: Path) -> None:
    fc = f'name: "fc" {text}'
    (folder / "train.prototxt").write_text(TRAIN_NET.replace('name: "fc"', fc, 1))
    says = error_of("caffe", "train", "-solver=solver.prototxt")
    assert says == f"train.prototxt, layer 'fc': {NUMBERS[text]}"


def test_one_bound_may_be_infinite() -> None:
    clip = 'layer { name: "c" type: "Clip" bottom: "y" top: "z" clip_param { min: 0 max: inf } }'
    net(CONVOLUTION.format("ReLU", "") + clip)


def test_blobs_of_a_layer(folder: Path) -> None:
    blobs = "blobs { num: 1 channels: 1 height: 3 width: 5 %s } blobs { shape { dim: 3 } %s }"
    values = " ".join(f"data: {number}" for number in range(15))
    fc = f'name: "fc" {blobs % (values, "data: 7 data: 8 data: 9")}'
    built = net(TRAIN_NET.replace('name: "fc"', fc, 1))
    assert (built.params["fc"][0].data.ravel() == range(15)).all()
    assert list(built.params["fc"][1].data) == [7, 8, 9]


INPUTS = {
    'input: "x" input_dim: 1': "input_dim must be there four times for each input",
    'input: "x" input: "y" input_shape { dim: 1 }': "input_shape must be there once for each input",
    'input: "x" input_shape { dim: 4294967297 }': "cannot have the dimension 4294967297 (axis 0)",
}


@pytest.mark.parametrize("text", INPUTS)
def test_inputs_of_a_net(text: str) -> None:
    with pytest.raises(caffe.Error) as raised:
        net(text)
    assert INPUTS[text] in str(raised.value)


@pytest.mark.parametrize("text", NETS)
def test_nets(text: str, folder: Path) -> None:
    (folder / "train.prototxt").write_text(text)
    says = error_of("caffe", "train", "-solver=solver.prototxt")
    assert "train.prototxt" in says
    assert NETS[text] in says


CONVOLUTION = """
layer {{ name: "in" type: "Input" top: "x"
         input_param {{ shape {{ dim: 1 dim: 4 dim: 4 dim: 4 }} }} }}
layer {{ name: "out" type: "{}" bottom: "x" top: "y" {} }}
"""


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        ("Convolution", "convolution_param { num_output: 1 kernel_size: 5 stride: 2 }", "smaller"),
        ("Convolution", "convolution_param { num_output: 1 kernel_size: 9 }", "smaller than the"),
        (
            "Convolution",
            "convolution_param { num_output: 2 kernel_size: 1 group: 0 }",
            "group must",
        ),
        (
            "Convolution",
            "convolution_param { num_output: 2 kernel_size: 1 stride_h: 0 stride_w: 1 }",
            "Stride dimensions must be nonzero",
        ),
        (
            "Convolution",
            "convolution_param { num_output: 2 kernel_size: 1 dilation: 0 }",
            "Dilation must be 1 or more",
        ),
        (
            "Convolution",
            "convolution_param { num_output: 2 kernel_size: 3 pad: 2147483647 }",
            "pad is 2147483647: with it, axis 2 of the input is too long",
        ),
        (
            "Convolution",
            "convolution_param { num_output: 2 kernel_size: 3 dilation: 2147483647 }",
            "with its padding, axis 2 has 4 of 4294967295",
        ),
        (
            "Convolution",
            "convolution_param { num_output: 2 kernel_size: 3 pad: 4294967295 }",
            "convolution_param.pad is 4294967295; it must be at most 2147483647",
        ),
        (
            "Deconvolution",
            "convolution_param { num_output: 2 kernel_size: 3 pad: 9 }",
            "axis 2 of the output would have the size -12",
        ),
        (
            "Pooling",
            "pooling_param { kernel_size: 2147483647 pad: 2147483646 }",
            "the padding, 2147483646x2147483646, is too large",
        ),
        (
            "Pooling",
            "pooling_param { kernel_size: 7 }",
            "the kernel, 7x7, is larger than the input",
        ),
        ("Pooling", "pooling_param { kernel_size: 2 stride: 0 }", "Stride dimensions must be"),
        ("Pooling", "pooling_param { kernel_size: 2 pad: 2 }", "the padding, 2x2, must be smaller"),
        (
            "Dropout",
            "dropout_param { dropout_ratio: 1 }",
            "dropout_ratio is 1; it must be at least",
        ),
        ("Dropout", "dropout_param { dropout_ratio: -1 }", "dropout_ratio is -1; it must be at"),
        ("BatchNorm", "batch_norm_param { eps: -1 }", "eps is -1; it must be 0 or more"),
        (
            "BatchNorm",
            "batch_norm_param { moving_average_fraction: 2 }",
            "moving_average_fraction is 2; it must lie between 0 and 1",
        ),
        ("MVN", "mvn_param { eps: -1 }", "eps is -1; it must be 0 or more"),
    ],
)
def test_sizes(kind: str, settings: str, sentence: str) -> None:
    with pytest.raises(caffe.Error, match=r"^t, layer 'out': ") as raised:
        net(CONVOLUTION.format(kind, settings))
    assert sentence in str(raised.value)


def test_a_blob_of_a_wrong_size_stays_as_it_was() -> None:
    blob = net().blobs["data"]
    before = blob.data.copy()
    for shape in ((-1, 5), (1 << 20, 1 << 20), (2, 3, -4)):
        with pytest.raises(caffe.Error):
            blob.reshape(*shape)
        assert list(blob.shape) == [1, 1, 8, 8]
        assert blob.count == 64
    assert (blob.data == before).all()
