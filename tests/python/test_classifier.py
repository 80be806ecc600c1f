"""models/classifier.py: known answers, gradients against finite differences, any batch size."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caffe.proto import caffe_pb2
from numpy.typing import NDArray

from caffe_ext.data import load_images
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.pixels import PixelSpace
from classifier_models import BIAS, DEEP, IMAGES, LINEAR, SPACE, WEIGHTS, write_model

pytestmark = pytest.mark.any_device

Array = NDArray[np.float32]


@pytest.fixture
def linear(tmp_path: Path) -> Classifier:
    return Classifier(*write_model(tmp_path), PixelSpace(0.5))


@pytest.fixture
def deep(tmp_path: Path) -> Callable[..., Classifier]:
    model = write_model(tmp_path, DEEP)
    return lambda **options: Classifier(*model, SPACE, **options)


def colours(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 8, 7), dtype=np.uint8)


@pytest.mark.parametrize("hdf5", [False, True])
def test_a_folder_whose_name_is_not_utf_8(tmp_path: Path, hdf5: bool) -> None:
    deploy, weights = write_model(tmp_path / "plain", hdf5=hdf5)
    odd = deploy.parent.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    classifier = Classifier(odd / deploy.name, odd / weights.name, PixelSpace(0.5))
    assert classifier.logits(IMAGES) == pytest.approx(
        Classifier(*write_model(tmp_path / "plain", hdf5=hdf5), PixelSpace(0.5)).logits(IMAGES)
    )


@pytest.mark.parametrize("hdf5", [False, True])
def test_known_answers(tmp_path: Path, hdf5: bool) -> None:
    classifier = Classifier(*write_model(tmp_path, hdf5=hdf5), PixelSpace(0.5))
    assert (classifier.classes, classifier.logits_blob) == (3, "score")
    assert classifier.input_shape == (1, 2, 2)
    expected = IMAGES.reshape(2, 4) * 0.5 @ WEIGHTS.T + BIAS
    logits = classifier.logits(IMAGES)
    assert logits.dtype == np.float32
    assert np.allclose(logits, expected)
    odds = np.exp(expected - expected.max(axis=1, keepdims=True))
    probabilities = classifier.probabilities(IMAGES)
    np.testing.assert_allclose(probabilities, odds / odds.sum(axis=1, keepdims=True), atol=1e-6)
    assert classifier.predict(IMAGES).tolist() == expected.argmax(axis=1).tolist()
    assert classifier.predict(IMAGES).dtype == np.int64
    assert classifier.accuracy(IMAGES, expected.argmax(axis=1)) == 1
    assert classifier.accuracy(IMAGES, np.array([1, 1])) == 0
    diff = np.array([[1, 0, 0], [0, 1, -1]], np.float32)
    gradient = classifier.gradient(IMAGES, diff)
    assert gradient.shape == IMAGES.shape
    assert np.array_equal(gradient, (diff @ WEIGHTS * 0.5).reshape(IMAGES.shape))


def test_backward_from_the_last_batch(linear: Classifier) -> None:
    diff = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match="no batch to backpropagate through: nothing has run yet"):
        linear.backward_from("score", diff)
    linear.logits(IMAGES)
    by_hand = (diff @ WEIGHTS * 0.5).reshape(IMAGES.shape)
    first = linear.backward_from("score", diff)
    assert np.array_equal(first, by_hand)
    data = np.ones((2, 1, 2, 2), np.float32)
    both = linear.backward_from("score", diff, {"data": data})
    assert np.array_equal(both, by_hand + 0.5)
    assert np.array_equal(first, by_hand)  # a copy, not the net's memory
    with pytest.raises(ValueError, match=r"'score' has shape \(1, 3\), the blob \(2, 3\)"):
        linear.backward_from("score", diff[:1])
    with pytest.raises(ValueError, match="no blob 'ip'; it has data, score, prob"):
        linear.backward_from("ip", diff)
    linear.batch_size = 1
    linear.logits(IMAGES)
    with pytest.raises(ValueError, match="ran 2 images in batches of 1; gradient"):
        linear.backward_from("score", diff)
    linear.logits(IMAGES[:0])
    with pytest.raises(ValueError, match="no images"):
        linear.backward_from("score", diff)


def test_gradient_against_differences_of_pixels(deep: Callable[..., Classifier]) -> None:
    classifier, images = deep(), np.clip(colours(3), 20, 235)
    assert (classifier.logits_blob, classifier.classes) == ("scores", 5)
    random = np.random.default_rng(1)
    diffs = {
        "scores": random.normal(size=(3, 5)).astype(np.float32),
        "conv": random.normal(size=(3, 4, 4, 4)).astype(np.float32),
        "double": random.normal(size=(3, 5, 1, 1)).astype(np.float32),
        "prob": random.normal(size=(3, 5, 1, 1)).astype(np.float32),
    }

    def objective(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return E of each image."""
        total = np.zeros(3)
        for blob, diff in diffs.items():
            values = classifier.features(pixels, blob).astype(float)
            total += (values.reshape(3, -1) * diff.reshape(3, -1)).sum(axis=1)
        return total

    gradient = classifier.gradient(images, diffs)
    assert gradient.any()
    numeric = np.zeros(images.shape)
    for index in np.ndindex(*images.shape[1:]):
        at = (slice(None), *index)
        above, below = images.copy(), images.copy()
        above[at] += 1
        below[at] -= 1
        numeric[at] = (objective(above) - objective(below)) / 2
    np.testing.assert_allclose(gradient, numeric, atol=2e-3 * np.abs(gradient).max())
    assert not gradient[:, :, 7].any()  # outside of the crop


