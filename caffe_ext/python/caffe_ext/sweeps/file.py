"""The YAML file of a sweep: reads it and checks each key; docs/sweeps.md explains them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from caffe_ext.models.text_file import check_utf8
from caffe_ext.models.yaml_file import read_yaml
from caffe_ext.reporting import is_showable
from caffe_ext.storage.regular_file import AnyPath
from caffe_ext.sweeps.choices import (
    DATA,
    NET,
    VARIANT,
    DataChoice,
    NetChoice,
    VariantChoice,
    find_file,
    read_data,
    read_net,
    read_settings,
    read_variant,
)
from caffe_ext.sweeps.evaluation_plan import EvaluationPlan, read_evaluation
from caffe_ext.sweeps.fields import check_field
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


@dataclass(frozen=True)
class Axis:
    """An axis of the grid.

    name    a field of the solver by dotted path, or DATA, NET or VARIANT
    values  of the field; DataChoice, NetChoice or VariantChoice
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
    if "name" not in given and not is_showable(name):
        raise ValueError("give the sweep a `name:`; that of the file cannot be shown")
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
    by_name = {axis.name: axis for axis in axes}
    for axis in axes:
        _check_rows(axis, "baseline" in given)
    if VARIANT in named:
        _check_variants(by_name[VARIANT].values, named)
    settings = read_settings("`settings:`", given.get("settings", {}))
    both = next((one for one in settings if one in named), None)
    if both:
        raise ValueError(f"{both} is an axis, and in `settings:` as well")
    maps = given.get("maps")
    maps = None if maps is None else read_text_list("`maps:`", maps)
    if maps == ():
        raise ValueError("`maps:` names no figure; without it, the usual ones are drawn")
    keep = given.get("keep_weights", True)
    if not isinstance(keep, bool):
        raise ValueError(f"`keep_weights:` must be true or false, not {keep!r}")
    return SweepFile(
        name=name,
        solver=find_file(folder, "`solver:`", given["solver"]),
        axes=axes,
        data=by_name[DATA].values[0] if DATA in named else read_data(given.get("data", "mnist")),
        net=by_name[NET].values[0] if NET in named else _read_whole_net(folder, given),
        evaluation=read_evaluation(given["evaluation"]),
        settings=settings,
        baseline=_read_baseline(folder, given["baseline"]) if "baseline" in given else None,
        maps=maps,
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
            values = tuple(map(read_data, values))
            twice = next((one for one in values if values.count(one) > 1), None)
            if twice:
                raise ValueError(f"{where} has the value {twice} twice")
        elif name == NET:
            values = tuple(read_net(folder, where, one) for one in values)
            _check_names(where, [one.name for one in values], "networks")
        elif name == VARIANT:
            values = tuple(read_variant(folder, where, one) for one in values)
            _check_names(where, [one.name for one in values], "variants")
        else:
            for one in values:
                check_field(name, one)
        axes.append(Axis(name, values))
    return tuple(axes)


def _check_variants(variants: Sequence[VariantChoice], axes: Collection[str]) -> None:
    """Raise ValueError for a variant that sets what is an axis."""
    for variant in variants:
        both = next((one for one in variant.settings if one in axes), None)
        if variant.net is not None and NET in axes:
            both = NET
        if both:
            raise ValueError(f"{both} is an axis, and in the variant {variant.name} as well")


def _check_rows(axis: Axis, has_baseline: bool) -> None:
    """Raise ValueError for a network or variant that is called as other rows of the tables are."""
    others = ("baseline", "published") if has_baseline else ("published",)
    taken = {f"{one}" for one in axis.values}.intersection(others)
    if axis.name in (NET, VARIANT) and taken:
        raise ValueError(f"the axis {axis.name}: other rows are called {taken.pop()} in the tables")


def _check_names(where: str, names: Sequence[str], what: str) -> None:
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice:
        raise ValueError(f"{where} has two {what} called {twice}; give each a `name:`")


def _read_whole_net(folder: Path, given: Mapping[str, Any]) -> NetChoice:
    net = find_file(folder, "`net:`", given["net"]) if "net" in given else None
    model = find_file(folder, "`model:`", given["model"])
    return NetChoice(net.stem if net else model.stem, net, model)


def _read_baseline(folder: Path, given: Any) -> Baseline:
    known = check_mapping("`baseline:`", given, ("solver", "settings"))
    if "solver" not in known:
        raise ValueError("`baseline:` has no `solver:`")
    return Baseline(
        find_file(folder, "`baseline:` `solver:`", known["solver"]),
        read_settings("`baseline:` `settings:`", known.get("settings", {})),
    )
