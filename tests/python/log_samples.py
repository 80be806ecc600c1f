"""Trainings by `caffe train`, and what Caffe's own programs read in their logs; for test_*_log.py.

The network stands in net.prototxt, the log in train.log.
"""

import csv
import subprocess
import sys
from pathlib import Path

import caffe

PROGRAMS = Path(caffe.__file__).parents[1]

SOLVER = """
net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 30 display: 10 random_seed: 1
snapshot_after_train: false
"""


def train(folder: Path, network: str, solver: str) -> subprocess.CompletedProcess[str]:
    """Train a network by SOLVER and further settings."""
    (folder / "net.prototxt").write_text(network)
    (folder / "solver.prototxt").write_text(SOLVER + solver)
    command = ["caffe", "train", "--solver=solver.prototxt"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    (folder / "train.log").write_text(done.stderr)
    return done


def run(folder: Path, program: str, *arguments: str) -> None:
    """Run a program of Caffe's."""
    command = [sys.executable, str(PROGRAMS / program), *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def parse_log(folder: Path) -> list[dict[str, str]]:
    """Return what parse_log.py reads in the log, a row for each iteration that it shows."""
    run(folder, "parse_log.py", "train.log", ".")
    with (folder / "train.log.train").open(newline="") as file:
        return list(csv.DictReader(file))
