"""The YAML file of a sweep: reads it and checks each key; docs/sweeps.md explains them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from caffe_ext.models.text_file import check_utf8
from caffe_ext.models.yaml_file import read_yaml
from caffe_ext.reporting import is_showable, suggest
from caffe_ext.storage.regular_file import AnyPath
from caffe_ext.sweeps.evaluation_plan import EvaluationPlan, read_evaluation
from caffe_ext.sweeps.values import MOST_VALUES, read_values
from caffe_ext.sweeps.yaml_checks import check_mapping, read_text_list

KEYS = (
    "name",
    "solver",
    "settings",
    "data",
    "net",
    "model",
    "axes",
    "baseline",
    "evaluation",
    "maps",
    "keep_weights",
)
DATA_SETS = ("mnist", "cifar10", "digits")
DATA, NET, SEED = "data", "net", "random_seed"
"""Axes that are no fields of the solver, and the one whose values are repetitions."""


@dataclass(frozen=True)
class DataChoice:
    """A data set; validation: how many of the last training images are held out."""

    name: str
    validation: int = 0

    def __str__(self) -> str:
        """Return the value of the axis `data` in tables."""
        return f"{self.name}-{self.validation}" if self.validation else self.name


@dataclass(frozen=True)
class NetChoice:
    """A network: for training, and as a model for the evaluation.

    net    the prototxt for training; None: the solver file's own
    model  the YAML file of the model, of which the weights are not used
    """

    name: str
    net: Path | None
    model: Path

    def __str__(self) -> str:
        """Return the value of the axis `net` in tables."""
        return self.name


@dataclass(frozen=True)
class Axis:
    """An axis of the grid.

    name    a field of the solver by dotted path, or DATA or NET
    values  of the field; DataChoice or NetChoice
    """

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Baseline:
    """Regular training, whose level the maps show.

    solver    its solver file
    settings  of its solver, besides those of the whole sweep
    """

    solver: Path
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SweepFile:
    """What a sweep file says.

    settings      fields of the solver, the same for all points, by dotted path
    maps          figures that are drawn over two axes; None: the usual ones
    keep_weights  whether the trained weights are kept
    """

    name: str
    solver: Path
    axes: tuple[Axis, ...]
    data: DataChoice
    net: NetChoice
    evaluation: EvaluationPlan
    settings: Mapping[str, Any] = field(default_factory=dict)
    baseline: Baseline | None = None
    maps: tuple[str, ...] | None = None
    keep_weights: bool = True


def read_sweep(path: AnyPath) -> SweepFile:
    """Read a sweep file; paths in it are relative to its folder.

    Raises ValueError with a sentence that names the file and the key, and OSError for a file that
    cannot be read.
    """
    path = Path(path)
    try:
        given = read_yaml(path)
        check_utf8(path, given)
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply for a sweep file") from error
    try:
        return _read(path, check_mapping("a sweep file", given, KEYS))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(path: Path, given: Mapping[str, Any]) -> SweepFile:
    folder = path.parent
    name = given.get("name", path.stem)
    if not isinstance(name, str) or not name or not is_showable(name):
        raise ValueError(f"`name:` must be text, not {name!r}")
    for key in ("solver", "axes", "model", "evaluation"):
        if key not in given and not (key == "model" and _has_axis(given, NET)):
            raise ValueError(f"`{key}:` is missing")
    axes = _read_axes(folder, given["axes"])
    count = prod(len(axis.values) for axis in axes)
    if count > MOST_VALUES:
        raise ValueError(f"`axes:` have {count:,} points, more than {MOST_VALUES:,}")
    named = {axis.name for axis in axes}
    for key in (DATA, NET):
        if key in named and key in given:
            raise ValueError(f"`{key}:` is an axis, and given for all points as well")
    settings = _read_settings("`settings:`", given.get("settings", {}))
    both = next((one for one in settings if one in named), None)
    if both:
        raise ValueError(f"{both} is an axis, and in `settings:` as well")
    maps = given.get("maps")
    keep = given.get("keep_weights", True)
    if not isinstance(keep, bool):
        raise ValueError(f"`keep_weights:` must be true or false, not {keep!r}")
    by_name = {axis.name: axis for axis in axes}
    return SweepFile(
        name=name,
        solver=_find_file(folder, "`solver:`", given["solver"]),
        axes=axes,
        data=by_name[DATA].values[0] if DATA in named else _read_data(given.get("data", "mnist")),
        net=by_name[NET].values[0] if NET in named else _read_whole_net(folder, given),
        evaluation=read_evaluation(given["evaluation"]),
        settings=settings,
        baseline=_read_baseline(folder, given["baseline"]) if "baseline" in given else None,
        maps=None if maps is None else read_text_list("`maps:`", maps),
        keep_weights=keep,
    )


def _has_axis(given: Mapping[str, Any], name: str) -> bool:
    axes = given.get("axes")
    return isinstance(axes, dict) and name in axes


def _read_axes(folder: Path, given: Any) -> tuple[Axis, ...]:
    if not isinstance(given, dict) or not given:
        raise ValueError("`axes:` must have lines such as `bang_param.beta: [1.0, 1.2]`")
    axes = []
    for name, value in given.items():
        where = f"the axis {name}"
        if not isinstance(name, str):
            raise ValueError(f"{where} must be named by a field of the solver")
        values = read_values(where, value)
        if name == DATA:
            values = tuple(map(_read_data, values))
        elif name == NET:
            values = tuple(_read_net(folder, where, one) for one in values)
            names = [one.name for one in values]
            twice = next((one for one in names if names.count(one) > 1), None)
            if twice:
                raise ValueError(f"{where} has two networks called {twice}; give each a `name:`")
        axes.append(Axis(name, values))
    return tuple(axes)


def _read_settings(where: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise ValueError(f"{where} must have lines such as `max_iter: 2000`")
    return dict(given)


def _read_data(given: Any) -> DataChoice:
    if isinstance(given, dict):
        known = check_mapping("`data:`", given, ("name", "validation"))
        name, validation = known.get("name"), known.get("validation", 0)
    else:
        name, validation = given, 0
    if name not in DATA_SETS:
        meant = suggest(f"{name}", DATA_SETS)
        raise ValueError(
            f"unknown data set {name!r}{f' ({meant})' if meant else ''}; data sets: "
            f"{', '.join(DATA_SETS)}"
        )
    if not isinstance(validation, int) or isinstance(validation, bool) or validation < 0:
        raise ValueError(f"`validation:` must be a number of images, not {validation!r}")
    return DataChoice(name, validation)


def _read_net(folder: Path, where: str, given: Any) -> NetChoice:
    known = check_mapping(where, given, ("name", "net", "model"))
    for key in ("net", "model"):
        if key not in known:
            raise ValueError(f"{where} has a network without `{key}:`")
    net = _find_file(folder, f"{where}: `net:`", known["net"])
    return NetChoice(
        str(known.get("name", net.stem)), net, _find_file(folder, "`model:`", known["model"])
    )


def _read_whole_net(folder: Path, given: Mapping[str, Any]) -> NetChoice:
    net = _find_file(folder, "`net:`", given["net"]) if "net" in given else None
    model = _find_file(folder, "`model:`", given["model"])
    return NetChoice(net.stem if net else model.stem, net, model)


def _read_baseline(folder: Path, given: Any) -> Baseline:
    known = check_mapping("`baseline:`", given, ("solver", "settings"))
    if "solver" not in known:
        raise ValueError("`baseline:` has no `solver:`")
    return Baseline(
        _find_file(folder, "`baseline:` `solver:`", known["solver"]),
        _read_settings("`baseline:` `settings:`", known.get("settings", {})),
    )


def _find_file(folder: Path, where: str, given: Any) -> Path:
    if not isinstance(given, str) or not given:
        raise ValueError(f"{where} must be the name of a file, not {given!r}")
    path = folder / given
    if not path.is_file():
        raise ValueError(f"{where} names {path}, which is not a file")
    return path
