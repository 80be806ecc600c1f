"""CompositeModel: what models that are computed by other models have in common."""

from abc import abstractmethod
from collections.abc import Callable

import numpy as np

from caffe_ext.models.averages import Doubles
from caffe_ext.models.base import Diff, Floats, Model, Pixels
from caffe_ext.runtime.exclusive import ExclusiveLock

DiffOfLogits = Callable[[Floats], Doubles]
"""The logits of a batch (n, K) -> the objective's derivatives, float64 (n, K)."""


class CompositeModel(Model):
    """A model whose passes are those of others.

    Calls from several threads run one after the other, and a call from inside another one raises
    RuntimeError.

    title  in messages: "a committee"
    parts  what has blobs: "members"
    """

    title: str
    parts: str

    def __init__(self, example: Model) -> None:
        """Take the same images as another model, on the same device, and have its classes."""
        self.batch_size, self.classes, self.device = (
            example.batch_size,
            example.classes,
            example.device,
        )
        self.input_shape, self.pixel_space = example.input_shape, example.pixel_space
        self._exclusive = ExclusiveLock(f"a {type(self).__name__}")

    def gradient(self, images: Pixels, diff: Diff, *, through: str | None = None) -> Floats:
        """Return dE/dpixel, float32 (N, C, H, W), for an objective E of the logits.

        diff  dE/dlogits, or a function of them, as in Model.gradient()

        Raises ValueError for other images, a diff of another shape, and for `through`: there are no
        inner blobs.
        """
        if through is not None:
            raise ValueError(
                f"{self.title} has no blob '{through}': only its {self.parts} have blobs"
            )
        if not callable(diff) and len(diff) != len(images):
            raise ValueError(f"the diff has {len(diff)} rows for {len(images)} images")
        results = np.zeros(images.shape, np.float32)
        with self._exclusive.hold():
            for start in range(0, len(images), self.batch_size):
                rows = slice(start, min(start + self.batch_size, len(images)))

                def compute_diff(logits: Floats, rows: slice = rows) -> Doubles:
                    given = diff(logits, rows) if callable(diff) else diff[rows]
                    if np.shape(given) != logits.shape:
                        raise ValueError(
                            f"the diff has shape {np.shape(given)}, the logits {logits.shape}"
                        )
                    return np.asarray(given, np.float64)

                self._add_gradients(images[rows], compute_diff, results[rows])
        return results

    @abstractmethod
    def _add_gradients(self, images: Pixels, compute_diff: DiffOfLogits, out: Floats) -> None:
        """Add the gradients of one batch."""
