"""SmoothedModel: the class that most noisy copies of an image are given, as one Model.

    x_s = clip(round(x + sigma e_s), 0, 255),  s = 1..S           e_s: standard normal, drawn once
    v_k(x) = 1/S #{s: argmax z(x_s) = k},      p(x) = 1/S sum_s softmax(z(x_s))
    l_k(x) = log((1 - t) v_k + t p_k),         t = 1 / (2 S)

The class is that of the most votes; p decides between equal numbers, and only between these. Votes
have no gradient: that of log p takes its place, with rounding and clipping as the identity, as in
attacks on smoothed classifiers (Salman et al., 2019, "SmoothAdv"). As S grows, the classes become
those of the smoothed classifier g of randomized smoothing, which `caffe-ext certify smoothing`
certifies (Cohen, Rosenfeld and Kolter, 2019).
"""

from dataclasses import dataclass

import numpy as np

from caffe_ext.models.averages import Doubles, compute_log_mean, compute_member_diffs, log_softmax
from caffe_ext.models.base import NO_CLASS, Floats, Images, Model, Pixels, find_top_class
from caffe_ext.models.composite import CompositeModel, DiffOfLogits

MOST_SAMPLES = 100_000
_MOST_SIGMA = 1e30
"""In float32, noise must not overflow."""
_MOST_NOISE = 2**30


@dataclass(frozen=True)
class Smoothing:
    """The noise of a smoothed model.

    sigma    standard deviation, in grey levels
    samples  S, how many noisy copies vote
    seed     of the noise

    Raises ValueError for values out of range.
    """

    sigma: float
    samples: int = 100
    seed: int = 1

    def __post_init__(self) -> None:
        """Check them."""
        if not 0 < self.sigma <= _MOST_SIGMA:
            raise ValueError(
                f"sigma must be a number above 0, in grey levels, and at most {_MOST_SIGMA:g}, not "
                f"{self.sigma}"
            )
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise ValueError(f"samples must be 1 to {MOST_SAMPLES:,}, not {self.samples:,}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"the seed must be from 0 to 2^64 - 1, not {self.seed}")


class SmoothedModel(CompositeModel):
    """The majority vote of another model on noisy copies of an image.

    base       the other model
    smoothing  the noise

    An image costs S forward passes of the base model, a gradient S forward and backward passes
    more.
    """

    title, parts = "a smoothed model", "copies"

    def __init__(self, base: Model, smoothing: Smoothing) -> None:
        """Draw no noise yet."""
        super().__init__(base)
        self.base, self.smoothing = base, smoothing
        self._noise = np.zeros((0, 0, 0, 0), np.float32)

    def logits(self, images: Pixels) -> Floats:
        """Return l, float32 (N, K)."""
        with self._exclusive.hold():
            return np.concatenate(
                [np.empty((0, self.classes), np.float32)]
                + [self._count_votes(self._score_copies(image)[:, None]) for image in images]
            )

    def _add_gradients(self, images: Pixels, compute_diff: DiffOfLogits, out: Floats) -> None:
        """Add the gradients of one batch, with log p in place of l in the derivative."""
        every = np.stack([self._score_copies(image) for image in images], axis=1)
        diffs = compute_member_diffs(log_softmax(every), compute_diff(self._count_votes(every)))
        for number, image in enumerate(images):
            own = np.asarray([diff[number] for diff in diffs])
            out[number] += self.base.gradient(self._make_copies(image), own).sum(axis=0)

    def _score_copies(self, image: Pixels) -> Floats:
        """Return the base model's logits of the noisy copies of an image, float32 (S, K)."""
        return self.base.logits(self._make_copies(image))

    def _make_copies(self, image: Pixels) -> Images:
        """Return the noisy copies of an image (C, H, W), uint8 (S, C, H, W)."""
        shape = (self.smoothing.samples, *image.shape)
        if self._noise.shape != shape:
            size = int(np.prod(shape)) * 4
            if size > _MOST_NOISE:
                raise ValueError(
                    f"the noise of {self.smoothing.samples:,} copies of an image takes "
                    f"{size / 2**30:.1f} GiB, more than 1; use fewer samples"
                )
            random = np.random.Generator(np.random.Philox(self.smoothing.seed))
            self._noise = random.standard_normal(shape, np.float32) * np.float32(
                self.smoothing.sigma
            )
        noisy: Images = np.clip(np.rint(self._noise + image), 0, 255).astype(np.uint8)
        return noisy

    def _count_votes(self, every: Floats) -> Floats:
        """Return l, float32 (N, K), for the logits of all copies (S, N, K)."""
        samples = len(every)
        tie = 1 / (2 * samples)
        votes: Doubles = np.zeros(every.shape[1:])
        for scores in every:
            classes = find_top_class(scores)
            known = np.flatnonzero(classes != NO_CLASS)
            votes[known, classes[known]] += 1
        with np.errstate(divide="ignore"):
            voted = np.log((1 - tie) * votes / samples)
        averaged = np.log(tie) + compute_log_mean(log_softmax(every)).astype(np.float64)
        return np.asarray(np.logaddexp(voted, averaged), np.float32)
