"""The design of the human study of Uličný, Lundström and Byttner, 2016, Section 4.2.

Each person sees as many images of each subset: natural images, images with gradient sign noise and
with Gaussian noise of six levels each, and one hard digit of each class. The levels of the two
kinds of noise are matched: the mean absolute change per pixel is about the same.
"""

from dataclasses import dataclass

NATURAL, SIGN, GAUSSIAN, HARD = "natural", "gradient-sign", "gaussian", "hard-digit"
KINDS = (NATURAL, SIGN, GAUSSIAN, HARD)
EPSILONS = (0.07, 0.14, 0.21, 0.28, 0.34, 0.4)
SIGMAS = (0.09, 0.18, 0.27, 0.36, 0.45, 0.54)
CLASSES = 10
"""The digits, 0..9."""
FULL_SCALE = 255


@dataclass(frozen=True)
class Subset:
    """Images of one kind and level.

    kind   one of KINDS
    level  epsilon or sigma of the noise, of pixels in [0, 1]; 0 for images without noise
    """

    kind: str
    level: float = 0.0


SUBSETS = (
    Subset(NATURAL),
    *(Subset(SIGN, level) for level in EPSILONS),
    *(Subset(GAUSSIAN, level) for level in SIGMAS),
)
"""The subsets that are made of a pool of images; the hard digits come after them."""
HARD_DIGITS = Subset(HARD)
