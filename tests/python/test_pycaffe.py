"""pycaffe as changed by patches/: each change has an effect."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import caffe
import caffe.draw
import numpy as np
import pytest
from caffe import layers
from google.protobuf import text_format
from numpy.typing import NDArray
from PIL import Image

BATCH, CLASSES = 4, 7
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 10, 4), dtype=np.uint8)
GRAY, RGB = PIXELS[:, :, 0], PIXELS[:, :, :3]
GRAY_AS_RGB = PIXELS[:, :, [0, 0, 0]]
RGB_TO_GRAY = np.array([0.2125, 0.7154, 0.0721])


def save_net(path: Path, net: Any) -> str:
    path.write_text(f"force_backward: true\n{net.to_proto()}", encoding="utf-8")
    return str(path)


@pytest.fixture
def deploy(tmp_path: Path) -> str:
    """A net that tells 16x16 colour images apart, with random weights."""
    caffe.set_random_seed(1)
    net = caffe.NetSpec()
    net.data = layers.Input(shape={"dim": [BATCH, 3, 16, 16]})
    net.conv = layers.Convolution(
        net.data, kernel_size=3, num_output=5, weight_filler={"type": "xavier"}
    )
    net.ip = layers.InnerProduct(net.conv, num_output=CLASSES, weight_filler={"type": "xavier"})
    net.prob = layers.Softmax(net.ip)
    return save_net(tmp_path / "deploy.prototxt", net)


@pytest.fixture
def weights(tmp_path: Path, deploy: str) -> str:
    path = str(tmp_path / "net.caffemodel")
    caffe.Net(deploy, caffe.TEST).save(path)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "picture.png"
    Image.fromarray(np.tile(RGB, (3, 4, 1))).save(path)
    return str(path)


# --- io: images and protobufs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "image", "colour"),
    [
        ("gray.png", Image.fromarray(GRAY), GRAY_AS_RGB),
        ("rgb.png", Image.fromarray(RGB), RGB),
        ("rgba.png", Image.fromarray(PIXELS), RGB),
        ("16bit.png", Image.fromarray(GRAY.astype(np.uint16) * 257), GRAY_AS_RGB),
        ("gray_alpha.png", Image.fromarray(GRAY).convert("LA"), GRAY_AS_RGB),
        ("bilevel.png", Image.fromarray(GRAY).convert("1"), None),
        ("palette.png", Image.fromarray(RGB).convert("P"), None),
        ("picture.gif", Image.fromarray(RGB).convert("P"), None),
        ("cmyk.JPEG", Image.fromarray(RGB).convert("CMYK"), None),
    ],
)
def test_load_image(tmp_path: Path, name: str, image: Image.Image, colour: Any) -> None:
    path = tmp_path / name
    image.save(path)
    if colour is None:
        colour = np.asarray(Image.open(path).convert("RGB"))
    loaded = caffe.io.load_image(str(path))
    assert loaded.dtype == np.float32
    assert loaded.shape == (12, 10, 3)
    np.testing.assert_allclose(loaded, colour / 255, atol=0.51 / 255)
    gray = caffe.io.load_image(str(path), color=False)
    assert gray.dtype == np.float32
    np.testing.assert_allclose(gray[:, :, 0], loaded @ RGB_TO_GRAY, atol=1e-6)


def test_resize_interpolates_and_does_not_smooth() -> None:
    image = np.random.default_rng(0).random((8, 6, 3), dtype=np.float32)
    half = image.reshape(4, 2, 3, 2, 3).mean((1, 3))
    np.testing.assert_allclose(caffe.io.resize_image(image, (4, 3)), half, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_datum_round_trip(dtype: type[np.generic]) -> None:
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    datum = caffe.io.array_to_datum(values, label=np.int64(3))
    assert (datum.label, bool(datum.data)) == (3, dtype is np.uint8)
    again = caffe.io.datum_to_array(datum)
    assert np.array_equal(again, values)
    again[0] = 0  # it is the caller's own


def test_oversample_crops_corners_and_centre() -> None:
    image = np.random.default_rng(0).random((7, 9, 2))
    crops = caffe.io.oversample([image, -image], (4, 5))
    assert crops.shape == (20, 4, 5, 2)
    for crop, (top, left) in zip(crops, [(0, 0), (0, 4), (3, 0), (3, 4), (1, 2)], strict=False):
        np.testing.assert_allclose(crop, image[top : top + 4, left : left + 5], rtol=1e-6)
    assert np.array_equal(crops[5:10], crops[:5, :, ::-1])
    assert np.array_equal(crops[10:], -crops[:10])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mean_side", [6, 11])
def test_transformer_leaves_the_image_alone_and_inverts(channels: int, mean_side: int) -> None:
    transformer = caffe.io.Transformer({"data": (1, channels, 6, 6)})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_raw_scale("data", 255)
    transformer.set_mean("data", np.full((channels, mean_side, mean_side), 7.0))
    image = np.random.default_rng(0).random((6, 6, channels), dtype=np.float32)
    before = image.copy()
    blob = transformer.preprocess("data", image)
    np.testing.assert_allclose(blob, image.transpose(2, 0, 1) * 255 - 7, atol=1e-4)
    np.testing.assert_allclose(transformer.deprocess("data", blob[np.newaxis]), image, atol=1e-5)
    assert np.array_equal(image, before)


# --- Net, Classifier, Detector --------------------------------------------------------------------


def one_by_one(net: Any, images: NDArray[np.float32]) -> NDArray[np.float32]:
    tiled = (np.repeat(image[np.newaxis], BATCH, axis=0) for image in images)
    return np.array([net.forward(data=batch)["prob"][0].copy() for batch in tiled])


@pytest.mark.parametrize("count", [3, 8, 10])
def test_all_batches_with_a_remainder(deploy: str, count: int) -> None:
    net = caffe.Net(deploy, caffe.TEST)
    images = np.random.default_rng(0).random((count, 3, 16, 16), dtype=np.float32)
    outputs = net.forward_all(data=images, blobs=["conv", "ip"])
    assert outputs["conv"].shape == (count, 5, 14, 14)
    np.testing.assert_allclose(outputs["prob"], one_by_one(net, images), atol=1e-6)

    top = np.random.default_rng(1).random((count, CLASSES), dtype=np.float32)
    values, gradients = net.forward_backward_all(
        data=images, prob=top, blobs=["conv", "ip"], diffs=["ip"]
    )
    for name in ("conv", "ip", "prob"):
        assert np.array_equal(values[name], outputs[name])
    prob = values["prob"]
    softmax = prob * (top - (prob * top).sum(1, keepdims=True))
    np.testing.assert_allclose(gradients["ip"], softmax, atol=1e-6)
    assert gradients["data"].shape == images.shape


def test_all_batches_of_a_net_with_a_loss(tmp_path: Path) -> None:
    spec = caffe.NetSpec()
    spec.data = layers.Input(shape={"dim": [BATCH, 5]})
    spec.label = layers.Input(shape={"dim": [BATCH]})
    spec.ip = layers.InnerProduct(spec.data, num_output=2, weight_filler={"type": "xavier"})
    spec.loss = layers.SoftmaxWithLoss(spec.ip, spec.label)
    net = caffe.Net(save_net(tmp_path / "loss.prototxt", spec), caffe.TRAIN)
    images = np.random.default_rng(0).random((10, 5), dtype=np.float32)
    labels = np.arange(10) % 2
    values, gradients = net.forward_backward_all(data=images, label=labels)
    assert values["loss"].shape == (3,)
    assert np.array_equal(net.forward_all(data=images, label=labels)["loss"], values["loss"])
    assert gradients["data"].shape == images.shape
    assert gradients["data"].any(axis=1).all()
    assert net.blob_loss_weights == {"data": 0, "label": 0, "ip": 0, "loss": 1}
    assert net.blob_loss_weights is net.blob_loss_weights


def test_classifier_averages_its_crops(deploy: str, weights: str, picture: str) -> None:
    options = {"image_dims": (20, 24), "mean": np.arange(3.0), "raw_scale": 255}
    net = caffe.Classifier(deploy, weights, channel_swap=(2, 1, 0), **options)
    image = caffe.io.load_image(picture)
    scaled = caffe.io.resize_image(image, (20, 24))
    crops = caffe.io.oversample([scaled], (16, 16))
    blobs = np.array([net.transformer.preprocess("data", crop) for crop in crops])
    expected = one_by_one(net, blobs)
    np.testing.assert_allclose(net.predict([image, image])[1], expected.mean(0), atol=1e-6)
    centre = net.predict([image], oversample=False)
    np.testing.assert_allclose(centre[0], expected[4], atol=1e-6)


@pytest.mark.parametrize("context_pad", [None, 2])
def test_detector_reads_its_windows_from_an_iterator(
    deploy: str, weights: str, picture: str, context_pad: int | None
) -> None:
    net = caffe.Detector(
        deploy, weights, mean=np.full(3, 9.0), raw_scale=255, context_pad=context_pad
    )
    windows = np.array([[0, 0, 20, 20], [5, 6, 30, 39], [10, 3, 15, 30]])
    detections = net.detect_windows(zip([picture], [windows], strict=True))
    assert [list(found["window"]) for found in detections] == windows.tolist()
    image = caffe.io.load_image(picture)
    crops = [net.transformer.preprocess("data", net.crop(image, window)) for window in windows]
    expected = one_by_one(net, np.array(crops))
    found = np.array([detection["prediction"] for detection in detections])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    if context_pad:
        # Above and left of the first window the picture ends: the mean stands there.
        np.testing.assert_allclose(crops[0][:, :2, :2], 0, atol=1e-4)
        assert np.abs(crops[1]).min(axis=0).any()


def test_draw_describes_the_net_without_graphviz(deploy: str, tmp_path: Path) -> None:
    net = caffe.proto.caffe_pb2.NetParameter()
    text_format.Parse(Path(deploy).read_text(encoding="utf-8"), net)
    caffe.draw.draw_net_to_file(net, str(tmp_path / "net.raw"))
    text = (tmp_path / "net.raw").read_text(encoding="utf-8")
    assert text.startswith("digraph")
    assert "conv\\n(Convolution)\\nkernel size: 3" in text


def test_importing_caffe_leaves_out_what_it_seldom_needs() -> None:
    code = (
        "import sys, caffe, caffe_ext.attacks\n"
        "print([name for name in ('skimage', 'scipy', 'PIL') if name in sys.modules])\n"
        "print(caffe.io.resize.__name__, caffe.io.zoom.__name__, caffe.io.skimage.io.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nresize zoom skimage.io\n"
    with pytest.raises(AttributeError, match=r"'caffe\.io' has no attribute 'frobnicate'"):
        _ = caffe.io.frobnicate
