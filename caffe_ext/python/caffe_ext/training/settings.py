"""A solver file and its networks, with overrides: read, checked, digested and written.

As in Caffe, paths in solver and network files are relative to the folder where it starts: `root`.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from caffe.proto import caffe_pb2
from google.protobuf import text_encoding, text_format
from google.protobuf.message import Message

from caffe_ext.runtime.device import Device
from caffe_ext.storage.atomic import write_text
from caffe_ext.storage.protobuf_field import is_repeated
from caffe_ext.storage.regular_file import read_regular_file

SEEDS = 2**32
"""How many values a solver's random_seed can have, from 0."""
_NET_FILES = ("net", "train_net", "test_net")
_NET_MESSAGES = ("net_param", "train_net_param", "test_net_param")
_SOURCES = ("source", "mean_file")
_Message = TypeVar("_Message", bound=Message)


class TrainingError(Exception):
    """Training that cannot start, or that failed; the text is meant for the user."""


@dataclass(frozen=True, eq=False)
class SolverSettings:
    """A solver and its networks, after all changes.

    solver    the SolverParameter
    networks  the network files that the solver names, by the names it gives them
    root      the folder that relative paths refer to
    """

    solver: caffe_pb2.SolverParameter
    networks: Mapping[str, caffe_pb2.NetParameter]
    root: Path

    def list_networks(self) -> Iterator[tuple[str, caffe_pb2.NetParameter]]:
        """Yield every network with a name for messages, those inside the solver file included."""
        yield from self.networks.items()
        for field in _NET_MESSAGES:
            value = getattr(self.solver, field)
            for network in value if field.startswith("test") else [value]:
                if network.ByteSize():
                    yield f"the solver's {field}", network

    @property
    def device(self) -> Device:
        """Return where Caffe trains by default; solver files may ask for a GPU."""
        solver = self.solver
        asked = solver.HasField("solver_mode") and solver.solver_mode == solver.GPU
        return Device(solver.device_id if asked else None)

    def check_sources(self) -> None:
        """Raise TrainingError for the first missing file or database."""
        for name, network in self.list_networks():
            for owner, field in self._find_sources(network):
                self._check_source(name, owner, getattr(owner, field))
        for weights in self._list_weights():
            if not (self.root / weights).is_file():
                several = any("," in one for one in self.solver.weights)
                hint = "; a comma in `weights` separates files" if several else ""
                raise TrainingError(f"the solver's weights {weights} do not exist{hint}")

    def _list_weights(self) -> list[str]:
        """Return the files that the training starts from."""
        names = ",".join(self.solver.weights).split(",")
        return [name.strip() for name in names if name.strip()]

    def compute_digest(self) -> str:
        """Return a SHA-256 of everything that determines the outcome of the training, in
        hexadecimal.

        That is the solver without its output paths, the networks, and the sizes and times of the
        data: a database that was written again counts as another one.
        """
        solver = caffe_pb2.SolverParameter()
        solver.CopyFrom(self.solver)
        for field in (*_NET_FILES, "snapshot_prefix"):
            solver.ClearField(field)
        parts = [text_format.MessageToString(solver)]
        for _, network in self.list_networks():
            parts.append(text_format.MessageToString(network))
            for owner, field in self._find_sources(network):
                parts.append(_identify_file(self.root / getattr(owner, field)))
        parts += [_identify_file(self.root / name) for name in self._list_weights()]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def write(self, folder: Path) -> Path:
        """Write solver.prototxt and the networks into the folder; return the path of the solver.

        The solver's snapshots go to the folder, under its name.
        """
        solver = caffe_pb2.SolverParameter()
        solver.CopyFrom(self.solver)
        solver.snapshot_prefix = self.shorten_path(folder / folder.name)
        solver.snapshot_after_train = True
        written: dict[str, str] = {}
        for number, (name, network) in enumerate(self.networks.items(), 1):
            path = folder / ("network.prototxt" if number == 1 else f"network{number}.prototxt")
            write_text(path, text_format.MessageToString(network))
            written[name] = self.shorten_path(path)
        for field in _NET_FILES:
            if field == "test_net":
                solver.test_net[:] = [written[name] for name in solver.test_net]
            elif solver.HasField(field):
                setattr(solver, field, written[getattr(solver, field)])
        path = folder / "solver.prototxt"
        command = f"# caffe train --solver={self.shorten_path(path)}\n"
        write_text(path, command + text_format.MessageToString(solver))
        return path

    def shorten_path(self, path: Path) -> str:
        """Return the path for files and messages: relative if it is below the root."""
        path, root = path.absolute(), self.root.absolute()
        return str(path.relative_to(root) if path.is_relative_to(root) else path)

    def _find_sources(self, network: caffe_pb2.NetParameter) -> Iterator[tuple[Message, str]]:
        """Yield the files that a network reads, those of test layers only if there are tests."""
        for layer in (*network.layer, *network.layers):
            phases = {rule.phase for rule in layer.include if rule.HasField("phase")}
            if phases != {caffe_pb2.TEST} or self.solver.test_iter:
                yield from find_sources(layer)

    def _check_source(self, network: str, owner: Message, source: str) -> None:
        path = self.root / source
        is_lmdb = (
            isinstance(owner, caffe_pb2.DataParameter)
            and owner.backend == caffe_pb2.DataParameter.LMDB
        )
        what = f"the LMDB {source}" if is_lmdb else source
        if not path.exists():
            raise TrainingError(f"{network} reads {what}, which does not exist; create it first")
        if is_lmdb and not (path / "data.mdb").is_file():
            raise TrainingError(f"{network} reads {what}, which is not an LMDB: it has no data.mdb")


