"""Deformations: slightly rotated, shifted, stretched or bent images, by guess and check.

InfiMNIST's way of making more images, used as an attack: no gradient, no search for small changes
in pixels. For each image, `tries` deformations are drawn,

    x~(p) = x(A (p - c) + c + s + u(p))        p: a pixel, c: the centre, bilinear, 0 outside

A = rotation by up to `degrees`, times a scaling of each axis by up to `stretch`; s a shift of up to
`shift` pixels; u an elastic displacement: noise, uniform in -1..1, smoothed by a Gaussian of
`sigma` pixels and scaled so that its root mean square is `bend` pixels. All are drawn uniformly.
The adversarial is the nearest, in L2, of the deformed images that satisfy the criterion.

Loosli, Canu and Bottou, 2007 (InfiMNIST); Simard, Steinkraus and Platt, 2003 (elastic).
"""

from dataclasses import dataclass, fields
from math import cos, radians, sin

import numpy as np

from caffe_ext.attacks.base import Attack, AttackResult
from caffe_ext.attacks.criteria import Criterion
from caffe_ext.attacks.norms import compute_norms
from caffe_ext.attacks.registry import register_attack
from caffe_ext.attacks.settings import check_whole
from caffe_ext.attacks.smallest.confirm import confirm
from caffe_ext.attacks.smallest.nearest import NearestAdversarials
from caffe_ext.attacks.smallest.queries import MarginQueries
from caffe_ext.models.base import Images, Ints, Model


@register_attack("deform")
@dataclass(frozen=True)
class Deformation(Attack):
    """Elastic and affine deformations, guess and check.

    tries    deformations per image
    degrees  the largest rotation
    stretch  the largest relative change of a side
    shift    the largest shift, in pixels
    bend     root mean square of the elastic displacement, in pixels
    sigma    of the Gaussian that smooths it, in pixels
    seed     of the random choices; each depends on it and on the image's number only
    """

    tries: int = 20
    degrees: float = 10.0
    stretch: float = 0.1
    shift: float = 1.0
    bend: float = 0.7
    sigma: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for invalid settings."""
        check_whole("tries", self.tries, 1)
        check_whole("the seed", self.seed, 0)
        for field in fields(self)[1:-1]:
            value = getattr(self, field.name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{field.name} must be 0 or more, not {value}")
        if self.stretch >= 1:
            raise ValueError(f"stretch must be below 1, not {self.stretch}")

    @property
    def name(self) -> str:
        """Return "deformations" with their number."""
        return f"deformations, {self.tries} tries"

    @property
    def threat_model(self) -> str:
        """Describe what the attacker may do."""
        return (
            f"knows nothing of the network and tries {self.tries} deformations of each image: "
            f"rotated by up to {self.degrees:g} degrees, shifted by up to {self.shift:g} pixels, "
            f"stretched by up to {self.stretch:.0%}, bent by {self.bend:g} pixels"
        )

    def run(
        self, model: Model, images: Images, criterion: Criterion, indices: Ints
    ) -> AttackResult:
        """Try the deformations; the step lengths are Linf distances. See Attack."""
        asked = MarginQueries(model, criterion)
        best = NearestAdversarials.make_empty(images)
        everyone = np.arange(len(images))
        for number in range(self.tries):
            drawn = [
                self.deform(image, np.random.default_rng([self.seed, int(index), number]))
                for image, index in zip(images, indices, strict=True)
            ]
            tried = np.array(drawn, np.uint8).reshape(images.shape)
            answers = asked.ask(tried, everyone)
            points = tried.astype(np.float32)
            best.offer(everyone, points, compute_norms(points - images, "l2"), answers.adversarial)
        return confirm(asked, images, best, best)

    def deform(self, image: Images, random: np.random.Generator) -> Images:
        """Return a deformation of an image uint8 (C, H, W), the same in all channels."""
        from scipy import ndimage  # noqa: PLC0415  (slow to import)

        height, width = image.shape[1:]
        angle = radians(random.uniform(-self.degrees, self.degrees))
        turn = np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])
        matrix = turn * (1 + random.uniform(-self.stretch, self.stretch, 2))
        places = np.indices((height, width), np.float64).reshape(2, -1)
        centre = np.array([[(height - 1) / 2], [(width - 1) / 2]])
        read = matrix @ (places - centre) + centre
        read += random.uniform(-self.shift, self.shift, (2, 1))
        bends = random.uniform(-1, 1, (2, height, width))
        if self.sigma > 0:
            bends = ndimage.gaussian_filter(bends, (0, self.sigma, self.sigma))
        bends *= self.bend / max(float(np.sqrt(np.mean(np.square(bends)))), 1e-12)
        read += bends.reshape(2, -1)
        channels = [
            ndimage.map_coordinates(channel.astype(np.float64), read, order=1, mode="grid-constant")
            for channel in image
        ]
        values = np.rint(np.array(channels).reshape(image.shape))
        return np.asarray(np.clip(values, 0, 255), np.uint8)
