"""A model of brightness whose adversarials are known in closed form, for test_evaluate*.py.

h = (0, gain (mean of the pixels - 100.5)): class 0 is dark, class 1 bright. All images are flat, so
every direction is flat, too, and an image of v has its nearest adversarial 101 - v or v - 100 away.
The loss is exactly 0 where the margin is above 17, its gradient where it is above 104.
"""

from functools import partial
from pathlib import Path

import caffe
import numpy as np
import yaml

from caffe_ext.data import ImageSource, open_images
from caffe_ext.evaluation.evaluate import Evaluator
from caffe_ext.evaluation.result import ModelEvaluation, Settings
from caffe_ext.evaluation.stability import NoiseSettings
from caffe_ext.evaluation.tasks import Resources
from caffe_ext.evaluation.work import ImageSet
from caffe_ext.models.description import ModelDescription, read_model
from caffe_ext.reporting import SilentReporter
from caffe_ext.runs.runner import Source
from classifier_models import write_model

NET = """
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 1 dim: 1 dim: 12 dim: 12 } } }
layer { name: 'score' type: 'InnerProduct' bottom: 'data' top: 'score'
  inner_product_param { num_output: 2 } }
layer { name: 'prob' type: 'Softmax' bottom: 'score' top: 'prob' }
"""
# With a gain of 2 the margins are 11, 41, 161, 7; the last one is dark, and labelled as bright.
VALUES = (95, 80, 20, 104, 90)
LABELS = (0, 0, 0, 1, 1)
LINF = (6, 21, 81, 4)
MASKED, OPEN = 2.0, 0.05
NOISE = NoiseSettings(per_class=2, copies=30, levels=(10.0, 60.0))


def write_brightness(folder: Path, name: str, gain: float) -> Path:
    """Write a model; return its YAML file."""
    deploy, weights = write_model(folder / name, NET)
    net = caffe.Net(str(deploy), str(weights), caffe.TEST)
    net.params["score"][0].data[...] = np.array([[0.0], [gain / 144]])
    net.params["score"][1].data[...] = [0, -100.5 * gain]
    net.save(str(weights))
    described = folder / f"{name}.yaml"
    settings = {
        "name": name,
        "deploy": f"{name}/{deploy.name}",
        "weights": f"{name}/{weights.name}",
    }
    described.write_text(yaml.safe_dump(settings))
    return described


def write_images(folder: Path, times: int = 1) -> tuple[Path, Path]:
    """Write the images and their labels, so many times."""
    images, labels = folder / "images.npy", folder / "labels.npy"
    flat = np.broadcast_to(
        np.array(VALUES, np.uint8)[:, None, None, None], (len(VALUES), 1, 12, 12)
    )
    np.save(images, np.tile(flat, (times, 1, 1, 1)))
    np.save(labels, np.tile(LABELS, times))
    return images, labels


def open_sample(images: Path, labels: Path) -> ImageSource:
    return open_images(images, labels)


def evaluator(
    folder: Path, settings: Settings, *, jobs: int = 1, labelled: bool = True, times: int = 1
) -> Evaluator:
    """Return an evaluator of both models, which are written into the folder."""
    folder.mkdir(exist_ok=True)
    models: list[ModelDescription] = [
        read_model(write_brightness(folder, name, gain))
        for name, gain in (("masked", MASKED), ("open", OPEN))
    ]
    images, labels = write_images(folder, times)
    opener = partial(open_sample, images, labels) if labelled else partial(open_images, images)
    source: Source = opener()
    digest = opener().compute_digest()
    assert len(source) == times * len(VALUES)
    results, resources = folder / "results", Resources(batch_size=3, jobs=jobs)
    return Evaluator(models, ImageSet(opener, digest, labelled), settings, results, resources)


def evaluated(folder: Path, settings: Settings | None = None) -> tuple[ModelEvaluation, ...]:
    """Return what comes out for both models, "masked" and "open"."""
    settings = settings or Settings(seed=1, noise=NOISE)
    return evaluator(folder, settings).evaluate(SilentReporter())
