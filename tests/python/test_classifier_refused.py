"""models/classifier.py: errors where Caffe would abort or return wrong results."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import caffe
import h5py
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from attack_samples import Batch
from caffe_ext.attacks.criteria import Misclassification
from caffe_ext.attacks.directions import FastGradient
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.models.base import NO_CLASS
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.runs.runner import attack_images
from classifier_models import IMAGES, LINEAR, write_model


@pytest.fixture
def linear(tmp_path: Path) -> Classifier:
    return Classifier(*write_model(tmp_path), PixelSpace(0.5))


def test_images_of_another_size_are_refused(linear: Classifier) -> None:
    large = np.zeros((4, 1, 3, 2), np.uint8)
    text = r"images \(4, 1, 3, 2\) make an input \(N, 1, 3, 2\); the net takes \(N, 1, 2, 2\)"
    for call in (linear.logits, linear.probabilities, linear.predict):
        with pytest.raises(ValueError, match=text):
            call(large)
    with pytest.raises(ValueError, match=r"must be uint8 .* not float64 \(2, 1, 2, 2\)"):
        linear.logits(IMAGES / 255)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has 1 rows for 2 images"):
        linear.gradient(IMAGES, np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"'score' has shape \(2, 2\), the blob \(2, 3\)"):
        linear.gradient(IMAGES, lambda logits, rows: logits[:, :2])
    assert np.isfinite(linear.logits(IMAGES)).all()  # and goes on working


def test_labels_that_are_refused(linear: Classifier) -> None:
    for labels, text in [
        ([0, 3], r"label 3 of image 1 does not exist: the network has 3 classes, 0\.\.2"),
        ([-1, 0], "label -1 of image 0"),
        ([0], r"integers \(2,\), not int64 \(1,\)"),
        ([0.0, 1.0], "not float64"),
    ]:
        with pytest.raises(ValueError, match=text):
            linear.accuracy(IMAGES, np.array(labels))
    for name, shown in (("1", "image 1 does not"), ("a.png", r"image 1 \(a\.png\) does not")):
        with pytest.raises(ValueError, match=shown):
            linear.check_labels(np.array([0, 3]), 2, named=lambda _, name=name: name)  # type: ignore[misc]


def test_files_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy, weights = write_model(tmp_path)
    opened = Path.open

    def denied(path: Path, *arguments: Any) -> Any:
        if path == weights:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments)

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(PermissionError) as raised:
        Classifier(deploy, weights, PixelSpace())
    assert raised.value.filename == str(weights)


def test_files_that_are_missing_or_no_models(tmp_path: Path) -> None:
    deploy, weights = write_model(tmp_path)
    none = tmp_path / "none"
    for pair in [(none, weights), (deploy, none)]:
        with pytest.raises(FileNotFoundError, match="none is not a file"):
            Classifier(*pair, PixelSpace())
    with pytest.raises(ValueError, match=r"w\.caffemodel is not the prototxt of a network"):
        Classifier(weights, weights, PixelSpace())
    with pytest.raises(ValueError, match=r"deploy\.prototxt is not a Caffe model, or is damaged"):
        Classifier(deploy, deploy, PixelSpace())
    weights.write_bytes(weights.read_bytes()[:-20])
    with pytest.raises(ValueError, match="damaged"):
        Classifier(deploy, weights, PixelSpace())
    deploy, weights = write_model(tmp_path / "hdf5", hdf5=True)
    weights.write_bytes(weights.read_bytes()[:-20])
    with pytest.raises(ValueError, match=f"^{weights} is damaged: .*truncated"):
        Classifier(deploy, weights, PixelSpace())
    deploy, weights = write_model(tmp_path)
    with pytest.raises(ValueError, match="batch_size must be 1 or more, not 0"):
        Classifier(deploy, weights, PixelSpace(), batch_size=0)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("'Input' top", "'HDF5Data' top", r"'data' \(HDF5Data\) reads data; use a deploy net"),
        ("'Softmax'", "'Softmux'", "layer 'prob' has an unknown type, 'Softmux'"),
        ("'Softmax'", "'Reshape' reshape_param { shape { dim: 1 dim: -1 } }", "batch size at 1"),
        ("'Input' top: 'data'", "'Input' top: 'data' top: 'more'", "must have one input, not 2"),
        ("dim: 2 dim: 2", "dim: 4", r"'data' must be \(N, C, H, W\), not \(1, 1, 4\)"),
    ],
)
def test_nets_that_are_refused(tmp_path: Path, old: str, new: str, text: str) -> None:
    deploy, weights = write_model(tmp_path)
    deploy.write_text(deploy.read_text().replace(old, new))
    with pytest.raises(ValueError, match=text):
        Classifier(deploy, weights, PixelSpace())


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("bottom: 'data'", "bottom: 'dat'", r"Unknown bottom blob 'dat' \(layer 'score'"),
        ("num_output: 3", "", "layer 'score': "),
        ("dim: 2 dim: 2", "dim: 0 dim: 2", "layer 'score': "),
        ("shape { dim: 1 dim: 1 dim: 2 dim: 2 }", "", "layer 'score': "),
        ("top: 'prob'", "top: 'data'", "layer 'prob': Top blob 'data' produced by multiple"),
        ("'Softmax' bottom", "'SoftmaxWithLoss' bottom: 'label' bottom", "bottom blob 'label'"),
        ("'Softmax'", "'LRN' lrn_param { local_size: 4 }", "layer 'prob': .*odd"),
        pytest.param(
            "'Softmax'",
            "'Python' python_param { module: 'no_such_module' layer: 'X' }",
            "layer 'prob': ModuleNotFoundError: No module named 'no_such_module'",
            marks=pytest.mark.skipif(
                "Python" not in caffe.layer_type_list(), reason="a Caffe without Python layers"
            ),
        ),
    ],
)
def test_nets_that_caffe_cannot_build(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], old: str, new: str, text: str
) -> None:
    deploy, weights = write_model(tmp_path)
    deploy.write_text(deploy.read_text().replace(old, new))
    capfd.readouterr()
    with pytest.raises(ValueError, match=rf"^{deploy}: Caffe cannot build this network: .*{text}"):
        Classifier(deploy, weights, PixelSpace())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("images", "batch_size"), [(1, 100), (3, 1)])
def test_nets_that_take_no_other_number_of_images(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], images: int, batch_size: int
) -> None:
    deploy, weights = write_model(tmp_path)
    scale = "layer { name: 's' type: 'Scale' bottom: 'data' top: 's' scale_param { axis: 0 } }"
    deploy.write_text(deploy.read_text().replace("dim: 1 ", f"dim: {images} ", 1) + scale)
    capfd.readouterr()
    refused = "cannot build this network with another number of images: .*layer 's': "
    with pytest.raises(ValueError, match=rf"^{deploy}: Caffe {refused}"):
        Classifier(deploy, weights, PixelSpace(), batch_size=batch_size)
    assert capfd.readouterr() == ("", "")


def test_no_file_is_written_by_a_layer(tmp_path: Path) -> None:
    deploy, weights = write_model(tmp_path)
    mine = tmp_path / "mine.h5"
    mine.write_text("mine")
    output = f"'HDF5Output' hdf5_output_param {{ file_name: '{mine}' }}"
    deploy.write_text(deploy.read_text().replace("'Softmax'", output))
    with pytest.raises(ValueError, match=r"'prob' \(HDF5Output\) writes a file; remove it"):
        Classifier(deploy, weights, PixelSpace())
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("hdf5", [False, True])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_weights_that_are_not_finite(tmp_path: Path, hdf5: bool, wrong: float) -> None:
    deploy, weights = write_model(tmp_path)
    net = caffe.Net(str(deploy), str(weights), caffe.TEST)
    net.params["score"][1].data[2] = wrong
    (net.save_hdf5 if hdf5 else net.save)(str(weights))
    text = f"^{weights}: the weights of layer 'score' are not all finite numbers"
    with pytest.raises(ValueError, match=text):
        Classifier(deploy, weights, PixelSpace())


@pytest.mark.parametrize("size", [2**29, 3 * 10**9, 10**10])
def test_batches_that_caffe_cannot_count(tmp_path: Path, size: int) -> None:
    text = f"batch_size must be at most 536870911, not {size}: blob 'data' has 4 values"
    with pytest.raises(ValueError, match=text):
        Classifier(*write_model(tmp_path), PixelSpace(), batch_size=size)


@pytest.mark.parametrize(
    "shape",
    [
        "input_shape { dim: 1 dim: 1 dim: 2 dim: 2 }",
        "input_dim: 1 input_dim: 1 input_dim: 2 input_dim: 2",
    ],
)
def test_inputs_of_caffe_s_first_years_are_read_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], shape: str
) -> None:
    deploy, weights = write_model(tmp_path)
    _, _, layers = LINEAR.partition("} } }")
    deploy.write_text(f"input: 'data' {shape} {layers}")
    capfd.readouterr()
    classifier = Classifier(deploy, weights, PixelSpace())
    assert classifier.input_shape == (1, 2, 2)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("hdf5", [False, True])
@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("num_output: 3", "num_output: 4", r"'score', parameter 0, has shape \(4, 4\), .*\(3, 4\)"),
        ("name: 'score'", "name: 'other'", "'other' is missing in the weights; they have"),
        (
            "num_output: 3",
            "num_output: 3 bias_term: false",
            "has 1 parameter, in the weights 2 parameters",
        ),
        ("name: 'prob'", "name: 'score'", "prob"),
    ],
)
def test_weights_that_do_not_fit(tmp_path: Path, hdf5: bool, old: str, new: str, text: str) -> None:
    deploy, weights = write_model(tmp_path, hdf5=hdf5)
    if text == "prob":  # a layer without parameters under a name that has some in the weights
        extra = "layer { name: 'score' type: 'ReLU' bottom: 'renamed' top: 'extra' }"
        deploy.write_text(LINEAR.replace("'score'", "'renamed'") + extra)
        text = "'renamed' is missing"
    else:
        deploy.write_text(LINEAR.replace(old, new))
    with pytest.raises(ValueError, match=text):
        Classifier(deploy, weights, PixelSpace())


def test_layers_of_equal_names(tmp_path: Path) -> None:
    """Caffe would load the first, and leave the second as it was made, by chance."""
    first = "layer { name: 'twin' type: 'InnerProduct' bottom: 'data' top: 'a' %s }"
    second = "layer { name: 'twin' type: 'InnerProduct' bottom: 'a' top: 'b' %s }"
    size = "inner_product_param { num_output: 4 }"
    text = LINEAR.replace(
        "layer { name: 'score' type: 'InnerProduct' bottom: 'data'",
        f"{first % size} {second % size} layer {{ name: 'score' type: 'InnerProduct' bottom: 'b'",
    )
    deploy, weights = write_model(tmp_path, text)
    with pytest.raises(ValueError, match=rf"^{deploy}: 2 layers with parameters .* name 'twin'"):
        Classifier(deploy, weights, PixelSpace())


def test_axes_in_front_are_of_the_first_years_only(tmp_path: Path) -> None:
    before = write_model(tmp_path / "before")
    deploy, weights = write_model(tmp_path)
    model = caffe_pb2.NetParameter.FromString(weights.read_bytes())
    bias = next(layer for layer in model.layer if layer.name == "score").blobs[1]
    bias.ClearField("shape")
    bias.num, bias.channels, bias.height, bias.width = 1, 1, 1, 3
    weights.write_bytes(model.SerializeToString())
    logits = Classifier(deploy, weights, PixelSpace()).logits(IMAGES)
    np.testing.assert_array_equal(logits, Classifier(*before, PixelSpace()).logits(IMAGES))
    for side in ("num", "channels", "height", "width"):
        bias.ClearField(side)
    bias.shape.dim.extend([1, 1, 1, 3])
    weights.write_bytes(model.SerializeToString())
    text = r"'score', parameter 1, has shape \(3,\), in the weights \(1, 1, 1, 3\)"
    with pytest.raises(ValueError, match=text):
        Classifier(deploy, weights, PixelSpace())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda data: data["score"].move("1", "5"), r"has 2 parameters, .* \(numbers 0, 5\)"),
        (lambda data: data.create_dataset("more", data=[1]), "not a Caffe model: data/more holds"),
        (lambda data: data["score"].create_group("2"), "not a Caffe model: data/score holds"),
        (lambda data: data["score"].create_dataset("2", data=b"x"), "data/score holds other"),
    ],
)
def test_hdf5_files_of_another_kind(
    tmp_path: Path, change: Callable[[h5py.Group], Any], text: str
) -> None:
    deploy, weights = write_model(tmp_path, hdf5=True)
    with h5py.File(weights, "r+") as file:
        change(file["data"])
    with pytest.raises(ValueError, match=text):
        Classifier(deploy, weights, PixelSpace())


def test_scores_that_are_no_numbers(tmp_path: Path) -> None:
    text = LINEAR.replace("bottom: 'data' top: 'score'", "bottom: 'root' top: 'score'").replace(
        "layer { name: 'score'",
        "layer { name: 'root' type: 'Power' bottom: 'data' top: 'root'"
        " power_param { power: 0.5 shift: -1 } } layer { name: 'score'",
    )
    classifier = Classifier(*write_model(tmp_path, text), PixelSpace())
    assert classifier.predict(IMAGES)[0] == NO_CLASS  # it has a pixel of 0
    assert classifier.predict(np.full_like(IMAGES, 9)).min() >= 0
    with pytest.raises(ValueError, match=r"label -1 of image 0 .*a logit of this image is NaN"):
        FastGradient(sign=True)(classifier, IMAGES, Misclassification(classifier.predict(IMAGES)))
    both = np.concatenate([IMAGES[:1], np.full_like(IMAGES[:1], 9)])
    records, _ = attack_images(classifier, parse_attack("fgs"), Batch(both, None))
    assert records.predicted[0] == NO_CLASS
    assert records.attempted.tolist() == [False, True]
    with pytest.raises(ValueError, match="the scores of all 1 images are NaN"):
        attack_images(classifier, parse_attack("fgs"), Batch(IMAGES[:1], None))


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    deploy, weights = write_model(tmp_path)
    weights.write_bytes(weights.read_bytes().replace(b"score", b"sc\xffre"))
    with pytest.raises(ValueError, match=f"^{weights} is damaged: a layer is called"):
        Classifier(deploy, weights, PixelSpace())
