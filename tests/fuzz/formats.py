"""The file formats that the programs read: for each a good file to damage, and its reader."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import caffe
import cv2
import h5py
import lmdb
import numpy as np
from caffe.proto import caffe_pb2

from caffe_ext.certification.bounds_study import read_piece
from caffe_ext.certification.class_counts import ClassCounts
from caffe_ext.certification.exact_study import read_piece as read_decisions
from caffe_ext.certification.metrics_study import read_piece as read_metrics
from caffe_ext.data import DataError, ImageSet, open_images, read_record, write_database
from caffe_ext.errors import RecordError
from caffe_ext.evaluation.report import check_folder
from caffe_ext.models.committee_description import read_loadable
from caffe_ext.models.description import read_model
from caffe_ext.runs.campaign_files import check_campaign_files
from caffe_ext.runs.records import (
    AttackRecords,
    load_adversarials,
    load_description,
    load_records,
    make_empty_columns,
    save_records,
)
from caffe_ext.storage.atomic import encode_json, write_json
from caffe_ext.storage.json_file import read_json
from caffe_ext.storage.provenance import hash_file
from caffe_ext.studies.human.answer_table import make_rows
from caffe_ext.studies.human.curves import compute_people_curve
from caffe_ext.studies.human.design import SUBSETS
from caffe_ext.studies.human.stimuli import IMAGES as STIMULI
from caffe_ext.studies.human.stimuli import RECORD, load_stimuli
from caffe_ext.studies.human.store import ANSWERS, AnswerStore
from caffe_ext.studies.robust_training.study import StoredMeasurement
from caffe_ext.studies.table1.training import read_models
from caffe_ext.sweeps.description import SweepPoint
from caffe_ext.sweeps.file import read_sweep
from caffe_ext.sweeps.store import PointStore
from caffe_ext.sweeps.table import make_rows as make_rows_of_points
from caffe_ext.training.folder import TrainingFolder
from caffe_ext.training.hard_positives.folder import read_set
from caffe_ext.training.settings import TrainingError, read_settings

NET = """
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } } }
layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv'
  convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: 'pool' type: 'Pooling' bottom: 'conv' top: 'pool'
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: 'score' type: 'InnerProduct' bottom: 'pool' top: 'score'
  inner_product_param { num_output: 3 } }
layer { name: 'prob' type: 'Softmax' bottom: 'score' top: 'prob' }
"""
YAML = """\
name: fuzzed
deploy: deploy.prototxt
weights: w.caffemodel
scale: 0.5
mean: [100]
channel_order: RGB
logits: score
classes: [a, b, "yes"]
"""
SOLVER = """
net: "train.prototxt" max_iter: 10 base_lr: 0.1 lr_policy: "step" gamma: 0.5 stepsize: 5
type: "BANG" bang_param { beta: 1 epsilon: 0.8 layer { name: "score" beta: 2 } }
snapshot_prefix: "x" random_seed: 1
"""
DATA = """
layer { name: 'data' type: 'Data' top: 'data' top: 'label'
  data_param { source: 'db' batch_size: 2 backend: LMDB } }
"""
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 1, 4, 4), np.uint8)
LABELS = np.arange(5) % 3
SENTENCES = (DataError, RecordError, TrainingError, ValueError, OSError)
"""What the programs turn into a sentence and exit status 1."""


SWEEP = """\
solver: solver.prototxt
model: model.yaml
data: {name: mnist, validation: 100}
axes:
  base_lr: [0.01, 0.02]
  momentum: {from: 0.5, to: 0.9, step: 0.2}
