"""metrics/ecc.py against OpenCV: bit-identical homographies, and the same failures."""

import platform

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from caffe_ext.data import make_digits
from caffe_ext.metrics.ecc import LONGEST_SIDE, estimate_homographies, warp_images
from pass_reference import compute_reference_correlation
from photograph_samples import photograph_parts

Images = NDArray[np.uint8]
ITERATIONS, EPSILON = 100, 1e-3
IDENTITY = np.eye(3, dtype=np.float32)
FLAGS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

on_x86_64 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="OpenCV's sums have another order elsewhere"
)


def opencv(image: Images, template: Images, iterations: int) -> tuple[NDArray[np.float32], bool]:
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, iterations, EPSILON)
    try:
        _, found = cv2.findTransformECC(
            template, image, IDENTITY.copy(), cv2.MOTION_HOMOGRAPHY, criteria
        )
    except cv2.error:
        return IDENTITY, True
    finite = np.isfinite(found).all()
    return (np.asarray(found, np.float32), False) if finite else (IDENTITY, True)


def textures(count: int, height: int, width: int, seed: int) -> Images:
    random = np.random.default_rng(seed)
    smooth = [
        cv2.GaussianBlur(random.standard_normal((height, width)), (0, 0), random.uniform(0.8, 3))
        for _ in range(count)
    ]
    scaled = [128 + random.uniform(20, 60) * one / (one.std() or 1) for one in smooth]
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def changed(images: Images, seed: int, motion: float, noise: float) -> Images:
    """Return the images moved by random homographies, under noise."""
    random = np.random.default_rng(seed)
    size = images.shape[:0:-1]
    scale = motion * np.array([[0.03, 0.03, 2], [0.03, 0.03, 2], [5e-4, 5e-4, 0]])
    moved = [
        cv2.warpPerspective(image, np.eye(3) + scale * random.standard_normal((3, 3)), size)
        for image in images
    ]
    result = np.array(moved) + random.normal(scale=noise, size=images.shape)
    return np.rint(result).clip(0, 255).astype(np.uint8)


DIGITS = make_digits().test.images[::3, 0]
SIZES = [(28, 28), (11, 11), (37, 53), (16, 64), (13, 141), (150, 45), (64, 224)]
# 1, 2 and 3 pixels, as many as a vector and one more.
SMALLEST = [(1, 1), (1, 40), (40, 1), (2, 2), (3, 17), (5, 8), (7, 33)]


def pairs(height: int, width: int) -> tuple[Images, Images]:
    """Return images and templates, from nearly the same to unrelated."""
    templates = textures(24, height, width, height + 1000 * width)
    parts = [
        changed(templates, 1, motion=0.1, noise=2),
        changed(templates, 2, motion=1, noise=5),
        changed(templates, 3, motion=5, noise=20),
        np.roll(templates, 1, axis=0),
        templates // 200 * 255,
        np.full_like(templates, 77),
        templates,
    ]
    return np.concatenate(parts), np.concatenate([templates] * len(parts))


def check(images: Images, templates: Images, iterations: int = ITERATIONS) -> int:
    alignments = estimate_homographies(images, templates, iterations=iterations, epsilon=EPSILON)
    found, failed = alignments.homographies, alignments.failed
    expected = [opencv(*pair, iterations) for pair in zip(images, templates, strict=True)]
    assert failed.tolist() == [failure for _, failure in expected]
    np.testing.assert_array_equal(found, [homography for homography, _ in expected])
    assert found.dtype == np.float32
    assert failed.dtype == np.bool_
    return int(failed.sum())


@on_x86_64
@pytest.mark.parametrize(("height", "width"), SIZES + SMALLEST)
def test_the_same_as_opencv(height: int, width: int) -> None:
    images, templates = pairs(height, width)
    before = images.copy(), templates.copy()
    failures = check(images, templates)
    assert len(templates) // 7 <= failures  # the flat ones at least
    assert np.array_equal(images, before[0])
    assert np.array_equal(templates, before[1])


@on_x86_64
@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_every_iteration_is_the_same(iterations: int) -> None:
    check(changed(DIGITS, 4, motion=1, noise=15), DIGITS, iterations)


def test_a_known_shift_is_found() -> None:
    templates = textures(20, 40, 50, 8)
    shift = np.array([[1, 0, 1.5], [0, 1, -1]])
    images = np.array([cv2.warpAffine(template, shift, (50, 40)) for template in templates])
    found = estimate_homographies(images, templates, iterations=ITERATIONS, epsilon=1e-6)
    assert not found.failed.any()
    assert not found.worse.any()
    assert (found.correlations > found.at_identity + 0.05).all()
    middle = found.homographies @ [25, 20, 1]
    assert np.abs(middle[:, :2] / middle[:, 2:] - [26.5, 19]).max() < 0.3


