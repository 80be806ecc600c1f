"""A Caffe model as an estimator of ART: what ART's own tests of its estimators ask for.

The reference is ART's estimator for PyTorch, given the same model by the other bridge.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe_ext.models.classifier import Classifier
from caffe_ext.models.pixels import PixelSpace
from classifier_models import DEEP, write_model

pytest.importorskip("art", reason="ART is not installed: the extra `art`")

from art.attacks.evasion import DeepFool, FastGradientMethod
from art.defences.postprocessor import Rounded
from art.defences.preprocessor import FeatureSqueezing

from caffe_ext.bridges.art import CaffeClassifier

CLASSES = 5


@pytest.fixture
def model(tmp_path: Path) -> Classifier:
    return Classifier(*write_model(tmp_path, DEEP), PixelSpace(0.02, [100, 120, 140], "BGR"))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (12, 3, 6, 6), np.uint8) / np.float32(255)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(4).integers(0, CLASSES, 12)


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.asarray(np.eye(CLASSES, dtype=np.float32)[labels])


def by_torch(model: Classifier, **arguments: Any) -> Any:
    """Return ART's estimator of the model as a module of PyTorch."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra `torch`")
    from art.estimators.classification import PyTorchClassifier  # noqa: PLC0415

    from caffe_ext.bridges.torch import as_module  # noqa: PLC0415

    return PyTorchClassifier(
        as_module(model),
        loss=torch.nn.CrossEntropyLoss(reduction="sum"),
        input_shape=model.image_shape,
        nb_classes=model.classes,
        clip_values=(0, 1),
        device_type="cpu",
        **arguments,
    )


def test_predictions_are_the_logits(model: Classifier, images: np.ndarray) -> None:
    found = CaffeClassifier(model).predict(images)
    pixels = np.rint(images * 255).astype(np.uint8)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, model.logits(pixels))
    grey_levels = CaffeClassifier(model, (0, 255)).predict(pixels.astype(np.float32))
    np.testing.assert_array_equal(found, grey_levels)
    assert CaffeClassifier(model).predict(images[:0]).shape == (0, CLASSES)


def test_properties(model: Classifier) -> None:
    classifier = CaffeClassifier(model, (0, 255))
    assert classifier.input_shape == (3, 6, 6)
    assert classifier.nb_classes == CLASSES
    assert classifier.channels_first
    assert classifier.model is model
    assert classifier.clip_values.tolist() == [0, 255]
    assert classifier.get_params()["nb_classes"] == CLASSES
    assert "CaffeClassifier(" in repr(classifier)


def test_parameters_can_be_set(model: Classifier, images: np.ndarray) -> None:
    classifier = CaffeClassifier(model)
    expected = classifier.predict(images)
    classifier.set_params(clip_values=(0, 255))
    np.testing.assert_allclose(classifier.predict(images * 255), expected, atol=1e-5)
    with pytest.raises(ValueError, match="Unexpected parameter"):
        classifier.set_params(learning_rate=1)


def test_losses_are_those_of_pytorch(
    model: Classifier, images: np.ndarray, labels: np.ndarray
) -> None:
    classifier, reference = CaffeClassifier(model), by_torch(model)
    soft = np.full((12, CLASSES), 0.2, np.float32)
    for given in (labels, one_hot(labels), soft):
        losses = classifier.compute_loss(images, given)
        assert losses.shape == (12,)
        assert classifier.compute_loss(images, given, reduction="sum") == pytest.approx(
            losses.sum(), rel=1e-5
        )
        assert classifier.compute_loss(images, given, "mean") == pytest.approx(losses.mean())
    expected = reference.compute_loss(images, one_hot(labels), reduction="none")
    found = classifier.compute_loss(images, one_hot(labels))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("preprocessing", [(0.0, 1.0), (-0.05, 1.1)])
