"""The strengths of noise for given distortions, against a brute force; curves of errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attack_samples import linear, random_rows
from caffe_ext.models.classifier import Classifier
from caffe_ext.studies.distortion.levels import (
    find_gaussian_strengths,
    find_sign_strengths,
    list_distortions,
)
from caffe_ext.studies.distortion.measure import DistortionCurve, measure_curve
from caffe_ext.studies.distortion.models import GAUSSIAN, SIGN
from caffe_ext.studies.gradient_sign import compute_loss_signs

random = np.random.default_rng(0)
WEIGHTS = random.normal(size=(3, 6)) / 50
NOISY = """
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 1 dim: 1 dim: 1 dim: 6 } } }
layer { name: 'noise' type: 'GaussianNoise' bottom: 'data' top: 'noisy'
  caffe_ext_param { gaussian_noise { sigma: 60 phases: ALL } } }
layer { name: 'score' type: 'InnerProduct' bottom: 'noisy' top: 'score'
  inner_product_param { num_output: 3 } }
layer { name: 'prob' type: 'Softmax' bottom: 'score' top: 'prob' }
"""


@pytest.fixture
def model(tmp_path: Path) -> Classifier:
    return linear(tmp_path, WEIGHTS, batch_size=7)


def distort(images: Any, noise: Any, strength: float) -> float:
    """Return the distortion, pixel by pixel as it is defined."""
    changes = [
        abs(min(max(int(x) + strength * float(z), 0), 255) - int(x)) / 255
        for x, z in zip(images.ravel(), noise.ravel(), strict=True)
    ]
    return sum(changes) / len(changes)


def test_the_levels() -> None:
    levels = list_distortions(100)
    assert (levels[0], len(levels)) == (0, 100)
    assert levels[[40, 80]] == pytest.approx([0.1, 0.2], abs=1e-15)
    assert np.diff(levels) == pytest.approx(0.0025)


@pytest.mark.parametrize("dark", [0.0, 0.8])
def test_sign_noise_of_that_strength_distorts_by_that_much(dark: float) -> None:
    images = random.integers(0, 256, (20, 1, 3, 3), np.uint8)
    images[random.random(images.shape) < dark] = 0
    signs = random.integers(-1, 2, images.shape)
    wanted = np.linspace(0, 0.9 * distort(images, signs, 255), 9)
    strengths = find_sign_strengths(images, signs, wanted)
    assert strengths[0] == 0
    found = [distort(images, signs, strength) for strength in strengths]
    assert found == pytest.approx(wanted, abs=1e-12)


def test_by_hand() -> None:
    # 250 can rise by 5 only; 0 can fall by nothing; a sign of 0 changes nothing.
    images, signs = np.array([250, 100, 0, 7], np.uint8), np.array([1, 1, -1, 0])
    # e + min(e, 5) of four pixels: 5 grey levels each way, then one of the two stops.
    wanted = np.array([10, 13, 160, 161]) / (4 * 255)
    assert find_sign_strengths(images, signs, wanted) == pytest.approx([5, 8, 155, 255])


def test_shapes_must_fit() -> None:
    with pytest.raises(ValueError, match=r"images \(2, 3\) and signs \(3, 2\)"):
        find_sign_strengths(np.zeros((2, 3), np.uint8), np.zeros((3, 2)), np.zeros(1))


def test_gaussian_noise_of_that_strength_distorts_by_that_much_on_average() -> None:
    images = random.integers(0, 256, (40, 25), np.uint8)
    images[:25] = 0
    wanted = np.array([0, 0.01, 0.1, 0.2, 0.3])
    strengths = find_gaussian_strengths(images, wanted)
    noise = random.standard_normal((400, *images.shape))
    found = [
        float(np.abs(np.clip(images + strength * noise, 0, 255) - images).mean()) / 255
        for strength in strengths
    ]
    assert found == pytest.approx(wanted, rel=0.005)
    with pytest.raises(ValueError, match=r"no Gaussian noise distorts these images by 0\.6"):
        find_gaussian_strengths(images, np.array([0.6]))


@pytest.mark.any_device
@pytest.mark.parametrize("kind", [SIGN, GAUSSIAN])
def test_a_curve_counts_the_errors_at_each_level(model: Classifier, kind: str) -> None:
    images = random_rows(30)
    labels = model.predict(images)
    distortions = list_distortions(6)
    seen: list[int] = []
    curve = measure_curve(model, images, labels, kind, distortions, step=seen.append)
    noise = (
        compute_loss_signs(model, images, labels)
        if kind == SIGN
        else np.random.default_rng(1).standard_normal(images.shape, np.float32)
    )
    assert curve.distortions == pytest.approx(
        [distort(images, noise, 255 * strength) for strength in curve.strengths], abs=1e-6
    )
    if kind == SIGN:
        assert curve.distortions == pytest.approx(distortions, abs=1e-6)
    errors = [
        sum(
            int(np.argmax(WEIGHTS @ np.clip(image + 255 * strength * change, 0, 255).ravel()))
            != label
            for image, change, label in zip(images, noise, labels, strict=True)
        )
        for strength in curve.strengths
    ]
    assert curve.errors == errors
    assert errors[0] == 0
    assert errors[-1] > 5
    assert (curve.images, sum(seen)) == (30, 180)


def test_another_model_may_give_the_signs(tmp_path: Path) -> None:
    # Of two linear models of two classes: what raises one's loss lowers the other's.
    model = linear(tmp_path, WEIGHTS[:2], batch_size=7)
    opposite = linear(tmp_path / "opposite", -WEIGHTS[:2], batch_size=7)
    images = random_rows(30)
    labels = model.predict(images)
    curve = measure_curve(model, images, labels, SIGN, list_distortions(6), attacker=opposite)
    assert max(curve.errors) == 0
    assert max(measure_curve(model, images, labels, SIGN, list_distortions(6)).errors) > 5


def test_noise_of_the_defence_is_the_same_each_time(tmp_path: Path) -> None:
    linear(tmp_path, WEIGHTS)
    (tmp_path / "noisy.prototxt").write_text(NOISY)
    space = linear(tmp_path / "other", WEIGHTS).pixel_space
    noisy = Classifier(tmp_path / "noisy.prototxt", tmp_path / "net.caffemodel", space)
    images = random_rows(60)
    labels = linear(tmp_path / "clean", WEIGHTS).predict(images)

    def measure(seed: int) -> list[int]:
        # The same strength, 0, several times.
        return measure_curve(noisy, images, labels, GAUSSIAN, np.zeros(3), seed=seed).errors

    first = measure(1)
    assert len(set(first)) == 1
    assert first[0] > 0
    assert measure(1) == first
    assert any(measure(seed) != first for seed in (2, 3, 4))


CURVE: dict[str, Any] = {
    "images": 10,
    "strengths": [0, 0.1],
    "distortions": [0, 0.1],
    "errors": [1, 5],
}


def test_rates_between_two_levels() -> None:
    curve = DistortionCurve(**CURVE, seconds=0.5)
    assert curve.rates == pytest.approx([0.1, 0.5])
    assert curve.interpolate(0.05) == pytest.approx(0.3)
    assert curve.interpolate(0.1005) == pytest.approx(0.5)
    assert curve.interpolate(0.2) is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"errors": [1]}, "as many strengths, distortions and errors"),
        ({"strengths": [], "distortions": [], "errors": []}, "at least 1"),
        ({"distortions": [0.1, 0]}, "must ascend"),
        ({"errors": [1, 11]}, "11 of 10 images"),
    ],
)
def test_what_no_measurement_gives_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DistortionCurve(**{**CURVE, **changes}, seconds=0.5)
