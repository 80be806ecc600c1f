"""A Caffe model as an ONNX file: the scores of ONNX Runtime are Caffe's."""

import re
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest

from caffe_ext.cli.export_onnx import main
from caffe_ext.exchange.pooling import PoolingAxis
from caffe_ext.models.description import ModelDescription
from onnx_samples import layer, write_described

onnx = pytest.importorskip("onnx", reason="ONNX is not installed: the extra `onnx`")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: the extra `onnx`")

from caffe_ext.exchange.caffe_to_onnx import export  # noqa: E402  (needs ONNX)
from caffe_ext.exchange.caffe_to_onnx.registry import convert_layer  # noqa: E402
from caffe_ext.exchange.runtime import run_onnx  # noqa: E402

EXACT = 1e-6
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
    "ReLU in place": layer("ReLU", top="data") + layer("AbsVal"),
    "ReLU, leaky": layer("ReLU", "relu_param { negative_slope: 0.3 }"),
    "PReLU": layer("PReLU"),
    "PReLU, shared": layer("PReLU", "prelu_param { channel_shared: true }"),
    "Sigmoid": layer("Sigmoid"),
    "TanH": layer("TanH"),
    "ELU": layer("ELU", "elu_param { alpha: 0.7 }"),
    "Swish": layer("Swish", "swish_param { beta: 1.5 }"),
    "BNLL": layer("BNLL"),
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


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_layers(body: str, tmp_path: Path) -> None:
    model = export.export_model(write_described(tmp_path, body))
    assert model.difference < 20 * EXACT
    assert model.checked == 5


# Size, kernel, stride and pad; among them windows that end beyond the image, that begin there (and
# are left out), and gaps between windows.
GEOMETRIES = [
    (size, kernel, stride, pad)
    for size in (5, 6, 8)
    for kernel in (1, 2, 3, 4)
    for stride in (1, 2, 3, 5)
    for pad in range(min(kernel, 3))
]


@pytest.mark.parametrize("round_mode", ["CEIL", "FLOOR"])
def test_the_windows_of_pooling(round_mode: str, tmp_path: Path) -> None:
    for size in sorted({geometry[0] for geometry in GEOMETRIES}):
        those = [geometry for geometry in GEOMETRIES if geometry[0] == size]
        sides = f"dim: 1 dim: 1 dim: {size} dim: {size}"
        text = layer("Input", f"input_param {{ shape {{ {sides} }} }}", top="d")
        text = text.replace("bottom: 'data' ", "")
        for number, (_, kernel, stride, pad) in enumerate(those):
            settings = f"kernel_size: {kernel} stride: {stride} pad: {pad} round_mode: {round_mode}"
            text += layer("Pooling", f"pooling_param {{ pool: AVE {settings} }}", "d", f"{number}")
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        net = caffe.Net(str(path), caffe.TEST)
        net.blobs["d"].data[...] = 1
        net.forward()
        for number, (_, kernel, stride, pad) in enumerate(those):
            axis = PoolingAxis(size, kernel, stride, pad, round_mode == "CEIL")
            windows = net.blobs[f"{number}"].data[0, 0]
            assert windows.shape == (axis.windows, axis.windows)
            starts = np.arange(axis.windows) * stride - pad
            inside = np.minimum(starts + kernel, size) - np.maximum(starts, 0)
            shares = inside / axis.divisors
            np.testing.assert_allclose(windows, np.outer(shares, shares), rtol=1e-6)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("round_mode", ["CEIL", "FLOOR"])
