"""The mean image of a training set, as a file for Caffe's `mean_file`."""

from pathlib import Path

import numpy as np
from caffe.proto import caffe_pb2
from numpy.typing import NDArray

from caffe_ext.data.image_set import ImageSet


def compute_mean_image(images: ImageSet) -> NDArray[np.float32]:
    """Return the mean (C, H, W) over the images, 0..255, rounded once from the exact sum.

    Caffe's compute_image_mean sums in float32, which is also exact up to 65,793 images.
    """
    total = images.images.sum(axis=0, dtype=np.uint64)
    return np.asarray(total.astype(np.float64) / len(images), dtype=np.float32)


def write_mean_image(path: Path, mean: NDArray[np.float32]) -> None:
    """Write the mean (C, H, W) as a serialized BlobProto of num 1."""
    channels, height, width = mean.shape
    blob = caffe_pb2.BlobProto(num=1, channels=channels, height=height, width=width)
    blob.data.extend(mean.ravel().tolist())
    path.write_bytes(blob.SerializeToString())
