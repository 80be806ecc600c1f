"""LandscapeStudy: minima, connections, sensitivity and exact widths; Figures 4 and 5 of the paper.

    study = LandscapeStudy(Path("build/landscape"), LandscapeSettings())
    result = study.run()

Each hop, connection and box is kept as it is found (store.py), and an interrupted study goes on.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.reporting import Reporter, SilentReporter, Step
from caffe_ext.runs.output_folder import check_writable, claim_output
from caffe_ext.runtime.processor_time import count_cores
from caffe_ext.runtime.workers import Workers
from caffe_ext.studies.landscape.connections import Pair, choose_pairs
from caffe_ext.studies.landscape.correlation import Correlations, correlate
from caffe_ext.studies.landscape.exact_task import (
    Overestimate,
    WidthTask,
    measure_overestimate,
)
from caffe_ext.studies.landscape.marabou import check_marabou
from caffe_ext.studies.landscape.network import Doubles, Widths
from caffe_ext.studies.landscape.samples import SPECIES, Samples, load_iris_samples
from caffe_ext.studies.landscape.search import (
    Minimum,
    Start,
    collect_minima,
    find_equal,
)
from caffe_ext.studies.landscape.sensitivity import measure_sensitivity
from caffe_ext.studies.landscape.stationary import StationaryPoint
from caffe_ext.studies.landscape.store import (
    MOST_LAYERS,
    MOST_UNITS,
    LandscapeStore,
    State,
    read_hop,
)
from caffe_ext.studies.landscape.tree import Edge
from caffe_ext.studies.landscape.widths import WIDTH_METHODS, WidthMethod

SIGMAS = (0.05, 0.1, 0.2)
_LARGEST_SIGMA = 100.0
_ROUNDS = 2
"""Of connections: those of the minima that the first ones led to are the second."""


@dataclass(frozen=True)
class LandscapeSettings:
    """What is searched and measured.

    seed          of all random numbers
    starts, hops  of basin hopping: random nets, and hops from each one's minimum
    hidden        units of each hidden layer
    penalty       the factor of ||p||^2
    pairs         most pairs of minima to connect; None: until all are connected
    exact         minima whose exact widths are found, evenly spaced by energy
    exact_sigma   of the boxes for exact widths
    method        of WIDTH_METHODS
    seconds       for each search for an extreme logit

    Raises ValueError for invalid settings.
    """

    seed: int = 1
    starts: int = 40
    hops: int = 12
    hidden: tuple[int, ...] = (25, 25, 25)
    penalty: float = 0.001
    pairs: int | None = None
    exact: int = 0
    exact_sigma: float = 0.1
    method: WidthMethod = "milp"
    seconds: float = 60.0

    def __post_init__(self) -> None:
        """Check them."""
        if self.starts < 1 or self.hops < 0 or self.seed < 0 or self.exact < 0:
            raise ValueError("there must be 1 start or more, and no number below 0")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"a hidden layer needs 1 unit or more, not {self.hidden}")
        if len(self.hidden) > MOST_LAYERS or max(self.hidden) > MOST_UNITS:
            raise ValueError(
                f"a net has at most {MOST_LAYERS} hidden layers, of at most {MOST_UNITS:,} units "
                f"each, not {self.hidden}"
            )
        for name in ("penalty", "exact_sigma", "seconds"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise ValueError(f"{name} must be above 0, not {value}")
        if self.exact_sigma > _LARGEST_SIGMA:
            raise ValueError(
                f"sigma must be at most {_LARGEST_SIGMA:g}, not {self.exact_sigma:g}: 1 is the "
                "whole range of a feature"
            )
        if self.method not in WIDTH_METHODS:
            raise ValueError(f"unknown method {self.method!r}: {', '.join(WIDTH_METHODS)}")

    @property
    def widths(self) -> Widths:
        """Return the widths of the net."""
        return (load_iris_samples().inputs.shape[1], *self.hidden, SPECIES)


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """The mean dual bound S of each minimum at a sigma: of ten samples a species, and of all.

    few, all  (minima,)
    """

    sigma: float
    few: Doubles
    all: Doubles
    few_correlations: Correlations | None
    all_correlations: Correlations | None


@dataclass(frozen=True, eq=False)
class LandscapeResult:
    """What was found.

    hops         that were finished
    unconverged  of them: Newton's method did not converge
    uncertain    of them: a stationary point without all signs of a minimum
    errors       misclassified samples of each minimum
    tried        peaks of paths that were tried for transition states
    states       the transition states, and the numbers of the minima below
    """

    settings: LandscapeSettings
    minima: list[Minimum]
    hops: int
    unconverged: int
    uncertain: int
    errors: list[int]
    edges: list[Edge]
    pairs: int
    tried: int
    states: list[tuple[State, tuple[int | None, int | None]]]
    sensitivities: list[Sensitivity]
    overestimates: list[Overestimate]


class _SharedBar:
    """A reporter whose pieces of work all move one bar."""

    def __init__(self, reporter: Reporter, step: Step) -> None:
        self.note, self.warn, self._step = reporter.note, reporter.warn, step

    @contextmanager
    def show_progress(self, what: str, total: int, unit: str, done: int = 0) -> Iterator[Step]:
        """Return the bar's step."""
        yield self._step


