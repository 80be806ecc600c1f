"""Stimuli: the images that people see, made beforehand and stored in the study's folder.

stimuli.json      labels, and all that the images depend on
stimuli.npy       uint8 (S, N, H, W): N images in each subset of SUBSETS
hard_digits.npy   uint8 (M, H, W), if there are any
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from caffe_ext.errors import RecordError
from caffe_ext.models.base import Ints
from caffe_ext.runtime.checkout import shorten_path
from caffe_ext.storage.json_file import Count, Object, Sha256, read_json
from caffe_ext.storage.numpy_file import load_array
from caffe_ext.storage.provenance import hash_file
from caffe_ext.storage.read_errors import convert_read_errors
from caffe_ext.studies.human.design import HARD_DIGITS, SUBSETS, Subset

Pixels = NDArray[np.uint8]
Digit = Annotated[int, Meta(ge=0, le=9)]
RECORD, IMAGES, HARD_IMAGES = "stimuli.json", "stimuli.npy", "hard_digits.npy"
PREPARE = "`caffe-ext study human prepare` makes them"


@dataclass(frozen=True)
class StimuliRecord:
    """What stimuli.json says, as far as it is read back.

    identity     what the images depend on
    labels       of the pool, N
    hard_labels  of the hard digits, M
    per_subset   images of each subset that a person sees
    seed         of what each person sees
    distortions  mean absolute change per pixel in each subset, of pixels in [0, 1]; S
    digests      SHA-256 of the files with the images
    """

    identity: Object
    labels: list[Digit]
    hard_labels: list[Digit]
    per_subset: Annotated[int, Meta(ge=1)]
    seed: Count
    distortions: list[float]
    digests: dict[str, Sha256]


@dataclass(frozen=True, eq=False)
class Stimuli:
    """The images that people see, of which they get a random part each.

    images       uint8 (S, N, H, W), the pool in each subset of SUBSETS
    hard_images  uint8 (M, H, W)
    labels       int64 (N,) of the pool, the same in all subsets
    hard_labels  int64 (M,)
    digest       of everything that answers refer to
    """

    record: StimuliRecord
    images: Pixels
    hard_images: Pixels
    digest: str

    @property
    def labels(self) -> Ints:
        """Return the pool's labels."""
        return np.array(self.record.labels, np.int64)

    @property
    def hard_labels(self) -> Ints:
        """Return the hard digits' labels."""
        return np.array(self.record.hard_labels, np.int64)

    @property
    def per_person(self) -> int:
        """Return how many images a person sees."""
        hard = len(set(self.record.hard_labels))
        return len(SUBSETS) * self.record.per_subset + hard

    def get_image(self, subset: int, number: int) -> Pixels:
        """Return an image, uint8 (H, W); subset: its place in SUBSETS, after them hard digits."""
        hard = subset == len(SUBSETS)
        return np.asarray(self.hard_images[number] if hard else self.images[subset, number])

    def get_label(self, subset: int, number: int) -> int:
        """Return the class of an image; RecordError for one that does not exist."""
        labels = self.record.hard_labels if subset == len(SUBSETS) else self.record.labels
        if number >= len(labels):
            raise RecordError(f"there are damaged answers: to image {number}, which does not exist")
        return labels[number]

    def draw(self, person: int) -> list[tuple[int, int]]:
        """Return the images that a person sees, in their order: (subset, number) each.

        In each subset, different images; where the pool is large enough, no image of the pool is in
        two of them. One hard digit of each class. All are shuffled.
        """
        random = np.random.default_rng([self.record.seed, person])
        each, pool = self.record.per_subset, len(self.record.labels)
        count = len(SUBSETS)
        if pool >= count * each:
            chosen = random.choice(pool, (count, each), replace=False)
        else:
            chosen = np.stack([random.choice(pool, each, replace=False) for _ in SUBSETS])
        drawn = [(subset, int(number)) for subset in range(count) for number in chosen[subset]]
        hard = self.hard_labels
        drawn += [
            (count, int(random.choice(np.flatnonzero(hard == label)))) for label in np.unique(hard)
        ]
        return [drawn[place] for place in random.permutation(len(drawn))]


def get_subset(number: int) -> Subset:
    """Return the subset with this number, 0 or more: one of SUBSETS, or after them HARD_DIGITS.

    Raises RecordError for one that does not exist.
    """
    if number > len(SUBSETS):
        raise RecordError(f"there are damaged answers: to subset {number}, which does not exist")
    return HARD_DIGITS if number == len(SUBSETS) else SUBSETS[number]


def load_stimuli(folder: Path) -> Stimuli:
    """Return the stimuli in a study's folder; the pool stays on the disk.

    Raises RecordError if there are none, or if they are damaged.
    """
    path = folder / RECORD
    advice = "choose another --output, or make the stimuli again: prepare --again"
    try:
        record = read_json(path, StimuliRecord, advice)
    except FileNotFoundError:
        raise RecordError(f"there are no stimuli in {shorten_path(folder)}; {PREPARE}") from None
    for name in (IMAGES, *record.digests):
        if name not in (IMAGES, HARD_IMAGES) or _hash(folder / name) != record.digests.get(name):
            raise RecordError(f"{folder / name} is missing or damaged; {advice}")
    with convert_read_errors(folder / IMAGES, RecordError):
        images: Pixels = load_array(folder / IMAGES, mapped=True)
    size = images.shape[2:]
    hard = np.empty((0, *size), np.uint8)
    if HARD_IMAGES in record.digests:
        with convert_read_errors(folder / HARD_IMAGES, RecordError):
            hard = load_array(folder / HARD_IMAGES)
    if (
        {images.dtype, hard.dtype} != {np.dtype(np.uint8)}
        or images.shape != (len(SUBSETS), len(record.labels), *size)
        or len(size) != 2
        or hard.shape != (len(record.hard_labels), *size)
        or len(record.distortions) != len(SUBSETS)
        or len(record.labels) < record.per_subset
    ):
        raise RecordError(f"{path} does not fit the images beside it; {advice}")
    return Stimuli(record, images, hard, hash_file(path))


def _hash(path: Path) -> str:
    """Return a file's SHA-256; "" if there is none."""
    try:
        return hash_file(path)
    except FileNotFoundError:
        return ""
