"""A tiny model, images, and how to run the hotcold command on them, for test_hotcold_*.py."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from caffe_ext.cli import hotcold
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.description import read_model
from classifier_models import write_model

NET = """
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 1 dim: 1 dim: 12 dim: 12 } } }
layer { name: 'inner' type: 'InnerProduct' bottom: 'data' top: 'inner'
  inner_product_param { num_output: 6 } }
layer { name: 'score' type: 'InnerProduct' bottom: 'inner' top: 'score'
  inner_product_param { num_output: 3 } }
layer { name: 'prob' type: 'Softmax' bottom: 'score' top: 'prob' }
"""
NAMES = ("tench", "gold fish", "shark")
COUNT = 9
Arguments = list[object]


@dataclass(frozen=True)
class Setting:
    """A model, images of which it gets all but the first right, and where the results go."""

    model: Path
    images: Path
    output: Path
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    @property
    def arguments(self) -> Arguments:
        return ["--model", self.model, "--images", self.images, "--output", self.output]

    @property
    def classifier(self) -> Classifier:
        return read_model(self.model).load()

    @property
    def hc1(self) -> Path:
        return self.output / "tiny" / "hc1"


def write_yaml(folder: Path, name: str = "tiny", net: str = NET, seed: int = 0) -> Path:
    deploy, weights = write_model(folder, net, seed=seed)
    path = folder / "model.yaml"
    path.write_text(
        f"name: {name}\ndeploy: {deploy.name}\nweights: {weights.name}\nscale: 0.00390625\n"
        f"classes: {json.dumps(NAMES)}\n"
    )
    return path


def make_setting(tmp_path: Path) -> Setting:
    model = write_yaml(tmp_path / "model")
    pixels = np.random.default_rng(1).integers(90, 160, (COUNT, 1, 12, 12), np.uint8)
    labels = read_model(model).load().predict(pixels)
    labels[0] = (labels[0] + 1) % 3
    images = tmp_path / "images.npz"
    np.savez(images, images=pixels, labels=labels)
    return Setting(model, images, tmp_path / "out", pixels, labels)


def run(*arguments: object, main: Callable[[list[str]], int] = hotcold.main) -> int:
    return main([*map(str, arguments)])


def refused(*arguments: object, main: Callable[[list[str]], int] = hotcold.main) -> str:
    """Return the sentence with which the tool ends."""
    with pytest.raises(SystemExit) as end:
        run(*arguments, main=main)
    assert isinstance(end.value.code, str)  # printed to stderr, and the exit status is 1
    # One sentence; a list that is too long for a line stands indented below it.
    assert all(line.startswith("  ") for line in end.value.code.splitlines()[1:])
    return end.value.code


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
