"""The adversarial test set: adversarials of all bases, made of test images.

The test images are dealt out to the bases, so that no image occurs twice in a type.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from caffe_ext.attacks.registry import parse_attack
from caffe_ext.data.image_set import ImageSet
from caffe_ext.data.image_source import ImageSource
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter
from caffe_ext.runs.records import load_adversarials
from caffe_ext.runs.runner import AttackRun, run_attack
from caffe_ext.storage.description import hash_description
from caffe_ext.studies.pass_table1.design import HELD_OUT

_MORE = 1.5
"""Images that are attacked for each that is wanted: some are misclassified, or nothing is found."""


@dataclass(frozen=True)
class HeldOut:
    """The adversarials of each type, and a digest of what they depend on."""

    types: Mapping[str, ImageSet]
    digest: str


def collect_held_out(
    bases: Sequence[LoadableModel],
    source: ImageSource,
    count: int,
    folder: Path,
    reporter: Reporter,
) -> HeldOut:
    """Return `count` adversarials of each type, or as many as there are; what is missing is made.

    source  test images with labels
    folder  for the attacks' results

    Raises as run_attack() does.
    """
    digest, each = source.compute_digest(reporter), -(-count // len(bases))
    order = np.random.default_rng(0).permutation(len(source))
    parts: dict[str, list[ImageSet]] = {text: [] for text in HELD_OUT}
    about = [f"{count}"]
    for number, model in enumerate(bases):
        rows = np.sort(order[number :: len(bases)][: int(_MORE * each) + 1])
        chosen = source.choose(rows, f"{len(rows):,} test images")
        identity = {
            "model": model.identify(),
            "images": digest,
            "rows": sha256(rows.astype("<i8").tobytes()).hexdigest(),
        }
        about += [f"{identity}"]
        classifier = model.load()
        # Other weights or images have a folder of their own.
        own = folder / f"base{number + 1}-{hash_description(identity)}"
        for text in HELD_OUT:
            run = AttackRun(parse_attack(text), identity, own)
            records = run_attack(classifier, chosen, run, reporter)
            kept = np.flatnonzero(records.found & records.verified)[:each]
            places = (np.cumsum(records.found) - 1)[kept]
            found = np.empty((0, *source.image_shape), np.uint8)
            if len(places):
                found = load_adversarials(run.path, places)
            parts[text].append(ImageSet(found, records.labels[kept]))
    return HeldOut(
        {text: _join(some, count) for text, some in parts.items()},
        sha256("\n".join(about).encode()).hexdigest(),
    )


def _join(parts: Sequence[ImageSet], count: int) -> ImageSet:
    images = np.concatenate([part.images for part in parts])[:count]
    return ImageSet(images, np.concatenate([part.labels for part in parts])[:count])
