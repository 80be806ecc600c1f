"""A tiny network, and somebody who listens to its training; shared by test_training*.py.

The network has constant data and no dropout, so that a continued training must end with the very
weights of one that was never interrupted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from caffe_ext.training import TrainingRequest

NETWORK = """
layer {
  name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param {
    shape { dim: 4 dim: 3 } data_filler { type: "constant" value: 0.5 }
    shape { dim: 4 } data_filler { type: "constant" value: 1 }
  }
}
layer {
  name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } }
}
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
layer {
  name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy"
  include { phase: TEST }
}
"""
DATABASE_NETWORK = """
layer {
  name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  data_param { source: "data/train_lmdb" batch_size: 4 backend: LMDB }
}
layer {
  name: "test" type: "Data" top: "data" top: "label" include { phase: TEST }
  data_param { source: "data/test_lmdb" batch_size: 4 backend: LMDB }
}
"""
SOLVER = """
net: "net.prototxt" type: "BANG" bang_param { epsilon: 0.5 }
base_lr: 0.001 momentum: 0.9 lr_policy: "fixed" random_seed: 1
max_iter: 200 test_iter: 2 test_interval: 100 display: 50
"""
# Long enough to be interrupted on any machine, and then shortened.
LONG = 20_000_000


class Listener:
    """Keeps what is told; at `stop_at` it is the Ctrl-C."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.notes: list[str] = []
        self.bars: list[tuple[str, int, int]] = []
        self.done = 0
        self.stop_at = stop_at

    def note(self, text: str) -> None:
        self.notes.append(text)

    warn = note

    @contextmanager
    def show_progress(
        self, what: str, total: int, unit: str, done: int = 0
    ) -> Iterator[Callable[[int], object]]:
        self.bars.append((what, total, done))
        self.done = done
        yield self.step

    def step(self, count: int) -> None:
        self.done += count
        if self.stop_at is not None and self.done >= self.stop_at:
            raise KeyboardInterrupt


def tiny_request(folder: Path) -> TrainingRequest:
    """Write a tiny network and its solver, and return the request to train it."""
    (folder / "net.prototxt").write_text(NETWORK)
    (folder / "solver.prototxt").write_text(SOLVER)
    return TrainingRequest(folder / "solver.prototxt", folder / "out" / "tiny", root=folder)
