"""The description of a point: everything that its result depends on.

It leaves out paths and what the sweep sets itself (OWN in fields.py). The rest of the solver and
the networks is kept as it is, also what does not matter for the result, such as `display` and
layers for testing: points that differ in that have different digests.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_ext.models.python_layers import hash_modules
from caffe_ext.models.settings import check_keys
from caffe_ext.models.settings import read_settings as read_model_settings
from caffe_ext.models.text_file import read_text
from caffe_ext.reporting import is_utf8
from caffe_ext.sweeps.choices import DataChoice, NetChoice
from caffe_ext.sweeps.data import SweepData
from caffe_ext.sweeps.fields import OWN, set_field
from caffe_ext.training.settings import (
    SolverSettings,
    TrainingError,
    find_sources,
    format_text,
    read_settings,
)

FORMAT = 1
_MODEL_KEYS = ("scale", "std", "mean", "channel_order", "crop", "logits")
_KEPT = ("net", "train_net", "net_param", "train_net_param")
_USUAL_SEED = 1


@dataclass(frozen=True)
class SweepPoint:
    """A point of a sweep.

    values       of the axes, by name; those of the baseline are of the axes that it has
    description  what is computed, for JSON: see PointWriter.write()
    baseline     whether it belongs to the baseline
    """

    values: Mapping[str, Any]
    description: Mapping[str, Any]
    baseline: bool = False
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        """Digest the description."""
        object.__setattr__(self, "digest", hash_point(self.description))

    @property
    def title(self) -> str:
        """Return the values as a line, "beta 1.2, epsilon 0.8"."""
        parts = [f"{name.rpartition('.')[2]} {value}" for name, value in self.values.items()]
        return ", ".join(["baseline"] * self.baseline + parts)


def hash_point(description: Mapping[str, Any]) -> str:
    """Return the name of a description's result: 16 hexadecimal digits of its SHA-256."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:16]