@dataclass(frozen=True)
class LandscapeStudy:
    """What is searched, and where the files are.

    folder  for all that is found; created if it does not exist
    jobs    processes; None: one per core
    again   discard what is in the folder
    """

    folder: Path
    settings: LandscapeSettings
    jobs: int | None = None
    again: bool = False

    def run(self, reporter: Reporter | None = None) -> LandscapeResult:
        """Find what is missing, and return all.

        Raises RecordError for damaged files and a folder of another search, OSError for a folder
        that cannot be written, WorkerError, and MarabouError if it is asked for and not there.
        """
        reporter = reporter or SilentReporter()
        settings = self.settings
        check_writable(self.folder)
        if settings.exact and settings.method == "marabou":
            check_marabou()
        samples = load_iris_samples()
        store = LandscapeStore(self.folder)
        with claim_output(self.folder):
            store.begin(self._describe(samples), again=self.again)
            starts = [
                Start(
                    self.folder,
                    settings.seed,
                    number,
                    settings.hops,
                    settings.widths,
                    settings.penalty,
                )
                for number in range(settings.starts)
            ]
            self._work(starts, "minima", settings.starts * (settings.hops + 1), "hop", reporter)
            found = [
                read_hop(store.locate_hop(start, hop), settings.widths)
                for start in range(settings.starts)
                for hop in range(settings.hops + 1)
            ]
            points = [it for it in found if it is not None]
            minima, pairs, states, tried = self._connect(points, samples, reporter)
            overestimates = self._measure_exactly(minima, reporter)
            edges = self._list_edges(minima, pairs, samples)
            states, below = self._drop_equal(
                states, [self._number_minima(it, minima, samples) for it in states]
            )
            edges += [
                Edge(state.point.energy, one, other, certain=True)
                for state, (one, other) in zip(states, below, strict=True)
                if one is not None and other is not None
            ]
            return LandscapeResult(
                settings,
                minima,
                len(found),
                len(found) - len(points),
                sum(not it.is_minimum for it in points),
                [int((it.logits.argmax(axis=1) != samples.labels).sum()) for it in minima],
                edges,
                len(pairs),
                tried,
                list(zip(states, below, strict=True)),
                self._measure_sensitivities(minima, samples),
                overestimates,
            )

    def _describe(self, samples: Samples) -> dict[str, Any]:
        """Return what minima depend on; more starts, hops and pairs are added to those found."""
        settings = self.settings
        return {
            "seed": settings.seed,
            "widths": list(settings.widths),
            "penalty": settings.penalty,
            "samples": samples.compute_digest(),
        }

    def _work(
        self, tasks: Sequence[Any], what: str, total: int, unit: str, reporter: Reporter
    ) -> None:
        """Run tasks in the processes, with one bar for all."""
        jobs = min(self.jobs or count_cores(), max(1, len(tasks)))
        with (
            reporter.show_progress(what, total, unit) as step,
            Workers(jobs, _SharedBar(reporter, step)) as workers,
        ):
            workers.run(tasks)

    def _connect(
        self, points: list[StationaryPoint], samples: Samples, reporter: Reporter
    ) -> tuple[list[Minimum], list[Pair], list[State], int]:
        """Return the minima with those below transition states, the pairs, and what they gave."""
        settings = self.settings
        chosen: dict[Path, Pair] = {}
        states: list[State] = []
        tried = 0
        minima = collect_minima(points, samples.inputs)
        for _ in range(_ROUNDS):
            left = len(minima) if settings.pairs is None else settings.pairs - len(chosen)
            pairs = choose_pairs(
                self.folder, minima, settings.widths, settings.penalty, len(minima)
            )
            new = [it for it in pairs if it.path not in chosen][: max(0, left)]
            if not new:
                break
            self._work(new, "connections", len(new), "pair", reporter)
            chosen |= {it.path: it for it in new}
            states, tried = [], 0
            for pair in chosen.values():
                found = pair.read()
                if found is not None:
                    states += found.states
                    tried += found.candidates
            lower = [it for state in states for it in state.below if it is not None]
            minima = collect_minima([*points, *lower], samples.inputs)
        return minima, list(chosen.values()), states, tried

    def _list_edges(self, minima: list[Minimum], pairs: list[Pair], samples: Samples) -> list[Edge]:
        """Return the paths between minima as edges."""
        numbers = {it.key: it.number for it in minima}
        edges = []
        for pair in pairs:
            found = pair.read()
            one, other = (
                numbers[key] if key in numbers else find_equal(point, minima, samples.inputs)
                for key, point in zip(pair.keys, pair.points, strict=True)
            )
            if found is not None and one is not None and other is not None:
                edges.append(Edge(found.highest, one, other, certain=False))
        return edges

    def _number_minima(
        self, state: State, minima: list[Minimum], samples: Samples
    ) -> tuple[int | None, int | None]:
        """Return the numbers of the minima below a transition state."""
        one, other = (
            None if it is None else find_equal(it, minima, samples.inputs) for it in state.below
        )
        return one, other

    def _drop_equal(
        self, states: list[State], below: list[tuple[int | None, int | None]]
    ) -> tuple[list[State], list[tuple[int | None, int | None]]]:
        """Return the states, each once: equal are those with the same energy and minima below."""
        kept: dict[Any, int] = {}
        for place, (state, numbers) in enumerate(zip(states, below, strict=True)):
            kept.setdefault((round(state.point.energy, 9), frozenset(numbers)), place)
        return [states[it] for it in kept.values()], [below[it] for it in kept.values()]

    def _measure_sensitivities(self, minima: list[Minimum], samples: Samples) -> list[Sensitivity]:
        energies = np.array([it.point.energy for it in minima])
        results = []
        for sigma in SIGMAS:
            rows = [
                measure_sensitivity(
                    it.point.parameters, it.point.widths, samples.inputs, sigma * samples.ranges
                )
                for it in minima
            ]
            whole = np.array(rows).reshape(len(minima), len(samples.inputs))
            few, every = whole[:, samples.few].mean(axis=1), whole.mean(axis=1)
            results.append(
                Sensitivity(sigma, few, every, correlate(energies, few), correlate(energies, every))
            )
        return results

    def _measure_exactly(self, minima: list[Minimum], reporter: Reporter) -> list[Overestimate]:
        """Return the overestimates of all minima whose exact widths are known."""
        settings = self.settings

        def make_task(minimum: Minimum) -> WidthTask:
            return WidthTask(
                self.folder,
                minimum.key,
                minimum.point,
                settings.exact_sigma,
                settings.method,
                settings.seconds,
            )

        count = min(settings.exact, len(minima))
        places = np.unique(np.linspace(0, len(minima) - 1, count).round().astype(int))
        tasks = [make_task(minima[place]) for place in places.tolist()] if count else []
        if tasks:
            boxes = len(tasks) * len(load_iris_samples().few)
            self._work(tasks, "exact widths", boxes, "box", reporter)
        found = [measure_overestimate(it, make_task(it)) for it in minima]
        return [it for it in found if it is not None]


def describe_settings(settings: LandscapeSettings) -> dict[str, Any]:
    """Return the settings for JSON."""
    return asdict(settings)
