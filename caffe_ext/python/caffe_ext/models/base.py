"""Model: what attacks, evaluations and certificates need of a classifier of images.

Classifier (classifier.py) is the model of a Caffe net. Anything else that classifies images, such
as a committee of nets, is a Model, too, and everything above this layer works on it.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from caffe_ext.models.pixels import PixelSpace
from caffe_ext.runtime.device import Device

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Pixels = NDArray[np.uint8] | NDArray[np.float32]
"""Images (N, C, H, W) in grey levels, 0..255: uint8, or real-valued ones, marked by float32."""
DiffFunction = Callable[[Floats, slice], NDArray[Any]]
"""(a blob's values (n, ...), the slice of their images) -> the objective's derivatives."""
Diff = NDArray[Any] | DiffFunction

NO_CLASS = -1
"""The class of an image of which a logit is NaN."""


@runtime_checkable
class Model(Protocol):
    """A classifier of images with K classes.

    Images are (N, C, H, W), any N, in grey levels 0..255: uint8, or float32 for real-valued pixels.
    The logits of an image do not depend on the other images of a call, except for the last bits
    of float32. What is returned is a copy, and nothing that is passed in is changed.

    batch_size   images that are computed at a time; calls with a multiple of it are fastest
    classes      K
    input_shape  (C, h, w) of what the model sees of an image, after the pixel space's crop
    image_shape  (C, H, W) of images that the model takes
    pixel_space  how pixels become its input
    device       where it computes
    """

    batch_size: int
    classes: int
    input_shape: tuple[int, int, int]
    pixel_space: PixelSpace
    device: Device

    @abstractmethod
    def logits(self, images: Pixels) -> Floats:
        """Return the scores before the softmax, float32 (N, K); ValueError for other images."""
        raise NotImplementedError

    @abstractmethod
    def gradient(self, images: Pixels, diff: Diff, *, through: str | None = None) -> Floats:
        """Return dE/dpixel, float32 (N, C, H, W), of an objective E of the logits.

        diff     dE/dlogits: an array (N, K), or a function of the logits of a batch (n, K) and of
                 the slice of its images
        through  an inner blob h: the derivative there, g = dE/dh, is backpropagated as |h| g; by
                 default as it is

        Raises ValueError for other images, for a diff of another shape, and for a `through` that
        the model does not have.
        """
        raise NotImplementedError

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return (C, H, W): of the mean image if there is one, else of the input."""
        height, width = self.pixel_space.mean_size or self.input_shape[1:]
        return self.input_shape[0], height, width

    def probabilities(self, images: Pixels) -> Floats:
        """Return the softmax of the logits, float32 (N, K)."""
        return softmax(self.logits(images))

    def predict(self, images: Pixels) -> Ints:
        """Return the class with the largest logit, int64 (N,); see find_top_class()."""
        return find_top_class(self.logits(images))

    def accuracy(self, images: Pixels, labels: NDArray[Any]) -> float:
        """Return the share of images classified as their label, 0..1; NaN for no images."""
        labels = self.check_labels(labels, len(images))
        return float(np.mean(self.predict(images) == labels)) if len(images) else float("nan")

    def check_labels(
        self,
        labels: NDArray[Any],
        count: int,
        first: int = 0,
        named: Callable[[int], str] | None = None,
    ) -> Ints:
        """Return labels of `count` images as int64 (N,); ValueError unless all are 0..K-1.

        first  number of the first image, for the error
        named  gives the name of an image by its number, for the error
        """
        labels = np.asarray(labels)
        if labels.shape != (count,) or (count and labels.dtype.kind not in "iu"):
            raise ValueError(
                f"labels must be integers ({count},), not {labels.dtype} {labels.shape}"
            )
        wrong = np.flatnonzero((labels < 0) | (labels >= self.classes))
        if len(wrong):
            number = first + int(wrong[0])
            own = named(number) if named else ""
            name = f" ({own})" if own not in ("", f"{number}") else ""
            why = " (a logit of this image is NaN)" if labels[wrong[0]] == NO_CLASS else ""
            raise ValueError(
                f"label {labels[wrong[0]]} of image {number}{name} does not exist: the network "
                f"has {self.classes} classes, 0..{self.classes - 1}{why}"
            )
        return labels.astype(np.int64)


def find_top_class(logits: Floats) -> Ints:
    """Return the class of the largest logit, int64 (N,), of logits (N, K); the first of equal ones.

    NO_CLASS where one of them is NaN, since none is then the largest.
    """
    classes = np.asarray(logits.argmax(axis=1), np.int64)  # that of a NaN, where there is one
    scores = np.take_along_axis(logits, classes[:, None], axis=1)[:, 0]
    return np.where(np.isnan(scores), NO_CLASS, classes)


def softmax(logits: Floats) -> Floats:
    """Return the probabilities of logits (N, K), in their precision, computed as Caffe does."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
