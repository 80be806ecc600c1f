"""Attacks along one direction: the smallest adversarial on it, and one step of a given length."""

from dataclasses import dataclass

from caffe_ext.attacks.base import AttackResult
from caffe_ext.attacks.budget import check_distance, check_largest_change, show_distance
from caffe_ext.attacks.criteria import Criterion
from caffe_ext.attacks.directions import Directions, LineAttack
from caffe_ext.attacks.line_search import check_scale, line_search, take_step
from caffe_ext.models.base import Images, Model

_WHITE_BOX = "knows the network and its weights"


@dataclass(frozen=True)
class MinimumNormAttack(LineAttack):
    """The smallest adversarial in a direction; with a scale above 1, a hard positive beyond it.

    scale  how many times as far as the smallest adversarial
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for a scale below 1, or far too large."""
        check_scale(self.scale)

    @property
    def name(self) -> str:
        """Return the direction's name, with the scale if there is one."""
        return self.direction.name + (f" x {self.scale:g}" if self.scale > 1 else "")

    @property
    def threat_model(self) -> str:
        """Describe what the attacker may do."""
        further = f", {self.scale:g} times as far" if self.scale > 1 else ""
        return (
            f"{_WHITE_BOX}; moves all pixels within 0..255 along one direction, as little as makes "
            f"the image adversarial{further}"
        )

    def search(
        self, model: Model, images: Images, criterion: Criterion, directions: Directions
    ) -> AttackResult:
        """Search for the smallest adversarial."""
        return line_search(
            model,
            images,
            directions.values,
            criterion,
            self.scale,
            logits=directions.logits,
            slopes=directions.slopes,
        )


@dataclass(frozen=True)
class SingleStep(LineAttack):
    """One step of a given length in a direction, without a search.

    epsilon  the largest change of a pixel, in grey levels, 1 to 255; image files hold whole ones,
             so that a fraction is dropped
    """

    epsilon: float

    def __post_init__(self) -> None:
        """Raise ValueError for an invalid epsilon."""
        check_distance("epsilon", self.epsilon)
        check_largest_change(self.epsilon)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Say that a step between whole grey levels is rounded down."""
        whole = int(self.epsilon)
        if self.epsilon == whole:
            return ()
        return (
            f"{self.text}: image files hold whole grey levels, so the largest change of a pixel is "
            f"{whole}, not {self.epsilon:g}",
        )

    @property
    def name(self) -> str:
        """Return the direction's name with epsilon."""
        return f"{self.direction.name}, epsilon {self.epsilon:g}"

    @property
    def threat_model(self) -> str:
        """Describe what the attacker may do."""
        return (
            f"{_WHITE_BOX}; moves all pixels within 0..255 along one direction, the largest change "
            f"being {show_distance(int(self.epsilon))}"
        )

    def search(
        self, model: Model, images: Images, criterion: Criterion, directions: Directions
    ) -> AttackResult:
        """Take the step."""
        return take_step(model, images, directions.values, int(self.epsilon), criterion)