def test_pooling_is_exact(pool: str, round_mode: str, tmp_path: Path) -> None:
    layers, tops = "", []
    for number, (size, kernel, stride, pad) in enumerate(GEOMETRIES):
        if size == 8:
            top = f"p{number}"
            settings = f"kernel_size: {kernel} stride: {stride} pad: {pad} round_mode: {round_mode}"
            layers += layer("Pooling", f"pooling_param {{ pool: {pool} {settings} }}", top=top)
            layers += layer("Flatten", bottom=top, top=f"f{number}")
            tops.append(f"bottom: 'f{number}'")
    joined = f"layer {{ name: 'x' type: 'Concat' {' '.join(tops)} top: 'x' }}"
    described = write_described(tmp_path, layers + joined, (1, 8, 8))
    net = described.load()
    model = onnx.load_from_string(export.export_model(described).network)
    (weights,) = (node for node in model.graph.node if node.op_type == "Concat")
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(weights.output[0]))
    images = np.random.default_rng(1).integers(0, 256, (2, 1, 8, 8), np.uint8)
    _, found = run_onnx(model.SerializeToString(), {"images": images.astype(np.float32)})
    np.testing.assert_allclose(found, net.features(images, "x"), rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("beside", [False, True])
def test_preprocessing(beside: bool, tmp_path: Path) -> None:
    mean = tmp_path / "mean.npy"
    np.save(mean, np.random.default_rng(2).uniform(80, 150, (3, 10, 12)).astype(np.float32))
    body = layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 }")
    described = write_described(
        tmp_path,
        body,
        (3, 8, 8),
        mean="mean.npy",
        crop=8,
        channel_order="BGR",
        scale=[0.01, 0.02, 0.03],
    )
    model = export.export_model(described, beside=beside, probabilities=True)
    images = np.random.default_rng(3).integers(0, 256, (7, 3, 10, 12), np.uint8)
    pixels, net = images.astype(np.float32), described.load()
    if model.preprocessing is None:
        found, shares = run_onnx(model.network, {"images": pixels})
    else:
        (given,) = run_onnx(model.preprocessing, {"images": pixels})
        np.testing.assert_array_equal(given, net.pixel_space.to_input(images))
        found, shares = run_onnx(model.network, {"input": given})
    np.testing.assert_allclose(found, net.logits(images), atol=1e-5)
    np.testing.assert_allclose(shares, net.probabilities(images), atol=1e-6)
    assert (model.preprocessing is not None) == beside


def test_one_score_is_two_classes(tmp_path: Path) -> None:
    described = write_described(tmp_path, layer("AbsVal"))
    text = described.deploy.read_text().replace("num_output: 3", "num_output: 1")
    described.deploy.write_text(text.replace("'Softmax'", "'Sigmoid'"))
    net = caffe.Net(str(described.deploy), caffe.TEST)
    net.params["scores"][0].data[...] = 0.25
    net.save(str(described.weights))
    model = export.export_model(described)
    (logits,) = run_onnx(model.network, {"images": np.full((2, 3, 9, 8), 50, np.float32)})
    assert logits[:, 0].tolist() == [0, 0]
    assert logits[0, 1] > 0


def test_layers_that_are_refused(tmp_path: Path) -> None:
    body = layer("Im2col", "convolution_param { kernel_size: 3 }")
    sentence = r"layer 'x' \(Im2col\) cannot be exported: there is no conversion for"
    with pytest.raises(ValueError, match=f"net.prototxt: {sentence}"):
        export.export_model(write_described(tmp_path, body))


def test_a_wrong_conversion_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    described = write_described(tmp_path, layer("TanH"))
    convert = convert_layer

    def wrong(graph: Any, layer: Any, inputs: list[str]) -> list[str]:
        return [graph.scale(value, 1.001, "wrong") for value in convert(graph, layer, inputs)]

    monkeypatch.setattr(export, "convert_layer", wrong)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"differ from Caffe's by 0\.\d+, more than 0.0001"):
        main([str(described.deploy.with_suffix(".yaml"))])
    assert not list(tmp_path.glob("*.onnx"))
    assert capsys.readouterr().out == ""


def described_lenet(folder: Path) -> ModelDescription:
    body = layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 }")
    return write_described(folder, body, name="small")


def test_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    described_lenet(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["net.yaml", "--preprocessing", "beside", "--output", "a.onnx"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^small: \d+ nodes of opset 17$", printed, re.M)
    assert re.search(r"Caffe's on 5 images: \d\.\de-0\d$", printed, re.M)
    assert "a_preprocessing.onnx  0.0 MiB" in printed
    onnx.checker.check_model("a.onnx")
    before = Path("a.onnx").read_bytes()
    with pytest.raises(SystemExit, match=r"a\.onnx exists; --again replaces it"):
        main(["net.yaml", "--output", "a.onnx"])
    assert Path("a.onnx").read_bytes() == before
    assert main(["net.yaml", "--output", "a.onnx", "--again"]) == 0
    assert Path("a.onnx").read_bytes() != before
    with pytest.raises(SystemExit, match="missing is not a folder"):
        main(["net.yaml", "--output", "missing/a.onnx"])
    with pytest.raises(SystemExit, match=r"net\.prototxt: --model takes a YAML file"):
        main(["net.prototxt"])