def test_gradients_are_those_of_pytorch(
    model: Classifier, images: np.ndarray, labels: np.ndarray, preprocessing: tuple[float, float]
) -> None:
    classifier = CaffeClassifier(model, preprocessing=preprocessing)
    reference = by_torch(model, preprocessing=preprocessing)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    close(classifier.predict(images), reference.predict(images))
    found = classifier.loss_gradient(images, one_hot(labels))
    assert found.dtype == np.float32
    close(found, reference.loss_gradient(images, one_hot(labels)))
    close(classifier.loss_gradient(images, labels), found)
    for label in (None, 2, labels):
        close(
            classifier.class_gradient(images, label),
            reference.class_gradient(images, label),
        )


def test_shapes_of_class_gradients(model: Classifier, images: np.ndarray) -> None:
    classifier = CaffeClassifier(model)
    assert classifier.class_gradient(images).shape == (12, CLASSES, 3, 6, 6)
    assert classifier.class_gradient(images, 1).shape == (12, 1, 3, 6, 6)
    assert classifier.class_gradient(images, [1] * 12).shape == (12, 1, 3, 6, 6)
    assert classifier.class_gradient(images[:0]).shape == (0, CLASSES, 3, 6, 6)


def test_defences(model: Classifier, images: np.ndarray, labels: np.ndarray) -> None:
    squeezing = FeatureSqueezing(clip_values=(0, 1), bit_depth=2)
    classifier = CaffeClassifier(
        model, preprocessing_defences=squeezing, postprocessing_defences=Rounded(decimals=1)
    )
    squeezed = squeezing(images)[0].astype(np.float32)
    np.testing.assert_allclose(
        classifier.predict(images), np.round(CaffeClassifier(model).predict(squeezed), 1), atol=1e-5
    )
    np.testing.assert_allclose(
        classifier.loss_gradient(images, labels),
        CaffeClassifier(model).loss_gradient(squeezed, labels),
        atol=1e-5,
    )


def test_activations(model: Classifier, images: np.ndarray) -> None:
    classifier = CaffeClassifier(model)
    names = classifier.layer_names
    assert {"data", "conv", "scores"} <= set(names)
    pixels = np.rint(images * 255).astype(np.uint8)
    for layer in ("conv", names.index("conv")):
        np.testing.assert_array_equal(
            classifier.get_activations(images, layer), model.features(pixels, "conv")
        )
    with pytest.raises(ValueError, match="no blob 'nothing'"):
        classifier.get_activations(images, "nothing")
    with pytest.raises(NotImplementedError, match="framework=False"):
        classifier.get_activations(images, "conv", framework=True)


@pytest.mark.parametrize("attack", [FastGradientMethod, DeepFool])
def test_attacks_find_adversarials(attack: Any, model: Classifier, images: np.ndarray) -> None:
    classifier = CaffeClassifier(model)
    options = {"eps": 0.1} if attack is FastGradientMethod else {"verbose": False, "max_iter": 20}
    found = attack(classifier, **options).generate(images)
    changed = classifier.predict(found).argmax(1) != classifier.predict(images).argmax(1)
    assert changed.mean() > 0.5


def test_what_is_refused(model: Classifier, images: np.ndarray, labels: np.ndarray) -> None:
    classifier = CaffeClassifier(model)
    with pytest.raises(ValueError, match=r"from 0 \(black\) to 1"):
        classifier.predict(images * 255)
    with pytest.raises(ValueError, match=r"label \d+ of image 0 does not exist"):
        classifier.loss_gradient(images, labels + 10)
    with pytest.raises(ValueError, match=r"label \d+ of image 0 does not exist"):
        classifier.class_gradient(images, CLASSES)
    with pytest.raises(ValueError, match="none, mean or sum, not 'max'"):
        classifier.compute_loss(images, labels, "max")
    bounds: Any = tuple(np.eye(2) * [[0], [1]] + [[0, 0], [1, 1]])
    with pytest.raises(ValueError, match="two numbers"):
        CaffeClassifier(model, bounds)
    with pytest.raises(NotImplementedError, match="caffe train"):
        classifier.fit(images, labels)
    with pytest.raises(NotImplementedError, match="loaded from"):
        classifier.save("model")
