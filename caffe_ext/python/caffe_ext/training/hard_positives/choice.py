"""Which images are attacked: some of each class that the network classifies correctly.

Rozsa, Rudd and Boult, 2016, Section 5.3, took 15 of each class of ImageNet.
"""

from itertools import chain

import numpy as np

from caffe_ext.data.image_source import ImageSource
from caffe_ext.models.base import Ints, Model
from caffe_ext.reporting import Reporter, pluralize

_VALUES_AT_A_TIME = 1 << 22


def choose_per_class(  # noqa: PLR0913  they are independent of each other
    model: Model,
    source: ImageSource,
    labels: Ints,
    count: int,
    *,
    seed: int,
    reporter: Reporter,
) -> Ints:
    """Return the rows of `count` correctly classified images of each class, ascending.

    They are the first ones in the order in which the source draws samples with this seed. Of a
    class that has fewer, all are taken, and a warning says so. Only as many images are read as are
    needed.

    labels  int64 (N,), of all images of the source
    """
    left: dict[int, list[int]] = {}
    for row in source.draw_order(seed).tolist():
        left.setdefault(int(labels[row]), []).append(row)
    chosen: dict[int, list[int]] = {label: [] for label in left}
    total = sum(min(count, len(rows)) for rows in left.values())
    with reporter.show_progress("choosing the images", total, "image") as step:
        while True:
            tried = []
            for label, rows in left.items():
                missing = count - len(chosen[label])
                tried += rows[:missing]
                del rows[:missing]
            if not tried:
                break
            for row in _find_correct(model, source, np.array(sorted(tried), np.int64), labels):
                chosen[int(labels[row])].append(row)
                step(1)
    fewer = {label: len(rows) for label, rows in chosen.items() if len(rows) < count}
    if any(chosen.values()) and fewer:
        least, label = min((found, label) for label, found in fewer.items())
        reporter.warn(
            f"{pluralize(len(fewer), 'class has', 'classes have')} fewer than {count:,} images "
            f"that are classified correctly: all of these are attacked (class {label}: {least:,})"
        )
    return np.array(sorted(chain.from_iterable(chosen.values())), np.int64)


def _find_correct(model: Model, source: ImageSource, rows: Ints, labels: Ints) -> list[int]:
    """Return which of these rows are classified as their label."""
    size = max(1, min(1000, _VALUES_AT_A_TIME // int(np.prod(source.image_shape))))
    correct: list[int] = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        images = source.choose(part, "").read(slice(None)).images
        correct += part[model.predict(images) == labels[part]].tolist()
    return correct
