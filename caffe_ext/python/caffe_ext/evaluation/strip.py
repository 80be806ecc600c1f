"""A strip of pictures for the report: originals, and the smallest adversarials of each model.

Pictures are PNG files in data URIs; all text is the page's, so that class names in any script are
drawn in the browser's fonts.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import isnan

import numpy as np
from PIL import Image

from caffe_ext.evaluation.plots import choose_attack_titles
from caffe_ext.evaluation.result import ModelEvaluation
from caffe_ext.runs.pictures.images import (
    FinishedAttack,
    choose_rows,
    describe_unshown_classes,
    read_original,
)
from caffe_ext.runs.pictures.tiles import Pixels, show_perturbation
from caffe_ext.runs.runner import Source

_COLUMNS = 10
_LARGEST = 160
"""Pixels: larger images are shrunk, so that the page stays small."""


@dataclass(frozen=True)
class StripEntry:
    """An adversarial for the page: pictures as data URIs, distances in grey levels."""

    picture: str
    perturbation: str
    class_name: str
    attack: str
    linf: float
    l2: float
    pass_score: float | None


@dataclass(frozen=True)
class Strip:
    """Images that all models classify correctly, and what was found for each under each model.

    originals  class name and data URI: the columns
    rows       model, and for each column its smallest adversarial in L2; None: none was found
    note       which classes have no column; "" where all have one
    """

    originals: Sequence[tuple[str, str]]
    rows: Sequence[tuple[str, Sequence[StripEntry | None]]]
    note: str = ""


def make_strip(
    source: Source,
    models: Sequence[ModelEvaluation],
    finished: Mapping[str, Sequence[FinishedAttack]],
    columns: int = _COLUMNS,
) -> Strip | None:
    """Return the pictures; None if no image is classified correctly by all models.

    finished  the attacks on all images, by the model's name
    Raises RecordError and DataError for what cannot be read.
    """
    first = finished[models[0].name][0]
    tried = np.all([model.attempted for model in models], axis=0)
    broken = [
        np.any([one.found for one in model.records.values()], axis=0) & tried for model in models
    ]
    labels = first.records.labels
    rows = choose_rows(tried, np.all(broken, axis=0), labels, columns)
    if not len(rows):
        return None
    titles = {attack: title for (attack, _), title in choose_attack_titles(models).items()}
    shown = []
    for model in models:
        cells = [_find_smallest(source, row, finished[model.name], titles) for row in rows.tolist()]
        shown.append((model.name, cells))
    originals = [
        (first.name_class(row), _make_data_uri(read_original(source, row))) for row in rows.tolist()
    ]
    return Strip(originals, shown, describe_unshown_classes(first, rows))


def _find_smallest(
    source: Source, row: int, attacks: Sequence[FinishedAttack], titles: Mapping[str, str]
) -> StripEntry | None:
    """Return the smallest adversarial of an image in L2."""
    found = [one for one in attacks if one.records.found[row]]
    if not found:
        return None
    best = min(found, key=lambda one: float(one.records.l2[row]))
    one = best.read_adversarial(row)
    if one is None:
        return None
    return StripEntry(
        _make_data_uri(one.image),
        _make_data_uri(show_perturbation(one.image, read_original(source, row))),
        one.class_name,
        titles[best.run.attack.text],
        float(best.records.linf[row]),
        float(best.records.l2[row]),
        None if isnan(one.pass_score) else one.pass_score,
    )


def _make_data_uri(image: Pixels) -> str:
    """Return an image as a data URI."""
    picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    if max(picture.size) > _LARGEST:
        picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BOX)
    stream = BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(stream.getvalue()).decode()}"
