"""The networks and defences of Uličný, Lundström and Byttner, 2016, and the paper's figures.

A network is trained; a defence is a network, networks in a stack, or a committee of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SIGN, GAUSSIAN = "gradient-sign", "gaussian"
COMMITTEE_SIZE = 6
STAGES = COMMITTEE_SIZE - 1
LAST_STAGE = f"stage-{STAGES}"
EPSILON, GRADIENT_SCALE = 0.2, 1.0
"""Of staged adversarial training (Eq. 3), for pixels in [0, 1]; the paper does not give them."""
VARIANCES = {3: 7.0, 5: 1.3, 7: 0.6}
"""The Gaussian kernels of the low-pass filters: variance by width."""
FILTER = 5
"""Width of the filter before networks with dropout."""


@dataclass(frozen=True)
class StudyNetwork:
    """A network that is trained.

    solver  the name of its solver file in solvers/
    stage   of adversarial training, 1 or above; 0: on clean images
    """

    id: str
    solver: str
    stage: int = 0

    @property
    def previous(self) -> str:
        """Return the network that a stage starts from."""
        return "plain" if self.stage == 1 else f"stage-{self.stage - 1}"


_MEMBERS = ("plain", *(f"plain-{number}" for number in range(2, COMMITTEE_SIZE + 1)))
_STAGES = tuple(f"stage-{number}" for number in range(1, COMMITTEE_SIZE))
_NETWORKS = (
    StudyNetwork("plain", "lenet_no_dropout"),
    StudyNetwork("dropout-input", "lenet_dropout_input"),
    StudyNetwork("dropout-all", "lenet_dropout_all"),
    StudyNetwork("autoencoder", "mnist_autoencoder"),
    *(StudyNetwork(name, "lenet_no_dropout") for name in _MEMBERS[1:]),
    *(StudyNetwork(name, "lenet_no_dropout", stage) for stage, name in enumerate(_STAGES, 1)),
)
NETWORKS: Mapping[str, StudyNetwork] = {network.id: network for network in _NETWORKS}
"""In the order in which they are trained: a stage after the one before."""


@dataclass(frozen=True)
class Defence:
    """What is attacked.

    networks  it is made of: the classifier, in a stack after the autoencoder; or all members
    width     of the low-pass filter before the classifier; 0: none
    parts     networks whose gradient is used to attack it, besides its own: the classifier without
              what is before it, or a member of the committee
    paper     the errors in % in the paper's Table 2, at distortions 0, 0.1 and 0.2
    """

    id: str
    title: str
    networks: tuple[str, ...]
    width: int = 0
    parts: tuple[str, ...] = ()
    paper: tuple[float, float, float] | None = None

    @property
    def is_committee(self) -> bool:
        """Return whether predictions are averaged."""
        return len(self.networks) == COMMITTEE_SIZE


def _stack(name: str, title: str, paper: tuple[float, float, float] | None) -> Defence:
    network = name.removeprefix("dae").strip("-") or "plain"
    return Defence(name, title, ("autoencoder", network), parts=(network,), paper=paper)


_DEFENCES = (
    Defence("plain", "LeNet", ("plain",), paper=(0.83, 73.6, 96.1)),
    Defence("dropout-input", "dropout, input", ("dropout-input",)),
    Defence("dropout-all", "dropout, all layers", ("dropout-all",), paper=(0.91, 35.7, 98.1)),
    *(
        Defence(
            f"lowpass-{width}",
            f"low-pass {width}x{width}",
            ("plain",),
            width,
            ("plain",) if width == FILTER else (),
            (1.38, 52.0, 95.0) if width == FILTER else None,
        )
        for width in VARIANCES
    ),
    Defence(
        "lowpass-dropout-input",
        "low-pass, dropout, input",
        ("dropout-input",),
        FILTER,
        ("dropout-input",),
    ),
    Defence(
        "lowpass-dropout-all",
        "low-pass, dropout, all layers",
        ("dropout-all",),
        FILTER,
        ("dropout-all",),
        (2.51, 34.8, 88.5),
    ),
    _stack("dae", "autoencoder", (1.27, 52.4, 93.2)),
    _stack("dae-dropout-input", "autoencoder, dropout, input", None),
    _stack("dae-dropout-all", "autoencoder, dropout, all layers", (1.56, 21.4, 90.3)),
    Defence("committee", "committee", _MEMBERS, parts=("plain",), paper=(0.86, 70.9, 97.2)),
    Defence(LAST_STAGE, "5 adversarial stages", (LAST_STAGE,), paper=(0.87, 44.5, 92.1)),
    Defence(
        "stage-committee",
        "committee of the stages",
        ("plain", *_STAGES),
        parts=("plain", LAST_STAGE),
        paper=(0.65, 9.8, 36.5),
    ),
)
DEFENCES: Mapping[str, Defence] = {defence.id: defence for defence in _DEFENCES}
TABLE_DISTORTIONS = (0.0, 0.1, 0.2)
_DROPOUT = ("plain", "dropout-input", "dropout-all")
_PREPROCESSING = (
    *("plain", f"lowpass-{FILTER}", "lowpass-dropout-input", "lowpass-dropout-all"),
    *("dae", "dae-dropout-input", "dae-dropout-all"),
)
FIGURES: Mapping[int, tuple[str, tuple[str, ...]]] = {
    3: (SIGN, _DROPOUT),
    4: (GAUSSIAN, _DROPOUT),
    5: (SIGN, _PREPROCESSING),
    6: (GAUSSIAN, _PREPROCESSING),
    7: (SIGN, ("plain", "committee", LAST_STAGE, "stage-committee")),
}
"""The kind of noise and the defences of each of the paper's figures."""


def list_networks(defences: Iterable[Defence]) -> list[StudyNetwork]:
    """Return the networks that defences need, in the order in which they are trained."""
    needed = {name for one in defences for name in (*one.networks, *one.parts)}
    stages = max((NETWORKS[name].stage for name in needed), default=0)
    if stages:
        needed |= {"plain", *_STAGES[:stages]}
    return [network for network in _NETWORKS if network.id in needed]
