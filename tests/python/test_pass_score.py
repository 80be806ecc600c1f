"""metrics/pass_score.py and ssim.py against the slow reference, on every kind of image."""

import threading
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from caffe_ext.data import make_digits
from caffe_ext.metrics import pass_score as module
from caffe_ext.metrics.pass_score import (
    PUBLISHED,
    STANDARD,
    Protocol,
    compute_pass_score,
    compute_pass_scores,
)
from caffe_ext.metrics.ssim import Average, compute_ssim_scores
from pass_reference import compute_reference_pass_score, compute_reference_ssim
from photograph_samples import photograph_parts

Images = NDArray[np.uint8]
ROUNDING = 1e-5  # of a coefficient, in float
PROTOCOLS = [STANDARD, PUBLISHED, Protocol("original", "inner"), Protocol("adversarial", "all")]


def blobs(count: int, channels: int, height: int, width: int, seed: int = 0) -> Images:
    """Return smooth images with structure at every place."""
    noise = np.random.default_rng(seed).normal(size=(count * channels, height, width))
    smooth = np.stack([cv2.GaussianBlur(one, (0, 0), 3) for one in noise])
    smooth = 128 + 60 * smooth / smooth.std()
    pixels: Images = smooth.clip(0, 255).astype(np.uint8)
    return pixels.reshape(count, channels, height, width)


def noisy(images: Images, sigma: float, seed: int = 1) -> Images:
    noise = np.random.default_rng(seed).normal(scale=sigma, size=images.shape)
    return np.rint(images + noise).clip(0, 255).astype(np.uint8)


def moved(images: Images, matrix: Any) -> Images:
    """Return the images after an affine map."""
    size = images.shape[:1:-1]
    matrix = np.asarray(matrix, np.float32)
    warped = [[cv2.warpAffine(c, matrix, (size[0], size[1])) for c in image] for image in images]
    return np.array(warped, np.uint8)


def rotated(images: Images, degrees: float) -> Images:
    height, width = images.shape[2:]
    return moved(images, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1))


DIGITS = make_digits().test.images[::6]
GREY, COLOUR = blobs(6, 1, 28, 28), blobs(4, 3, 32, 32)
FLAT = np.full_like(GREY, 90)
PAIRS = {
    "digits, noisy": (noisy(DIGITS, 40), DIGITS),
    "digits, shifted": (moved(DIGITS, [[1, 0, 1.5], [0, 1, -1]]), DIGITS),
    "digits, rotated": (rotated(DIGITS, 7), DIGITS),
    "digits, of another class": (DIGITS[::-1], DIGITS),
    "grey, rotated and noisy": (noisy(rotated(GREY, 5), 20), GREY),
    "colour, noisy": (noisy(COLOUR, 30), COLOUR),
    "colour, shifted": (moved(COLOUR, [[1, 0, 2], [0, 1, 1]]), COLOUR),
    "identical": (GREY.copy(), GREY),
    "flat against structure": (FLAT, GREY),
    "structure against flat": (GREY, FLAT),
    "wide": (noisy(blobs(3, 1, 15, 40), 20), blobs(3, 1, 15, 40)),
    "high, colour": (noisy(blobs(2, 3, 41, 12), 20), blobs(2, 3, 41, 12)),
    "smallest": (noisy(blobs(5, 1, 11, 11), 10), blobs(5, 1, 11, 11)),
    "large": (rotated(blobs(1, 3, 230, 190), 2), blobs(1, 3, 230, 190)),
    "random": tuple(np.random.default_rng(3).integers(0, 256, (2, 8, 1, 28, 28), np.uint8)),
}


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_the_same_as_the_reference(name: str, protocol: Protocol) -> None:
    adversarials, originals = PAIRS[name]
    before = adversarials.copy(), originals.copy()
    found = compute_pass_scores(adversarials, originals, protocol=protocol)
    assert np.array_equal(adversarials, before[0])
    assert np.array_equal(originals, before[1])
    expected = [
        compute_reference_pass_score(
            a, x, protocol.moving, protocol.average, accept_worse=protocol.accept_worse
        )
        for a, x in zip(adversarials, originals, strict=True)
    ]
    # Where the two coefficients are equal but for rounding, either image will do.
    gains = np.array([one.gain for one in expected])
    scores, failed = (np.array([one[i] for one in expected]) for i in (0, 1))
    clear = (np.abs(gains) > ROUNDING) | (gains == 0) | protocol.accept_worse
    assert found.scores[clear] == pytest.approx(scores[clear], abs=1e-9)
    clear = np.abs(gains + module.ECC_EPSILON) > ROUNDING
    assert np.array_equal(found.ecc_failed[clear], failed[clear])
    assert clear.sum() > len(clear) / 2
    assert found.scores.dtype == np.float64
    assert found.ecc_failed.dtype == np.bool_


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(11, 24), st.integers(11, 24))
    .flatmap(lambda shape: arrays(np.uint8, (2, *shape)))
)  # fmt: skip
def test_ssim_is_that_of_scikit_image(pairs: Images) -> None:
    first, second = pairs
    average: Average
    for average in ("inner", "all"):
        expected = [
            compute_reference_ssim(a, b, average) for a, b in zip(first, second, strict=True)
        ]
        found = compute_ssim_scores(first, second, average=average)
        assert found == pytest.approx(expected, abs=1e-9)


