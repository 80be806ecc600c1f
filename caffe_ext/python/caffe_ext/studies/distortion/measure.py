"""Curves: the errors of a defence on images with noise of many strengths."""

from dataclasses import dataclass
from typing import Annotated

import caffe
import numpy as np
from msgspec import Meta

from caffe_ext.metrics.distances import FULL_SCALE
from caffe_ext.models.base import Floats, Images, Ints, Model
from caffe_ext.models.pixels import allow_dark_pixels
from caffe_ext.reporting import Step
from caffe_ext.runtime.processor_time import Stopwatch
from caffe_ext.storage.json_file import Count
from caffe_ext.studies.distortion.levels import (
    Doubles,
    find_gaussian_strengths,
    find_sign_strengths,
)
from caffe_ext.studies.distortion.models import SIGN
from caffe_ext.studies.gradient_sign import compute_loss_signs

Share = Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True)
class DistortionCurve:
    """The errors on N images at L strengths of noise.

    images       N
    strengths    epsilon or sigma, for pixels in [0, 1]; L
    distortions  mean absolute change of a pixel, for pixels in [0, 1]; L, ascending
    errors       how many of the images are classified wrongly; L
    seconds      of processor time that the measurement took

    Raises ValueError for values that no measurement gives.
    """

    images: Annotated[int, Meta(ge=1)]
    strengths: list[Annotated[float, Meta(ge=0)]]
    distortions: list[Share]
    errors: list[Count]
    seconds: Annotated[float, Meta(ge=0)]

    def __post_init__(self) -> None:
        """Raise ValueError for values that no measurement gives."""
        if not len(self.strengths) == len(self.distortions) == len(self.errors) > 0:
            raise ValueError("a curve needs as many strengths, distortions and errors, at least 1")
        if sorted(self.distortions) != list(self.distortions):
            raise ValueError("the distortions of a curve must ascend")
        if max(self.errors) > self.images:
            raise ValueError(f"{max(self.errors)} of {self.images} images cannot be errors")

    @property
    def rates(self) -> Doubles:
        """Return the error rates, 0..1, float64 (L,)."""
        return np.asarray(self.errors, np.float64) / self.images

    def interpolate(self, distortion: float) -> float | None:
        """Return the error rate at a distortion, between two levels linearly.

        None beyond the last one.
        """
        if distortion > self.distortions[-1] + 1e-3:
            return None
        return float(np.interp(distortion, self.distortions, self.rates))


@allow_dark_pixels()
def measure_curve(  # noqa: PLR0913  they are independent of each other
    model: Model,
    images: Images,
    labels: Ints,
    kind: str,
    distortions: Doubles,
    *,
    attacker: Model | None = None,
    seed: int = 1,
    step: Step = lambda _: None,
) -> DistortionCurve:
    """Measure a defence on images with noise, real-valued and clipped to 0..255.

    kind         SIGN or GAUSSIAN
    distortions  for which the strengths are found, see levels.py
    attacker     whose gradient gives the signs; None: the defence's own
    seed         of the Gaussian noise, and of noise in the defence, the same at each strength
    step         is told how many images were classified

    Raises ValueError for images and labels that do not fit the models.
    """
    watch = Stopwatch()
    labels = model.check_labels(labels, len(images))
    noise: Floats
    if kind == SIGN:
        _fix_noise(seed)
        noise = compute_loss_signs(attacker or model, images, labels)
        strengths = find_sign_strengths(images, noise, distortions)
    else:
        noise = np.random.default_rng(seed).standard_normal(images.shape, np.float32)
        strengths = find_gaussian_strengths(images, distortions)
    changes, errors = [], []
    for strength in strengths:
        changed = np.clip(images + np.float32(strength) * noise, 0, FULL_SCALE)
        changes.append(float(np.abs(changed - images).mean(dtype=np.float64)) / FULL_SCALE)
        _fix_noise(seed)
        errors.append(int((model.predict(changed) != labels).sum()))
        step(len(images))
    # The largest distortions may be out of reach: then they are equal but for rounding.
    ascending = np.maximum.accumulate(changes).tolist()
    return DistortionCurve(
        len(images),
        (strengths / FULL_SCALE).tolist(),
        ascending,
        errors,
        round(watch.seconds, 3),
    )


def _fix_noise(seed: int) -> None:
    """Make the noise of GaussianNoise layers the same as before."""
    caffe.set_random_seed(seed)
