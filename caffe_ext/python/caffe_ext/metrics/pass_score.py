"""PASS, the perceptual adversarial similarity score of a perturbed image x~ and its original x.

    PASS(x~, x) = SSIM(psi(x~, x), x)        Rozsa, Rudd and Boult, 2016, Section 3, Eq. 1 to 4

psi warps x~ onto x by the homography that maximises the enhanced correlation coefficient (ECC,
Evangelidis and Psarakis, 2008; ecc.py), and SSIM compares their structure (ssim.py).
1 means the same image; unrelated images are near 0, and can be slightly below.

What the paper leaves open:

ECC       at most 100 iterations, until the coefficient grows by less than 1e-3; images blurred by
          OpenCV's default 5x5. Colour images are aligned by their luminance, and their SSIM is the
          mean over the channels.
failure   psi maximises the coefficient, and the identity, where ECC starts, is a candidate: where
          ECC finds no homography (a flat image has no correlation), or one with a smaller
          coefficient (it diverges on images with little structure), the image stays as it is.
          ecc_failed tells where, unless the coefficient is smaller by less than ECC's tolerance.
border    pixels that the warp takes from outside the image are 0, cv2.warpPerspective's default,
          which is also MNIST's background. Repeating the border's pixels instead changes the mean
          over MNIST adversarials by 0.0005 at most. The warped image is rounded to uint8.
Protocol  which of the two images is moved, and which pixels the mean is over; see there.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from caffe_ext.metrics.distances import as_pairs, split_into_slices
from caffe_ext.metrics.ecc import IDENTITY, estimate_homographies, warp_images
from caffe_ext.metrics.ssim import Average, compute_ssim_scores

Images = NDArray[np.uint8]
Moving = Literal["adversarial", "original"]

ECC_ITERATIONS, ECC_EPSILON = 100, 1e-3
# What a thread takes at a time: large enough to keep it busy, small beside any batch.
_VALUES_AT_A_TIME = 1 << 16


@dataclass(frozen=True)
class Protocol:
    """One way of computing PASS.

    moving   which image is warped onto the other
    average  the pixels that SSIM is the mean over: "inner", those whose whole window lies in the
             image; or "all"; see ssim.py
    accept_worse  whether the image is warped by the homography that ECC ends at, as OpenCV returns
             it, even if the unwarped image has a larger coefficient; ecc_failed tells where
    """

    moving: Moving = "adversarial"
    average: Average = "inner"
    accept_worse: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a word that is not among these."""
        for name, known in (("moving", get_args(Moving)), ("average", get_args(Average))):
            given = getattr(self, name)
            if given not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {given!r}")


STANDARD = Protocol()
"""Eq. 4 with scikit-image's SSIM."""

PUBLISHED = Protocol(moving="original", average="all", accept_worse=True)
"""What agrees with the PASS scores that Rozsa, Günther and Boult, 2018 (BANG), print in Table 1.

Measured with the authors' LeNets on MNIST's test images:

    R0   FGS  0.407 +- 0.108 (printed 0.4072 +- 0.1081)   HC1  0.752 +- 0.114 (0.7535 +- 0.1143)
    B1   FGS  0.766 +- 0.135 (printed 0.7638 +- 0.1367)   HC1  0.490 +- 0.209 (0.4880 +- 0.2110)

STANDARD gives 0.695 and 0.758, 0.916 and 0.531. FGS perturbs MNIST's black border, and "inner"
leaves out the outer 5 pixels, 59% of the image. ECC fails more often in this direction: for 285 of
the 9,367 HC1 adversarials of B1, against 66.
"""


@dataclass(frozen=True, eq=False)
class PassScores:
    """PASS of N pairs.

    scores      float64 (N,)
    ecc_failed  bool (N,), where ECC found no alignment, or one that is worse than none: the score
                is the plain SSIM, or, under PUBLISHED, that of the worse alignment
    """

    scores: NDArray[np.float64]
    ecc_failed: NDArray[np.bool_]

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.scores)