settings: {max_iter: 20}
baseline: {solver: base.prototxt}
evaluation: {attacks: [fgs, hc1], limit: 5, radii: [8]}
"""
POINT = {
    **{"format": 1, "description": {"a": 1}, "worker": "w"},
    "figures": {
        **{"images": 5, "accuracy": 0.5, "iterations": 10},
        "attacks": {"fgs": {"all": {"rate": 0.5, "found": 3, "linf": {"mean": 3.5, "std": 1.5}}}},
        "within": {"linf=8": {"accuracy": 0.5, "accuracy_real": None}},
    },
    "measured": {"seconds": {"training": 1.5}, "processor_seconds": 2.5, "machine": {"cores": 2}},
    "weights": {"sha256": "0" * 64},
}


@dataclass(frozen=True)
class Format:
    """A format.

    file   the name of the file that is damaged, in the folder of a case
    make   writes the good file, and what it needs beside it, into the folder
    read   reads the file as the programs do
    """

    file: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]


def make_model(folder: Path) -> None:
    """Write the YAML file, the net, and weights in both formats."""
    (folder / "deploy.prototxt").write_text(NET)
    (folder / "model.yaml").write_text(YAML)
    (folder / "hdf5.yaml").write_text(YAML.replace("w.caffemodel", "w.h5"))
    inside = YAML.replace("\n", "\n    ")
    (folder / "committee.yaml").write_text(f"members:\n  - hdf5.yaml\n  - {inside}\n")
    net = caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST)
    net.save(str(folder / "w.caffemodel"))
    net.save_hdf5(str(folder / "w.h5"))


def use_model(name: str) -> Callable[[Path], object]:
    """Return what reads a model, and queries it."""
    return lambda folder: read_loadable(folder / name).load().predict(IMAGES)


def make_onnx(folder: Path) -> None:
    """Write the model as ONNX."""
    from caffe_ext.exchange.caffe_to_onnx.export import export_model  # noqa: PLC0415  (an extra)

    make_model(folder)
    export_model(read_model(folder / "model.yaml")).write(folder / "x.onnx")


def use_onnx(folder: Path) -> None:
    """Make a Caffe model of an ONNX file."""
    from caffe_ext.exchange.onnx_to_caffe.importer import import_model  # noqa: PLC0415

    import_model(folder / "x.onnx", "x")


def make_mean(folder: Path) -> None:
    """Write a model with a mean image."""
    make_model(folder)
    (folder / "model.yaml").write_text(YAML.replace("[100]", "mean.binaryproto"))
    blob = caffe_pb2.BlobProto(num=1, channels=1, height=4, width=4, data=[7.0] * 16)
    (folder / "mean.binaryproto").write_bytes(blob.SerializeToString())


def make_numpy_mean(folder: Path) -> None:
    """Write a model with a mean image in a .npy file."""
    make_model(folder)
    (folder / "model.yaml").write_text(YAML.replace("[100]", "mean.npy"))
    np.save(folder / "mean.npy", np.full((1, 4, 4), 7, np.float32))


def make_solver(folder: Path) -> None:
    """Write a solver file and its net."""
    (folder / "train.prototxt").write_text(DATA + NET.partition("} } }")[2])
    (folder / "solver.prototxt").write_text(SOLVER)


def use_solver(folder: Path) -> None:
    """Read a solver file as a training does, without its data."""
    settings = read_settings(folder / "solver.prototxt", root=folder)
    (folder / "written").mkdir()
    settings.write(folder / "written")


def make_idx(folder: Path) -> None:
    """Write images and labels in MNIST's format."""
    head = b"\0\0\x08\x03" + b"".join(side.to_bytes(4, "big") for side in (5, 4, 4))
    (folder / "t10k-images-idx3-ubyte").write_bytes(head + IMAGES.tobytes())
    head = b"\0\0\x08\x01" + (5).to_bytes(4, "big")
    (folder / "t10k-labels-idx1-ubyte").write_bytes(head + LABELS.astype(np.uint8).tobytes())


def make_lmdb(folder: Path) -> None:
    """Write an LMDB, as small as it can be."""
    write_database(folder / "db", ImageSet(IMAGES, LABELS), 8)


def make_lmdb_of_pictures(folder: Path) -> None:
    """Write an LMDB of encoded images."""
    with lmdb.open(str(folder / "db"), map_size=1 << 20) as env, env.begin(write=True) as writer:
        for number, image in enumerate(IMAGES):
            content = cv2.imencode(".png", image[0])[1].tobytes()
            datum = caffe_pb2.Datum(data=content, encoded=True, label=number % 3)
            writer.put(b"%05d" % number, datum.SerializeToString())


