"""A small model and labelled images, most classified correctly, for test_hard_positive*.py."""

from collections import Counter
from pathlib import Path

import numpy as np

from caffe_ext.data import ImageSource, open_images, read_database
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.description import ModelDescription, read_model
from caffe_ext.training.hard_positives.presets import Recipe
from caffe_ext.training.hard_positives.training_set import SetRequest
from classifier_models import write_model

NETWORK = """
input: 'data' input_shape {{ dim: 1 dim: {channels} dim: 12 dim: 12 }}
layer {{ name: 'ip1' type: 'InnerProduct' bottom: 'data' top: 'ip1'
  inner_product_param {{ num_output: 8 }} }}
layer {{ name: 'tanh' type: 'TanH' bottom: 'ip1' top: 'ip1' }}
layer {{ name: 'ip2' type: 'InnerProduct' bottom: 'ip1' top: 'ip2'
  inner_product_param {{ num_output: 4 }} }}
layer {{ name: 'prob' type: 'Softmax' bottom: 'ip2' top: 'prob' }}
"""
COUNT, WRONG = 24, 3


def write_description(folder: Path, channels: int = 1, seed: int = 0, order: str = "RGB") -> Path:
    """Write a model with 4 classes for images of 12x12, and its YAML file."""
    write_model(folder, NETWORK.format(channels=channels), seed=seed)
    path = folder / "model.yaml"
    path.write_text(
        f"deploy: deploy.prototxt\nweights: w.caffemodel\nscale: 0.004\nchannel_order: {order}\n"
    )
    return path


def write_images(folder: Path, classifier: Classifier) -> Path:
    """Write 24 images and their labels; the model is wrong about the first 3 of them."""
    channels, height, width = classifier.input_shape
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (COUNT, channels, height, width), dtype=np.uint8)
    labels = classifier.predict(images)
    labels[:WRONG] = (labels[:WRONG] + 1) % classifier.classes
    path = folder / "images.npy"
    np.save(path, images)
    np.save(folder / "labels.npy", labels)
    return path


def small_request(
    folder: Path, recipe: Recipe, channels: int = 1, order: str = "RGB"
) -> SetRequest:
    """Write model and images, and return the request for a set in folder/out."""
    model = read_model(write_description(folder / "model", channels, order=order))
    write_images(folder, model.load())
    return SetRequest(model, images_of(folder), recipe, folder / "out")


def images_of(folder: Path) -> ImageSource:
    return open_images(folder / "images.npy", folder / "labels.npy")


def other_model(folder: Path) -> ModelDescription:
    """Return a model of the same form with other weights."""
    return read_model(write_description(folder / "other", seed=5))


def content(folder: Path) -> Counter[tuple[int, bytes]]:
    """Return labels and pixels of an LMDB, in no order."""
    images = read_database(folder / "train_lmdb")
    pairs = zip(images.labels.tolist(), images.images, strict=True)
    return Counter((label, image.tobytes()) for label, image in pairs)
