"""PASS of one pair, slow and obvious: what every fast path is compared with.

Nothing here comes from the package but the names of the two ways of computing it.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

ITERATIONS, EPSILON, BLUR = 100, 1e-3, 5
MARGIN = 5


def compute_reference_ssim(
    first: NDArray[np.uint8], second: NDArray[np.uint8], average: str = "inner"
) -> float:
    """Return scikit-image's SSIM of two images (C, H, W); "all": the mean of its whole map."""
    mean, ssim_map = structural_similarity(  # type: ignore[no-untyped-call]
        first,
        second,
        data_range=255,
        channel_axis=0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return float(mean if average == "inner" else ssim_map.mean())


class Reference(NamedTuple):
    """PASS; whether ECC failed or lost more than EPSILON of the coefficient; what it gained."""

    score: float
    failed: bool
    gain: float


def compute_reference_pass_score(
    adversarial: NDArray[np.uint8],
    original: NDArray[np.uint8],
    moving: str = "adversarial",
    average: str = "inner",
    *,
    accept_worse: bool = False,
) -> Reference:
    """Return PASS of two images (C, H, W), C = 1 or 3 (RGB)."""
    moved, fixed = (adversarial, original) if moving == "adversarial" else (original, adversarial)
    _, height, width = original.shape
    failed = False
    homography = np.eye(3, dtype=np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ITERATIONS, EPSILON)
    try:
        _, homography = cv2.findTransformECC(  # type: ignore[call-overload]
            compute_luminance(fixed),
            compute_luminance(moved),
            homography,
            cv2.MOTION_HOMOGRAPHY,
            criteria,
            None,
            BLUR,
        )
    except cv2.error:
        failed = True
    identity = np.eye(3, dtype=np.float32)
    gain = 0.0
    if failed or not np.isfinite(homography).all():
        failed, homography = True, identity
    else:
        rho, at_identity = (
            compute_reference_correlation(compute_luminance(moved), compute_luminance(fixed), h)
            for h in (homography, identity)
        )
        gain = rho - at_identity
        failed = not gain >= -EPSILON
        if not gain >= 0 and not accept_worse:
            homography = identity
    warped = [
        cv2.warpPerspective(
            channel, homography, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        for channel in moved
    ]
    score = compute_reference_ssim(np.stack(warped).astype(np.uint8), fixed, average)
    return Reference(score, failed, gain)


def compute_reference_correlation(
    image: NDArray[np.uint8], template: NDArray[np.uint8], homography: NDArray[np.floating]
) -> float:
    """Return ECC's coefficient of two blurred images (H, W), one seen through a homography."""
    height, width = template.shape
    moved, fixed = (
        cv2.GaussianBlur(one.astype(np.float32), (BLUR, BLUR), 0) for one in (image, template)
    )
    flags = cv2.WARP_INVERSE_MAP
    seen = cv2.warpPerspective(moved, homography, (width, height), flags=flags | cv2.INTER_LINEAR)
    inside = cv2.warpPerspective(
        np.ones_like(image), homography, (width, height), flags=flags | cv2.INTER_NEAREST
    ).astype(bool)
    if not inside.any():
        return float("nan")
    seen, fixed = (one[inside].astype(np.float64) - one[inside].mean() for one in (seen, fixed))
    with np.errstate(invalid="ignore"):
        return float(seen @ fixed / np.sqrt((seen @ seen) * (fixed @ fixed)))


def compute_luminance(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a grey image (H, W)."""
    grey: NDArray[np.uint8] = image[0]
    if len(image) == 3:
        interleaved = np.ascontiguousarray(image.transpose(1, 2, 0))
        grey = np.asarray(cv2.cvtColor(interleaved, cv2.COLOR_RGB2GRAY), np.uint8)
    return grey