def compute_pass_scores(
    adversarials: Images,
    originals: Images,
    *,
    protocol: Protocol = STANDARD,
    workers: int | None = None,
) -> PassScores:
    """Return PASS of pairs of images.

    adversarials, originals  uint8 of one shape: (N, C, H, W), or one pair, (C, H, W) or (H, W), as
                             N = 1; C is 1 (grey) or 3 (RGB); at least 11x11 pixels; only read
    workers                  threads; None: one for each core. The result does not depend on it.

    Raises TypeError for another dtype, ValueError for another shape or fewer than one worker.
    """
    adversarials, originals = as_pairs(adversarials, originals)
    if originals.shape[1] not in (1, 3):
        raise ValueError(
            f"images must have 1 channel or 3, not {originals.shape[1]}: {originals.shape}"
        )
    pair = adversarials, originals
    moved, fixed = pair if protocol.moving == "adversarial" else pair[::-1]

    def score_part(part: slice) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        warped, failed = _align(moved[part], fixed[part], accept_worse=protocol.accept_worse)
        return compute_ssim_scores(warped, fixed[part], average=protocol.average), failed

    values = int(np.prod(originals.shape[1:]))
    parts = list(split_into_slices(len(originals), values, _VALUES_AT_A_TIME))
    threads = min(_choose_workers(workers), len(parts))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            try:
                results = pool.map(score_part, parts)
            except RuntimeError:  # the system permits no further thread: this one does it all
                pool.shutdown(cancel_futures=True)
                results = map(score_part, parts)
            done = list(results)
    else:
        done = [score_part(part) for part in parts]
    scores = np.concatenate([np.empty(0), *(scores for scores, _ in done)])
    failed = np.concatenate([np.empty(0, np.bool_), *(failed for _, failed in done)])
    return PassScores(scores, failed)


def compute_pass_score(
    adversarial: Images, original: Images, *, protocol: Protocol = STANDARD
) -> float:
    """Return PASS of one pair, (C, H, W) or (H, W); see compute_pass_scores.

    Also raises ValueError for several pairs.
    """
    scores = compute_pass_scores(adversarial, original, protocol=protocol, workers=1).scores
    if len(scores) != 1:
        raise ValueError(
            f"one pair of images was expected, not {original.shape}; see compute_pass_scores"
        )
    return float(scores[0])


def _choose_workers(workers: int | None) -> int:
    if workers is None:
        return len(os.sched_getaffinity(0))
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    return workers


def _align(moved: Images, fixed: Images, *, accept_worse: bool) -> tuple[Images, NDArray[np.bool_]]:
    """Return the images warped onto the fixed ones, and where no warp was found that helps."""
    warped, failed = moved.copy(), np.zeros(len(moved), np.bool_)
    # Where nothing differs there is nothing to align, also if ECC would fail: a flat image.
    differ = np.flatnonzero((moved != fixed).any(axis=(1, 2, 3)))
    images, templates = moved[differ], fixed[differ]
    found = estimate_homographies(
        _compute_luminance(images),
        _compute_luminance(templates),
        iterations=ECC_ITERATIONS,
        epsilon=ECC_EPSILON,
    )
    failed[differ] = found.failed | found.find_diverged(ECC_EPSILON)
    homographies = found.homographies
    if not accept_worse:
        homographies = np.where(found.worse[:, None, None], IDENTITY, homographies)
    warped[differ] = warp_images(images, homographies)
    return warped, failed


def _compute_luminance(images: Images) -> Images:
    """Return (N, H, W) of (N, C, H, W): OpenCV's RGB to grey, 0.299 R + 0.587 G + 0.114 B."""
    if images.shape[1] == 1:
        return images[:, 0]
    red, green, blue = images.astype(np.int32).transpose(1, 0, 2, 3)
    return np.asarray((9798 * red + 19235 * green + 3735 * blue + (1 << 14)) >> 15, np.uint8)
