"""What the axes `data`, `net` and `variant` of a sweep choose from, as its file says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from sys import float_info
from typing import Any

from caffe_ext.reporting import is_showable, suggest
from caffe_ext.sweeps.fields import check_field
from caffe_ext.sweeps.yaml_checks import check_mapping

DATA, NET, VARIANT, SEED = "data", "net", "variant", "random_seed"
"""Axes that are no fields of the solver, and the one whose values are repetitions."""
CHOSEN = (DATA, NET, VARIANT)
DATA_SETS = ("mnist", "cifar10", "digits")


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
class VariantChoice:
    """A way to train: what of it differs from the sweep's other ways.

    solver     its solver file; None: that of the sweep
    settings   of its solver, besides those of the whole sweep
    net        its network; None: that of the sweep
    published  figures from elsewhere, by their columns in the table, to show beside its own
    """

    name: str
    solver: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    net: NetChoice | None = None
    published: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the value of the axis `variant` in tables."""
        return self.name


def read_data(given: Any) -> DataChoice:
    """Return the data set that `data:`, or a value of its axis, names; ValueError."""
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


def read_net(folder: Path, where: str, given: Any) -> NetChoice:
    """Return a value of the axis `net`; ValueError."""
    known = check_mapping(where, given, ("name", "net", "model"))
    for key in ("net", "model"):
        if key not in known:
            raise ValueError(f"{where} has a network without `{key}:`")
    net = find_file(folder, f"{where}: `net:`", known["net"])
    name = _read_name(f"{where} has a network", known.get("name", net.stem))
    return NetChoice(name, net, find_file(folder, "`model:`", known["model"]))


def read_variant(folder: Path, where: str, given: Any) -> VariantChoice:
    """Return a value of the axis `variant`; ValueError."""
    known = check_mapping(where, given, ("name", "solver", "settings", "net", "model", "published"))
    name = _read_name(f"{where} has a variant", known.get("name"))
    where = f"{where}, {name}"
    if "model" in known and "net" not in known:
        raise ValueError(f"{where} has a `model:` without a `net:`")
    published = known.get("published", {})
    if not isinstance(published, dict) or not all(map(_is_number, published.values())):
        raise ValueError(f"{where}: `published:` must have lines such as `accuracy: 0.9916`")
    network = {key: known[key] for key in ("net", "model") if key in known}
    return VariantChoice(
        name,
        find_file(folder, f"{where}: `solver:`", known["solver"]) if "solver" in known else None,
        read_settings(f"{where}: `settings:`", known.get("settings", {})),
        read_net(folder, where, network) if network else None,
        {f"{figure}": float(value) for figure, value in published.items()},
    )


def _read_name(where: str, name: Any) -> str:
    if not isinstance(name, str) or not name or not is_showable(name):
        raise ValueError(f"{where} without a `name:` that is text")
    return name


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= float_info.max


def read_settings(where: str, given: Any) -> dict[str, Any]:
    """Return fields of a solver by dotted path; ValueError if they are something else."""
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise ValueError(f"{where} must have lines such as `max_iter: 2000`")
    for name, value in given.items():
        check_field(name, value)
    return dict(given)


def find_file(folder: Path, where: str, given: Any) -> Path:
    """Return the path of a file that a sweep file names; ValueError if there is none."""
    if not isinstance(given, str) or not given:
        raise ValueError(f"{where} must be the name of a file, not {given!r}")
    path = folder / given
    if not path.is_file():
        raise ValueError(f"{where} names {path}, which is not a file")
    return path
