"""Basin hopping from many random starts; each minimum is kept as it is found.

A start is a random net and its minimum, hop 0; from there, each hop moves all parameters by
Gaussian noise and goes down to a minimum again, from which the next hop starts if its energy is
lower (scipy.optimize.basinhopping at temperature 0). All minima count, also those that are higher.

The noise depends on the seed, the start and the hop alone, so an interrupted search, or one with
more hops, goes on where it was. On another machine or with another BLAS, minima may differ: nets
that differ in the last digit may go down to different ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, basinhopping

from caffe_ext.reporting import Reporter
from caffe_ext.studies.landscape.network import Doubles, Widths, compute_logits
from caffe_ext.studies.landscape.quench import SCHEDULES, initialize_net, quench
from caffe_ext.studies.landscape.reduction import pad_net
from caffe_ext.studies.landscape.samples import load_iris_samples
from caffe_ext.studies.landscape.stationary import StationaryPoint
from caffe_ext.studies.landscape.store import LandscapeStore, make_key, read_hop, write_hop

NOISE = (0.1, 0.2, 0.4)
"""Standard deviations of a hop's noise, one of which each hop draws."""
SAME_ENERGY, SAME_LOGITS = 1e-8, 1e-2
"""Minima are one if their energies and all logits of the samples differ by no more."""


@dataclass(frozen=True)
class Start:
    """A start of basin hopping: picklable, to run in any process.

    hops     after the first minimum
    widths   of the net
    """

    folder: Path
    seed: int
    number: int
    hops: int
    widths: Widths
    penalty: float

    def __call__(self, reporter: Reporter) -> None:
        """Find and keep the minima that are not there yet."""
        with reporter.show_progress("minima", self.hops + 1, "hop") as step:
            store = LandscapeStore(self.folder)
            surface = load_iris_samples().make_surface(self.penalty)
            number = -1

            def make_generator(hop: int) -> np.random.Generator:
                return np.random.default_rng((self.seed, self.number, hop))

            def perturb(given: Doubles) -> Doubles:
                rng = make_generator(number + 1)
                return np.asarray(given + rng.choice(NOISE) * rng.normal(size=len(given)))

            def minimize(_: Any, given: Doubles, *__: Any, **___: Any) -> OptimizeResult:
                nonlocal number
                number += 1
                path = store.locate_hop(self.number, number)
                if path.exists():
                    found = read_hop(path, self.widths)
                else:
                    schedule = SCHEDULES[(self.number + number) % len(SCHEDULES)]
                    found = quench(surface, given, self.widths, schedule)
                    if found is not None and found.is_minimum and not min(found.widths):
                        raise ValueError(
                            f"with the penalty {self.penalty:g}, a net whose outputs do not depend "
                            "on its inputs is a minimum: choose a smaller --penalty"
                        )
                    write_hop(path, found)
                step(1)
                if found is None:
                    return OptimizeResult(x=given, fun=np.inf, success=False)
                point = pad_net(found.parameters, found.widths, self.widths)
                return OptimizeResult(x=point, fun=found.energy, success=True)

            basinhopping(
                lambda given: surface.evaluate(given, self.widths)[0],
                initialize_net(self.widths, make_generator(0)),
                niter=self.hops,
                T=0,
                minimizer_kwargs={"method": minimize},
                take_step=perturb,
            )


@dataclass(frozen=True, eq=False)
class Minimum:
    """A minimum and how often it was found.

    key     of its parameters
    number  by energy, from 0
    logits  of all samples, (N, classes)
    """

    key: str
    number: int
    point: StationaryPoint
    logits: Doubles
    visits: int

    @property
    def kind(self) -> str:
        """Return "kink" for one at kinks of ReLUs, else "smooth"."""
        return "kink" if self.point.kinks else "smooth"


def collect_minima(points: Sequence[StationaryPoint], inputs: Doubles) -> list[Minimum]:
    """Return the distinct minima among points by energy; the first of equal ones stays.

    Equal are those with the same energy and the same logits for all samples: they differ by the
    order of units, by how units are split, or by how linear ones are combined.
    """
    kept: list[Minimum] = []
    visits: list[int] = []
    for point in points:
        if not point.is_minimum:
            continue
        same = find_equal(point, kept, inputs)
        if same is None:
            logits = compute_logits(point.parameters, point.widths, inputs)
            kept.append(Minimum(make_key(point), len(kept), point, logits, 1))
            visits.append(1)
        else:
            visits[same] += 1
    order = sorted(range(len(kept)), key=lambda it: kept[it].point.energy)
    return [replace(kept[it], number=number, visits=visits[it]) for number, it in enumerate(order)]


def find_equal(point: StationaryPoint, minima: Sequence[Minimum], inputs: Doubles) -> int | None:
    """Return the number of the minimum that a point is equal to; see collect_minima()."""
    logits = compute_logits(point.parameters, point.widths, inputs)
    for minimum in minima:
        if (
            abs(minimum.point.energy - point.energy) <= SAME_ENERGY
            and np.abs(minimum.logits - logits).max() <= SAME_LOGITS
        ):
            return minimum.number
    return None
