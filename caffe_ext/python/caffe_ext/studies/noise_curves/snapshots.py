"""Snapshots: the weights of a network throughout its training, as written by Caffe."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"(.+)_iter_(\d+)\.caffemodel(?:\.h5)?")


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of a training run.

    name     in tables and figures
    weights  files `*_iter_N.caffemodel[.h5]` by N, the iteration; ascending
    """

    name: str
    weights: Mapping[int, Path]


def find_snapshots(paths: Sequence[Path]) -> Snapshots:
    """Return the training run in a folder, named after it, or in files, named after the first.

    Raises FileNotFoundError for missing files; ValueError for a folder without snapshots, for files
    with other names, and for two of the same iteration.
    """
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
    if len(paths) == 1 and paths[0].is_dir():
        files = [path for path in paths[0].iterdir() if _NAME.fullmatch(path.name)]
        name = paths[0].resolve().name
    else:
        files = list(paths)
        name = ""
    if not files:
        raise ValueError(f"{paths[0]} holds no snapshots, *_iter_N.caffemodel or .caffemodel.h5")
    weights: dict[int, Path] = {}
    for path in sorted(files):
        found = _NAME.fullmatch(path.name)
        if found is None or path.is_dir():
            raise ValueError(f"{path} is not named as Caffe names snapshots, *_iter_N.caffemodel")
        other = weights.setdefault(int(found[2]), path)
        if other != path:
            raise ValueError(
                f"{other} and {path} are snapshots of the same iteration; name the files to use"
            )
        name = name or found[1]
    return Snapshots(name, dict(sorted(weights.items())))


def find_common_iterations(trainings: Sequence[Snapshots], every: int | None = None) -> list[int]:
    """Return the iterations for which all training runs have snapshots, ascending.

    every  only its multiples, and the last iteration

    Raises ValueError if there are none.
    """
    common = sorted(set.intersection(*(set(training.weights) for training in trainings)))
    if not common:
        ranges = "; ".join(
            f"{training.name}: {', '.join(map(str, training.weights))}" for training in trainings
        )
        raise ValueError(f"no iteration has snapshots of all training runs: {ranges}")
    return [number for number in common if not every or not number % every or number == common[-1]]
