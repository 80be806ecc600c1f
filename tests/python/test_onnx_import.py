"""An ONNX file as a Caffe model: what Caffe gives is what ONNX Runtime gives."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe_ext.cli.import_onnx import main
from caffe_ext.models.description import read_model
from onnx_samples import BODIES, joined, write_described

onnx = pytest.importorskip("onnx", reason="ONNX is not installed: the extra `onnx`")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: the extra `onnx`")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402  (needs ONNX)

from caffe_ext.exchange.caffe_to_onnx.export import export_model  # noqa: E402
from caffe_ext.exchange.onnx_to_caffe import importer  # noqa: E402
from caffe_ext.exchange.onnx_to_caffe.importer import import_model  # noqa: E402
from caffe_ext.exchange.runtime import run_onnx  # noqa: E402

RANDOM = np.random.default_rng(0)
# ONNX needs an operator for Threshold that Caffe has no layer for; the gradient of Caffe's MVN
# leaves eps out, that of the operators that it is made of does not.
ONE_WAY = {"Threshold", "MVN"}


class Model:
    """A model of ONNX while it is written: each operator takes what the last one gave."""

    def __init__(self, shape: Sequence[Any] = ("N", 3, 9, 8)) -> None:
        self.shape, self.last = shape, "x"
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def __call__(self, operator: str, *inputs: Any, **attributes: Any) -> "Model":
        """Add a node; arrays become constants, texts are values, "" is left out."""
        names = [self.last, *(self._name(one) for one in inputs)]
        return self.of(operator, *names, **attributes)

    def of(self, operator: str, *names: Any, **attributes: Any) -> "Model":
        """Add a node of these values."""
        given = [self._name(one) for one in names]
        self.last = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, given, [self.last], self.last, **attributes))
        return self

    def scores(self, features: int) -> "Model":
        """End in three scores of as many features."""
        return self("Flatten")("Gemm", weights(features, 3) / features, weights(3))

    def write(self, path: Path, opset: int = 17) -> Path:
        tensor = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "net",
            [tensor("x", TensorProto.FLOAT, self.shape)],
            [tensor(self.last, TensorProto.FLOAT, None)],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 8
        onnx.save(onnx.shape_inference.infer_shapes(model, data_prop=True), path)
        return path

    def _name(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def weights(*shape: int) -> np.ndarray:
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


def integers(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def test_to_onnx_and_back(tmp_path: Path) -> None:
    bodies = {name: body for name, body in BODIES.items() if name not in ONE_WAY}
    described = write_described(tmp_path, joined(bodies), channel_order="BGR")
    export_model(described).write(tmp_path / "net.onnx")
    import_model(tmp_path / "net.onnx", "back").write(tmp_path)
    images = RANDOM.integers(0, 256, (6, 3, 9, 8), np.uint8)
    before, back = described.load(), read_model(tmp_path / "back.yaml").load()
    np.testing.assert_allclose(back.logits(images), before.logits(images), rtol=1e-4, atol=1e-4)
    diff = RANDOM.normal(size=(6, before.classes)).astype(np.float32)
    expected = before.gradient(images, diff)
    np.testing.assert_allclose(back.gradient(images, diff), expected, atol=1e-4 * expected.max())


def block(model: Model, channels: int, out: int, stride: int) -> Model:
    """Add a residual block, as torchvision's ResNets have it in eval() mode."""
    entry = model.last
    for number, (inside, step) in enumerate(((channels, stride), (out, 1))):
        model("Conv", weights(out, inside, 3, 3) / 9, pads=[1] * 4, strides=[step] * 2)
        parts = weights(out), weights(out), weights(out), abs(weights(out)) + 0.5
        model("BatchNormalization", *parts, epsilon=1e-5)
        if number == 0:
            model("Relu")
    inner = model.last
    if stride > 1:
        model.of("Conv", entry, weights(out, channels, 1, 1), weights(out), strides=[2, 2])
        entry = model.last
    return model.of("Add", inner, entry)("Relu")