def hash_point_modules(description: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of the modules of a description's Python layers, by name, found here."""
    texts = [*description["networks"].values(), description["model"]["deploy"]]
    if not any("Python" in text for text in (description["solver"], *texts)):
        return {}
    solver = text_format.Parse(description["solver"], caffe_pb2.SolverParameter())
    networks = [solver.net_param, solver.train_net_param]
    for text in texts:
        with suppress(text_format.ParseError):  # as a deploy net; the checks of points tell it
            networks.append(text_format.Parse(text, caffe_pb2.NetParameter()))
    return hash_modules(networks)


class PointWriter:
    """Writes descriptions; reads each file once.

    roots  folders that paths in solver files may refer to: the first that has the networks counts
    """

    def __init__(self, roots: Sequence[Path], evaluation: Mapping[str, Any]) -> None:
        """Read nothing yet."""
        self._roots, self._evaluation = roots, dict(evaluation)
        self._solvers: dict[tuple[Path, Path | None], SolverSettings] = {}
        self._models: dict[Path, dict[str, Any]] = {}

    def write(
        self,
        solver: Path,
        net: NetChoice,
        settings: Mapping[str, Any],
        choice: DataChoice,
        data: SweepData,
    ) -> dict[str, Any]:
        """Return the description of a point.

        solver    {"solver": text, "networks": {name: text}}, without tests, snapshots and the
                  device; sources are names of the data set's files
        model     {"deploy": text, and what a model file says of the input}
        data      {"name", "validation", "sha256"}
        evaluation  of EvaluationPlan.to_dict()
        modules   of hash_point_modules(); only if there are any

        Raises ValueError, with a sentence, for settings that the solver does not have, sources that
        the data set does not have, and files that cannot be read.
        """
        read = self._read_solver(solver, net.net)
        parameter = caffe_pb2.SolverParameter()
        parameter.CopyFrom(read.solver)
        if parameter.weights:
            raise ValueError(f"{solver} starts from `weights`, and {OWN['weights']}")
        for name in OWN:
            if name not in _KEPT and "." not in name:
                parameter.ClearField(name)
        if parameter.HasField("bang_param"):
            parameter.bang_param.ClearField("diagnostics_csv")
        for name, value in settings.items():
            set_field(parameter, name, value)
        if parameter.max_iter < 1:
            raise ValueError(f"{solver} does not set max_iter")
        if parameter.random_seed < 0:
            parameter.random_seed = _USUAL_SEED
        networks = {}
        for number, (name, network) in enumerate(read.networks.items(), 1):
            if name not in (parameter.net, parameter.train_net):
                continue
            copy = caffe_pb2.NetParameter()
            copy.CopyFrom(network)
            _set_sources(name, copy, choice, data)
            networks[f"network{number}.prototxt"] = text_format.MessageToString(copy)
            key = "net" if name == parameter.net else "train_net"
            setattr(parameter, key, f"network{number}.prototxt")
        for key in ("net_param", "train_net_param"):
            if parameter.HasField(key):
                _set_sources(f"{solver}, {key}", getattr(parameter, key), choice, data)
        description = {
            "format": FORMAT,
            "solver": text_format.MessageToString(parameter),
            "networks": networks,
            "model": self._read_model(net.model, data),
            "data": {
                "name": choice.name,
                "validation": choice.validation,
                "sha256": data.digest,
            },
            "evaluation": self._evaluation,
        }
        modules = hash_point_modules(description)
        return {**description, "modules": modules} if modules else description

    def _read_solver(self, solver: Path, net: Path | None) -> SolverSettings:
        if (solver, net) not in self._solvers:
            if net is not None and not is_utf8(f"{net.absolute()}"):
                raise ValueError(
                    f"{net}: the path is not UTF-8, and Caffe cannot read a network there; choose "
                    "another folder"
                )
            overrides = "" if net is None else f"net: {format_text(str(net.absolute()))}"
            problem: TrainingError | None = None
            for root in self._roots:
                try:
                    self._solvers[solver, net] = read_settings(solver, overrides, root=root)
                    break
                except TrainingError as error:
                    problem = error
            else:
                raise ValueError(f"{problem}") from problem
        return self._solvers[solver, net]

    def _read_model(self, model: Path, data: SweepData) -> dict[str, Any]:
        if model not in self._models:
            given = read_model_settings(model)
            check_keys(given, f"{model}: ")
            if not isinstance(given.get("deploy"), str):
                raise ValueError(f"{model}: `deploy:`, the prototxt of the network, is missing")
            kept = {key: given[key] for key in _MODEL_KEYS if key in given}
            for key, value in kept.items():
                if not _is_plain(value):
                    raise ValueError(
                        f"{model}: `{key}:` must be a number, a text, or a list, not {value!r}"
                    )
            if isinstance(kept.get("mean"), str):
                kept["mean"] = Path(kept["mean"]).name
            deploy = read_text(model.parent / given["deploy"])
            self._models[model] = {"deploy": deploy, **kept}
        found = self._models[model]
        if isinstance(found.get("mean"), str) and found["mean"] not in data.files:
            raise ValueError(
                f"{model}: `mean:` is the file {found['mean']}, which {data.origin} does not have: "
                f"{', '.join(data.files)}"
            )
        return found


def _is_plain(value: Any) -> bool:
    """Tell whether a value of YAML, which has dates and sets as well, is one of JSON."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def _set_sources(
    name: str, network: caffe_pb2.NetParameter, choice: DataChoice, data: SweepData
) -> None:
    """Replace the paths of a network's sources by the names of the data set's files."""
    for owner, key in find_sources(network):
        source = getattr(owner, key)
        file = Path(source).name
        if file not in data.files:
            raise ValueError(
                f"{name} reads {source}, which the data set {choice} does not have; it has "
                f"{', '.join(data.files)}"
            )
        setattr(owner, key, file)
