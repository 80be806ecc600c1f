"""Run an attack on all images of a source: piece by piece, so that memory stays bounded and an
interrupted run goes on where it was.

Finished pieces lie in `<attack>.parts/`; when all are there they become `<attack>.h5` (records.py).
A folder that holds the results of something else, another model, say, is never overwritten.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks import Attack, attempted
from caffe_ext.classifier import Classifier, Images
from caffe_ext.data.reporter import Reporter, Silent
from caffe_ext.directions import Ints
from caffe_ext.metrics import distances
from caffe_ext.pass_score import PUBLISHED, pass_scores
from caffe_ext.records import (
    AttackRecords,
    RecordError,
    adversarial_batches,
    concatenated,
    empty_columns,
    load_adversarials,
    load_description,
    load_records,
    save_records,
    set_verified,
)

# Values of float64 that a piece may take for its directions and candidates, besides the net.
_VALUES = 1 << 24
_SMALLEST_FOR_PASS = 11


class Batch(Protocol):
    """Some images of a source, as data.image_source has them."""

    @property
    def images(self) -> Images:
        """Return uint8 (n, C, H, W)."""

    @property
    def labels(self) -> Ints | None:
        """Return int64 (n,), or None if there are none."""


class Source(Protocol):
    """Where images come from; data.open_images makes one."""

    def __len__(self) -> int:
        """Count the images."""

    def read(self, rows: slice) -> Batch:
        """Return some of them."""


@dataclass(frozen=True)
class AttackRun:
    """What is run, on what, and where the results go.

    identity  what the results depend on, for JSON: the digests of model and images; without the
              attack, which is added
    folder    where the files go; made if it is not there
    limit     how many of the source's images; None: all
    again     throw away what an earlier run has left for this attack
    """

    attack: Attack
    identity: dict[str, Any]
    folder: Path
    limit: int | None = None
    again: bool = False

    @property
    def path(self) -> Path:
        """Return the file with the records."""
        return self.folder / f"{self.attack.file_name}.h5"

    @property
    def parts(self) -> Path:
        """Return the folder with the finished pieces."""
        return self.folder / f"{self.attack.file_name}.parts"

    @property
    def description(self) -> dict[str, Any]:
        """Return what stands in the file beside the records."""
        attack = {
            "name": self.attack.name,
            "text": self.attack.text,
            "threat_model": self.attack.threat_model,
        }
        ball = getattr(self.attack, "ball", None)
        seed = ball.seed if ball and ball.random_start else None
        return {**self.identity, "limit": self.limit, "attack": attack, "seed": seed}


def attack_images(
    classifier: Classifier,
    attack: Attack,
    batch: Batch,
    first_index: int = 0,
    workers: int | None = None,
) -> tuple[AttackRecords, Images]:
    """Attack images; return the records, and the adversarials that were found.

    batch        images uint8 (N, C, H, W) and labels int64 (N,); labels None: the images' labels
                 are what they are classified as
    first_index  number of the first image, which random choices depend on
    workers      threads for PASS, as pass_scores has them

    Raises ValueError for images and labels that do not fit the classifier.
    """
    images, labels = batch.images, batch.labels
    predicted = classifier.predict(images)
    labels = predicted if labels is None else classifier.check_labels(labels, len(images))
    columns = empty_columns(len(images))
    columns["indices"] = first_index + np.arange(len(images))
    columns["labels"], columns["predicted"] = labels, predicted
    columns["attempted"] = attempted(attack, labels, predicted)
    tried = np.flatnonzero(columns["attempted"])
    attempt = attack(classifier, images[tried], labels[tried], columns["indices"][tried])
    directions, result = attempt.directions, attempt.result
    for name, values in (
        ("found", result.found),
        ("targets", directions.targets),
        ("classes", result.classes),
        ("certain", directions.certain),
        ("blank", directions.blank),
        ("amplitudes", result.amplitudes),
    ):
        columns[name][tried] = values
    found = tried[result.found]
    adversarials = result.adversarials[result.found]
    _measure(columns, found, adversarials, images[found], workers)
    return AttackRecords(**columns), adversarials


def _measure(
    columns: dict[str, NDArray[Any]],
    rows: Ints,
    adversarials: Images,
    originals: Images,
    workers: int | None,
) -> None:
    """Put distances and scores into the columns."""
    apart = distances(adversarials, originals)
    for name in ("l0", "l1", "l2", "l2_per_pixel", "linf", "mean_absolute"):
        columns[name][rows] = getattr(apart, name)
    if min(originals.shape[2:]) < _SMALLEST_FOR_PASS:
        return  # SSIM's window does not fit
    standard = pass_scores(adversarials, originals, workers=workers)
    published = pass_scores(adversarials, originals, protocol=PUBLISHED, workers=workers)
    columns["pass_scores"][rows], columns["ecc_failed"][rows] = standard.scores, standard.ecc_failed
    columns["pass_published"][rows] = published.scores
    columns["ecc_failed_published"][rows] = published.ecc_failed


def run_attack(
    classifier: Classifier,
    source: Source,
    run: AttackRun,
    reporter: Reporter | None = None,
    *,
    workers: int | None = None,
) -> AttackRecords:
    """Run an attack on a source's images; return the records, which then are in run.path.

    What an interrupted run of the same description has finished is taken over; a file that is there
    already is read. Memory: the net, and one piece.

    Raises RecordError if the folder holds the results of something else, OSError if it cannot be
    written, ValueError as attack_images does.
    """
    reporter = reporter or Silent()
    count = len(source) if run.limit is None else min(run.limit, len(source))
    if run.again:
        _discard(run)
    if run.path.exists():
        _same(run, load_description(run.path), run.path)
        return load_records(run.path)
    _claim(run)
    pieces = list(_pieces(classifier, count))
    done = [rows for rows in pieces if _part(run, rows).exists()]
    finished = sum(rows.stop - rows.start for rows in done)
    with reporter.progress(run.attack.name, count, "image", finished) as step:
        for rows in pieces:
            if rows in done:
                continue
            batch = source.read(rows)
            records, adversarials = attack_images(
                classifier, run.attack, batch, rows.start, workers
            )
            save_records(_part(run, rows), records, [adversarials], run.description)
            step(rows.stop - rows.start)
    return _joined(classifier, run, pieces)


def _pieces(classifier: Classifier, count: int) -> Iterator[slice]:
    """Cut the images into pieces: some batches each, as the solved ones leave the batch."""
    values = int(np.prod(classifier.input_shape))
    # The same for every batch size that allows it, so that a resumed run may choose another.
    size = max(1, min(1000, _VALUES // values))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _part(run: AttackRun, rows: slice) -> Path:
    """Return the file of a piece."""
    return run.parts / f"{rows.start:08}-{rows.stop:08}.h5"


def _claim(run: AttackRun) -> None:
    """Make the folder for pieces, or see that it holds pieces of this very run."""
    run.parts.mkdir(parents=True, exist_ok=True)
    note = run.parts / "description.json"
    if note.exists():
        _same(run, json.loads(note.read_text(encoding="utf-8")), run.parts)
        return
    partial = note.with_name(".description.partial")
    partial.write_text(json.dumps(run.description, indent=2, sort_keys=True), encoding="utf-8")
    partial.replace(note)


def _same(run: AttackRun, found: dict[str, Any], where: Path) -> None:
    """Raise RecordError unless the description is this run's."""
    mine = json.loads(json.dumps(run.description))
    if found != mine:
        keys = sorted(key for key in {*mine, *found} if mine.get(key) != found.get(key))
        raise RecordError(
            f"{where} holds results of another run (it differs in: {', '.join(keys)}); choose "
            "another folder, or throw the old results away with --again"
        )


def _joined(classifier: Classifier, run: AttackRun, pieces: list[slice]) -> AttackRecords:
    """Make one file of the pieces, and ask the classifier about all that it holds once more."""
    paths = [_part(run, rows) for rows in pieces]
    records = concatenated([load_records(path) for path in paths])
    joined = run.parts / "joined.h5"
    save_records(joined, records, map(load_adversarials, paths), run.description)
    verified = np.zeros(len(records), np.bool_)
    found = np.flatnonzero(records.found)
    for rows, adversarials in adversarial_batches(joined, classifier.batch_size):
        which = found[rows]
        verified[which] = classifier.predict(adversarials) != records.labels[which]
    set_verified(joined, verified)
    joined.replace(run.path)
    _discard(run, keep=run.path)
    return replace(records, verified=verified)


def _discard(run: AttackRun, keep: Path | None = None) -> None:
    """Remove what a run has left: the pieces, and the file unless it is kept."""
    if run.parts.is_dir():
        for path in run.parts.iterdir():
            path.unlink()
        run.parts.rmdir()
    if run.path != keep:
        run.path.unlink(missing_ok=True)
