"""Small models and images, and the programs that resume on them; what they leave, comparable."""

import json
import random
from pathlib import Path
from typing import Any

import caffe
import h5py
import lmdb
import numpy as np

from caffe_ext.models.description import read_model

NET = """
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 1 dim: 1 dim: 12 dim: 12 } } }
layer { name: 'ip1' type: 'InnerProduct' bottom: 'data' top: 'ip1'
  inner_product_param { num_output: 8 } }
layer { name: 'tanh' type: 'TanH' bottom: 'ip1' top: 'ip1' }
layer { name: 'score' type: 'InnerProduct' bottom: 'ip1' top: 'score'
  inner_product_param { num_output: 3 } }
layer { name: 'prob' type: 'Softmax' bottom: 'score' top: 'prob' }
"""
TRAINED = """
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param {
    shape { dim: 4 dim: 3 } data_filler { type: "constant" value: 0.5 }
    shape { dim: 4 } data_filler { type: "constant" value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy"
  include { phase: TEST } }
"""
SOLVER = """
net: "net.prototxt" type: "BANG" base_lr: 0.001 lr_policy: "fixed" random_seed: 1
max_iter: 200 test_iter: 2 test_interval: 100 snapshot: 50
"""
DIGITS = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  data_param { source: "data/digits/train_lmdb" batch_size: 8 backend: LMDB }
  transform_param { scale: 0.004 } }
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
  inner_product_param { num_output: 8 weight_filler { type: "xavier" } } }
