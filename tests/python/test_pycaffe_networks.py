"""pycaffe on networks that are not colour classifiers of one output, and on layers in Python."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from PIL import Image

from caffe_nets import net, program

GREY = """
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 1 dim: 16 dim: 16 } } }
layer { name: "box" type: "InnerProduct" bottom: "data" top: "box"
        inner_product_param { num_output: 4 weight_filler { type: "constant" value: 1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
        inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
SMALL = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
REMEDY = "set 'force_backward: true' in the net's prototxt"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network of grey images, with weights, in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("deploy.prototxt").write_text(GREY)
    caffe.Net("deploy.prototxt", caffe.TEST).save("net.caffemodel")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    Image.fromarray(pixels).save("grey.png")
    return tmp_path


# --- Classifier, Detector, io ---------------------------------------------------------------------


def classifier(**options: Any) -> Any:
    return caffe.Classifier("deploy.prototxt", "net.caffemodel", raw_scale=255, **options)


def test_predictions_are_the_softmax() -> None:
    images = [caffe.io.load_image("grey.png", color=False)]
    predictions = classifier().predict(images)
    assert predictions.shape == (1, 2)
    assert predictions.sum() == pytest.approx(1)
    assert classifier(output="box").predict(images).shape == (1, 4)
    with pytest.raises(ValueError, match="'fc' is no output of the net; there are box, prob"):
        classifier(output="fc")
    Path("deploy.prototxt").write_text(GREY.replace('"Softmax"', '"ReLU"'))
    with pytest.raises(ValueError, match=r"several outputs \(box, prob\), and not one Softmax"):
        classifier()


def test_detector_of_a_grey_network() -> None:
    detector = caffe.Detector("deploy.prototxt", "net.caffemodel", raw_scale=255)
    (found,) = detector.detect_windows([("grey.png", [[0, 0, 16, 16]])])
    assert found["prediction"].sum() == pytest.approx(1)


def classify(*options: str) -> Any:
    command: list[str | Path] = [sys.executable, Path(caffe.__file__).parents[1] / "classify.py"]
    command += ["--model_def=deploy.prototxt", "--pretrained_model=net.caffemodel"]
    command += ["--images_dim=16,16", *options, "grey.png", "out.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.load("out.npy")


def test_classify_a_grey_image() -> None:
    expected = classifier().predict([caffe.io.load_image("grey.png", color=False)])
    np.testing.assert_allclose(classify(), expected, rtol=1e-5)
    np.testing.assert_allclose(classify("--mean_file=", "--channel_swap="), expected, rtol=1e-5)
    assert classify("--output=box").shape == (1, 4)


@pytest.mark.parametrize("name", ["red.jpg", "red.tif"])
def test_cmyk_goes_by_the_mode(name: str) -> None:
    Image.new("RGB", (16, 16), (255, 0, 0)).convert("CMYK").save(name)
    np.testing.assert_allclose(caffe.io.load_image(name)[8, 8], [1, 0, 0], atol=0.02)
    rgba = Image.new("RGBA", (16, 16), (255, 0, 0, 255))
    rgba.save("rgba.tif")
    np.testing.assert_allclose(caffe.io.load_image("rgba.tif")[8, 8], [1, 0, 0])


# --- backward of a net without force_backward -----------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"prob": [[0, 1, 0]]}, {"diffs": ["fc"]}, {"prob": [[0, 1, 0]], "diffs": ["fc"]}]
)
def test_a_diff_that_is_not_computed_is_an_error(options: dict[str, Any]) -> None:
    there = net(SMALL)
    there.forward()
    with pytest.raises(ValueError, match=REMEDY):
        there.backward(**options)


def test_lists_and_batches() -> None:
    there = net("force_backward: true\n" + SMALL)
    data = [[1, 2, 3, 4]]
    prob = there.forward(data=data)["prob"][0].copy()
    gradient = there.backward(prob=[[0, 1, 0]])["data"]
    weights = there.params["fc"][0].data
    expected = prob[1] * (np.eye(3)[1] - prob) @ weights
    np.testing.assert_allclose(gradient[0], expected, rtol=1e-4, atol=1e-7)
    for diff in (np.zeros((2, 3)), 0):
        with pytest.raises(ValueError, match="Diff is not batch sized"):
            there.backward(prob=diff)
    with pytest.raises(ValueError, match="Input is not batch sized"):
        there.forward(data=np.zeros((2, 4)))


def test_training_by_hand_needs_no_force_backward() -> None:
    """The diffs of weights are there; nobody has asked for those of the inputs."""
    there = net(
        SMALL
        + 'layer { name: "l" type: "Input" top: "y" input_param { shape { dim: 1 } } }'
        + 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "y" top: "loss" }'
    )
    there.forward(data=[[1, 2, 3, 4]], y=[0])
    there.backward()
    assert there.params["fc"][0].diff.any()
    with pytest.raises(ValueError, match=f"the diff of blob data is not computed; {REMEDY}"):
        there.backward(diffs=["data"])


# --- layers in Python -----------------------------------------------------------------------------

LAYERS = """
import caffe
class NoSetUp(caffe.Layer):
    def setup(self, bottom, top):
        raise KeyError("no folder of images")
"""


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("no_such_module.Data", ModuleNotFoundError, "No module named 'no_such_module'"),
        ("layers_of_test.NoSuchClass", AttributeError, "has no attribute 'NoSuchClass'"),
        ("layers_of_test.NoSetUp", KeyError, "no folder of images"),
    ],
)
def test_why_a_python_layer_cannot_be_made(
    path: str,
    error: type[Exception],
    words: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder / "layers_of_test.py").write_text(LAYERS)
    monkeypatch.syspath_prepend(folder)
    module, layer = path.split(".")
    text = f"""layer {{ name: "p" type: "Python" top: "x"
                        python_param {{ module: "{module}" layer: "{layer}" }} }}"""
    with pytest.raises(error, match=words) as raised:
        net(text)
    assert "t, layer 'p': " in str(raised.value)
    # The program's own Python need not be that of the environment in which these tests run.
    packages = (Path(caffe.__file__).parents[1], Path(np.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", ":".join(map(str, (folder, *packages))))
    done = program("caffe", "time", "-model=t", "-iterations=1")
    assert done.returncode == 1
    assert words in done.stderr.splitlines()[-1]
    assert "layer 'p': " in done.stderr.splitlines()[-1]
    assert done.stderr.count("Error: ") == 1