def resnet() -> Model:
    model = Model(("N", 3, 32, 32))
    model("Conv", weights(8, 3, 7, 7) / 49, pads=[3] * 4, strides=[2, 2])("Relu")
    model("MaxPool", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    block(block(model, 8, 8, 1), 8, 16, 2)
    return model("GlobalAveragePool").scores(16)


def mobilenet() -> Model:
    model = Model(("N", 3, 32, 32))
    low, six = np.float32(0), np.float32(6)
    model("Conv", weights(8, 3, 3, 3) / 3, pads=[0, 0, 1, 1], strides=[2, 2])
    model("Clip", low, six)
    entry = model.last
    model("Conv", weights(24, 8, 1, 1), weights(24))("HardSwish")
    model("Conv", weights(24, 1, 3, 3), pads=[1] * 4, group=24)("Clip", low, six)
    expanded = model.last
    model("ReduceMean", axes=[2, 3], keepdims=1)("Conv", weights(24, 24, 1, 1), weights(24))
    model.of("Mul", expanded, model("HardSigmoid", alpha=1 / 6).last)
    model("Conv", weights(8, 24, 1, 1) / 5, weights(8))
    model.of("Add", model.last, entry)("ReduceMean", axes=[-1, -2], keepdims=0)
    return model("MatMul", weights(8, 3))("Add", weights(3))("Softmax", axis=-1)


@pytest.mark.parametrize("network", [resnet, mobilenet])
def test_networks(network: Any, tmp_path: Path) -> None:
    model = import_model(network().write(tmp_path / "net.onnx"), "net")
    assert model.difference < 1e-5
    assert model.settings["scale"] == 1 / 255


OPERATORS: dict[str, Callable[[Model], Model]] = {
    "Conv, pads of other sizes": lambda m: m(
        "Conv", weights(4, 3, 3, 2), pads=[0, 2, 1, 0], strides=[2, 1]
    ),
    "Conv, SAME": lambda m: m("Conv", weights(4, 3, 4, 3), auto_pad="SAME_LOWER", strides=[2, 2]),
    "Conv, dilated": lambda m: m("Conv", weights(4, 3, 2, 2), dilations=[2, 2], pads=[2, 0, 0, 2]),
    "Pad, Conv": lambda m: m("Pad", integers(0, 0, 1, 1, 0, 0, 2, 0))("Conv", weights(4, 3, 3, 3)),
    "Pad, AveragePool": lambda m: m("Pad", integers(0, 0, 1, 1, 0, 0, 1, 1))(
        "AveragePool", kernel_shape=[3, 3], strides=[2, 2]
    ),
    "ConvTranspose": lambda m: m(
        "ConvTranspose", weights(3, 2, 4, 4), strides=[2, 2], pads=[1] * 4
    ),
    "Sub, Div": lambda m: m("Sub", weights(3, 1, 1))("Div", weights(1, 3, 1, 1) + 2),
    "constant - x": lambda m: m.of("Sub", np.float32(2), "x"),
    "constant / x": lambda m: m("Exp").of("Div", weights(3, 9, 8), m.last),
    "Add of rows": lambda m: m("Add", weights(9, 1)),
    "x / y": lambda m: m("Exp").of("Div", "x", m.last),
    "Max": lambda m: m("Neg").of("Max", "x", m.last),
    "Slice": lambda m: m("Slice", integers(1, -4), integers(6, 99), integers(2, 3)),
    "Gather of one": lambda m: m("Gather", np.int64(1), axis=1),
    "Squeeze": lambda m: m("GlobalMaxPool")("Squeeze", integers(2, 3)),
    "Transpose of nothing": lambda m: m("GlobalMaxPool")("Transpose", perm=[0, 2, 3, 1]),
    "Reciprocal, Sqrt": lambda m: m("Exp")("Sqrt")("Reciprocal"),
    "PRelu": lambda m: m("PRelu", weights(3, 1, 1)),
    "Clip below": lambda m: m("Clip", np.float32(-0.25)),
    "LogSoftmax inside": lambda m: m("LogSoftmax", axis=1),
    "AveragePool, no pads counted": lambda m: m(
        "AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4
    ),
    "AveragePool, ceil": lambda m: m(
        "AveragePool", kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1
    ),
    "AveragePool, padding counted": lambda m: m(
        "AveragePool",
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1] * 4,
        ceil_mode=1,
        count_include_pad=1,
    ),
    "AveragePool, SAME": lambda m: m(
        "AveragePool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"
    ),
    "MaxPool, ceil": lambda m: m("MaxPool", kernel_shape=[3, 3], strides=[3, 2], ceil_mode=1),
    "MaxPool, floor": lambda m: m("MaxPool", kernel_shape=[2, 3], strides=[2, 2]),
}


