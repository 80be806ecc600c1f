"""What is trained and measured, and the paper's figures.

Rozsa, Rudd and Boult, 2016, Section 5.2: each of three LeNets is fine-tuned on hard positives of
itself, three times in different orders, and tested on MNIST's test images and on adversarials of 14
types, of all three networks.
"""

from collections.abc import Iterator
from dataclasses import dataclass

BASIC, ORIGINALS, DEFORMED = "basic", "originals", "deformed"
HELD_OUT = ("fgs", "fgv", *(f"hc{rank}" for rank in range(1, 10)), "hc1*1.05", "hc1*1.1", "hc1-s")
"""The 14 types of adversarials in the test set."""
PAPER: dict[str, tuple[float, float, float]] = {
    "HC-D-9-1.05": (0.673, 0.035, 14.85),
    "HC-D-9": (0.683, 0.057, 21.10),
    DEFORMED: (0.697, 0.021, 48.35),
    "FGV": (0.697, 0.031, 29.61),
    "HC-D-5": (0.723, 0.047, 21.52),
    "HC-S-5": (0.733, 0.032, 29.29),
    "FGS": (0.790, 0.122, 31.06),
    BASIC: (0.937, 0.110, 64.21),
}
"""The error in % on MNIST, its deviation, and the error in % on adversarials, by row."""
ROWS = (*PAPER, ORIGINALS)
TITLES = {BASIC: "basic LeNet", ORIGINALS: "originals alone", DEFORMED: "deformed digits"}
RANGES: tuple[tuple[float | None, float | None], ...] = (
    (None, 0.5),
    *((low / 10, (low + 1) / 10) for low in range(5, 9)),
    (0.9, None),
)
"""The ranges of PASS for Figure 6, of the hard positives of FIGURE_6."""
FIGURE_6 = "HC-D-9-1.05"


@dataclass(frozen=True)
class StudySettings:
    """The extent of the study; as in the paper by default.

    bases        LeNets trained on the originals
    orderings    how often each is fine-tuned on the same images, in different orders
    rows         of the table, by their names in ROWS
    iterations   of the training of a base
    fine_tuning  iterations of a fine-tuning
    attacked     how many training images are attacked for hard positives; None: all
    held_out     adversarials of each type in the test set
    deformed     how many deformed digits the network of that row is trained on
    ranges       whether networks are trained on ranges of PASS, for Figure 6
    mix          whether hard positives are mixed with all originals; the paper does not say
    seed         of the first base; the next one's is one more

    Raises ValueError for unknown rows, and numbers that are too small.
    """

    bases: int = 3
    orderings: int = 3
    rows: tuple[str, ...] = ROWS
    iterations: int = 10_000
    fine_tuning: int = 20_000
    attacked: int | None = None
    held_out: int = 5_000
    deformed: int = 1_000_000
    ranges: bool = True
    mix: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in ("bases", "orderings", "iterations", "fine_tuning", "held_out", "deformed"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.attacked is not None and self.attacked < 1:
            raise ValueError(f"attacked must be 1 or more, not {self.attacked}")
        if self.seed < 0:
            raise ValueError(f"the seed must be 0 or more, not {self.seed}")
        unknown = [row for row in self.rows if row not in ROWS]
        if unknown:
            raise ValueError(f"unknown row {unknown[0]!r}; the rows are {', '.join(ROWS)}")
        if not self.rows:
            raise ValueError(f"no rows; the rows are {', '.join(ROWS)}")


@dataclass(frozen=True)
class StudyNetwork:
    """A network of the table, or of Figure 6.

    row         what it is trained on
    base        the number of the base that it is made of, from 1
    ordering    the number of the order of its training images, from 1; 0 for the base itself
    pass_range  of the hard positives; None: all
    """

    row: str
    base: int
    ordering: int = 0
    pass_range: tuple[float | None, float | None] | None = None

    @property
    def id(self) -> str:
        """Return a name for files: HC-D-9-2.1 is the first fine-tuning of the second base."""
        parts = [self.row]
        if self.pass_range is not None:
            low, high = self.pass_range
            parts += ["pass", f"{low or 0:g}", "1" if high is None else f"{high:g}"]
        return f"{'-'.join(parts)}-{self.base}.{self.ordering}"


def list_networks(settings: StudySettings) -> Iterator[StudyNetwork]:
    """Yield the networks in the order in which they are trained, base by base."""
    for base in range(1, settings.bases + 1):
        for row in settings.rows:
            if row == BASIC:
                yield StudyNetwork(row, base)
                continue
            # The paper trained three networks on deformed digits, one for each base here.
            count = 1 if row == DEFORMED else settings.orderings
            yield from (StudyNetwork(row, base, number) for number in range(1, count + 1))
        if settings.ranges:
            yield from (StudyNetwork(FIGURE_6, base, 1, each) for each in RANGES)


def format_range(pass_range: tuple[float | None, float | None]) -> str:
    """Return a range of PASS for tables and axes."""
    low, high = pass_range
    return (
        f"below {high:g}"
        if low is None
        else f"above {low:g}"
        if high is None
        else f"{low:g}–{high:g}"
    )