layer { name: "tanh" type: "TanH" bottom: "ip1" top: "ip1" }
layer { name: "score" type: "InnerProduct" bottom: "ip1" top: "score"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
"""
SWEEP = """
solver: solver.prototxt
net: digits.prototxt
model: digits.yaml
data: digits
settings: {max_iter: 20}
axes: {random_seed: [1, 2]}
evaluation: {attacks: [fgs], limit: 5}
"""
# What differs from run to run: when, how long, where to, and how much of it was done this time.
VOLATILE = {
    *("date", "command", "provenance", "machine", "seconds", "peak_memory_mib", "started"),
    *("images_attacked_now", "commit", "load_average", "reused"),
    *("measured", "stamps", "worker"),
}
# Logs, with times, and pages with the date: that they are there counts.
TEXTS = {".log", ".html", ".md"}


def make_inputs(folder: Path) -> None:
    """Write the model, its images, two trainings, and a solver."""
    (folder / "deploy.prototxt").write_text(NET)
    net = caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST)
    generator = np.random.default_rng(3)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] = generator.normal(size=blob.data.shape) / 3
    net.save(str(folder / "w.caffemodel"))
    for training in ("plain", "bang"):
        (folder / training).mkdir()
        for iteration in (10, 20):
            net.save(str(folder / training / f"net_iter_{iteration}.caffemodel"))
    settings = "deploy: deploy.prototxt\nscale: 0.004\n"
    (folder / "model.yaml").write_text(f"name: tiny\nweights: w.caffemodel\n{settings}")
    (folder / "other.yaml").write_text(f"name: other\nweights: w.caffemodel\n{settings}")
    (folder / "curves.yaml").write_text(settings)
    # TanH has no bounds.
    (folder / "relu.prototxt").write_text(NET.replace("TanH", "ReLU"))
    (folder / "relu.yaml").write_text(
        "deploy: relu.prototxt\nweights: w.caffemodel\nscale: 0.004\n"
    )
    images = generator.integers(60, 200, (30, 1, 12, 12), np.uint8)
    labels = read_model(folder / "model.yaml").load().predict(images)
    np.savez(folder / "images.npz", images=images, labels=labels)
    (folder / "net.prototxt").write_text(TRAINED)
    (folder / "digits.prototxt").write_text(DIGITS)
    (folder / "digits_deploy.prototxt").write_text(
        NET.replace("dim: 12", "dim: 28").replace("num_output: 3", "num_output: 10")
    )
    (folder / "digits.yaml").write_text("deploy: digits_deploy.prototxt\nscale: 0.004\n")
    (folder / "sweep.yaml").write_text(SWEEP)
    (folder / "solver.prototxt").write_text(SOLVER)


def arguments(program: str, inputs: Path, output: Path) -> list[str]:
    """Return the arguments with which a program works on the inputs."""
    images = ["--images", f"{inputs / 'images.npz'}", "--output", f"{output}"]
    model = ["--model", f"{inputs / 'model.yaml'}", *images]
    trainings = ["--first", f"{inputs / 'plain'}", "--second", f"{inputs / 'bang'}"]
    noise = ["--levels", "5", "40", "--per-class", "1", "--copies", "10"]
    return {
        "hotcold": [*model, "--attacks", "hc1", "fgs", "--limit", "12"],
        "hardpositives": [*model, "--attacks", "hc1", "fgs"],
        "evaluate": [
            *(*model, "--quick", "--limit", "12", "--noise-images", "1", "--noise-copies", "2"),
            *("--probe", "4", "--jobs", "1"),
        ],
        "noise_curves": [*trainings, "--model", f"{inputs / 'curves.yaml'}", *images, *noise],
        "transfer": [
            *("--model", f"{inputs / 'model.yaml'}", f"{inputs / 'other.yaml'}", *images),
            *("--attacks", "hc1", "--limit", "12"),
        ],
        "certify": [
            *("smoothing", *model, "--limit", "4", "--sigma", "30", "60"),
            *("--n", "100", "--n0", "20"),
        ],
        "bounds": [
            *("bounds", "--model", f"{inputs / 'relu.yaml'}", *images, "--limit", "6"),
            *("--radii", "1", "4", "--methods", "interval", "crown", "--no-attack"),
        ],
        "exact": [
            *("exact", "--model", f"{inputs / 'relu.yaml'}", *images, "--limit", "6"),
            *("--radii", "8", "--no-attack"),
        ],
        "landscape": [
            *("landscape", "--starts", "1", "--hops", "1", "--hidden", "4", "4", "--exact", "1"),
            *("--jobs", "1", "--output", f"{output}"),
        ],
        "fastgradient": [*model, "--logits", "--limit", "12"],
        "demo": ["--digits", "--iterations", "6", "--output", f"{output}"],
        "table1": [
            *("--digits", "--models", "R0", "B1", "--iterations", "6", "--snapshots", "3"),
            *("--validation", "1400", "--output", f"{output}"),
        ],
        "bench_attacks": [
            *("--model", f"{inputs / 'model.yaml'}", f"{inputs / 'other.yaml'}", *images),
            *("--limit", "2", "--accuracy", "--within", "255", "l2=20of1"),
        ],
        "distortion": [
            *("distortion", "--digits", "--iterations", "2", "--limit", "10", "--levels", "2"),
            *("--defences", "lowpass-3", "stage-5", "--output", f"{output}"),
        ],
        "pass_table1": [
            *("pass-table1", "--digits", "--bases", "1", "--orderings", "1", "--no-ranges"),
            *("--rows", "FGS", "deformed", "basic", "--iterations", "30", "--fine-tuning", "4"),
            *("--attacked", "20", "--held-out", "2", "--deformed", "10", "--output", f"{output}"),
        ],
        "get_data": ["digits", "--output", f"{output}"],
        "sweep": [f"{inputs / 'sweep.yaml'}", "--workers", "1", "--output", f"{output}"],
        "training": [f"{inputs / 'solver.prototxt'}", f"{output}"],
    }[program]


def left(folder: Path) -> dict[str, Any]:
    """Return what a program has left, without what differs from run to run."""
    return {
        str(path.relative_to(folder)): _content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock.mdb"
    }


def _content(path: Path) -> Any:
    if path.suffix in TEXTS or path.name == "sweep.csv":
        return path.stat().st_size > 0
    if path.suffix == ".json":
        return _stable(json.loads(path.read_text()))
    if path.suffix == ".h5":
        with h5py.File(path, locking=False) as file:
            values: dict[str, Any] = {}
            file.visititems(lambda name, item: values.__setitem__(name, _array(item)))
            return values, dict(file.attrs)
    if path.name == "data.mdb":
        with lmdb.open(str(path.parent), readonly=True, lock=False) as env, env.begin() as reader:
            return list(reader.cursor())
    return path.read_bytes()


def _array(item: Any) -> Any:
    """Return what a data set holds; nothing for a group, whose members are visited, too."""
    return (item.shape, item[()].tobytes()) if isinstance(item, h5py.Dataset) else None


def _stable(value: Any) -> Any:
    """Return JSON without the values that differ from run to run."""
    if isinstance(value, dict):
        # The digest of a training's settings is also one of the times of its data.
        return {
            key: _stable(item)
            for key, item in value.items()
            if key not in VOLATILE
            and not key.endswith(" seconds")
            and not (key == "settings" and isinstance(item, str))
        }
    return [_stable(item) for item in value] if isinstance(value, list) else value


def moments(seed: str, count: int, changes: int) -> list[int]:
    """Return some of the changes' numbers, 1 or above."""
    chosen = random.Random(seed).sample(range(1, changes + 1), min(count, changes))
    return sorted(chosen)
