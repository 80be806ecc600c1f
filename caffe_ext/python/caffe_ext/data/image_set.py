"""ImageSet: images with labels, as the package passes them around."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.errors import DataError

CLASSES = 10


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images as Caffe stores them.

    images  uint8 (N, C, H, W), 0..255; C is 1 (grey, MNIST: white ink on black) or 3 (RGB order,
            as CIFAR-10 stores it; not OpenCV's BGR)
    labels  int64 (N,), 0..9
    origin  where they come from, in words, for records and messages

    The arrays are read-only: to change pixels, make a copy. Raises ValueError for another dtype or
    shape, and if the counts differ.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    origin: str = ""

    def __post_init__(self) -> None:
        """Check the shapes, and make the arrays read-only without touching the caller's."""
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"images must be uint8 (N, C, H, W), not {self.images.dtype} {self.images.shape}"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must be int64 ({len(self.images)},), not "
                f"{self.labels.dtype} {self.labels.shape}"
            )
        for name in ("images", "labels"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.labels)

    def __getitem__(self, which: slice) -> "ImageSet":
        """Return a part of the set as another set; the pixels are shared, not copied."""
        return ImageSet(self.images[which], self.labels[which], self.origin)


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set as read from its raw files.

    published  whether the images are those published by the authors of the data set
    remark     anything else to know about the content; "" if nothing
    """

    train: ImageSet
    test: ImageSet
    published: bool
    remark: str = ""

    def keep_apart(self, validation: int) -> dict[str, ImageSet]:
        """Split into "train", "val" (the last `validation` training images) and "test".

        There is no "val" if `validation` is 0. Raises DataError if nothing would be left.
        """
        if validation == 0:
            return {"train": self.train, "test": self.test}
        if not 0 < validation < len(self.train):
            raise DataError(
                f"cannot hold out {validation:,} validation images of the {len(self.train):,} "
                f"training images of {self.train.origin}"
            )
        return {
            "train": self.train[:-validation],
            "val": self.train[-validation:],
            "test": self.test,
        }
