"""Stability under noise: against a slow loop, and against theory where that is simple."""

from math import erfc
from pathlib import Path

import caffe
import numpy as np
import pytest
from numpy.typing import NDArray

from caffe_ext.evaluation.stability import (
    TooFewError,
    add_noise,
    find_correct_for_all,
    measure_noise_stability,
)
from caffe_ext.models.base import Images
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.pixels import PixelSpace
from classifier_models import DEEP, LINEAR, SPACE, write_model

pytestmark = pytest.mark.any_device

RANDOM = np.random.default_rng(3)
COLOUR = RANDOM.integers(0, 256, (7, 3, 6, 6), dtype=np.uint8)
LEVELS = [0, 10, 40.5, 90]


@pytest.fixture
def deep(tmp_path: Path) -> Classifier:
    return Classifier(*write_model(tmp_path, DEEP), SPACE, batch_size=4)


def two_pixels(folder: Path, bias: float = 0) -> Classifier:
    """Return a net that says 0 where the first pixel plus the bias is above the second, else 1."""
    deploy, weights = write_model(folder, LINEAR.replace("num_output: 3", "num_output: 2"))
    net = caffe.Net(str(deploy), str(weights), caffe.TEST)
    net.params["score"][0].data[...] = [[1, 0, 0, 0], [0, 1, 0, 0]]
    net.params["score"][1].data[...] = [bias, 0]
    net.save(str(weights))
    return Classifier(deploy, weights, PixelSpace(), batch_size=100)


def pairs(*pixels: tuple[int, int]) -> Images:
    """Return images for two_pixels."""
    return np.array([[[[one, other], [0, 0]]] for one, other in pixels], np.uint8)


def reference(
    classifier: Classifier, images: Images, labels: NDArray[np.int64], copies: int, seed: int
) -> NDArray[np.int64]:
    """Count one noisy image after the other."""
    changed = np.zeros((len(images), len(LEVELS)), np.int64)
    for number, image in enumerate(images):
        for copy in range(copies):
            random = np.random.default_rng([seed, number, copy])
            normals = random.standard_normal(image.shape, dtype=np.float32)
            for column, level in enumerate(LEVELS):
                moved = image.astype(np.float64) + np.float64(np.float32(level) * normals)
                seen = np.clip([round(value) for value in moved.flat], 0, 255).astype(np.uint8)
                predicted = classifier.predict(seen.reshape(1, *image.shape))[0]
                changed[number, column] += predicted != labels[number]
    return changed


def test_counts_are_those_of_a_slow_loop(deep: Classifier, tmp_path: Path) -> None:
    labels = deep.predict(COLOUR)
    before = COLOUR.copy()
    found = measure_noise_stability(deep, COLOUR, labels, LEVELS, 5, seed=8)
    assert np.array_equal(found.changed, reference(deep, COLOUR, labels, 5, 8))
    assert 0 == found.changed[:, 0].sum() < found.changed[:, 3].sum() < 5 * len(COLOUR)
    assert np.array_equal(found.rates, found.changed.sum(axis=0) / (5 * len(COLOUR)))
    assert np.array_equal(found.levels, LEVELS)
    assert np.array_equal(COLOUR, before)
    for size in (1, 1000):
        other = Classifier(*write_model(tmp_path, DEEP), SPACE, batch_size=size)
        again = measure_noise_stability(other, COLOUR, labels, LEVELS, 5, seed=8)
        assert np.array_equal(again.changed, found.changed)


def test_noise_is_the_images_own(deep: Classifier) -> None:
    labels = deep.predict(COLOUR)
    found = measure_noise_stability(deep, COLOUR, labels, LEVELS, 20, seed=8)
    part = measure_noise_stability(
        deep, COLOUR[3:5], labels[3:5], LEVELS, 20, seed=8, indices=np.arange(3, 5)
    )
    assert np.array_equal(part.changed, found.changed[3:5])
    alone = measure_noise_stability(deep, COLOUR, labels, LEVELS[3:], 20, seed=8)
    assert np.array_equal(alone.changed[:, 0], found.changed[:, 3])
    for seed, first in ((9, 0), (8, 1)):
        changed = measure_noise_stability(
            deep, COLOUR, labels, LEVELS, 20, seed=seed, indices=first + np.arange(len(COLOUR))
        ).changed
        assert not np.array_equal(changed, found.changed)


