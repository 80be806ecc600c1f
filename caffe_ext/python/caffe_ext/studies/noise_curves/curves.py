"""NoiseCurves: how a network's stability under random noise changes during training.

The figures 3 and 5 of Rozsa, Günther and Boult, 2018: images that all networks classify correctly
at all iterations, copies of each with Gaussian noise (evaluation/stability.py), and the rate of
copies that are classified differently; for several training runs, with the same images and noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_ext.evaluation.stability import NoiseSettings
from caffe_ext.models.base import Ints
from caffe_ext.reporting import format_csv, pluralize

Rates = NDArray[np.float64]

PAPER_PER_CLASS, PAPER_COPIES = 100, 1000


@dataclass(frozen=True)
class NoiseProtocol(NoiseSettings):
    """What is measured: NoiseSettings whose levels ascend, with as many images in each class.

    seed  of the noise
    """

    seed: int

    def __post_init__(self) -> None:
        """Raise ValueError for invalid settings."""
        super().__post_init__()
        if list(self.levels) != sorted(set(self.levels)):
            raise ValueError(
                f"levels must be ascending, not {' '.join(f'{x:g}' for x in self.levels)}"
            )
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, not {self.seed}")

    @property
    def remark(self) -> str:
        """Describe the difference from the paper's protocol; "" if there is none."""
        mine, papers = (self.per_class, self.copies), (PAPER_PER_CLASS, PAPER_COPIES)
        if mine == papers:
            return ""
        return (
            f"{pluralize(self.per_class, 'image')} per class and "
            f"{pluralize(self.copies, 'noisy copy', 'noisy copies')} of each at each "
            f"level; the paper takes {papers[0]:,} and {papers[1]:,}"
        )


@dataclass(frozen=True, eq=False)
class NoiseCurves:
    """M training runs at T iterations: how often noise of L levels changes the class of N images.

    names       of the training runs, M
    iterations  int64 (T,)
    levels      float64 (L,), standard deviations in grey levels
    changed     int64 (M, T, N, L), how many copies of each image are not classified as its label
    copies      how many there are of each image at each level
    """

    names: tuple[str, ...]
    iterations: Ints
    levels: Rates
    changed: Ints
    copies: int

    def __post_init__(self) -> None:
        """Raise ValueError unless the parts fit together."""
        outer = (len(self.names), len(self.iterations), self.changed.shape[2], len(self.levels))
        if self.changed.shape != outer:
            raise ValueError(f"the counts are {self.changed.shape}, and not {outer}")

    @property
    def rates(self) -> Rates:
        """Return the share of copies that are classified differently, float64 (M, T, L)."""
        return np.asarray(self.changed.sum(axis=2) / (self.changed.shape[2] * self.copies))

    @property
    def errors(self) -> Rates:
        """Return the standard errors of the rates, float64 (M, T, L); NaN for one image.

        s / sqrt(N), s: standard deviation of the images' own rates. It covers the choice of images
        and of noise; copies of one image are not independent samples.
        """
        return _compute_standard_errors(self.changed / self.copies)

    def compute_improvements(self, training: int) -> tuple[Rates, Rates]:
        """Return the first run's rates minus another's, and the standard errors; (T, L) each.

        Above 0, the other run is more stable. The errors are those of paired samples: images and
        noise are the same.
        """
        apart = (self.changed[0] - self.changed[training]) / self.copies
        return np.asarray(apart.mean(axis=1)), _compute_standard_errors(apart)

    def to_dict(self) -> dict[str, Any]:
        """Return the rates and differences, for JSON."""
        differences = []
        for number, name in enumerate(self.names[1:], 1):
            values, errors = self.compute_improvements(number)
            of = f"{self.names[0]} - {name}"
            differences.append({"of": of} | _to_lists(differences=values, standard_errors=errors))
        return (
            {"names": list(self.names)}
            | _to_lists(
                iterations=self.iterations,
                levels=self.levels,
                rates=self.rates,
                standard_errors=self.errors,
            )
            | {"improvements": differences}
        )

    def as_csv(self) -> str:
        """Return a table with one row per training run, iteration and level."""
        rows: list[Sequence[Any]] = [
            ("training", "iteration", "level", "changed", "noisy_images", "rate", "standard_error")
        ]
        totals, rates, errors = self.changed.sum(axis=2), self.rates, self.errors
        noisy_images = self.changed.shape[2] * self.copies
        for place in np.ndindex(*totals.shape):
            training, iteration, level = place
            rows.append(
                (
                    self.names[training],
                    self.iterations[iteration],
                    f"{self.levels[level]:g}",
                    totals[place],
                    noisy_images,
                    f"{rates[place]:.6g}",
                    f"{errors[place]:.3g}",
                )
            )
        return format_csv(rows)


def _compute_standard_errors(values: Rates) -> Rates:
    """Return the standard errors of the means over the images, the last axis but one."""
    count = values.shape[-2]
    if count < 2:
        return np.full((*values.shape[:-2], values.shape[-1]), np.nan)
    return np.asarray(values.std(axis=-2, ddof=1) / np.sqrt(count))


def _to_lists(**arrays: NDArray[Any]) -> dict[str, Any]:
    """Return arrays as lists, with None for NaN, which JSON does not have."""
    lists = {}
    for name, values in arrays.items():
        objects = values.astype(object)
        objects[np.isnan(values)] = None
        lists[name] = objects.tolist()
    return lists
