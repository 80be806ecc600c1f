"""A Caffe model as an ONNX file: the scores of ONNX Runtime are Caffe's."""

import re
from itertools import product
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest

from caffe_ext.cli.export_onnx import main
from caffe_ext.models.description import ModelDescription
from caffe_ext.models.layer_windows import PoolingAxis
from onnx_samples import BODIES, SCORES, joined, layer, write_described

onnx = pytest.importorskip("onnx", reason="ONNX is not installed: the extra `onnx`")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: the extra `onnx`")

from caffe_ext.exchange.caffe_to_onnx import export  # noqa: E402  (needs ONNX)
from caffe_ext.exchange.caffe_to_onnx.registry import convert_layer  # noqa: E402
from caffe_ext.exchange.runtime import run_onnx  # noqa: E402

EXACT = 1e-6


def test_layers(tmp_path: Path) -> None:
    """The scores are all values that the layers give, so that each is compared."""
    described = write_described(tmp_path, joined(BODIES))
    model = export.export_model(described)
    assert model.difference < EXACT
    assert model.checked == 5
    images = np.random.default_rng(1).integers(0, 256, (7, 3, 9, 8), np.uint8)
    found = run_onnx(model.network, {"images": images.astype(np.float32)}, "logits")
    np.testing.assert_allclose(found, described.load().logits(images), rtol=1e-4, atol=1e-4)


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


def test_pooling_is_exact(tmp_path: Path) -> None:
    bodies = {}
    for size, kernel, stride, pad in GEOMETRIES:
        for pool, mode in product(("MAX", "AVE"), ("CEIL", "FLOOR")):
            settings = f"pool: {pool} kernel_size: {kernel} stride: {stride} pad: {pad}"
            body = layer("Pooling", f"pooling_param {{ {settings} round_mode: {mode} }}")
            if size == 8:
                bodies[f"{settings} {mode}"] = body
    described = write_described(tmp_path, joined(bodies), (1, 8, 8))
    assert export.export_model(described).difference < EXACT


@pytest.mark.parametrize("beside", [False, True])
def test_preprocessing(beside: bool, tmp_path: Path) -> None:
    mean = tmp_path / "mean.npy"
    np.save(mean, np.random.default_rng(2).uniform(80, 150, (3, 10, 12)).astype(np.float32))
    body = layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 }") + SCORES
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
        inputs = {"images": pixels}
    else:
        inputs = {"input": run_onnx(model.preprocessing, {"images": pixels}, "input")}
        np.testing.assert_array_equal(inputs["input"], net.pixel_space.to_input(images))
    found, shares = (run_onnx(model.network, inputs, name) for name in ("logits", "probabilities"))
    np.testing.assert_allclose(found, net.logits(images), atol=1e-4)  # of 77 at most
    np.testing.assert_allclose(shares, net.probabilities(images), atol=1e-6)
    assert (model.preprocessing is not None) == beside


OLD = """
input: 'data' input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 8
layers { name: 'conv' type: CONVOLUTION bottom: 'data' top: 'conv'
  convolution_param { num_output: 4 kernel_size: 3 } }
layers { name: 'relu' type: RELU bottom: 'conv' top: 'conv' }
layers { name: 'pool' type: POOLING bottom: 'conv' top: 'pool'
  pooling_param { kernel_size: 2 stride: 2 pool: AVE } }
layers { name: 'fc' type: INNER_PRODUCT bottom: 'pool' top: 'fc'
  inner_product_param { num_output: 3 } }
layers { name: 'prob' type: SOFTMAX bottom: 'fc' top: 'prob' }
"""


def test_prototxts_of_old(tmp_path: Path) -> None:
    """The VGG networks are published in Caffe's older format."""
    described = write_described(tmp_path, layer("TanH") + SCORES)
    described.deploy.write_text(OLD)
    net = caffe.Net(str(described.deploy), caffe.TEST)
    for blobs in net.params.values():
        blobs[0].data[...] = np.random.default_rng(0).normal(size=blobs[0].data.shape) / 9
    net.save(str(described.weights))
    assert export.export_model(described).difference < EXACT


def test_one_score_is_two_classes(tmp_path: Path) -> None:
    described = write_described(tmp_path, layer("AbsVal") + SCORES)
    text = described.deploy.read_text().replace("num_output: 3", "num_output: 1")
    described.deploy.write_text(text.replace("'Softmax'", "'Sigmoid'"))
    net = caffe.Net(str(described.deploy), caffe.TEST)
    net.params["scores"][0].data[...] = 0.25
    net.save(str(described.weights))
    model = export.export_model(described)
    images = np.full((2, 3, 9, 8), 50, np.float32)
    logits = run_onnx(model.network, {"images": images}, "logits")
    assert logits[:, 0].tolist() == [0, 0]
    assert logits[0, 1] > 0


def test_layers_that_are_refused(tmp_path: Path) -> None:
    body = layer("Im2col", "convolution_param { kernel_size: 3 }") + SCORES
    sentence = r"layer 'x' \(Im2col\) cannot be exported: there is no conversion for"
    with pytest.raises(ValueError, match=f"net.prototxt: {sentence}"):
        export.export_model(write_described(tmp_path, body))
    for phases in ("TEST", "ALL"):
        noise = f"gaussian_noise {{ sigma: 8 phases: {phases} }}"
        body = layer("GaussianNoise", f"caffe_ext_param {{ {noise} }}") + SCORES
        sentence = r"layer 'x' \(GaussianNoise\) cannot be exported: its noise is random in each"
        with pytest.raises(ValueError, match=sentence):
            export.export_model(write_described(tmp_path, body))


def test_a_wrong_conversion_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    described = write_described(tmp_path, layer("TanH") + SCORES)
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
    body = layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 }") + SCORES
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
    assert re.search(r"a_preprocessing\.onnx  \d+\.\d KiB\n", printed)
    onnx.checker.check_model("a.onnx")
    before = Path("a.onnx").read_bytes()
    with pytest.raises(SystemExit, match=r"a\.onnx exists; --again replaces it"):
        main(["net.yaml", "--output", "a.onnx"])
    assert Path("a.onnx").read_bytes() == before
    assert main(["--model", "net.yaml", "--output", "a.onnx", "--again"]) == 0
    assert Path("a.onnx").read_bytes() != before
    Path("b_preprocessing.onnx").mkdir()
    for output, says in {
        "net.yaml": "--output must be a file with the ending .onnx, not net.yaml",
        ".": "--output must be a file with the ending .onnx, not .",
        "b.onnx": "b_preprocessing.onnx is a folder: --output names a file",
    }.items():
        with pytest.raises(SystemExit, match=f"^{re.escape(says)}$"):
            main(["net.yaml", "--output", output, "--preprocessing", "beside", "--again"])
    Path("lenet.onnx").touch()
    for weights in ("lenet.caffemodel.h5", "lenet.caffemodel"):
        with pytest.raises(SystemExit, match=r"^lenet\.onnx exists"):
            main(["net.yaml", "--weights", weights])
    with pytest.raises(SystemExit, match="missing is not a folder"):
        main(["net.yaml", "--output", "missing/a.onnx"])
    with pytest.raises(SystemExit, match=r"net\.prototxt: --model takes a YAML file"):
        main(["net.prototxt"])
    capsys.readouterr()
    for arguments in ([], ["net.yaml", "--model", "net.yaml"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
        assert "name one model file, as MODEL.yaml or with --model" in capsys.readouterr().err
