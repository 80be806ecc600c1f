"""Checks of all points before any work: Caffe's own, on what it would train."""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import perf_counter

import caffe
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from caffe_ext.data import open_images
from caffe_ext.runtime.engine import limit_threads
from caffe_ext.runtime.quiet import silence_caffe
from caffe_ext.storage.protobuf_field import is_repeated
from caffe_ext.sweeps.compute import describe_trained
from caffe_ext.sweeps.data import SweepData
from caffe_ext.sweeps.description import SweepPoint
from caffe_ext.sweeps.evaluation_plan import EvaluationPlan
from caffe_ext.training import TrainingError
from caffe_ext.training.settings import SolverSettings, read_settings

FATAL = 3
_REAL = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)
_TRIAL_SECONDS, _TRIAL_STEPS = 1.0, 50
# Many images: adversarial training may split a batch between several attacks.
_TINY_NET = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 1000 dim: 1 dim: 2 dim: 2 } data_filler { type: "constant" value: 0.5 }
  shape { dim: 1000 } data_filler { type: "constant" } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def check_settings(points: Iterable[SweepPoint]) -> None:
    """Let Caffe create each point's solver on a tiny network, and step once.

    Raises ValueError, with Caffe's sentence, for settings that a solver does not accept.
    """
    tiny = text_format.Parse(_TINY_NET, caffe_pb2.NetParameter())
    seen: set[str] = set()
    with tempfile.TemporaryDirectory() as folder, silence_caffe(FATAL):
        path = Path(folder) / "solver.prototxt"
        for point in points:
            parameter = caffe_pb2.SolverParameter()
            text_format.Parse(point.description["solver"], parameter)
            for key in ("net", "train_net", "net_param", "train_net_param"):
                parameter.ClearField(key)
            # Settings of single layers and blobs name those of the point's own network.
            for key in ("layer", "loss_layer"):
                parameter.bang_param.ClearField(key)
            if not parameter.bang_param.ByteSize():
                parameter.ClearField("bang_param")
            if parameter.HasField("adversarial_param"):
                for key in ("loss_layer", "data_blob"):
                    parameter.adversarial_param.ClearField(key)
                parameter.adversarial_param.transform_param.scale = 1 / 256
            parameter.net_param.CopyFrom(tiny)
            parameter.snapshot_prefix = f"{folder}/tiny"
            parameter.display = 0
            text = text_format.MessageToString(parameter)
            if text in seen:
                continue
            seen.add(text)
            path.write_text(text, encoding="utf-8")
            try:
                caffe.get_solver(str(path)).step(1)
            except (caffe.Error, RuntimeError, ValueError) as error:
                said = f"{error}".replace(f"{path}: ", "")  # which nobody has seen
                raise ValueError(f"{point.title}: {said}") from error


def try_points(points: Sequence[SweepPoint], data: Sequence[SweepData]) -> float:
    """Train and load the first point of each kind for a moment; return the mean seconds of a
    training on one core.

    data  of each point

    A kind has the same networks, model and data, and describe_solver_kind(). Raises ValueError,
    with a sentence, for a network that cannot be trained, and for a model or attacks that do not
    fit it.
    """
    found: dict[tuple[str, ...], float] = {}
    seconds = 0.0
    for point, mine in zip(points, data, strict=True):
        parameter = text_format.Parse(point.description["solver"], caffe_pb2.SolverParameter())
        kind = (
            *(mine.digest, describe_solver_kind(parameter)),
            *point.description["networks"].values(),
            f"{point.description['model']}",
        )
        if kind not in found:
            found[kind] = _try(point, mine)
        seconds += found[kind] * parameter.max_iter
    return seconds / max(1, len(points))


def describe_solver_kind(parameter: caffe_pb2.SolverParameter) -> str:
    """Return what of a solver decides whether it fits its network, and how long an iteration takes.

    Of real numbers, such as bang_param.beta, this is only whether they are 0: the values of an axis
    are not tried one by one.
    """
    kept = caffe_pb2.SolverParameter(type=parameter.type, iter_size=parameter.iter_size)
    for key in ("net_param", "train_net_param", "train_state", "bang_param", "adversarial_param"):
        if parameter.HasField(key):
            getattr(kept, key).CopyFrom(getattr(parameter, key))
    for key in ("bang_param", "adversarial_param"):
        if kept.HasField(key):
            _forget_numbers(getattr(kept, key))
    return f"{kept}"


def _forget_numbers(message: Message) -> None:
    """Replace the real numbers of a message, but for lists of them, by whether they are not 0."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in value if is_repeated(field) else (value,):
                _forget_numbers(each)
        elif field.cpp_type in _REAL and not is_repeated(field):
            setattr(message, field.name, float(value != 0))


def _try(point: SweepPoint, data: SweepData) -> float:
    """Return the seconds that an iteration takes on one core."""
    with tempfile.TemporaryDirectory() as name, silence_caffe(FATAL), limit_threads(1):
        folder = Path(name)
        for file, text in point.description["networks"].items():
            (folder / file).write_text(text, encoding="utf-8")
        solver_file = folder / "point.prototxt"
        solver_file.write_text(point.description["solver"], encoding="utf-8")
        every = "\n".join([point.description["solver"], *point.description["networks"].values()])
        sources = {name: str(path) for name, path in data.files.items() if f'"{name}"' in every}
        try:
            settings = read_settings(solver_file, sources=sources, root=folder)
            solver = caffe.get_solver(str(_write_alone(settings, folder / "alone.prototxt")))
            solver.step(1)
            steps, began = 0, perf_counter()
            while steps < _TRIAL_STEPS and perf_counter() - began < _TRIAL_SECONDS:
                solver.step(5)
                steps += 5
            seconds = (perf_counter() - began) / steps
            weights = folder / "trial.caffemodel"
            solver.net.save(str(weights))
            _try_model(point, folder, data, weights)
        except (caffe.Error, RuntimeError, TrainingError, OSError, ValueError) as error:
            raise ValueError(f"{point.title}: {error}".replace(f"{folder}/", "")) from error
    return seconds


def _try_model(point: SweepPoint, folder: Path, data: SweepData, weights: Path) -> None:
    """Load the trained network as a model, and try the attacks on it."""
    model = describe_trained(point.description["model"], folder, data, weights).load()
    source = open_images(data.files["test_lmdb"])
    try:
        model.predict(source.read(slice(0, 1)).images)
    except ValueError as error:
        raise ValueError(f"the model does not take the images of {data.origin}: {error}") from error
    for attack in (
        EvaluationPlan.from_dict(point.description["evaluation"]).make_suite().every_attack
    ):
        attack.check(model)


def _write_alone(settings: SolverSettings, path: Path) -> Path:
    """Write a solver file with its network in it: Caffe would look for a file in `.`.

    It leaves the weights as they are: a point that diverges is no reason to refuse the others.
    """
    solver = caffe_pb2.SolverParameter()
    solver.CopyFrom(settings.solver)
    for key, name in (("net", solver.net), ("train_net", solver.train_net)):
        if name:
            getattr(solver, f"{key}_param").CopyFrom(settings.networks[name])
            solver.ClearField(key)
    solver.snapshot_prefix = str(path.with_suffix(""))
    solver.display, solver.base_lr = 0, 0
    path.write_text(text_format.MessageToString(solver), encoding="utf-8")
    return path
