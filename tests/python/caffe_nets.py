"""A small net and a solver as files in the working directory, and how the file of a net is read."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import caffe
from caffe.proto import caffe_pb2
from google.protobuf import text_format

import caffe_ext  # noqa: F401  (Caffe is tested with the plug-in in it)

NET = """
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 1 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
        inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
TRAIN_NET = """
layer { name: "d" type: "DummyData" top: "x" top: "label"
        dummy_data_param { shape { dim: 8 dim: 5 } shape { dim: 8 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc"
        inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "train.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 snapshot_after_train: false
"""


def read_net(path: Path) -> Any:
    """Return a prototxt of a net as it is written."""
    return text_format.Parse(path.read_text(), caffe_pb2.NetParameter())


def write_files(folder: Path) -> None:
    """Put net.prototxt, train.prototxt and solver.prototxt into a folder."""
    (folder / "net.prototxt").write_text(NET)
    (folder / "train.prototxt").write_text(TRAIN_NET)
    (folder / "solver.prototxt").write_text(SOLVER + "momentum: 0.9")


def net(prototxt: str | None = None, phase: int = caffe.TEST, **arguments: Any) -> Any:
    """Build the net of a prototxt's text, or that of net.prototxt."""
    if prototxt is None:
        return caffe.Net("net.prototxt", phase, **arguments)
    Path("t").write_text(prototxt)
    return caffe.Net("t", phase, **arguments)


def solver(text: str) -> Any:
    """Build the solver of a solver file's text."""
    Path("t").write_text(text)
    return caffe.get_solver("t")


def program(*command: str) -> subprocess.CompletedProcess[str]:
    """Run one of Caffe's programs in the working directory."""
    path = Path(caffe.__file__).parents[2] / "bin" / command[0]
    return subprocess.run(
        [path, *command[1:]],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"GLOG_minloglevel": "0"},
    )


def error_of(*command: str) -> str:
    """Return the one line with which one of Caffe's programs fails."""
    done = program(*command)
    assert done.returncode == 1, done.stderr
    assert "stack trace" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("E")]
    return line.partition("] ")[2]


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code with the names of this module in a Python of its own."""
    paths = [str(Path(__file__).parent), *sys.path]
    return subprocess.run(
        [sys.executable, "-c", f"from caffe_nets import *\n{code}"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "GLOG_minloglevel": "2"},
    )
