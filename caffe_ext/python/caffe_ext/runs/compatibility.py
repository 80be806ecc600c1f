"""Check that models take the images, that attacks work on the models, and that the inputs have the
scale that a model was trained with."""

from collections.abc import Sequence

import numpy as np

from caffe_ext.attacks.base import Attack, check_attack
from caffe_ext.attacks.criteria import MISCLASSIFIED, CriterionKind
from caffe_ext.data import ImageSource
from caffe_ext.models.cache import load_cached
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter
from caffe_ext.runs.records import AttackRecords
from caffe_ext.runtime.checkout import shorten_paths

_CHANNELS = {1: "grey", 3: "colour"}
_MANY_SATURATED, _NEVER_CHANCE, _FEWEST, _TRIED = 0.5, 0.5, 20, 100


def check_model(
    model: LoadableModel,
    attacks: Sequence[Attack],
    source: ImageSource,
    batch_size: int = 1,
    criterion: CriterionKind = MISCLASSIFIED,
) -> None:
    """Raise ValueError, with the model's name, if the model or an attack cannot take the images.

    The message names the options of the programs that help: --resize, --grey, --colour.
    """
    try:
        classifier = load_cached(model, batch_size)
        first = source.read(slice(1)).images
        space, size = model.pixel_space, source.image_shape[1:]
        if space.mean_size not in (None, size):
            height, width = space.mean_size
            raise ValueError(
                f"the images are {size[0]} x {size[1]} and the mean image is {height} x {width}; "
                f"use --resize {height}x{width}"
            )
        shape = space.to_input(first).shape[1:]
        if space.crop is not None and shape[1:] != classifier.input_shape[1:]:
            raise ValueError(
                f"`crop: {space.crop}` in its YAML file differs from the network's input, "
                f"{_format_shape(classifier.input_shape)}; make the crop as large as the input"
            )
        if shape != classifier.input_shape:
            raise ValueError(
                f"the images are {_format_shape(source.image_shape)} and the network takes "
                f"{_format_shape(classifier.input_shape)}"
                f"{_suggest_options(shape, classifier.input_shape)}"
            )
        criterion.check(classifier.classes)
        for attack in attacks:
            check_attack(attack, classifier)
        labels = source.load_labels()
        if labels is not None:
            classifier.check_labels(
                labels, len(labels), named=lambda row: source.read(slice(row, row + 1)).names[0]
            )
    except ValueError as error:
        raise ValueError(f"{model.name}: {error}") from error


def report_images(source: ImageSource, reporter: Reporter) -> None:
    """Report which images these are, and what it means if they have no labels."""
    reporter.note(f"images: {source.selection}, {shorten_paths(source.origin)}")
    if not source.labelled:
        reporter.warn(
            "the images have no labels: the class that a model assigns to an image counts as its "
            "label, whether it is right or wrong, and the accuracy is unknown. Labels come from "
            "--labels, or from folders named after classes (`classes:` in the model's YAML file)"
        )


def warn_of_missing_scale(
    model: LoadableModel, records: AttackRecords, source: ImageSource, reporter: Reporter
) -> None:
    """Warn if a model without `scale:` and `mean:` looks as if it needed them.

    A network that was trained on scaled inputs and gets grey levels 0..255 is often no better than
    chance, or its softmax saturates.

    records  of an attack on the images of the source

    A softmax is saturated if a probability is exactly 1 in float32. The first 100 images count,
    whether they are classified correctly or not.
    """
    space = model.pixel_space
    if space.mean is not None or np.any(np.asarray(space.scale) != 1):
        return
    if source.labelled and _is_at_chance(records):
        accuracy = _compute_accuracy(records)
        seen = f"it is no better than chance on these images ({accuracy:.1%} correct)"
    elif (saturated := _compute_saturated_share(model, source)) >= _MANY_SATURATED:
        seen = f"its softmax is saturated for {saturated:.0%} of the images"
    else:
        return
    reporter.warn(
        f"{model.name} gets grey levels 0..255 as they are, without `scale:` and `mean:`, and "
        f"{seen}. If it was trained with scale, mean_value or mean_file (transform_param in its "
        "training prototxt), give the same in the model's YAML file: `scale: 0.00390625`, `mean:`"
    )


def _is_at_chance(records: AttackRecords) -> bool:
    """Tell whether labels and predictions agree no more often than independent ones would.

    Within two standard errors. An accuracy above one half never counts as chance, since all labels
    may be the same.
    """
    count = len(records)
    if count < _FEWEST or (accuracy := _compute_accuracy(records)) >= _NEVER_CHANCE:
        return False
    expected = sum(
        float(np.mean(records.labels == label) * np.mean(records.predicted == label))
        for label in np.unique(records.labels)
    )
    return bool(accuracy <= expected + 2 * np.sqrt(expected * (1 - expected) / count))


def _compute_saturated_share(model: LoadableModel, source: ImageSource) -> float:
    """Return the share of images whose softmax is exactly 1 for a class; 0 for too few images."""
    if len(source) < _FEWEST:
        return 0.0
    images = source.read(slice(_TRIED)).images
    probabilities = model.load(len(images)).probabilities(images)
    return float(np.mean(probabilities.max(axis=1) == 1))


def _compute_accuracy(records: AttackRecords) -> float:
    return float(np.mean(records.predicted == records.labels))


def _suggest_options(given: Sequence[int], wanted: Sequence[int]) -> str:
    """Return the options that convert images of one shape (C, H, W) to another."""
    options = []
    if given[0] != wanted[0] and wanted[0] in _CHANNELS:
        options.append("--grey" if wanted[0] == 1 else "--colour")
    if given[1:] != wanted[1:]:
        options.append(f"--resize {wanted[1]}x{wanted[2]}")
    return f"; use {' '.join(options)}" if options else ""


def _format_shape(shape: Sequence[int]) -> str:
    channels, height, width = shape
    kind = _CHANNELS.get(channels, f"{channels} channels")
    return f"{height} x {width} {kind}"