def test_correlations_are_those_of_the_definition() -> None:
    templates = textures(20, 40, 50, 8)
    images = changed(templates, 2, motion=1, noise=5)
    found = estimate_homographies(images, templates, iterations=ITERATIONS, epsilon=EPSILON)
    triples = list(zip(images, templates, found.homographies, strict=True))
    expected = [compute_reference_correlation(*triple) for triple in triples]
    assert found.correlations == pytest.approx(expected, abs=2e-3)
    expected = [
        compute_reference_correlation(image, template, IDENTITY) for image, template, _ in triples
    ]
    assert found.at_identity == pytest.approx(expected, abs=1e-5)


def test_divergence_is_seen() -> None:
    """Photographs, hardly changed: some end far from where they began, and OpenCV returns them."""
    photographs = photograph_parts(200, side=16)
    random = np.random.default_rng(1)
    noisy = photographs + random.integers(-2, 3, photographs.shape)
    images = noisy.clip(0, 255).astype(np.uint8)
    found = estimate_homographies(images, photographs, iterations=ITERATIONS, epsilon=EPSILON)
    lost = found.find_diverged(0.1)
    assert 0 < lost.sum() < len(images) / 2
    for i in np.flatnonzero(lost):
        correlation = compute_reference_correlation(
            images[i], photographs[i], found.homographies[i]
        )
        assert not correlation > 0.95
    assert not (lost & ~found.worse).any()


def test_a_failed_pair_has_the_identity_and_disturbs_no_other() -> None:
    templates = textures(5, 28, 28, 9)
    images = changed(templates, 5, motion=1, noise=5)
    images[2] = 0
    found = estimate_homographies(images, templates, iterations=ITERATIONS, epsilon=EPSILON)
    assert found.failed.tolist() == [False, False, True, False, False]
    assert np.array_equal(found.homographies[2], IDENTITY)
    assert np.isnan(found.correlations).tolist() == found.failed.tolist()
    for i in range(5):
        alone = estimate_homographies(
            images[i : i + 1], templates[i : i + 1], iterations=ITERATIONS, epsilon=EPSILON
        )
        assert np.array_equal(alone.homographies[0], found.homographies[i])
        assert np.array_equal(alone.correlations[0], found.correlations[i], equal_nan=True)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_images_are_warped_as_by_opencv(height: int, width: int, channels: int) -> None:
    random = np.random.default_rng(channels)
    images = random.integers(0, 256, (30, channels, height, width), np.uint8)
    scale = np.array([[0.1, 0.1, 4], [0.1, 0.1, 4], [5e-3, 5e-3, 0]])
    homographies = (np.eye(3) + scale * random.standard_normal((30, 3, 3))).astype(np.float32)
    homographies[0] = IDENTITY
    homographies[1, 2] = [-2 / width, 0, 1]  # the horizon is in the image
    homographies[2, 0, 2] = 1e12
    expected = [
        [cv2.warpPerspective(plane, h, (width, height), flags=FLAGS) for plane in image]
        for image, h in zip(images, homographies, strict=True)
    ]
    assert np.array_equal(warp_images(images, homographies), expected)


def test_none_at_all() -> None:
    nothing = np.empty((0, 28, 28), np.uint8)
    found = estimate_homographies(nothing, nothing, iterations=ITERATIONS, epsilon=EPSILON)
    assert found.homographies.shape == (0, 3, 3)
    assert found.correlations.shape == found.at_identity.shape == found.failed.shape == (0,)
    assert warp_images(nothing[:, None], found.homographies).shape == (0, 1, 28, 28)


def test_refused() -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    settings = {"iterations": ITERATIONS, "epsilon": EPSILON}
    with pytest.raises(ValueError, match="differ in shape"):
        estimate_homographies(image, image[:, 1:], **settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(N, H, W\)"):
        estimate_homographies(image[0], image[0], **settings)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="float64"):
        estimate_homographies(image / 1, image, **settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(N, 3, 3\)"):
        warp_images(image[None], np.zeros((2, 3, 3), np.float32))
    wide = np.zeros((1, 1, LONGEST_SIDE + 1), np.uint8)
    with pytest.raises(ValueError, match=f"1 x {LONGEST_SIDE + 1} pixels.*{LONGEST_SIDE}"):
        estimate_homographies(wide, wide, **settings)  # type: ignore[arg-type]
