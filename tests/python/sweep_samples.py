"""A sweep of small networks on scikit-learn's digits."""

from pathlib import Path
from typing import Any

import yaml

from caffe_ext.sweeps.file import read_sweep
from caffe_ext.sweeps.sweep import Sweep, SweepPlan

NET = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.004 }
  data_param { source: "data/digits/train_lmdb" batch_size: 8 backend: LMDB } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
DEPLOY = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 1 dim: 28 dim: 28 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 10 } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""
SOLVER = """
type: "BANG" base_lr: 0.01 lr_policy: "fixed" max_iter: 20 random_seed: 3
test_iter: 3 test_interval: 10 snapshot: 5 snapshot_prefix: "nowhere/x" solver_mode: GPU
"""
SWEEP: dict[str, Any] = {
    "solver": "solver.prototxt",
    "net": "net.prototxt",
    "model": "model.yaml",
    "data": "digits",
    "axes": {"bang_param.beta": [1.0, 1.2], "bang_param.epsilon": [0.5, 0.8]},
    "baseline": {"solver": "plain.prototxt"},
    "evaluation": {"attacks": ["fgs", "hc1"], "limit": 20, "radii": [8]},
}


def write_sweep(folder: Path, **changes: Any) -> Path:
    """Write the files of the sweep, and return its own; changes: of its keys; None: without."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.prototxt").write_text(NET)
    (folder / "deploy.prototxt").write_text(DEPLOY)
    (folder / "solver.prototxt").write_text('net: "net.prototxt"' + SOLVER)
    plain = SOLVER.replace('type: "BANG"', "")
    (folder / "plain.prototxt").write_text('net: "net.prototxt"' + plain)
    (folder / "model.yaml").write_text("deploy: deploy.prototxt\nscale: 0.004\n")
    path = folder / "sweep.yaml"
    kept = {key: value for key, value in {**SWEEP, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(kept, sort_keys=False))
    return path


def plan_sweep(folder: Path, **changes: Any) -> SweepPlan:
    """Return the checked points of the sweep, whose files are written below the folder."""
    file = read_sweep(write_sweep(folder / "files", **changes))
    return Sweep(file, folder / "out", folder / "files").plan()