def test_operators(tmp_path: Path) -> None:
    """The scores are all values that the operators give, so that each is compared."""
    model, ends = Model(), []
    for add in OPERATORS.values():
        model.last = "x"
        ends.append(add(model)("Flatten").last)
    model.of("Concat", *ends, axis=1).write(tmp_path / "net.onnx")
    assert import_model(tmp_path / "net.onnx", "net").difference < 1e-5


def test_shapes_are_computed(tmp_path: Path) -> None:
    """What PyTorch writes for x.view(x.size(0), -1)."""
    model = Model()("Relu")
    size = model.of("Shape", "Relu_0").of("Gather", "Shape_1", np.int64(0)).last
    model.of("Unsqueeze", size, integers(0)).of("Concat", model.last, integers(-1), axis=0)
    model.of("Reshape", "Relu_0", model.last)("Gemm", weights(216, 3), weights(3))
    assert import_model(model.write(tmp_path / "net.onnx"), "net").difference < 1e-5


@pytest.mark.parametrize("batch", [1, "N"])
def test_numbers_of_images(batch: Any, tmp_path: Path) -> None:
    path = Model((batch, 3, 9, 8)).scores(216).write(tmp_path / "net.onnx")
    model = import_model(path, "net", {"mean": [1.0, 2.0, 3.0], "std": 50.0})
    model.write(tmp_path)
    found = read_model(tmp_path / "net.yaml").load(batch_size=7)
    assert found.logits(np.zeros((9, 3, 9, 8), np.uint8)).shape == (9, 3)
    assert found.pixel_space.scale == 1 / 50


REFUSED: dict[str, tuple[Model, str]] = {
    "Erf": (Model()("Erf").scores(216), r"node 'Erf_0' \(Erf\) cannot be .*no layer for this"),
    "Transpose": (
        Model()("Transpose", perm=[0, 2, 3, 1]).scores(216),
        r"node 'Transpose_0' \(Transpose\) .* no layer that exchanges axes",
    ),
    "Pad": (
        Model()("Pad", integers(0, 0, 1, 1, 0, 0, 1, 1))("Relu").scores(330),
        r"node 'Relu_1' \(Relu\) .* is padded with zeros",
    ),
    "Pad of ones": (
        Model()("Pad", integers(0, 0, 1, 1, 0, 0, 1, 1), np.float32(1)).scores(330),
        r"node 'Pad_0' \(Pad\) .* Caffe pads with zeros",
    ),
    "MaxPool, uneven": (
        Model()("MaxPool", kernel_shape=[3, 3], pads=[0, 0, 2, 2]).scores(216),
        r"node 'MaxPool_0' \(MaxPool\) .* windows.* are not the node's 9 x 8",
    ),
    "MaxPool, dilated": (
        Model()("MaxPool", kernel_shape=[3, 3], dilations=[2, 2]).scores(60),
        r"node 'MaxPool_0' \(MaxPool\) .* without dilation",
    ),
    "two batches": (Model((2, 3, 9, 8)).scores(216), "takes 2 images at a time"),
    "open size": (
        Model(("N", 3, "H", 8))("GlobalMaxPool").scores(3),
        r"size of the images is variable; give it with --shape C,H,W",
    ),
    "Flatten of all images": (
        Model()("Flatten", axis=0),
        r"output 'Flatten_0' is \[1, 1080\] for 5 images, not one row per image",
    ),
    "a size that cannot be": (
        Model()("LRN", size=-3).scores(216),
        r"node 'LRN_0' \(LRN\) .* are not supported: .*-3",
    ),
    "weights that are not finite": (
        Model()("Mul", np.float32("nan")).scores(216),
        r": (?!.*tmp).*nan",
    ),
    "no scores": (Model()("Relu"), r"output 'Relu_0' is \[1, 3, 9, 8\], not \(N, K\)"),
}