def read_settings(
    solver: Path, overrides: str = "", sources: Mapping[str, str] | None = None, root: Path = Path()
) -> SolverSettings:
    """Read a solver file and the networks that it names.

    overrides  fields of SolverParameter in protobuf's text format, which replace the file's:
               messages such as bang_param field by field, repeated fields as a whole
    sources    new paths of databases and mean images, by the paths in the networks

    Raises TrainingError for a file that is missing or that protobuf cannot read, for a source that
    no network names, and for a solver without network or max_iter.
    """
    parameter = _parse(solver, "solver file", caffe_pb2.SolverParameter())
    try:
        changes = text_format.Parse(overrides, caffe_pb2.SolverParameter())
    except text_format.ParseError as error:
        raise TrainingError(f"{overrides!r} are not solver settings: {error}") from error
    _replace(parameter, changes)
    if parameter.max_iter < 1:
        raise TrainingError(f"{solver} does not set max_iter")
    names = dict.fromkeys(
        name for name in (parameter.net, parameter.train_net, *parameter.test_net) if name
    )
    networks = {
        name: _parse(root / name, f"network of {solver}", caffe_pb2.NetParameter())
        for name in names
    }
    settings = SolverSettings(parameter, networks, root)
    if not any(settings.list_networks()):
        raise TrainingError(f"{solver} names no network (net, train_net or net_param)")
    unused = dict(sources or {})
    for _, network in settings.list_networks():
        for owner, field in find_sources(network):
            if new := (sources or {}).get(old := getattr(owner, field)):
                setattr(owner, field, new)
                unused.pop(old, None)
    if unused:
        raise TrainingError(f"{solver}: no network reads {', '.join(unused)}")
    return settings


def format_text(text: str) -> str:
    """Return a text as a value in protobuf's text format."""
    escaped = text_encoding.CEscape(text.encode("utf-8", "surrogateescape"), as_utf8=False)
    return f'"{escaped}"'


def _parse(path: Path, what: str, message: _Message) -> _Message:
    try:
        return text_format.Parse(read_regular_file(path).decode("utf-8"), message)
    except OSError as error:
        raise TrainingError(f"cannot read the {what} {path}: {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise TrainingError(f"the {what} {path} is not valid: {error}") from error


def _replace(target: Message, changes: Message) -> None:
    """Replace fields of the target by those that are set in `changes`."""
    for field, value in changes.ListFields():
        if field.type == field.TYPE_MESSAGE and not is_repeated(field):
            _replace(getattr(target, field.name), value)
            getattr(target, field.name).SetInParent()
        elif is_repeated(field):
            target.ClearField(field.name)
            getattr(target, field.name).MergeFrom(value)
        else:
            setattr(target, field.name, value)


def find_sources(message: Message) -> Iterator[tuple[Message, str]]:
    """Yield the fields that name files to read, in this message and in nested ones."""
    for field, value in list(message.ListFields()):
        if field.type == field.TYPE_MESSAGE:
            for inner in value if is_repeated(field) else [value]:
                yield from find_sources(inner)
        elif field.name in _SOURCES and value:
            yield message, field.name


def _identify_file(path: Path) -> str:
    """Return sizes and times of a file, or of a folder's files except readers' locks."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [(file.name, file.stat()) for file in files if file.name not in ("lock.mdb", "LOCK")]
    return " ".join(f"{name}:{stat.st_size}:{stat.st_mtime_ns}" for name, stat in stats)
