"""Images from several sources in one random order, part by part: Data layers do not shuffle."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.data.image_set import ImageSet

_BYTES_AT_A_TIME = 16 << 20
_IMAGES_AT_A_TIME = 5_000


@dataclass(frozen=True, eq=False)
class Pool:
    """Images of one source.

    labels  int64 (N,)
    read    rows int64 (n,), ascending -> those images, uint8 (n, C, H, W)
    """

    labels: NDArray[np.int64]
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]]


def shuffle(
    pools: Sequence[Pool],
    shape: tuple[int, ...],
    seed: int,
    at_a_time: int | None = None,
) -> Iterator[ImageSet]:
    """Yield all images (C, H, W) of all pools in an order that depends only on the seed.

    at_a_time  images per part, which are in memory; by default at most 16 MiB
    """
    size = at_a_time or max(1, min(_IMAGES_AT_A_TIME, _BYTES_AT_A_TIME // int(np.prod(shape))))
    counts = [len(pool.labels) for pool in pools]
    ends = np.cumsum(counts)
    order = np.random.default_rng(seed).permutation(sum(counts))
    for start in range(0, len(order), size):
        part = np.asarray(order[start : start + size], np.int64)
        owners = np.searchsorted(ends, part, side="right")
        images, labels = np.empty((len(part), *shape), np.uint8), np.empty(len(part), np.int64)
        for owner in np.unique(owners):
            places = np.flatnonzero(owners == owner)
            places = places[np.argsort(part[places])]
            rows = part[places] - (ends[owner] - counts[owner])
            images[places] = pools[owner].read(rows)
            labels[places] = pools[owner].labels[rows]
        yield ImageSet(images, labels)
