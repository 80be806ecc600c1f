"""Good files of the formats that the programs read, to be damaged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import caffe
import cv2
import h5py
import lmdb
import numpy as np
from caffe.proto import caffe_pb2

from caffe_ext.certification.class_counts import ClassCounts
from caffe_ext.data import ImageSet, write_database
from caffe_ext.models.description import read_model
from caffe_ext.reporting import SilentReporter
from caffe_ext.runs.records import (
    AttackRecords,
    make_empty_columns,
    save_records,
)
from caffe_ext.storage.atomic import encode_json, write_json
from caffe_ext.storage.provenance import hash_file
from caffe_ext.studies.distortion.stages import make_stage_set
from caffe_ext.studies.human.design import SUBSETS
from caffe_ext.studies.human.stimuli import IMAGES as STIMULI
from caffe_ext.studies.human.stimuli import RECORD, load_stimuli
from caffe_ext.studies.human.store import AnswerStore
from caffe_ext.studies.pass_table1.design import HELD_OUT

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

TABLE = {
    "sweep": "x",
    "axes": {"random_seed": [1]},
    "rows": [
        {
            "random_seed": 1,
            "state": "done",
            "images": 20,
            "accuracy": 0.5,
            "fgs.paper.rate": 0.25,
            "training seconds": 1.5,
            "weights_sha256": "0" * 64,
            "digest": "0123456789abcdef",
        }
    ],
}
PASS_POINT = {
    **{"images": 10, "wrong": 1, "hard_positives": 4, "trained_on": 14},
    "adversarials": dict.fromkeys(HELD_OUT, 5),
    "wrong_of": dict.fromkeys(HELD_OUT, 2),
}


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


def make_onnx(folder: Path) -> None:
    """Write the model as ONNX."""
    from caffe_ext.exchange.caffe_to_onnx.export import export_model  # noqa: PLC0415  (an extra)

    make_model(folder)
    export_model(read_model(folder / "model.yaml")).write(folder / "x.onnx")


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


def make_records(folder: Path) -> None:
    """Write an attack's records."""
    columns = make_empty_columns(5)
    columns["indices"], columns["linf"] = np.arange(5), np.arange(5.0)
    columns["attempted"][:] = columns["found"][1:4] = True
    save_records(folder / "hc1.h5", AttackRecords(**columns), [IMAGES[1:4]], {"limit": 5})


def counts_in(folder: Path) -> ClassCounts:
    """Return counts of noisy samples, in memory."""
    return ClassCounts(folder / "counts.h5", {"seed": 1}, 5, 4)


def make_counts(folder: Path) -> None:
    """Write counts of noisy samples."""
    counts = counts_in(folder)
    counts.counts = {("selection", 9): np.full((5, 4), 2), ("estimation", 30): np.full((5, 4), 7)}
    counts.save()


def make_stage(folder: Path) -> None:
    """Write the images of a stage of adversarial training, or find them there."""
    make_stage_set(
        folder / "stage",
        lambda: read_model(folder / "model.yaml").load(),
        folder / "db",
        {"order": 1, "weights": "x"},
        SilentReporter(),
    )


def make_first_stage(folder: Path) -> None:
    """Write the images of a stage, the clean ones, and the model."""
    make_model(folder)
    make_lmdb(folder)
    make_stage(folder)


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


def make_sweep(folder: Path) -> None:
    """Write a sweep file and what it names."""
    make_solver(folder)
    (folder / "base.prototxt").write_text(SOLVER)
    make_model(folder)
    (folder / "sweep.yaml").write_text(SWEEP)


def note(content: Any) -> Callable[[Path], object]:
    """Return what writes a JSON file that is called x.json."""
    return lambda folder: (folder / "x.json").write_bytes(encode_json(content))


SETTINGS = "0123456789abcdef" * 4
CURVE = {
    "depends": {"attack": "gaussian"},
    "found": {
        **{"images": 10, "strengths": [0, 0.05, 0.2], "distortions": [0, 0.04, 0.15]},
        **{"errors": [0, 2, 9], "seconds": 0.5},
    },
}
METRICS = {
    "description": {"method": "crown"},
    "images": {
        name: [0.5, 1.0] for name in ("ce", "err", "log_sense", "jacob", "adv_loss", "adv_err")
    },
}
STATIONARY = {
    **{"energy": 0.5, "widths": [4, 1, 3], "parameters": [0.5] * 11, "residual": 1e-12},
    "kinks": [{"layer": 0, "sample": 5, "unit": 0, "slope": 0.5, "falling": False}],
    **{"signs": [0, 1, 10], "lowest": 0.0, "rank": 1, "strict": True, "pull": 1.0},
}
CONNECTION = {
    **{"highest": 0.75, "candidates": 2},
    "states": [{"point": STATIONARY, "below": [STATIONARY, None]}],
}
WIDTHS = {
    **{"samples": [0, 50], "lower": [[0.5, 1.0, 1.5]] * 2, "upper": [[0.5, 1.0, 2.5]] * 2},
    "seconds": 1.5,
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
