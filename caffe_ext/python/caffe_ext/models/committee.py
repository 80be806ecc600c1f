"""Committee: several classifiers whose predictions are averaged, as one Model.

    p(x) = 1/M sum_m softmax(z_m(x)),    l_k(x) = log p_k(x)             z_m: logits of member m

The committee's logits are l, of which the softmax is p exactly. They are computed from the members'
log-probabilities in float64, so that nothing saturates: where all members are certain of a class,
l still orders the others and has a gradient. For an objective E with d = dE/dl,

    dE/dz_mj = d_j w_mj - p_mj sum_k d_k w_mk,     w_mk = p_mk / sum_n p_nk     (weights: sum_m = 1)

and dE/dpixel is the sum of the members' gradients for these: an attack on a committee sees all
members at once (Uličný, Lundström and Byttner, 2016, Section 3.3).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from caffe_ext.models.base import Diff, Floats, Model, Pixels
from caffe_ext.runtime.exclusive import ExclusiveLock

Doubles = NDArray[np.float64]


class Committee(Model):
    """The averaged prediction of several models with the same images and classes.

    members  the models, one or more

    The batch size is the smallest of the members'. Calls from several threads run one after the
    other, and a call from inside another one raises RuntimeError.
    """

    def __init__(self, members: Sequence[Model]) -> None:
        """Raise ValueError unless the members take the same images and have the same classes."""
        if not members:
            raise ValueError("a committee needs at least one member")
        self.members = tuple(members)
        # The mean image of one fixes the size of the images for all.
        first = next((one for one in members if one.pixel_space.mean_size), members[0])
        for number, member in enumerate(members, 1):
            for what, mine, theirs in (
                ("classes", first.classes, member.classes),
                ("an input (C, H, W) of", first.input_shape, member.input_shape),
                ("images (C, H, W) of", first.image_shape, member.image_shape),
                ("a crop of", first.pixel_space.crop, member.pixel_space.crop),
                ("the device", first.device, member.device),
            ):
                fixed = what != "images (C, H, W) of" or member.pixel_space.mean_size
                if mine != theirs and fixed:
                    raise ValueError(
                        f"the members of a committee must fit together: one has {what} {mine}, "
                        f"member {number} {theirs}"
                    )
        self.batch_size = min(member.batch_size for member in members)
        self.classes, self.device = first.classes, first.device
        self.input_shape, self.pixel_space = first.input_shape, first.pixel_space
        self._exclusive = ExclusiveLock("a Committee")

    def logits(self, images: Pixels) -> Floats:
        """Return log p, float32 (N, K): the logarithms of the averaged probabilities."""
        with self._exclusive.hold():
            scores = [member.logits(images) for member in self.members]
            return _compute_log_mean(_log_softmax(scores))

    def gradient(self, images: Pixels, diff: Diff, *, through: str | None = None) -> Floats:
        """Return dE/dpixel, float32 (N, C, H, W), for an objective E of the committee's logits.

        diff  dE/dlogits, or a function of them, as in Model.gradient()

        Raises ValueError for other images, a diff of another shape, and for `through`: a committee
        has no inner blobs.
        """
        if through is not None:
            raise ValueError(f"a committee has no blob '{through}': only its members have blobs")
        if not callable(diff) and len(diff) != len(images):
            raise ValueError(f"the diff has {len(diff)} rows for {len(images)} images")
        results = np.zeros(images.shape, np.float32)
        with self._exclusive.hold():
            for start in range(0, len(images), self.batch_size):
                rows = slice(start, min(start + self.batch_size, len(images)))
                self._add_gradients(images[rows], diff, rows, results[rows])
        return results

    def _add_gradients(self, images: Pixels, diff: Diff, rows: slice, out: Floats) -> None:
        """Add the gradients of one batch.

        The members' passes are nested: between its forward and backward pass, each calls the next
        one, so that all run forward once. The last one knows all scores.
        """
        scores: list[Floats] = []
        parts: Sequence[Floats] = ()

        def go(number: int) -> None:
            nonlocal parts
            if number == len(self.members):
                every = _log_softmax(scores)
                logits = _compute_log_mean(every)
                given = diff(logits, rows) if callable(diff) else diff[rows]
                if np.shape(given) != logits.shape:
                    raise ValueError(
                        f"the diff has shape {np.shape(given)}, the logits {logits.shape}"
                    )
                parts = _compute_member_diffs(every, np.asarray(given, np.float64))
                return

            def compute_own_diff(own: Floats, _: slice) -> Floats:
                scores.append(own)
                go(number + 1)
                return parts[number]

            out[...] += self.members[number].gradient(images, compute_own_diff)

        go(0)


def _log_softmax(scores: Sequence[Floats]) -> Doubles:
    """Return the log-probabilities, float64 (M, N, K), for the logits of M members."""
    values = np.asarray(scores, np.float64)
    values = values - values.max(axis=2, keepdims=True, initial=-np.inf)
    return np.asarray(values - np.log(np.exp(values).sum(axis=2, keepdims=True)))


def _compute_log_mean(every: Doubles) -> Floats:
    """Return log(1/M sum_m exp(l_m)), float32 (N, K), for the members' log-probabilities."""
    largest = every.max(axis=0)
    with np.errstate(invalid="ignore"):  # NaN, and -inf of all members, are kept
        apart = np.where(np.isneginf(largest), 0, every - largest)
    total = np.exp(apart).mean(axis=0)
    return np.asarray(largest + np.log(total), np.float32)


def _compute_member_diffs(every: Doubles, diff: Doubles) -> list[Floats]:
    """Return dE/dz_m, float32 (N, K) for each member, for its log-probabilities and dE/dl."""
    shares = np.exp(every - every.max(axis=0))
    parts = diff * shares / shares.sum(axis=0)
    return [
        np.asarray(part - np.exp(mine) * part.sum(axis=1, keepdims=True), np.float32)
        for part, mine in zip(parts, every, strict=True)
    ]
