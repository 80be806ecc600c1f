"""Scores that depend on the other images of the batch are refused, with the layer's name."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from caffe_ext.models.batch_dependence import check_batch_independence
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.description import ModelDescription
from caffe_ext.models.pixels import PixelSpace
from classifier_models import write_model

NET = """
layer {{ name: 'data' type: 'Input' top: 'data'
  input_param {{ shape {{ dim: 1 dim: 3 dim: 8 dim: 8 }} }} }}
layer {{ name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv'
  convolution_param {{ num_output: 4 kernel_size: 3 }} }}
{layer}
layer {{ name: 'relu' type: 'ReLU' bottom: 'conv' top: 'conv' }}
layer {{ name: 'score' type: 'InnerProduct' bottom: 'conv' top: 'score'
  inner_product_param {{ num_output: 5 }} }}
layer {{ name: 'prob' type: 'Softmax' bottom: 'score' top: 'prob' }}
"""
NORM = (
    "layer {{ name: 'norm' type: 'BatchNorm' bottom: 'conv' top: 'conv' "
    "batch_norm_param {{ use_global_stats: {} }} }}"
)
ACROSS = """layer { name: 'across' type: 'Softmax' bottom: 'conv' top: 'conv'
  softmax_param { axis: 0 } }"""


def load(folder: Path, net: str, batch_size: int = 100) -> Classifier:
    deploy, weights = write_model(folder, net)
    return Classifier(deploy, weights, PixelSpace(0.01), batch_size=batch_size)


def test_batch_norm_is_named_with_the_remedy(tmp_path: Path) -> None:
    deploy, weights = write_model(tmp_path / "a", NET.format(layer=NORM.format("false")))
    model = ModelDescription("a", deploy, weights, PixelSpace(0.01))
    for batch_size in (2, 3, 100):
        with pytest.raises(ValueError, match=r"layer 'norm' \(BatchNorm\).*use_global_stats: true"):
            model.load(batch_size)
    model.load(1)  # alone in its batch, an image has no others
    check_batch_independence(load(tmp_path / "b", NET.format(layer=NORM.format("true"))))


def test_any_layer_is_found(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"layer 'across' \(Softmax\) on; .*--batch-size 1"):
        check_batch_independence(load(tmp_path, NET.format(layer=ACROSS)))


class Overflowing:
    """Scores that are beyond float32, and depend on how many sums overflow."""

    image_shape, batch_size = (1, 4, 4), 10

    def logits(self, images: Any) -> Any:
        return np.full((len(images), 2), np.inf if len(images) > 1 else np.nan, np.float32)


def test_scores_that_overflow_are_told_from_those_that_depend() -> None:
    with pytest.raises(ValueError, match="the scores are not finite numbers: the weights or the"):
        check_batch_independence(cast("Any", Overflowing()))


def test_other_models_are_good(tmp_path: Path) -> None:
    classifier = load(tmp_path, NET.format(layer=""))
    check_batch_independence(classifier)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), np.uint8)
    layers = [(name, kind) for name, kind, _ in classifier.run_layers(images)]
    assert layers[1] == ("conv", "Convolution")
    *_, (_, _, tops) = classifier.run_layers(images)
    assert np.array_equal(tops["prob"], classifier.probabilities(images))
