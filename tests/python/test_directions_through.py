"""attacks/directions.py: gradients through inner blobs, by hand and against smaller nets."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from attack_samples import labels, linear, net, rows, two_layers
from caffe_ext.attacks.criteria import Misclassification
from caffe_ext.attacks.directions import Direction, FastGradient, HotCold, LogitMargin

pytestmark = pytest.mark.any_device

FIRST = np.array([[1, 0, 0.5], [0, -1, 0], [-1, 2, 0]], np.float32)
SECOND = np.array([[1, 2, 0], [0, 1, -1]], np.float32)


def hand(images: NDArray[np.uint8], omega: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return W1' ( [f > 0] |f| W2' omega ), f = relu(W1 x)."""
    f = np.maximum(images.reshape(len(images), -1) @ FIRST.T, 0)
    passed: NDArray[np.float32] = f * (omega @ SECOND) * (f > 0)
    return passed @ FIRST


@pytest.mark.parametrize("direction", [LogitMargin, HotCold, FastGradient])
def test_through_an_inner_blob_that_a_relu_changes_in_place(
    tmp_path: Path, direction: type[Direction]
) -> None:
    classifier = two_layers(tmp_path, FIRST / 16, SECOND / 16, batch_size=2)
    images, which = rows([10, 20, 30], [200, 5, 90], [3, 90, 90]), labels(0, 0, 1)
    omega = direction().compute_omega(classifier.logits(images), Misclassification(which))[0]
    found = direction(through="ip1")(classifier, images, Misclassification(which))
    expected = hand(images, omega) / 16**3
    np.testing.assert_allclose(found.values.reshape(3, 3), expected, rtol=1e-5, atol=1e-9)
    assert found.values.any()
    assert not np.allclose(
        found.values, direction()(classifier, images, Misclassification(which)).values
    )


def test_through_a_blob_against_a_net_that_ends_there(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 6, 6))
    whole = two_layers(tmp_path / "whole", first / 50, second[:3])
    images = random.integers(0, 256, (4, 1, 1, 6), dtype=np.uint8)
    which = whole.predict(images)
    text = (tmp_path / "whole" / "deploy.prototxt").read_text()
    text = text[: text.index("layer { name: 'ip2'")]
    ends = net(tmp_path / "ends", text, [first / 50, 0], logits="ip1")
    # At f, E = h_hot - h_label has the derivative W2_hot - W2_label: linear above f.
    margins = (
        second[LogitMargin().compute_omega(whole.logits(images), Misclassification(which))[1]]
        - second[which]
    )
    expected = ends.gradient(images, np.abs(ends.logits(images)) * margins)
    found = LogitMargin(through="ip1")(whole, images, Misclassification(which)).values
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_at_the_logits_the_margin_through_them_is_hot_cold(tmp_path: Path) -> None:
    images = rows([10, 20, 30], [200, 5, 90])
    for text in ("split", "plain"):
        classifier = two_layers(tmp_path / text, FIRST / 16, SECOND / 16)
        if text == "plain":
            classifier = linear(tmp_path / "one", abs(SECOND), logits="score")
        which = classifier.predict(images)
        blob = classifier.logits_blob
        found = LogitMargin(through=blob)(classifier, images, Misclassification(which)).values
        assert np.array_equal(found, HotCold()(classifier, images, Misclassification(which)).values)
        assert found.any()


def test_through_what_a_split_makes_of_a_blob(tmp_path: Path) -> None:
    text = """
    layer { name: 'in' type: 'Input' top: 'x'
      input_param { shape { dim: 1 dim: 1 dim: 1 dim: 2 } } }
    layer { name: 'x' type: 'InnerProduct' bottom: 'x' top: 'h'
      inner_product_param { num_output: 2 bias_term: false } }
    layer { name: 'h' type: 'Power' bottom: 'h' top: 'a' power_param { scale: 2 } }
    layer { name: 'b' type: 'Power' bottom: 'h' top: 'b' power_param { scale: 3 } }
    layer { name: 'sum' type: 'Eltwise' bottom: 'a' bottom: 'b' top: 'sum' }
    layer { name: 'prob' type: 'Softmax' bottom: 'sum' top: 'prob' }"""
    weights = np.array([[1, 2], [3, -1]], np.float32)
    classifier = net(tmp_path, text, [weights])
    images, which = rows([4, 5]), labels(0)
    h = weights @ [4, 5]
    omega = np.array([-1, 1])
    # Both ways back arrive at h, and only its own at a.
    for blob, factor in (("h", 5), ("a", 2 * 2)):
        found = LogitMargin(through=blob)(classifier, images, Misclassification(which)).values
        assert np.array_equal(found.ravel(), factor * (np.abs(h) * omega) @ weights)


@pytest.mark.parametrize("blob", ["data", "prob", "side"])
def test_blobs_that_are_no_inner_ones_are_refused(tmp_path: Path, blob: str) -> None:
    classifier = two_layers(tmp_path, FIRST, SECOND)
    with pytest.raises(ValueError, match=f"blob '{blob}' is not between the input and"):
        HotCold(through=blob)(classifier, rows([1, 2, 3]), Misclassification(labels(0)))


def test_unknown_blobs_are_refused_even_without_images(tmp_path: Path) -> None:
    classifier = two_layers(tmp_path, FIRST, SECOND)
    with pytest.raises(ValueError, match=r"no blob 'ip9'; it has data, ip1, ip2"):
        HotCold(through="ip9")(classifier, rows([1, 2, 3])[:0], Misclassification(labels()))