@pytest.mark.parametrize(("model", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(model: Model, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"net.onnx.*{sentence}"):
        import_model(model.write(tmp_path / "net.onnx"), "net")


def test_files_that_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"nothing", Model().scores(216).write(tmp_path / "n").read_bytes()[:900]):
        (tmp_path / "net.onnx").write_bytes(content)
        with pytest.raises(ValueError, match=r"net\.onnx is not an ONNX model"):
            import_model(tmp_path / "net.onnx", "net")


def test_a_graph_without_operators(tmp_path: Path) -> None:
    path = Model((1, 3, 9, 8)).scores(216).write(tmp_path / "net.onnx")
    model = onnx.load(path)
    del model.graph.node[:]
    model.graph.output[0].CopyFrom(model.graph.input[0])
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"net\.onnx has no operators between the images"):
        import_model(path, "net")


def test_weights_of_an_unknown_type(tmp_path: Path) -> None:
    path = Model().scores(216).write(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.initializer[1].data_type = 99
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"net\.onnx.*(type 99|the weights 'w1')"):
        import_model(path, "net")


@pytest.mark.parametrize("text", ['"/etc/passwd"', "[" * 9999, "[1]", "{"])
def test_names_of_classes_in_a_file_are_a_list(tmp_path: Path, text: str) -> None:
    path = Model().scores(216).write(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.metadata_props.add(key="caffe_ext.classes", value=text)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(
        ValueError, match=r"net\.onnx: its metadata caffe_ext\.classes is not a list"
    ):
        import_model(path, "net")


def test_the_name_of_a_file_stays_in_its_comment(tmp_path: Path) -> None:
    path = Model().scores(216).write(tmp_path / "n\nlayer { name: 'x' }.onnx")
    import_model(path, "net").write(tmp_path)
    first = (tmp_path / "net_deploy.prototxt").read_text().splitlines()[0]
    assert first == r"# net, imported from n\nlayer { name: 'x' }.onnx."


def test_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Model(("N", 3, "H", 8))("GlobalMaxPool").scores(3).write(tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    assert main(["net.onnx", "--shape", "3,9,8", "--mean", "1", "2", "3"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^net: 5 layers$", printed, re.M)
    assert re.search(r"ONNX Runtime's on 5 images: \d\.\de[-+]\d\d$", printed, re.M)
    assert "pixels are divided by 255" in printed
    assert read_model(Path("net.yaml")).pixel_space.mean.tolist() == [1, 2, 3]
    with pytest.raises(SystemExit, match=r"net_deploy\.prototxt exists; --again replaces it"):
        main(["net.onnx"])
    with pytest.raises(SystemExit, match="without a folder, not 'a/b'"):
        main(["net.onnx", "--name", "a/b"])
    with pytest.raises(SystemExit, match=r"the name 'a\\nb' has characters that cannot be shown"):
        main(["net.onnx", "--name", "a\nb", "--shape", "3,9,8"])
    Path("x.yaml").write_bytes(Path("net.onnx").read_bytes())
    with pytest.raises(SystemExit, match=r"^x\.yaml would be replaced"):
        main(["x.yaml", "--shape", "3,9,8", "--again"])
    with pytest.raises(SystemExit, match="give it with --shape C,H,W"):
        main(["net.onnx", "--again"])
    assert Path("net.yaml").is_file()
    assert main(["net.onnx", "--shape", "3,9,8", "--output", "new/folder"]) == 0
    assert Path("new/folder/net.yaml").is_file()
    with pytest.raises(SystemExit, match=r"--output net\.onnx: .*net\.onnx is not a folder"):
        main(["net.onnx", "--shape", "3,9,8", "--output", "net.onnx"])


def test_a_wrong_conversion_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Model()("Sigmoid").scores(216).write(tmp_path / "net.onnx")
    run = run_onnx
    monkeypatch.setattr(importer, "run_onnx", lambda *inputs: run(*inputs) + 0.001)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"differs from ONNX Runtime's by 0\.001, more than"):
        main([str(path)])
    assert [one.name for one in tmp_path.iterdir()] == ["net.onnx"]