def test_alignment_undoes_a_small_rotation() -> None:
    turned = rotated(GREY, 6)
    aligned, as_they_are = compute_pass_scores(turned, GREY), compute_ssim_scores(turned, GREY)
    assert not aligned.ecc_failed.any()
    assert (as_they_are < 0.97).all()
    assert (1 - aligned.scores < (1 - as_they_are) / 2).all()


def test_more_noise_means_a_lower_score() -> None:
    means = [
        compute_pass_scores(noisy(DIGITS, sigma), DIGITS).scores.mean() for sigma in (5, 20, 80)
    ]
    assert 1 > means[0] > means[1] > means[2] > 0


def test_identical_images_score_exactly_1_even_flat_ones() -> None:
    for images in (GREY, COLOUR, FLAT):
        found = compute_pass_scores(images, images.copy())
        assert (found.scores == 1).all()
        assert not found.ecc_failed.any()


def test_a_failed_alignment_is_counted_and_leaves_the_plain_ssim() -> None:
    adversarials = np.concatenate([FLAT[:2], rotated(GREY[2:], 5)])
    found = compute_pass_scores(adversarials, GREY)
    assert found.ecc_failed.tolist() == [True, True, False, False, False, False]
    assert found.scores[:2].tolist() == compute_ssim_scores(FLAT[:2], GREY[:2]).tolist()


def test_no_alignment_is_worse_than_none() -> None:
    """Photographs, hardly changed, which ECC can lose: psi is the identity there."""
    originals = photograph_parts(300, side=16)[:, None]
    random = np.random.default_rng(1)
    changed = originals + random.integers(-2, 3, originals.shape)
    adversarials = changed.clip(0, 255).astype(np.uint8)
    found = compute_pass_scores(adversarials, originals)
    plain = compute_ssim_scores(adversarials, originals)
    lost = compute_pass_scores(adversarials, originals, protocol=Protocol(accept_worse=True))
    assert (found.scores > plain - 0.1).all()
    assert (lost.scores < plain - 0.1).sum() > 10
    assert np.array_equal(found.ecc_failed, lost.ecc_failed)
    assert found.ecc_failed[lost.scores < plain - 0.1].all()
    assert found.scores[found.ecc_failed].tolist() == plain[found.ecc_failed].tolist()