def test_a_network_sees_batches_only(deep: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    predict = deep.predict

    def watched(images: Images) -> NDArray[np.int64]:
        sizes.append(len(images))
        return predict(images)

    monkeypatch.setattr(deep, "predict", watched)
    measure_noise_stability(deep, COLOUR, predict(COLOUR), [5, 6], 3, seed=0)
    assert sum(sizes) == 7 * 3 * 2
    assert max(sizes) == deep.batch_size


def test_the_level_is_in_grey_levels(tmp_path: Path) -> None:
    """A margin of 20 and noise of sigma on both pixels: Phi(-20 / (sigma sqrt 2))."""
    levels, copies = [5.0, 10.0, 20.0], 20_000
    classifier = two_pixels(tmp_path, bias=0.5)  # so that equal pixels are equally often right
    found = measure_noise_stability(
        classifier, pairs((120, 100)), np.array([0]), levels, copies, seed=1
    )
    expected = [erfc(20.5 / (2 * level)) / 2 for level in levels]
    assert found.rates == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(copies))


def test_noisy_images_are_images() -> None:
    images = np.array([[[[0, 255, 100, 100, 7]]]], np.uint8)
    normals = np.array([[[[-1, 1, 0.25, 0.75, 99]]]], np.float32)
    moved = add_noise(images, normals, 2)
    assert moved.dtype == np.uint8
    assert moved.tolist() == [[[[0, 255, 100, 102, 205]]]]  # 100.5 and 101.5, to the even ones
    assert np.array_equal(add_noise(images, normals, 0), images)


def test_images_that_all_classify_correctly(tmp_path: Path) -> None:
    images = pairs((9, 1), (9, 8), (1, 9), (2, 9), (9, 2), (8, 9), (9, 3), (3, 9))
    labels = np.array([0, 0, 1, 1, 0, 1, 0, 1])
    nets = [two_pixels(tmp_path / name, bias) for name, bias in (("a", -3.0), ("b", 3.0))]
    # The first net is wrong about image 1, the second about image 5.
    assert find_correct_for_all(iter(nets), images, labels, 2).tolist() == [0, 2, 3, 4]
    assert find_correct_for_all(nets[:1], images, labels, 3).tolist() == [0, 2, 3, 4, 5, 6]
    with pytest.raises(TooFewError, match=r"only 3 images of class 0 .* 4 were requested"):
        find_correct_for_all(nets, images, labels, 4)
    with pytest.raises(ValueError, match="at least 1 image per class"):
        find_correct_for_all(nets, images, labels, 0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"levels": []}, "levels must be"),
        ({"levels": [-1]}, "levels must be"),
        ({"levels": [float("nan")]}, "levels must be"),
        ({"copies": 0}, "copies must be at least 1, not 0"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"indices": np.array([-1, *range(6)])}, "indices must be .* numbers from 0 on"),
        ({"labels": np.array([5])}, "label 5 of image 0"),
        ({"images": COLOUR[:0], "labels": np.array([], np.int64)}, "no images"),
        ({"images": COLOUR[:1, :1]}, "the images are grey .* and the mean .* has 3 channels"),
    ],
)
def test_refused(deep: Classifier, change: dict[str, object], match: str) -> None:
    sound = {"images": COLOUR[:1], "labels": np.array([0]), "levels": [1], "copies": 1, "seed": 0}
    with pytest.raises(ValueError, match=match):
        measure_noise_stability(deep, **(sound | change))  # type: ignore[arg-type]