def test_batches_and_order_do_not_matter(deep: Callable[..., Classifier]) -> None:
    images, one_hot = colours(11), np.eye(5, dtype=np.float32)
    labels = np.arange(11) % 5

    def diff(logits: Array, rows: slice) -> Array:
        assert logits.shape == (rows.stop - rows.start, 5)
        return logits * one_hot[labels[rows]]

    whole = deep(batch_size=100)
    logits, gradient = whole.logits(images), whole.gradient(images, diff)
    for batch_size in (1, 2, 4, 5, 10, 11):
        classifier = deep(batch_size=batch_size)
        for _ in range(2):  # the first batch of the second time follows a smaller one
            np.testing.assert_allclose(classifier.logits(images), logits, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(
                classifier.gradient(images, diff), gradient, rtol=1e-4, atol=1e-6
            )
    order = np.random.default_rng(2).permutation(11)
    shuffled = deep(batch_size=4)
    np.testing.assert_allclose(shuffled.logits(images[order]), logits[order], rtol=1e-4, atol=1e-5)
    for count in (0, 1):
        assert shuffled.logits(images[:count]).shape == (count, 5)
        assert shuffled.probabilities(images[:count]).shape == (count, 5)
        assert shuffled.gradient(images[:count], diff).shape == (count, 3, 8, 7)
        assert shuffled.features(images[:count], "conv").shape == (count, 4, 4, 4)


def test_images_and_diffs_are_left_alone(deep: Callable[..., Classifier]) -> None:
    images, diff = colours(3), np.ones((3, 5), np.float32)
    images.flags.writeable = diff.flags.writeable = False
    deep(batch_size=2).gradient(images, diff)
    assert (diff == 1).all()


def test_no_gradient_of_the_weights_is_computed(deep: Callable[..., Classifier]) -> None:
    classifier = deep()
    assert classifier.gradient(colours(3), np.ones((3, 5), np.float32)).any()
    assert not any(p.diff.any() for ps in classifier._net.params.values() for p in ps)


def test_logits_by_name_without_a_softmax(tmp_path: Path) -> None:
    text = LINEAR[: LINEAR.index("layer { name: 'prob'")]
    model = write_model(tmp_path, text)
    with pytest.raises(
        ValueError, match=r"has no Softmax layer and no .*; name the blob of scores"
    ):
        Classifier(*model, PixelSpace())
    classifier = Classifier(*model, PixelSpace(0.5), logits="score")
    reference = Classifier(*write_model(tmp_path / "full"), PixelSpace(0.5))
    ours, caffes = classifier.probabilities(IMAGES), reference.probabilities(IMAGES)
    np.testing.assert_allclose(ours, caffes, rtol=1e-6)
    with pytest.raises(ValueError, match="no blob 'ip9'; it has data, score"):
        Classifier(*model, PixelSpace(), logits="ip9")
    with pytest.raises(ValueError, match=r"'data' must be \(N, K\)"):
        Classifier(*model, PixelSpace(), logits="data")
    with pytest.raises(ValueError, match=r"'prob' holds the probabilities .* 'score' is used"):
        Classifier(*write_model(tmp_path / "full"), PixelSpace(), logits="prob")
    in_place = write_model(tmp_path / "place", LINEAR.replace("top: 'prob'", "top: 'score'"))
    with pytest.raises(ValueError, match=r"'score' holds the probabilities .* not let that layer"):
        Classifier(*in_place, PixelSpace())


@pytest.mark.parametrize("hdf5", [False, True])
def test_shared_weights(tmp_path: Path, hdf5: bool) -> None:
    shared = LINEAR.replace("'score' type: 'Inner", "'score' param { name: 'w' } type: 'Inner")
    twin = (
        "layer { name: 'twin' param { name: 'w' } type: 'InnerProduct' bottom: 'data' top: 'twin'"
    )
    text = shared + twin + " inner_product_param { num_output: 3 } }"
    classifier = Classifier(*write_model(tmp_path, text, hdf5=hdf5), PixelSpace())
    twins = classifier.features(IMAGES, "twin")
    assert np.allclose(twins, IMAGES.reshape(2, 4) @ WEIGHTS.T + BIAS)
    assert np.array_equal(twins, classifier.logits(IMAGES))


def test_weights_of_caffe_s_first_years(tmp_path: Path) -> None:
    deploy, weights = write_model(tmp_path)
    old = caffe_pb2.NetParameter()
    layer = old.layers.add(name="score", type=caffe_pb2.V1LayerParameter.INNER_PRODUCT)
    layer.blobs.add(num=1, channels=1, height=3, width=4, data=WEIGHTS.ravel().tolist())
    layer.blobs.add(num=1, channels=1, height=1, width=3, data=BIAS.tolist())
    expected = Classifier(deploy, weights, PixelSpace(0.5)).logits(IMAGES)
    weights.write_bytes(old.SerializeToString())
    assert np.array_equal(Classifier(deploy, weights, PixelSpace(0.5)).logits(IMAGES), expected)


@pytest.mark.parametrize(("name", "right"), [("lenet_R0", 9916), ("lenet_B1", 9922)])
def test_accuracy_of_the_published_lenets(name: str, right: int) -> None:
    folder: Any = os.environ.get("CAFFE_EXT_MODELS")
    weights = Path(folder or ".") / f"{name}.caffemodel.h5"
    if folder is None or not weights.is_file() or "CAFFE_EXT_DATA" not in os.environ:
        pytest.skip(f"needs {weights.name} in CAFFE_EXT_MODELS and MNIST in CAFFE_EXT_DATA")
    deploy = Path(__file__).resolve().parents[2] / "prototxt" / "lenet_deploy.prototxt"
    classifier = Classifier(deploy, weights, PixelSpace(0.00390625))
    test = load_images("mnist", "test")
    assert len(test) == 10_000
    assert round(classifier.accuracy(test.images, test.labels) * 10_000) == right