def make_hdf5(folder: Path) -> None:
    """Write images in HDF5."""
    with h5py.File(folder / "x.h5", "w") as file:
        file["data"], file["label"] = IMAGES, LABELS


def make_npz(folder: Path) -> None:
    """Write images as NumPy does."""
    np.savez_compressed(folder / "x.npz", images=IMAGES, labels=LABELS)
    np.save(folder / "x.npy", IMAGES)


def make_pictures(folder: Path) -> None:
    """Write image files of several kinds."""
    for suffix in ("png", "jpg", "bmp", "tif", "pgm", "webp"):
        content = cv2.imencode(f".{suffix}", IMAGES[0, 0].repeat(4, 0).repeat(4, 1))[1].tobytes()
        (folder / f"x.{suffix}").write_bytes(content)


def make_listing(folder: Path) -> None:
    """Write image files and a listing."""
    make_pictures(folder)
    (folder / "list.txt").write_text("x.png 1\nx.bmp 0\n")


def use_images(name: str) -> Callable[[Path], object]:
    """Return what reads images, and their labels."""

    def use(folder: Path) -> None:
        source = open_images(folder / name)
        source.load_labels()
        source.read(slice(0, 3))
        source.compute_digest()

    return use


def make_records(folder: Path) -> None:
    """Write an attack's records."""
    columns = make_empty_columns(5)
    columns["indices"], columns["linf"] = np.arange(5), np.arange(5.0)
    columns["attempted"][:] = columns["found"][1:4] = True
    save_records(folder / "hc1.h5", AttackRecords(**columns), [IMAGES[1:4]], {"limit": 5})


def use_records(folder: Path) -> None:
    """Read records, and the images in them."""
    path = folder / "hc1.h5"
    load_description(path)
    load_records(path, slice(0, 5))
    load_adversarials(path)


def counts_in(folder: Path) -> ClassCounts:
    """Return counts of noisy samples, in memory."""
    return ClassCounts(folder / "counts.h5", {"seed": 1}, 5, 4)


def make_counts(folder: Path) -> None:
    """Write counts of noisy samples."""
    counts = counts_in(folder)
    counts.counts = {("selection", 9): np.full((5, 4), 2), ("estimation", 30): np.full((5, 4), 7)}
    counts.save()


def make_human_study(folder: Path) -> None:
    """Write the stimuli of the human study, and the answers of one person."""
    np.save(folder / STIMULI, np.zeros((len(SUBSETS), 3, 2, 2), np.uint8))
    record = {
        **{"identity": {"seed": 1}, "labels": [0, 1, 2], "hard_labels": [], "per_subset": 1},
        **{"seed": 1, "distortions": [0.5] * len(SUBSETS)},
        "digests": {STIMULI: hash_file(folder / STIMULI)},
    }
    write_json(folder / RECORD, record)
    stimuli = load_stimuli(folder)
    store = AnswerStore(folder, stimuli.digest)
    store.add_person(stimuli.draw)
    while trial := store.show_next(1):
        store.save_answer(1, trial.position, 5)


def use_human_study(folder: Path) -> None:
    """Read what `study human export` and `plot` do."""
    stimuli = load_stimuli(folder)
    store = AnswerStore(folder, stimuli.digest)
    answers = store.read_answers(unfinished=True)
    store.count_people()
    make_rows(stimuli, answers)
    compute_people_curve(stimuli, answers)


def make_sweep(folder: Path) -> None:
    """Write a sweep file and what it names."""
    make_solver(folder)
    (folder / "base.prototxt").write_text(SOLVER)
    make_model(folder)
    (folder / "sweep.yaml").write_text(SWEEP)


def place_point(folder: Path, place: Path) -> None:
    """Move x.json to where a sweep's store looks for it."""
    place.parent.mkdir()
    (folder / "x.json").rename(place)


