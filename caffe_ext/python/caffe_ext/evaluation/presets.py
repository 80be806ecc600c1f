"""How much an evaluation measures: by default, and for a first look."""

from dataclasses import dataclass

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.data import ImageSource
from caffe_ext.evaluation.result import Settings
from caffe_ext.evaluation.stability import PAPER_COLOUR_LEVELS, PAPER_GREY_LEVELS, NoiseSettings
from caffe_ext.evaluation.suite import CASCADE


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    limit         only the first images; None: all
    ranks         the k of HC-k; None: 1 to 9, as far as the classes go
    probe         how many images the iterated attacks are tried on; 0: none
    noise_images  of each class; 0: no noise
    noise_copies  of each image at each level
    noise_levels  standard deviations in grey levels; None: the paper's, for grey or colour
    """

    limit: int | None = None
    ranks: tuple[int, ...] | None = None
    probe: int = 1000
    noise_images: int = 10
    noise_copies: int = 100
    noise_levels: tuple[float, ...] | None = None

    def make_settings(  # noqa: PLR0913  they are independent of each other
        self,
        source: ImageSource,
        *,
        extra: tuple[Attack, ...] = (),
        seed: int = 1,
        radii: tuple[PerturbationBudget, ...] | None = None,
        cascade: tuple[str, ...] = CASCADE,
        probe_epsilon: float | None = None,
        again: bool = False,
    ) -> Settings:
        """Return the settings of an evaluation on these images; ValueError if they are wrong."""
        papers = PAPER_COLOUR_LEVELS if source.image_shape[0] == 3 else PAPER_GREY_LEVELS
        levels = tuple(map(float, self.noise_levels or papers))
        noise = NoiseSettings(levels, max(1, self.noise_images), self.noise_copies)
        return Settings(
            ranks=self.ranks,
            extra=extra,
            radii=radii,
            cascade=cascade,
            limit=self.limit,
            seed=seed,
            probe=self.probe,
            probe_epsilon=probe_epsilon,
            noise=noise if self.noise_images else None,
            again=again,
        )


USUAL = Extent()
QUICK = Extent(limit=500, ranks=(1,), probe=200, noise_images=5, noise_copies=20)
