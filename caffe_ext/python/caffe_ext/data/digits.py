"""scikit-learn's handwritten digits in the format of MNIST: a data set that needs no download.

1,797 digits of 8x8 pixels, 0..16, written by 43 people (UCI "Optical Recognition of Handwritten
Digits"). Each is scaled to 20x20 by bilinear interpolation (pixel centres aligned, edges repeated),
its ink from 0..16 to 0..255, and centred in 28x28 black pixels, with the same box as MNIST's own
digits. All arithmetic is in integers, so that the bytes are the same on every machine.

30 images of each digit, drawn with a fixed seed, are the test set (300); the other 1,497 the
training set.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from caffe_ext.data import idx, mnist
from caffe_ext.data.image_set import CLASSES, DataSet, ImageSet

TITLE = "scikit-learn's handwritten digits"
TEST_PER_CLASS = 30
_SEED = 20180821
_SMALL, _BOX, _SIDE = 8, 20, 28
_INK = 16


def make_digits() -> DataSet:
    """Return the digits as uint8 (N, 1, 28, 28): 1,497 for training and 300 for testing."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  takes a second, seldom needed

    bunch = load_digits()
    images = enlarge(bunch.images.astype(np.int64))[:, np.newaxis]
    labels = bunch.target.astype(np.int64)
    # RandomState and not default_rng: NumPy promises that its stream never changes.
    order = np.random.RandomState(_SEED).permutation(len(labels))
    of_class = [order[labels[order] == label] for label in range(CLASSES)]
    chosen = np.concatenate([indices[:TEST_PER_CLASS] for indices in of_class])
    is_test = np.isin(order, chosen)
    train, test = order[~is_test], order[is_test]
    return DataSet(
        ImageSet(images[train], labels[train], TITLE),
        ImageSet(images[test], labels[test], TITLE),
        published=False,
    )


def enlarge(images: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return digits (N, 8, 8), 0..16, as images (N, 28, 28), 0..255."""
    # The centre of pixel i of 20 lies at (i + 1/2) * 8/20 - 1/2 = (4 i - 3) / 10 of the 8.
    tenths = np.clip(4 * np.arange(_BOX) - 3, 0, 10 * (_SMALL - 1))
    lower, fraction = tenths // 10, tenths % 10
    weights = np.zeros((_BOX, _SMALL), np.int64)
    weights[np.arange(_BOX), lower] += 10 - fraction
    weights[np.arange(_BOX), np.minimum(lower + 1, _SMALL - 1)] += fraction
    scaled = weights @ images @ weights.T
    full = 10 * 10 * _INK
    margin = (_SIDE - _BOX) // 2
    result = np.zeros((len(images), _SIDE, _SIDE), np.uint8)
    result[:, margin:-margin, margin:-margin] = (scaled * 255 + full // 2) // full
    return result


def make_idx_files(digits: DataSet) -> Mapping[str, bytes]:
    """Return the four IDX files of a grey data set by MNIST's names, not packed."""
    parts = (
        digits.train.images[:, 0],
        digits.train.labels.astype(np.uint8),
        digits.test.images[:, 0],
        digits.test.labels.astype(np.uint8),
    )
    return {name: idx.encode(part) for name, part in zip(mnist.NAMES, parts, strict=True)}
