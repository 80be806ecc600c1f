"""Connections between minima: which pairs are tried, and what is found on the path between them.

The pairs are the edges of the shortest tree that spans all minima, by how much their logits differ
for the samples, so that all of them are connected by as few and as short paths as possible.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse.csgraph import minimum_spanning_tree

from caffe_ext.reporting import Reporter
from caffe_ext.studies.landscape.network import Widths
from caffe_ext.studies.landscape.paths import find_path, match_nets
from caffe_ext.studies.landscape.samples import load_iris_samples
from caffe_ext.studies.landscape.search import Minimum
from caffe_ext.studies.landscape.stationary import StationaryPoint
from caffe_ext.studies.landscape.store import (
    Connection,
    LandscapeStore,
    State,
    read_connection,
    write_connection,
)
from caffe_ext.studies.landscape.transition import descend_both_sides, find_transition_state

_MOST_PEAKS = 3


@dataclass(frozen=True, eq=False)
class Pair:
    """Two minima to connect: picklable, to run in any process.

    keys    of the minima
    points  the minima
    widths  of the whole net
    """

    folder: Path
    keys: tuple[str, str]
    points: tuple[StationaryPoint, StationaryPoint]
    widths: Widths
    penalty: float

    @property
    def path(self) -> Path:
        """Return the file of the connection."""
        return LandscapeStore(self.folder).locate_connection(*self.keys)

    def __call__(self, reporter: Reporter) -> None:
        """Find and keep the connection, if it is not there yet."""
        with reporter.show_progress("connections", 1, "pair") as step:
            if not self.path.exists():
                write_connection(self.path, self.connect())
            step(1)

    def connect(self) -> Connection:
        """Find a path and the transition states to which its highest peaks lead."""
        surface = load_iris_samples().make_surface(self.penalty)
        nets = [(it.parameters, it.widths) for it in self.points]
        start, end, widths = match_nets(nets[0], nets[1], self.widths)
        path = find_path(surface, start, end, widths)
        states: list[State] = []
        peaks = path.peaks[:_MOST_PEAKS]
        for _, before, behind in peaks:
            found = find_transition_state(surface, before, behind, widths, self.widths)
            if found is not None and all(
                abs(found.energy - other.point.energy) > 1e-9 for other in states
            ):
                below = [
                    it if it is not None and it.is_minimum and min(it.widths) else None
                    for it in descend_both_sides(surface, found, self.widths)
                ]
                states.append(State(found, below))
        return Connection(path.highest, len(peaks), states)

    def read(self) -> Connection | None:
        """Return the connection if it was found."""
        return read_connection(self.path, self.widths) if self.path.exists() else None


def choose_pairs(
    folder: Path, minima: Sequence[Minimum], widths: Widths, penalty: float, most: int
) -> list[Pair]:
    """Return the pairs to connect, the shortest first."""
    if len(minima) < 2:
        return []
    logits = np.stack([it.logits.ravel() for it in minima])
    squares = (logits**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * logits @ logits.T
    distances = np.sqrt(np.maximum(distances, 1e-12))
    tree = minimum_spanning_tree(distances).tocoo()
    chosen = sorted(zip(tree.data.tolist(), tree.row.tolist(), tree.col.tolist(), strict=True))
    return [
        Pair(
            folder,
            (minima[one].key, minima[other].key),
            (minima[one].point, minima[other].point),
            widths,
            penalty,
        )
        for _, one, other in chosen[:most]
    ]
