"""From a model and the images it was trained on to a training set of hard positives.

An interrupted run resumes, and another filter, order or mixture needs no new attacks: the attacks'
results are kept in the set's folder (folder.py).
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from caffe_ext.data.database import compute_map_size
from caffe_ext.data.image_set import ImageSet
from caffe_ext.data.image_source import ImageSource
from caffe_ext.data.mixture import Pool, shuffle
from caffe_ext.errors import DataError, RecordError
from caffe_ext.metrics.ssim import WINDOW
from caffe_ext.models.base import Images, Ints, Model
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter, SilentReporter, StepCounter
from caffe_ext.runs.records import load_adversarials
from caffe_ext.runs.runner import AttackRun, check_run, run_attack
from caffe_ext.storage.staging import explain_full_disk, lock_for_making
from caffe_ext.training.hard_positives.choice import choose_per_class
from caffe_ext.training.hard_positives.folder import (
    ATTACKS,
    HardPositiveSet,
    read_set,
    refuse_foreign,
    refuse_other,
    write_set,
)
from caffe_ext.training.hard_positives.presets import AttackYield, Recipe, count_per_class, select

# What a row of an attack's records takes besides the image.
_ROW = 256
_ENDS = ("below", "above")


class NothingLeftError(DataError):
    """The attacks found nothing, or nothing with a PASS in the range."""


@dataclass(frozen=True, eq=False)
class SetRequest:
    """What the training set is made of.

    model        to be attacked, and fine-tuned later
    source       labelled images, on which it was trained
    folder       for the set; nothing else may be in it
    batch_size   images in the network at a time
    again        make it again, and replace the results of other settings
    sample_seed  chooses the images that are attacked, if not all of a folder or listing are
    about        further entries of the record, for JSON: provenance
    """

    model: LoadableModel
    source: ImageSource
    recipe: Recipe
    folder: Path
    batch_size: int = 100
    again: bool = False
    sample_seed: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def swaps_channels(self) -> bool:
        """Return whether the LMDB is BGR, as the network is: Data layers do not swap channels."""
        return self.model.pixel_space.channel_order == "BGR" and self.source.image_shape[0] == 3


def make_set(request: SetRequest, reporter: Reporter | None = None) -> HardPositiveSet:
    """Attack, filter, mix, shuffle, write; or return the set that exists for these settings.

    Everything that can be checked is checked before the first attack.
    Raises DataError for a folder with other things in it or without room, and for images that are
    damaged or have no labels; NothingLeftError where the filter leaves nothing; RecordError for
    attacks on something else in the folder; ValueError if model, images and attacks do not go
    together.
    """
    reporter = reporter or SilentReporter()
    refuse_foreign(request.folder)
    classifier = request.model.load(request.batch_size)
    labels = _check_images(classifier, request)
    settings = _collect_settings(request, reporter)
    with explain_full_disk(request.folder), lock_for_making(request.folder):
        present = read_set(request.folder)
        if present and not request.again:
            refuse_other(present, settings)
            return present
        attacked, identity = _choose_attacked(classifier, request, labels, reporter)
        runs = _list_runs(request, settings, identity)
        _check_room(request, runs, len(attacked), len(labels))
        counter, began = StepCounter(reporter), perf_counter()
        pools, yields = _find_hard_positives(classifier, attacked, request, runs, counter)
        steps, seconds = counter.steps, perf_counter() - began
        classes = classifier.classes
        del classifier  # a large network's memory is needed no longer
        if request.recipe.mix:
            pools.append(Pool(labels, lambda rows: _read_originals(request.source, rows)))
        every = np.concatenate([pool.labels for pool in pools])
        hard = sum(one.kept for one in yields)
        record = {
            "images": len(every),
            "hard_positives": hard,
            "originals": len(every) - hard,
            "channel_order": "BGR" if request.swaps_channels else "RGB",
            "classes": count_per_class(every, classes),
            "attacks": [asdict(one) for one in yields],
            "settings": settings,
            **request.about,
        }
        parts = _shuffle_parts(request, pools)
        write_set(request.folder, parts, record, request.source.image_shape, reporter)
        finished = read_set(request.folder)
    if finished is None:
        raise DataError(
            f"{request.folder} was changed by another program while it was being written"
        )
    return replace(finished, made=True, attacked=steps, seconds=seconds if steps else 0.0)


def _check_images(classifier: Model, request: SetRequest) -> Ints:
    """Return the labels of all images; checks that network, images and attacks fit together."""
    source, recipe = request.source, request.recipe
    if min(source.image_shape[1:]) < WINDOW and (recipe.min_pass, recipe.max_pass) != (None, None):
        raise ValueError(
            f"{source.origin}: PASS needs {WINDOW} x {WINDOW} pixels or more; leave out "
            "--min-pass and --max-pass"
        )
    first = source.read(slice(1)).images
    for attack in recipe.parse_attacks():
        try:
            classifier.predict(first)
            attack.check(classifier)
        except ValueError as error:
            raise ValueError(f"{attack.text} on {source.origin}: {error}") from error
    labels = source.load_labels()
    if labels is None:
        raise DataError(
            f"{source.origin}: there are no labels, and a hard positive gets the label of its "
            "original; give them with --labels"
        )
    try:
        return classifier.check_labels(labels, len(labels))
    except ValueError as error:
        raise ValueError(f"{source.origin}: {error}") from error


def _collect_settings(request: SetRequest, reporter: Reporter) -> dict[str, Any]:
    """Return everything the set depends on, for JSON; digests of files instead of names."""
    recipe = request.recipe
    settings = {
        "model": request.model.identify(),
        "images": request.source.compute_digest(reporter),
        **asdict(recipe),
        "attacks": [attack.text for attack in recipe.parse_attacks()],
    }
    if recipe.per_class is None:
        del settings["per_class"]
    if (recipe.per_class or recipe.limit) is not None and request.source.draws_samples:
        settings["sample_seed"] = request.sample_seed
    return dict(json.loads(json.dumps(settings)))


def _choose_attacked(
    classifier: Model, request: SetRequest, labels: Ints, reporter: Reporter
) -> tuple[ImageSource, dict[str, str]]:
    """Return the images that are attacked, and what else the attacks' results depend on."""
    source, per_class = request.source, request.recipe.per_class
    if per_class is None:
        return source.sample(request.recipe.limit, request.sample_seed), {}
    rows = choose_per_class(
        classifier, source, labels, per_class, seed=request.sample_seed, reporter=reporter
    )
    if not len(rows):
        raise DataError(f"{source.origin}: {request.model.name} classifies no image correctly")
    chosen = source.choose(rows, f"{per_class:,} of each class, classified correctly")
    return chosen, {"rows": sha256(rows.astype("<i8").tobytes()).hexdigest()}


