"""Attack: the interface of everything that makes adversarial images for a model.

An attack is a frozen dataclass; its fields hold everything that its results depend on. It needs no
gradient and no direction: what it knows of these it reports as Diagnostics.

    @register_attack("noise")                                           (registry.py)
    @dataclass(frozen=True)
    class NoiseAttack(Attack):
        sigma: float = 16.0
        ...

`parse_attack("noise(sigma=32)")` then returns that attack, in Python and in all programs.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from caffe_ext.attacks.criteria import MISCLASSIFIED, NO_TARGET, Bools, Criterion, CriterionKind
from caffe_ext.attacks.lattice import StepLengths
from caffe_ext.models.base import NO_CLASS, Floats, Images, Ints, Model

_MID_GREY = 127
_WITHOUT_GRADIENTS = "square=RADIUS, hopskipjump-linf, hopskipjump-l2 and deform"


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """What a gradient attack observed of N images at the first point of each.

    targets        int64 (N,), the class that the direction points to; NO_TARGET if none
    saturated      bool (N,): the float32 softmax of the label is exactly 1, so that the loss is
                   exactly 0 there, and so is its derivative with respect to the label's logit
    zero_gradient  bool (N,): the gradient with respect to the pixels is 0 in all of them
    """

    targets: Ints
    saturated: Bools
    zero_gradient: Bools

    @classmethod
    def make_empty(cls, count: int) -> "Diagnostics":
        """Return the diagnostics of images for which no gradient was computed."""
        nothing = np.zeros(count, np.bool_)
        return cls(np.full(count, NO_TARGET, np.int64), nothing, nothing.copy())


@dataclass(frozen=True, eq=False)
class RealReading:
    """What an attack found for N images if pixels may be any real numbers from 0 to 255.

    found         bool (N,)
    adversarials  float32 (N, C, H, W); the image where nothing was found
    """

    found: Bools
    adversarials: Floats


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack found for N images.

    found         bool (N,)
    adversarials  uint8 (N, C, H, W); the original image if nothing was found
    classes       int64 (N,), of the adversarials; NO_CLASS where nothing was found
    step_lengths  float64 (N,), how far the adversarial lies along the attack's direction, in grey
                  levels; the Linf distance for attacks without one; NaN where nothing was found
    queries       images in forward passes of the model
    gradients     images in backward passes
    diagnostics   None: the attack computes no gradient
    real          None: the attack works in whole grey levels only
    """

    found: Bools
    adversarials: Images
    classes: Ints
    step_lengths: StepLengths
    queries: int
    gradients: int = 0
    diagnostics: Diagnostics | None = None
    real: RealReading | None = None

    @classmethod
    def make_empty(cls, images: Images, queries: int = 0) -> "AttackResult":
        """Return the result of an attack that found nothing."""
        count = len(images)
        return cls(
            np.zeros(count, np.bool_),
            images.copy(),
            np.full(count, NO_CLASS, np.int64),
            np.full(count, np.nan),
            queries,
        )


def is_own(cls: type) -> bool:
    """Tell whether a class of attacks is a user's own: from outside this package."""
    return cls.__module__.partition(".")[0] != "caffe_ext"


class Attack(ABC):
    """Images and a criterion in, adversarial images out."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Return the name in tables."""

    @property
    def text(self) -> str:
        """Return the text that parse_attack turns into this attack; results are filed under it.

        Raises TypeError for an attack whose class, exactly, is not registered.
        """
        from caffe_ext.attacks.registry import format_attack  # noqa: PLC0415  (it knows all attacks)

        return format_attack(self)

    @property
    def file_name(self) -> str:
        """Return the text, unique to the attack, without characters that file systems reject."""
        name, bracket, settings = self.text.partition("(")
        if not bracket or "@" in name:  # the brackets are a blob's
            name = self.text
        else:
            return f"{name}~{_escape(settings.removesuffix(')'), also='=,')}"
        plain = re.sub(r"(?<=@)[^*=+]+", lambda blob: _escape(blob[0]), name)
        return plain.translate(_IN_FILE_NAMES)

    @property
    @abstractmethod
    def threat_model(self) -> str:
        """Describe what the attacker knows and may do; the criterion describes its goal."""

    def describe_threat(self, criterion: CriterionKind) -> str:
        """Describe what the attacker knows, may do, and wants."""
        return f"{self.threat_model}; {criterion.wording}"

    @property
    def seed(self) -> int | None:
        """Return the seed of the random choices; None if there are none."""
        return None

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return sentences about its settings that the user should read."""
        return ()

    def find_applicable(self, labels: Ints) -> Bools:
        """Return which images with these labels it can be tried on, bool (N,)."""
        return np.ones(len(labels), np.bool_)

    def check(self, model: Model) -> None:
        """Raise ValueError if it cannot attack this model; tries it on one grey image."""
        image = np.full((1, *model.image_shape), _MID_GREY, np.uint8)
        label = np.maximum(model.predict(image), 0)
        from caffe_ext.attacks.own import run_checked  # noqa: PLC0415  (it knows this class)

        first = np.zeros(1, np.int64)
        run_checked(self, model, image, kind=MISCLASSIFIED, labels=label, indices=first)

    @abstractmethod
    def run(
        self, model: Model, images: Images, criterion: Criterion, indices: Ints
    ) -> AttackResult:
        """Attack images.

        images     uint8 (N, C, H, W), none of which satisfies the criterion; not changed
        criterion  of these N images
        indices    int64 (N,), their numbers, on which only random choices depend

        Raises ValueError for images, labels and settings that do not fit the model.
        """


_IN_FILE_NAMES = str.maketrans({"*": "~", "/": "~", ":": None})


def _escape(text: str, also: str = "") -> str:
    """Return a text in letters, digits, ".", "_", "-" and `also`, with %xx for other bytes."""
    return re.sub(
        f"[^A-Za-z0-9._{re.escape(also)}-]",
        lambda found: "".join(f"%{byte:02x}" for byte in found[0].encode(errors="surrogatepass")),
        text,
    )


def check_attack(attack: Attack, model: Model) -> None:
    """Raise ValueError if an attack cannot attack a model.

    If a layer has no backward pass, the message says which attacks need none.
    """
    try:
        attack.check(model)
    except ValueError as error:
        if "has no backward pass" not in f"{error}":
            raise
        raise ValueError(f"{error}; of the attacks, {_WITHOUT_GRADIENTS} need none") from error
