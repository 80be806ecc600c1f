"""PASS of one pair, slow and obvious: what every fast path is compared with.

Nothing here comes from the package but the names of the two ways of computing it.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

ITERATIONS, EPSILON, BLUR = 100, 1e-3, 5
MARGIN = 5


def reference_ssim(
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


def reference_pass_score(
    adversarial: NDArray[np.uint8],
    original: NDArray[np.uint8],
    moving: str = "adversarial",
    average: str = "inner",
) -> tuple[float, bool]:
    """Return PASS of two images (C, H, W), C = 1 or 3 (RGB), and whether ECC failed."""
    moved, fixed = (adversarial, original) if moving == "adversarial" else (original, adversarial)
    _, height, width = original.shape
    failed = False
    homography = np.eye(3, dtype=np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ITERATIONS, EPSILON)
    try:
        _, homography = cv2.findTransformECC(  # type: ignore[call-overload]
            luminance(fixed),
            luminance(moved),
            homography,
            cv2.MOTION_HOMOGRAPHY,
            criteria,
            None,
            BLUR,
        )
    except cv2.error:
        failed = True
    if failed or not np.isfinite(homography).all():
        failed, homography = True, np.eye(3, dtype=np.float32)
    warped = [
        cv2.warpPerspective(
            channel, homography, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        for channel in moved
    ]
    return reference_ssim(np.stack(warped).astype(np.uint8), fixed, average), failed


def luminance(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a grey image (H, W)."""
    grey: NDArray[np.uint8] = image[0]
    if len(image) == 3:
        interleaved = np.ascontiguousarray(image.transpose(1, 2, 0))
        grey = np.asarray(cv2.cvtColor(interleaved, cv2.COLOR_RGB2GRAY), np.uint8)
    return grey
