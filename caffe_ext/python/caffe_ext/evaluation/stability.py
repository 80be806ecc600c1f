"""How often random noise changes the class of an image.

    x~ = clip(round(x + sigma z), 0, 255)        z ~ N(0, 1), independent for each value of x

sigma, the level, is in grey levels before clipping: white and black pixels change by less. x~ is a
uint8 image, as in an image file; round() rounds halves to even.

z depends only on the seed, the number of the image and that of the copy, and not on batches, the
number of copies, other images or the model: models are compared on identical noisy images. All
levels scale the same z. The expected rate at each level is the same as with independent noise, but
the errors are correlated across levels, which makes differences between levels more accurate.

Rozsa, Günther and Boult, 2018, Section 4: 1,000 images, 1,000 copies, sigma up to 100 (MNIST) or
40 (CIFAR-10).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.models.base import Floats, Images, Ints, Model
from caffe_ext.reporting import Reporter, SilentReporter

Levels = NDArray[np.float64]
# The paper's: up to 100 grey levels on MNIST, up to 40 on CIFAR-10.
PAPER_GREY_LEVELS, PAPER_COLOUR_LEVELS = range(10, 101, 10), range(4, 41, 4)


# About 15 seconds for LeNet on one core.
_FORWARDS_AT_A_TIME = 50_000
_MOST_COPIES = 2**31 - 1  # of all images and levels, they are numbered by 64 bits


@dataclass(frozen=True)
class NoiseSettings:
    """How stability to noise is measured.

    levels     standard deviations, in grey levels
    per_class  the most images of each class
    copies     noisy copies of each at each level

    The paper (BANG, Section 4) has 100 images of each class and 1,000 copies. Raises ValueError for
    invalid settings.
    """

    levels: tuple[float, ...]
    per_class: int
    copies: int

    def __post_init__(self) -> None:
        """Check them."""
        check_levels(self.levels)
        for name in ("per_class", "copies"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.copies > _MOST_COPIES:
            raise ValueError(f"copies must be at most {_MOST_COPIES}, not {self.copies}")

    @property
    def forwards(self) -> int:
        """Return how many noisy copies there are of an image, at all levels."""
        return self.copies * len(self.levels)

    def split_into_parts(self, done: int, images: int) -> Iterator[slice]:
        """Split the images after the first `done` into parts; counts are saved after each part."""
        step = max(1, _FORWARDS_AT_A_TIME // self.forwards)
        for start in range(done, images, step):
            yield slice(start, min(start + step, images))


class TooFewError(ValueError):
    """A class has fewer images than requested."""


@dataclass(frozen=True, eq=False)
class NoiseStability:
    """How often noise has changed the class of N images at L levels.

    levels   float64 (L,), standard deviations in grey levels
    changed  int64 (N, L), how many copies of each image are not classified as its label
    copies   how many there are of each image at each level
    """

    levels: Levels
    changed: Ints
    copies: int

    @property
    def rates(self) -> Levels:
        """Return the share of all copies that are not classified as their label, float64 (L,)."""
        return np.asarray(self.changed.sum(axis=0) / (len(self.changed) * self.copies))


def measure_noise_stability(  # noqa: PLR0913  the settings are independent of each other
    model: Model,
    images: Images,
    labels: Ints,
    levels: Sequence[float] | Levels,
    copies: int,
    *,
    seed: int,
    indices: Ints | None = None,
    reporter: Reporter | None = None,
) -> NoiseStability:
    """Count how many of `copies` noisy copies of each image are not classified as its label.

    images       uint8 (N, C, H, W), N >= 1
    labels       int64 (N,)
    levels       standard deviations in grey levels, 0 or more
    indices      int64 (N,), numbers of the images in their source, which their noise depends on;
                 by default 0, 1, ...

    Memory: the net, and some batches. Raises ValueError for images and labels that do not fit the
    classifier, for no images, and for invalid levels, copies, seeds and numbers.
    """
    labels = model.check_labels(labels, len(images))
    scales = check_levels(levels)
    if not len(images):
        raise ValueError("there are no images to add noise to")
    numbers = np.arange(len(images)) if indices is None else np.asarray(indices, np.int64)
    if numbers.shape != (len(images),) or numbers.min() < 0:
        raise ValueError(f"indices must be {len(images)} numbers from 0 on, not {numbers}")
    wanted = {"copies": (copies, 1), "seed": (seed, 0)}
    for name, (number, least) in wanted.items():
        if number < least:
            raise ValueError(f"{name} must be at least {least}, not {number}")
    changed = np.zeros((len(images), len(scales)), np.int64)
    total = len(images) * copies * len(scales)
    with (reporter or SilentReporter()).show_progress("noise", total, "image") as step:
        for rows, copy_numbers in _split_into_batches(len(images), copies, model.batch_size):
            normals = _draw_normals(seed, numbers[rows], copy_numbers, images.shape[1:])
            for column, level in enumerate(scales):
                classes = model.predict(add_noise(images[rows], normals, level))
                np.add.at(changed[:, column], rows, classes != labels[rows])
                step(len(rows))
    return NoiseStability(scales, changed, copies)


def add_noise(images: Images, normals: Floats, level: float) -> Images:
    """Return clip(round(images + level * normals), 0, 255), uint8 like the images.

    normals  float32, of the images' shape; computed in float32
    """
    moved = normals * np.float32(level)
    moved += images
    np.rint(moved, out=moved)
    return np.clip(moved, 0, 255, out=moved).astype(np.uint8)


def check_counts(changed: Sequence[Sequence[int]], images: int, levels: int, copies: int) -> None:
    """Raise ValueError unless these can be counts of the first of `images` images, 0 or above.

    changed  how many of an image's copies have changed class, at each level
    """
    if len(changed) > images:
        raise ValueError(f"it has counts for {len(changed):,} images, but there are {images:,}")
    if any(len(row) != levels or max(row) > copies for row in changed):
        raise ValueError(f"each image must have {levels:,} counts of at most {copies:,}")


def check_levels(levels: Sequence[float] | Levels) -> Levels:
    """Return levels as float64 (L,); ValueError unless there are some, finite and not negative."""
    scales = np.array(levels, np.float64)
    if scales.ndim != 1 or not len(scales) or not np.all(np.isfinite(scales) & (scales >= 0)):
        raise ValueError(
            f"levels must be standard deviations of 0 or more grey levels, not {levels}"
        )
    return scales


def find_correct_for_all(
    models: Iterable[Model], images: Images, labels: Ints, per_class: int
) -> Ints:
    """Return the first images of each class that all models classify correctly.

    images     uint8 (N, C, H, W)
    labels     int64 (N,)
    per_class  how many of each class; classes are those that occur among the labels

    Returns their numbers, int64, ascending. The models are used one after the other, so that a
    generator can load each one when it is needed.

    Raises TooFewError, a ValueError, naming a class that has too few such images.
    """
    if per_class < 1:
        raise ValueError(f"there must be at least 1 image per class, not {per_class}")
    correct = np.arange(len(images), dtype=np.int64)
    for model in models:
        known = model.check_labels(labels, len(images))[correct]
        correct = correct[model.predict(images[correct]) == known]
    chosen = []
    for label in np.unique(labels):
        mine = correct[labels[correct] == label][:per_class]
        if len(mine) < per_class:
            raise TooFewError(
                f"only {len(mine)} images of class {label} are classified correctly by all of the "
                f"networks; {per_class} were requested"
            )
        chosen.append(mine)
    return np.sort(np.concatenate(chosen)) if chosen else correct


def _split_into_batches(count: int, copies: int, size: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield the copies of all images, `size` at a time: which images', and which copies."""
    for start in range(0, count * copies, size):
        numbers = np.arange(start, min(start + size, count * copies), dtype=np.int64)
        yield numbers // copies, numbers % copies


def _draw_normals(seed: int, indices: Ints, copies: Ints, shape: tuple[int, ...]) -> Floats:
    """Return z of some copies of some images, float32 (n, C, H, W)."""
    normals = np.empty((len(indices), *shape), np.float32)
    for row, index, copy in zip(normals, indices.tolist(), copies.tolist(), strict=True):
        np.random.default_rng([seed, index, copy]).standard_normal(dtype=np.float32, out=row)
    return normals