def test_the_published_protocol_marks_what_it_keeps() -> None:
    originals = photograph_parts(300, side=16)[:, None]
    random = np.random.default_rng(1)
    changed = originals + random.integers(-2, 3, originals.shape)
    adversarials = changed.clip(0, 255).astype(np.uint8)
    found = compute_pass_scores(adversarials, originals, protocol=PUBLISHED)
    low = found.scores < compute_ssim_scores(adversarials, originals, average="all") - 0.1
    assert low.sum() > 10
    assert found.ecc_failed[low].all()


def test_no_score_depends_on_order_batch_or_workers() -> None:
    adversarials = np.concatenate([noisy(rotated(DIGITS, 4), 30), DIGITS[:1], DIGITS[:1] * 0])
    originals = np.concatenate([DIGITS, DIGITS[:1], DIGITS[1:2]])
    for protocol in PROTOCOLS:
        expected = compute_pass_scores(adversarials, originals, protocol=protocol, workers=1).scores
        for workers in (2, 5, None):
            found = compute_pass_scores(adversarials, originals, protocol=protocol, workers=workers)
            assert np.array_equal(found.scores, expected)
        back = compute_pass_scores(adversarials[::-1], originals[::-1], protocol=protocol)
        assert np.array_equal(back.scores[::-1], expected)
        singles = [
            compute_pass_score(a, x, protocol=protocol)
            for a, x in zip(adversarials, originals, strict=True)
        ]
        assert np.array_equal(singles, expected)


@pytest.mark.parametrize("permitted", [0, 1])
def test_no_thread_is_needed(monkeypatch: pytest.MonkeyPatch, permitted: int) -> None:
    monkeypatch.setattr(module, "_VALUES_AT_A_TIME", 800)
    adversarials, originals = PAIRS["digits, rotated"]
    expected = compute_pass_scores(adversarials, originals, workers=4)
    start = threading.Thread.start
    begun: list[threading.Thread] = []

    def limited(thread: threading.Thread) -> None:
        if len(begun) == permitted:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    found = compute_pass_scores(adversarials, originals, workers=4)
    assert len(begun) == permitted
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_parts_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    adversarials = noisy(COLOUR, 20)
    whole = compute_pass_scores(adversarials, COLOUR).scores
    monkeypatch.setattr(module, "_VALUES_AT_A_TIME", 1)
    assert np.array_equal(compute_pass_scores(adversarials, COLOUR, workers=3).scores, whole)


def test_single_images() -> None:
    adversarial = noisy(GREY, 25)
    expected = compute_pass_scores(adversarial, GREY).scores[0]
    assert compute_pass_score(adversarial[0], GREY[0]) == expected
    assert compute_pass_score(adversarial[0, 0], GREY[0, 0]) == expected
    assert isinstance(compute_pass_score(adversarial[0], GREY[0]), float)
    assert len(compute_pass_scores(GREY[:0], GREY[:0])) == 0


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((1, 10, 28), "10 x 28 pixels.*11 x 11"),
        ((28, 10), "28 x 10 pixels.*11 x 11"),
        ((2, 28, 28), "1 channel or 3, not 2"),
        ((28,), "N, C, H, W"),
    ],
)
def test_refused_shapes(shape: tuple[int, ...], says: str) -> None:
    image = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match=says):
        compute_pass_scores(image, image)


def test_refused_besides() -> None:
    with pytest.raises(ValueError, match="workers"):
        compute_pass_scores(GREY, GREY, workers=0)
    with pytest.raises(TypeError, match=r"uint8.*float64"):
        compute_pass_score(GREY / 255, GREY)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="same shape"):
        compute_pass_scores(GREY, GREY[1:])
    with pytest.raises(ValueError, match=r"one pair.*\(6, 1, 28, 28\)"):
        compute_pass_score(GREY, GREY)
    with pytest.raises(ValueError, match="median"):
        compute_ssim_scores(GREY, GREY, average="median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="both"):
        Protocol(moving="both")  # type: ignore[arg-type]
