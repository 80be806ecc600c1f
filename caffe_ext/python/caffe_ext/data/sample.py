"""A reproducible sample of images, chosen by their names, whatever their number and order."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray


def draw_order(names: Sequence[str], seed: int) -> list[int]:
    """Return all rows in random order: by the SHA-256 of seed and name."""
    return sorted(range(len(names)), key=lambda row: (_draw_key(names[row], seed), row))


def sample_rows(
    names: Sequence[str], labels: NDArray[np.int64] | None, count: int, seed: int
) -> list[int]:
    """Return the rows of `count` of the images, ascending.

    With labels, each class gets its share of the images, to within one image. Within a class, and
    without labels, the choice is random: by the SHA-256 of seed and name, so that images added
    later change little.
    """
    order = draw_order(names, seed)
    if labels is None:
        return sorted(order[:count])
    classes, sizes = np.unique(labels, return_counts=True)
    shares = sizes * (count / len(names))
    counts = np.floor(shares).astype(np.int64)
    # The largest remainders are rounded up; for equal ones, that of the image drawn first.
    drawn = {int(label): place for place, label in reversed([*enumerate(labels[order])])}
    remainders = sorted(
        range(len(classes)),
        key=lambda one: (round(counts[one] - shares[one], 9), drawn[int(classes[one])]),
    )
    counts[remainders[: count - int(counts.sum())]] += 1
    left = dict(zip(classes.tolist(), counts.tolist(), strict=True))
    chosen = []
    for row in order:
        label = int(labels[row])
        if left[label]:
            left[label] -= 1
            chosen.append(row)
    return sorted(chosen)


def _draw_key(name: str, seed: int) -> bytes:
    return sha256(f"{seed} {name!a}".encode()).digest()
