"""Training sets of the study that are no hard positives: originals in another order, and deformed
digits, each in a folder as that of hard positives.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.attacks.deform import Deformation
from caffe_ext.data.image_set import ImageSet
from caffe_ext.data.mixture import Pool, shuffle
from caffe_ext.models.base import Images, Ints
from caffe_ext.reporting import Reporter
from caffe_ext.storage.description import list_differences
from caffe_ext.storage.staging import explain_full_disk, lock_for_making
from caffe_ext.training.hard_positives.folder import HardPositiveSet, read_set, write_set


def make_original_pool(originals: ImageSet) -> Pool:
    """Return the originals."""
    return Pool(originals.labels, lambda rows: originals.images[rows])


def make_deformed_pool(originals: ImageSet, count: int, seed: int) -> Pool:
    """Return `count` deformed originals: the first deformation of each, the second of each ..."""
    numbers = np.arange(count) % len(originals)
    deformation = Deformation(seed=seed)

    def read(rows: Ints) -> Images:
        drawn = [
            deformation.deform(
                originals.images[numbers[row]], np.random.default_rng([seed, int(row)])
            )
            for row in rows
        ]
        return np.array(drawn, np.uint8)

    return Pool(originals.labels[numbers], read)


def write_shuffled(
    folder: Path,
    pools: Sequence[Pool],
    shape: tuple[int, ...],
    settings: Mapping[str, Any],
    reporter: Reporter,
) -> HardPositiveSet:
    """Return the set of these settings: what is in the folder, or written now in its place.

    settings  what the pools depend on, for JSON, and the seed of the order

    Raises DataError for a disk that is full and while another process writes the folder.
    """
    with explain_full_disk(folder), lock_for_making(folder):
        present = read_set(folder)
        if present and not list_differences(settings, present.record["settings"]):
            return present
        count = sum(len(pool.labels) for pool in pools)
        record = {
            **{"images": count, "originals": count, "hard_positives": 0},
            **{"attacks": [], "settings": dict(settings)},
        }
        write_set(folder, shuffle(pools, shape, settings["seed"]), record, shape, reporter)
        made = read_set(folder)
    assert made is not None
    return made
