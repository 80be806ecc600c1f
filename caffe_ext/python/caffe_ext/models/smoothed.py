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
from math import isfinite

import numpy as np

from caffe_ext.models.averages import Doubles, compute_log_mean, compute_member_diffs, log_softmax
from caffe_ext.models.base import NO_CLASS, Diff, Floats, Images, Model, Pixels, find_top_class
from caffe_ext.runtime.exclusive import ExclusiveLock

MOST_SAMPLES = 100_000
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
        if not (isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"sigma must be a number above 0, in grey levels, not {self.sigma}")
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise ValueError(f"samples must be 1 to {MOST_SAMPLES:,}, not {self.samples:,}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"the seed must be from 0 to 2^64 - 1, not {self.seed}")


class SmoothedModel(Model):
    """The majority vote of another model on noisy copies of an image.

    base       the other model
    smoothing  the noise

    An image costs S forward passes of the base model, a gradient S forward and backward passes
    more. Calls from several threads run one after the other, and a call from inside another one
    raises RuntimeError.
    """

    def __init__(self, base: Model, smoothing: Smoothing) -> None:
        """Draw no noise yet."""
        self.base, self.smoothing = base, smoothing
        self.batch_size, self.classes, self.device = base.batch_size, base.classes, base.device
        self.input_shape, self.pixel_space = base.input_shape, base.pixel_space
        self._noise = np.zeros((0, 0, 0, 0), np.float32)
        self._exclusive = ExclusiveLock("a SmoothedModel")

    def logits(self, images: Pixels) -> Floats:
        """Return l, float32 (N, K)."""
        with self._exclusive.hold():
            return np.concatenate(
                [np.empty((0, self.classes), np.float32)]
                + [self._count_votes(self._score_copies(image)[:, None]) for image in images]
            )

    def gradient(self, images: Pixels, diff: Diff, *, through: str | None = None) -> Floats:
        """Return dE/dpixel, float32 (N, C, H, W), with log p in place of l in the derivative.

        diff  dE/dl, or a function of l, as in Model.gradient()

        Raises ValueError for other images, a diff of another shape, and for `through`: blobs belong
        to single copies.
        """
        if through is not None:
            raise ValueError(
                f"a smoothed model has no blob '{through}': only its copies have blobs"
            )
        if not callable(diff) and len(diff) != len(images):
            raise ValueError(f"the diff has {len(diff)} rows for {len(images)} images")
        results = np.zeros(images.shape, np.float32)
        with self._exclusive.hold():
            for start in range(0, len(images), self.batch_size):
                rows = slice(start, min(start + self.batch_size, len(images)))
                scores = [self._score_copies(image) for image in images[rows]]
                every = np.stack(scores, axis=1)
                logits = self._count_votes(every)
                given = diff(logits, rows) if callable(diff) else diff[rows]
                if np.shape(given) != logits.shape:
                    raise ValueError(
                        f"the diff has shape {np.shape(given)}, the logits {logits.shape}"
                    )
                parts = np.asarray(
                    compute_member_diffs(log_softmax(every), np.asarray(given, np.float64))
                )
                for number, image in enumerate(images[rows]):
                    each = self.base.gradient(self._make_copies(image), parts[:, number])
                    results[start + number] = each.sum(axis=0)
        return results

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
