"""What bench_gpu.py measures of the search: HC1 on the GPU, and the same on this machine's CPU."""

# The package, which loads Caffe, is imported late: --help is instant.
# ruff: noqa: PLC0415

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe_ext.cli.console import Console
from caffe_ext.cli.image_arguments import open_source
from caffe_ext.cli.model_arguments import LENET, find_models
from caffe_ext.runtime.checkout import ROOT, shorten_paths
from engine_jobs import set_weights
from search_timing import PIECE, measure_all

if TYPE_CHECKING:
    from caffe_ext.models.base import Images, Ints
    from caffe_ext.models.description import ModelDescription
    from caffe_ext.runtime.device import Device

RANDOM = "random images"
_RANDOM_IMAGES = 10_000


def measure_search(arguments: argparse.Namespace, device: "Device") -> dict[str, Any]:
    """Return the figures of HC1: on the device, there in large batches, too, and on the CPU.

    Raises DataError, FileNotFoundError and ValueError for models and images that are named and
    cannot be used.
    """
    from caffe_ext.attacks.registry import parse_attack
    from caffe_ext.runtime.device import Device

    attack = parse_attack("hc1")
    settings = (
        (device, arguments.batch_size),
        (device, max(PIECE, arguments.batch_size)),
        (Device(), arguments.batch_size),
    )
    with _lend_model(arguments) as model:
        images, labels, origin = _read_images(arguments, model)
        found = []
        for where, batch_size in dict.fromkeys(settings):
            classifier = model.load(batch_size, where)
            given = classifier.predict(images) if labels is None else labels
            with Console().show_progress(f"HC1 on {where}", len(images), "image") as step:
                measured = measure_all(classifier, attack, images, given, step)
            found.append({"device": f"{where}", "batch_size": batch_size, **measured})
        return {"model": model.as_shown_record(), "images": origin, "measurements": found}


@contextmanager
def _lend_model(arguments: argparse.Namespace) -> "Iterator[ModelDescription]":
    """Lend the model that is named, else the one of `make demo`, else one of random weights."""
    import caffe

    from caffe_ext.models.description import read_model

    with tempfile.TemporaryDirectory() as folder:
        try:
            model = find_models(arguments)[0]
        except FileNotFoundError:
            if arguments.model or arguments.weights:
                raise
            weights = Path(folder) / "random.caffemodel"
            net = caffe.Net(str(ROOT / "prototxt/lenet_deploy.prototxt"), caffe.TEST)
            set_weights(net)
            net.save(str(weights))
            model = read_model(LENET, weights)
        yield model


def _read_images(
    arguments: argparse.Namespace, model: "ModelDescription"
) -> "tuple[Images, Ints | None, str]":
    """Return --limit images (None: all), again from the start if there are fewer; labels; origin.

    For a random model random ones: all that it sees looks alike to it.
    """
    if model.name == "random" and arguments.images is None:
        count = arguments.limit or _RANDOM_IMAGES
        random = np.random.default_rng(0)
        return random.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8), None, RANDOM
    source = open_source(arguments)
    count = arguments.limit or len(source)
    batch = source.read(slice(0, count))
    rows = np.arange(count) % len(batch.images)
    labels = None if batch.labels is None else batch.labels[rows]
    return batch.images[rows], labels, shorten_paths(source.origin)