def use_point(folder: Path) -> None:
    """Read a finished point and make the table of it."""
    store, point = PointStore(folder, keep_weights=False), SweepPoint({"seed": 1}, {"a": 1})
    place_point(folder, store.locate(point))
    stored = store.read(point)
    assert stored is not None
    make_rows_of_points([point], {point.digest: stored}, {})


def use_failure(folder: Path) -> None:
    """Read a failed point and make the table of it."""
    store, point = PointStore(folder), SweepPoint({"seed": 1}, {"a": 1})
    place_point(folder, store.locate_failure(point))
    failed = store.read_failure(point)
    assert failed is not None
    make_rows_of_points([point], {}, {point.digest: failed})


def note(content: Any) -> Callable[[Path], object]:
    """Return what writes a JSON file that is called x.json."""
    return lambda folder: (folder / "x.json").write_bytes(encode_json(content))


def named(name: str, read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what reads x.json under the name that its reader looks for."""

    def use(folder: Path) -> object:
        (folder / "x.json").rename(folder / name)
        return read(folder)

    return use


SETTINGS = "0123456789abcdef" * 4
METRICS = {
    "description": {"method": "crown"},
    "images": {
        name: [0.5, 1.0] for name in ("ce", "err", "log_sense", "jacob", "adv_loss", "adv_err")
    },
}
TRAINING = {"format": 1, "settings": SETTINGS, "finished": True, "seconds": 1.5, "started": None}
SOURCE = {
    **{"format": 1, "finished": True, "data_set": "mnist", "holds": "MNIST", "origin": "here"},
    **{"published": True, "remark": "", "embedded": False, "validation": 0},
    "files": [{"path": "/x/a", "size": 5, "md5": "0" * 32}],
    **{"images": {"train_lmdb": 5}, "extras": ["idx"], "versions": {"lmdb": "1"}},
}
ATTACK = {
    **{"attack": "hc1", "name": "HC1", "attempted": 5, "found": 3, "unconfirmed": 0, "kept": 2},
    **{"below_pass": 1, "above_pass": 0, "classes": [1, 1], "pass_scores": [0.1, 0.5, 0.9]},
    "ecc_failed": 0,
}
SET = {
    **{"format": 1, "finished": True, "images": 7, "hard_positives": 2, "originals": 5},
    **{"attacks": [ATTACK], "settings": {"seed": 0}},
}
BOUNDS = {
    **{"description": {"method": "crown"}, "margins": [[0.5, -1.0]], "largest": [1.25]},
    **{"lower": [[[-1.0, 0.5]] * 2], "upper": [[[1.0, 2.5]] * 2]},
}
BROKEN = {
    **{"verdict": "vulnerable", "method": "milp", "margin": -1.5, "attacked": False},
    "adversarial": [0.0, 1.5, 200.0, 255.0],
}
DECIDED = {"verdict": "robust", "method": "bounds", "margin": 0.5, "attacked": False}
EXACT = {
    "description": {"search": "milp", "largest": 0.05},
    "images": [
        {
            "decisions": [DECIDED | {"adversarial": None}, BROKEN],
            **{"largest": [1.25, 1.5], "time_limit": 60.0, "seconds": 0.25},
        }
    ],
}
FORMATS = {
    "yaml": Format("model.yaml", make_model, use_model("model.yaml")),
    "committee": Format("committee.yaml", make_model, use_model("committee.yaml")),
    "prototxt": Format("deploy.prototxt", make_model, use_model("model.yaml")),
    "caffemodel": Format("w.caffemodel", make_model, use_model("model.yaml")),
    "hdf5-weights": Format("w.h5", make_model, use_model("hdf5.yaml")),
    "mean": Format("mean.binaryproto", make_mean, use_model("model.yaml")),
    "mean-npy": Format("mean.npy", make_numpy_mean, use_model("model.yaml")),
    "solver": Format("solver.prototxt", make_solver, use_solver),
    "train-net": Format("train.prototxt", make_solver, use_solver),
    "idx": Format("t10k-images-idx3-ubyte", make_idx, use_images("t10k-images-idx3-ubyte")),
    "idx-labels": Format("t10k-labels-idx1-ubyte", make_idx, use_images("t10k-images-idx3-ubyte")),
    "lmdb": Format("db/data.mdb", make_lmdb, use_images("db")),
    "lmdb-pictures": Format("db/data.mdb", make_lmdb_of_pictures, use_images("db")),
    "hdf5": Format("x.h5", make_hdf5, use_images("x.h5")),
    "npz": Format("x.npz", make_npz, use_images("x.npz")),
    "npy": Format("x.npy", make_npz, use_images("x.npy")),
    "listing": Format("list.txt", make_listing, use_images("list.txt")),
    "records": Format("hc1.h5", make_records, use_records),
    "counts": Format("counts.h5", make_counts, lambda folder: counts_in(folder).load()),
    **{
        suffix: Format(f"x.{suffix}", make_pictures, use_images(f"x.{suffix}"))
        for suffix in ("png", "jpg", "bmp", "tif", "pgm", "webp")
    },
    "training.json": Format(
        "x.json",
        note(TRAINING),
        named(
            "training.json",
            lambda folder: TrainingFolder(folder).claim(SETTINGS, again=False),
        ),
    ),
    "source.json": Format("x.json", note(SOURCE), named("source.json", read_record)),
    "hard_positives.json": Format("x.json", note(SET), named("hard_positives.json", read_set)),
    "models.json": Format(
        "x.json",
        note({"models": [{"id": "R0", "weights": "x", "settings": SETTINGS}]}),
        lambda folder: read_models(folder / "x.json"),
    ),
    "bounds.json": Format(
        "x.json",
        note(BOUNDS),
        lambda folder: read_piece(folder / "x.json", {"method": "crown"}, 5, 2),
    ),
    "exact.json": Format(
        "x.json",
        note(EXACT),
        lambda folder: read_decisions(
            folder / "x.json",
            {"search": "milp", "largest": 0.05},
            np.zeros((5, 1, 2, 2), np.uint8),
            2,
        ),
    ),
    "summary.json": Format(
        "x.json",
        note({"seed": 0, "images": {}, "pass_protocols": {}, "models": [{"name": "x"}]}),
        named("summary.json", lambda folder: check_campaign_files(folder, [])),
    ),
    "metrics.json": Format(
        "x.json",
        note(METRICS),
        lambda folder: read_metrics(folder / "x.json", {"method": "crown"}, 3),
    ),
    "report_table1.json": Format(
        "x.json",
        note({"depends": {"count": 5}, "found": {"images": 5, "correct": {"natural": 4}}}),
        lambda folder: read_json(folder / "x.json", StoredMeasurement, "remove it"),
    ),
    "sweep.yaml": Format(
        "sweep.yaml", make_sweep, lambda folder: read_sweep(folder / "sweep.yaml")
    ),
    "sweep_point.json": Format("x.json", note(POINT), use_point),
    "sweep_failure.json": Format(
        "x.json", note({"error": "x", "log": "y", "worker": "z", "values": {"a": "1"}}), use_failure
    ),
    "stimuli.json": Format(RECORD, make_human_study, use_human_study),
    "answers.sqlite": Format(ANSWERS, make_human_study, use_human_study),
    "evaluation.json": Format(
        "x.json",
        note({"identity": {"seed": 0, "models": {"a": {"scale": 1.0}}}}),
        named(
            "evaluation.json",
            lambda folder: check_folder(folder, {"seed": 0, "models": {"a": {"scale": 1}}}),
        ),
    ),
}

if find_spec("onnxruntime"):
    FORMATS["onnx"] = Format("x.onnx", make_onnx, use_onnx)


def outcome(read: Callable[[Path], object], folder: Path) -> str:
    """Read a case: "" for a result or a sentence, else what was wrong."""
    try:
        read(folder)
    except SENTENCES as error:
        text = f"{error}"
        return "" if text.strip() and "\n" not in text else f"no sentence: {error!r}"
    return ""


def as_json(content: bytes) -> Any:
    """Return what is in a JSON file."""
    return json.loads(content)
