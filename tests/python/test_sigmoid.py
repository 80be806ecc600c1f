"""Networks with a single score: two classes, whose logits are (0, h)."""

from pathlib import Path

import caffe
import numpy as np
import pytest

from caffe_ext.attacks.registry import parse_attack
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.pixels import PixelSpace
from classifier_models import write_model

NET = """
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 1 dim: 1 dim: 3 dim: 4 } } }
layer { name: 'inner' type: 'InnerProduct' bottom: 'data' top: 'inner'
  inner_product_param { num_output: 5 } }
layer { name: 'act' type: 'Sigmoid' bottom: 'inner' top: 'inner' }
layer { name: 'score' type: 'InnerProduct' bottom: 'inner' top: 'score'
  inner_product_param { num_output: 1 } }
layer { name: 'prob' type: 'Sigmoid' bottom: 'score' top: 'prob' }
"""
IMAGES = np.random.default_rng(2).integers(0, 256, (7, 1, 3, 4), np.uint8)
SPACE = PixelSpace(0.02, 120)


def classifier(folder: Path, net: str = NET, **settings: object) -> Classifier:
    return Classifier(*write_model(folder, net), SPACE, batch_size=3, **settings)  # type: ignore[arg-type]


def test_scores_and_probabilities(tmp_path: Path) -> None:
    model = classifier(tmp_path)
    net = caffe.Net(str(tmp_path / "deploy.prototxt"), str(tmp_path / "w.caffemodel"), caffe.TEST)
    net.blobs["data"].reshape(7, 1, 3, 4)
    net.blobs["data"].data[...] = SPACE.to_input(IMAGES)
    output = net.forward()["prob"][:, 0]
    assert (model.classes, model.logits_blob) == (2, "score")
    logits = model.logits(IMAGES)
    assert not logits[:, 0].any()
    np.testing.assert_allclose(logits[:, 1], net.blobs["score"].data[:, 0], rtol=1e-5)
    np.testing.assert_allclose(model.probabilities(IMAGES)[:, 1], output, rtol=1e-5)
    assert np.array_equal(model.predict(IMAGES), output > 0.5)


def test_gradients_are_those_of_differences(tmp_path: Path) -> None:
    model = classifier(tmp_path)
    diff = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    found = model.gradient(IMAGES, diff)
    real, step = IMAGES.astype(np.float32).clip(1, 254), np.zeros((1, 3, 4), np.float32)
    found = model.gradient(real, diff)
    for place in np.ndindex(1, 3, 4):
        step[...] = 0
        step[place] = 0.5
        up, down = ((model.logits(real + sign * step) * diff).sum(axis=1) for sign in (1, -1))
        np.testing.assert_allclose(found[(slice(None), *place)], up - down, rtol=0.02, atol=1e-5)
    model.logits(IMAGES[:3])
    again = model.backward_from("score", diff[:3])
    np.testing.assert_array_equal(again, model.gradient(IMAGES[:3], diff[:3]))
    # |h| times what arrives there, at the score itself and at an inner blob.
    at_score = model.gradient(IMAGES, diff, through="score")
    expected = model.gradient(IMAGES, diff * np.abs(model.logits(IMAGES)))
    np.testing.assert_allclose(at_score, expected, rtol=1e-6)
    assert model.gradient(IMAGES, diff, through="inner").any()


@pytest.mark.parametrize("text", ["hc1", "fgs", "margin-s", "pgd=60"])
def test_attacks_find_adversarials(tmp_path: Path, text: str) -> None:
    from caffe_ext.attacks.criteria import Misclassification  # noqa: PLC0415

    model, attack = classifier(tmp_path), parse_attack(text)
    attack.check(model)
    labels = model.predict(IMAGES)
    result = attack.run(model, IMAGES, Misclassification(labels), np.arange(7))
    assert result.found.any()
    where = result.found
    assert (model.predict(result.adversarials[where]) == 1 - labels[where]).all()


def test_a_named_score_and_what_is_refused(tmp_path: Path) -> None:
    bare = NET[: NET.index("layer { name: 'prob'")]
    named = classifier(tmp_path / "bare", bare, logits="score")
    assert named.classes == 2
    with pytest.raises(
        ValueError, match="no Sigmoid layer with one output per image; name the blob"
    ):
        classifier(tmp_path / "none", bare)  # the hidden Sigmoid is no output
    with pytest.raises(
        ValueError, match="'prob' holds the probabilities of the last Sigmoid layer"
    ):
        classifier(tmp_path / "prob", logits="prob")
    with pytest.raises(ValueError, match="Softmax layer has one class; two or more"):
        classifier(
            tmp_path / "one", NET.replace("'prob' type: 'Sigmoid'", "'prob' type: 'Softmax'")
        )
