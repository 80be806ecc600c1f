"""Marabou as a solver: is there an input in a box with z_j <= a? Bisection over a.

Marabou is an option: `pip install caffe_ext[marabou]`. It prints on the process's standard output,
whatever it is told, so it runs in a process of its own, marabou_process.py, which gets a problem as
JSON and answers in a file.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from caffe_ext.studies.landscape.network import Doubles
from caffe_ext.studies.landscape.sensitivity import Box

_PROGRAM = Path(__file__).with_name("marabou_process.py")


class MarabouError(ValueError):
    """Marabou is not installed, or failed."""


def check_marabou() -> None:
    """Raise MarabouError unless maraboupy is installed."""
    if find_spec("maraboupy") is None:
        raise MarabouError(
            "Marabou is not installed: `pip install maraboupy==2.0.0` (Python 3.12 or earlier)"
        )


@dataclass(frozen=True, eq=False)
class MarabouProblem:
    """What Marabou is asked for: the ranges of a net's logits in a box.

    layers     (outputs, inputs + 1) each, the bias last
    bounds     of z of each layer in the box, (1, outputs) each
    start      the logits at the centre
    tolerance  at which a bisection ends, relative to the width of the bounds
    seconds    for each of the bisections, two per logit
    """

    layers: Sequence[Doubles]
    box: Box
    bounds: Sequence[tuple[Doubles, Doubles]]
    start: Doubles
    tolerance: float
    seconds: float

    def encode(self) -> str:
        """Return it as JSON."""
        return json.dumps(
            {
                "layers": [layer.tolist() for layer in self.layers],
                "lower": (self.box.centre - self.box.radii).tolist(),
                "upper": (self.box.centre + self.box.radii).tolist(),
                "bounds": [[side[0].tolist() for side in pair] for pair in self.bounds],
                "start": self.start.tolist(),
                "tolerance": self.tolerance,
                "seconds": self.seconds,
            }
        )


def query_marabou(problem: MarabouProblem) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Return the least and the largest values of the logits: bounds, then values that are reached.

    Raises MarabouError if Marabou is not there or fails.
    """
    check_marabou()
    with TemporaryDirectory() as folder:
        given, answer = Path(folder) / "problem.json", Path(folder) / "answer.json"
        given.write_text(problem.encode())
        command = [sys.executable, str(_PROGRAM), str(given), str(answer)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not answer.exists():
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            raise MarabouError(f"Marabou ended with {done.returncode}: {last}")
        found = json.loads(answer.read_text())
    names = ("least", "most", "reached_least", "reached_most")
    least, most, reached_least, reached_most = (np.array(found[name]) for name in names)
    return least, most, reached_least, reached_most