def _list_runs(
    request: SetRequest, settings: Mapping[str, Any], further: Mapping[str, str]
) -> list[AttackRun]:
    """Return the attacks to run; results of other settings are only discarded on request."""
    keys = ("model", "images", "sample_seed", "per_class")
    identity = {**{key: settings[key] for key in keys if key in settings}, **further}
    folder, limit = request.folder / ATTACKS, request.recipe.limit
    runs = []
    for attack in request.recipe.parse_attacks():
        run = AttackRun(attack, identity, folder, limit)
        try:
            check_run(run)
        except RecordError:
            if not request.again:
                raise
            run = replace(run, again=True)
        runs.append(run)
    return runs


def _check_room(
    request: SetRequest, runs: Sequence[AttackRun], attacked: int, originals: int
) -> None:
    """Raise DataError unless there is room for the largest possible set."""
    count = len(runs) * attacked + (originals if request.recipe.mix else 0)
    to_run = sum(not run.path.exists() for run in runs)
    # The pieces of an attack and the file that they become are there at the same time.
    rows = (to_run + (to_run > 0)) * attacked
    shape = request.source.image_shape
    needed = compute_map_size(count, shape) + rows * (int(np.prod(shape)) + _ROW)
    free = shutil.disk_usage(request.folder).free
    if needed > free:
        raise DataError(
            f"{request.folder} needs up to {_format_size(needed)}, and its disk has "
            f"{_format_size(free)} left; make room, choose another folder, or attack fewer images"
        )


def _find_hard_positives(
    classifier: Model,
    attacked: ImageSource,
    request: SetRequest,
    runs: Sequence[AttackRun],
    reporter: Reporter,
) -> tuple[list[Pool], list[AttackYield]]:
    """Run the attacks; return their filtered results."""
    pools, yields = [], []
    # Images that were chosen for it are known to be classified as their label.
    predicted = attacked.load_labels() if request.recipe.per_class else None
    for run in runs:
        records = run_attack(classifier, attacked, run, reporter, predicted=predicted)
        kept, amount = select(records, request.recipe, run.attack, classifier.classes)
        # A file of records has the adversarials of those rows only that were found.
        places = (np.cumsum(records.found) - 1)[kept]
        pools.append(_read_pool(run.path, places, records.labels[kept]))
        yields.append(amount)
    _refuse_nothing(yields, request.recipe)
    return pools, yields


def _refuse_nothing(yields: Sequence[AttackYield], recipe: Recipe) -> None:
    """Raise NothingLeftError if no hard positive is left."""
    if any(one.kept for one in yields):
        return
    below, above = (sum(getattr(one, f"{end}_pass") for one in yields) for end in _ENDS)
    reasons = [
        f"{count:,} have a PASS {end} {limit}"
        for count, end, limit in zip((below, above), _ENDS, recipe.pass_range, strict=True)
        if count
    ]
    found = sum(one.found for one in yields)
    raise NothingLeftError(
        f"no hard positive is left of the {found:,} adversarials "
        f"found{''.join(f'; {reason}' for reason in reasons)}; no training set was written"
    )


def _read_pool(path: Path, places: Ints, labels: Ints) -> Pool:
    """Return adversarials of a file of records; `places` are theirs among all in it."""
    return Pool(labels, lambda rows: load_adversarials(path, places[rows]))


def _read_originals(source: ImageSource, rows: Ints) -> Images:
    """Return the images of a source in these rows."""
    return np.concatenate([source.read(slice(row, row + 1)).images for row in rows.tolist()])


def _shuffle_parts(request: SetRequest, pools: Sequence[Pool]) -> Iterator[ImageSet]:
    """Yield all images shuffled, their channels in the network's order."""
    for part in shuffle(pools, request.source.image_shape, request.recipe.seed):
        yield ImageSet(part.images[:, ::-1], part.labels) if request.swaps_channels else part


def _format_size(count: float) -> str:
    """Return a number of bytes for messages."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
