"""Sweep: computes the points of a sweep file, and writes their table and maps.

sweep = Sweep(read_sweep("solvers/sweeps/bang_lenet.yaml"), Path("build/bang_lenet"))
print(len(sweep.plan().points))
result = run_sweep(sweep)  # of run.py

sweep.json, sweep.csv    all points with all figures (table.py)
sweep.html               maps, figures over each other, and the table, for a browser (page.py)
maps.png, surfaces.png   figures over two axes (maps.py), also as .svg
means.csv, .md, .png     means over seeds (means.py)
points/, failed/         results and failures of single points (store.py)
data/                    databases
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runs.output_folder import check_writable
from caffe_ext.runtime.checkout import ROOT
from caffe_ext.sweeps.checks import check_settings, try_points
from caffe_ext.sweeps.choices import CHOSEN, DATA, NET, SEED, VARIANT, DataChoice, VariantChoice
from caffe_ext.sweeps.data import SweepData, find_data_home, prepare_data
from caffe_ext.sweeps.description import PointWriter, SweepPoint
from caffe_ext.sweeps.file import SweepFile
from caffe_ext.sweeps.reuse import ReusedTable, find_rows
from caffe_ext.sweeps.store import FailedPoint, PointStore, StoredPoint
from caffe_ext.sweeps.table import Row

DATA_FOLDER, SCRATCH = "data", "scratch"


@dataclass(frozen=True)
class SweepPlan:
    """The points of a sweep, checked.

    points   the baseline's first; a grid point may have the description of a baseline's
    data     by the data sets' names in tables
    seconds  expected of one training on one core
    """

    points: tuple[SweepPoint, ...]
    data: Mapping[str, SweepData]
    seconds: float

    @property
    def distinct(self) -> list[SweepPoint]:
        """Return the points, each description once."""
        return list({one.digest: one for one in self.points}.values())


@dataclass(frozen=True)
class SweepState:
    """Which points an earlier run has finished, and which failed, by their digests.

    reused  rows of the points that are finished in another sweep's table only
    """

    done: Mapping[str, StoredPoint]
    failed: Mapping[str, FailedPoint]
    reused: Mapping[str, Row]

    @property
    def finished(self) -> int:
        """Return how many points need not be computed."""
        return len(self.done) + len(self.reused)

    def is_done(self, point: SweepPoint) -> bool:
        """Tell whether a point need not be computed."""
        return point.digest in self.done or point.digest in self.reused


@dataclass(frozen=True)
class Sweep:
    """A sweep file, and the folder for its results.

    root   the folder that paths in solver files refer to; None: the current one, else the checkout
    reuse  tables of other sweeps, whose finished points are not computed again
    """

    file: SweepFile
    folder: Path
    root: Path | None = None
    reuse: Sequence[ReusedTable] = ()

    @property
    def store(self) -> PointStore:
        """Return the results in the folder."""
        return PointStore(self.folder, self.file.keep_weights)

    def plan(self, reporter: Reporter | None = None) -> SweepPlan:
        """Prepare the data sets, and check every point.

        Raises ValueError, with a sentence, for settings and files that do not fit; DataError and
        OSError.
        """
        reporter = reporter or SilentReporter()
        check_writable(self.folder)
        home = find_data_home(self.folder / DATA_FOLDER)
        choices = self._find_values(DATA) or [self.file.data]
        data = {f"{one}": prepare_data(one, home, reporter) for one in choices}
        points = self._make_points(data)
        _check_distinct(points)
        check_settings(points)
        seconds = try_points(points, [data[_name_data(one)] for one in points])
        return SweepPlan(tuple(points), data, seconds)

    def read(self, points: Sequence[SweepPoint]) -> SweepState:
        """Read the results of points; RecordError for damaged ones."""
        known = find_rows(self.reuse)
        done, failed, reused = {}, {}, {}
        for point in points:
            stored = self.store.read(point)
            if stored is not None:
                done[point.digest] = stored
            elif point.digest in known:
                reused[point.digest] = known[point.digest]
            elif (failure := self.store.read_failure(point)) is not None:
                failed[point.digest] = failure
        return SweepState(done, failed, reused)

    def _make_points(self, data: Mapping[str, SweepData]) -> list[SweepPoint]:
        """Return the points, the baseline's first."""
        file = self.file
        writer = PointWriter(self._roots, file.evaluation.to_dict())
        points: list[SweepPoint] = []
        for baseline in (True, False) if file.baseline else (False,):
            axes = [one for one in file.axes if not baseline or one.name in (DATA, NET, SEED)]
            for values in product(*(axis.values for axis in axes)):
                chosen = dict(zip([axis.name for axis in axes], values, strict=True))
                points.append(self._make_point(writer, data, chosen, baseline=baseline))
        return points

    def _make_point(
        self,
        writer: PointWriter,
        data: Mapping[str, SweepData],
        chosen: Mapping[str, Any],
        *,
        baseline: bool,
    ) -> SweepPoint:
        """Return the point with chosen values of the axes."""
        file = self.file
        solver, settings = file.solver, dict(file.settings)
        net = chosen.get(NET, file.net)
        variant: VariantChoice | None = chosen.get(VARIANT)
        if baseline:
            assert file.baseline is not None
            solver = file.baseline.solver
            settings |= file.baseline.settings
        elif variant is not None:
            solver, net = variant.solver or solver, variant.net or net
            settings |= variant.settings
        choice: DataChoice = chosen.get(DATA, file.data)
        fields = {name: value for name, value in chosen.items() if name not in CHOSEN}
        shown = {name: f"{value}" if name in CHOSEN else value for name, value in chosen.items()}
        try:
            description = writer.write(
                solver, net, {**settings, **fields}, choice, data[f"{choice}"]
            )
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from error
        return SweepPoint(shown, description, baseline)

    def _find_values(self, name: str) -> Sequence[Any]:
        return next((axis.values for axis in self.file.axes if axis.name == name), ())

    @property
    def _roots(self) -> tuple[Path, ...]:
        return (Path(), ROOT) if self.root is None else (self.root,)


def _check_distinct(points: Sequence[SweepPoint]) -> None:
    """Raise ValueError for two points that are the same training: it would count twice.

    Networks and variants may be: their names are the user's.
    """
    seen: dict[tuple[Any, ...], SweepPoint] = {}
    for point in points:
        names = (point.values.get(NET), point.values.get(VARIANT))
        other = seen.setdefault((point.digest, point.baseline, *names), point)
        if other is not point:
            raise ValueError(f"{other.title} and {point.title} are the same training: remove one")


def _name_data(point: SweepPoint) -> str:
    about = point.description["data"]
    return f"{DataChoice(about['name'], about['validation'])}"
