"""Run an attack on all images of a source, piece by piece, so that memory is bounded and an
interrupted run can resume.

Finished pieces are kept in a folder (folder.py); when all are there, they are joined to one file
of records (records.py).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.base import Attack, AttackResult, Diagnostics
from caffe_ext.attacks.criteria import MISCLASSIFIED, Bools, CriterionKind
from caffe_ext.attacks.own import run_checked
from caffe_ext.metrics.distances import compute_distances
from caffe_ext.metrics.pass_score import PUBLISHED, compute_pass_scores
from caffe_ext.models.base import NO_CLASS, Images, Ints, Model
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runs.folder import (
    AttackRun,
    check_run,
    describe_pieces,
    is_begun_again,
    locate_piece,
    lock_pieces,
    read_finished,
    remove_leftovers,
    remove_pieces,
)
from caffe_ext.runs.records import (
    AttackRecords,
    concatenate,
    load_adversarials,
    load_records,
    make_empty_columns,
    read_adversarial_batches,
    save_records,
    set_verified,
)
from caffe_ext.storage.atomic import move_into_place

__all__ = ["AttackRun", "Batch", "Source", "attack_images", "check_run", "run_attack"]

# The most float64 values for the directions and candidates of a piece, besides the net.
_VALUES = 1 << 22
_SMALLEST_FOR_PASS = 11


class Batch(Protocol):
    """Some images of a source; see data.image_source."""

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


def count_images(source: Source, limit: int | None) -> int:
    """Return how many of a source's images are used, the first `limit`; None: all."""
    return len(source) if limit is None else min(limit, len(source))


def _check_kinds(attack: object, batch: object) -> None:
    """Raise TypeError, saying what to pass, for the name of an attack and for an array."""
    if isinstance(attack, str):
        raise TypeError(f"attack must be an Attack, not its name; pass parse_attack({attack!r})")
    if isinstance(batch, np.ndarray):
        raise TypeError("batch must be a batch, not an array; pass ImageBatch(images, labels)")


def attack_images(  # noqa: PLR0913  the settings are independent of each other
    model: Model,
    attack: Attack,
    batch: Batch,
    first_index: int = 0,
    workers: int | None = None,
    *,
    criterion: CriterionKind = MISCLASSIFIED,
    predicted: Ints | None = None,
    only: Bools | None = None,
) -> tuple[AttackRecords, Images]:
    """Attack images; return the records, and the adversarials that were found.

    batch        images uint8 (N, C, H, W) and labels int64 (N,); labels None: the model's
                 predictions are the labels
    first_index  number of the first image, which random choices depend on
    workers      threads for PASS, see compute_pass_scores()
    criterion    what makes an image adversarial
    predicted    int64 (N,), the model's predictions, if known
    only         bool (N,), which of them may be attacked; None: all

    Raises ValueError for images and labels that do not fit the model, for attacks from outside
    the package that fail or return something wrong (attacks/own.py); TypeError for an attack's
    name and for an array in place of a batch.
    """
    _check_kinds(attack, batch)
    images, labels = batch.images, batch.labels
    if images.dtype != np.uint8:
        raise ValueError(
            f"images must be uint8, 0..255, not {images.dtype}; for images in 0..1, pass "
            "np.rint(255 * images).astype(np.uint8)"
        )
    if predicted is None:
        predicted = model.predict(images)
    if len(predicted) and (predicted == NO_CLASS).all():
        raise ValueError(
            f"the scores of all {len(images)} images are NaN: the weights are too large, or the "
            "model's `scale:` is"
        )
    labels = predicted if labels is None else model.check_labels(labels, len(images), first_index)
    columns = make_empty_columns(len(images))
    columns["indices"] = first_index + np.arange(len(images))
    columns["labels"], columns["predicted"] = labels, predicted
    possible = attack.find_applicable(labels) & criterion.find_applicable(labels)
    possible &= True if only is None else only
    columns["attempted"] = (predicted == labels) & (predicted != NO_CLASS) & possible
    tried = np.flatnonzero(columns["attempted"])
    indices = columns["indices"][tried]
    result = run_checked(
        attack, model, images[tried], kind=criterion, labels=labels[tried], indices=indices
    )
    diagnostics = result.diagnostics or Diagnostics.make_empty(len(tried))
    for name, values in (
        ("found", result.found),
        ("targets", diagnostics.targets),
        ("classes", result.classes),
        ("saturated", diagnostics.saturated),
        ("zero_gradient", diagnostics.zero_gradient),
        ("step_lengths", result.step_lengths),
    ):
        columns[name][tried] = values
    found = tried[result.found]
    adversarials = result.adversarials[result.found]
    window = model.pixel_space.find_visible_window((images.shape[2], images.shape[3]))
    _measure(columns, found, (adversarials, images[found]), window, workers)
    _measure_real(columns, tried, result, images[tried], window)
    return AttackRecords(**columns), adversarials


def _measure(
    columns: dict[str, NDArray[Any]],
    rows: Ints,
    pairs: tuple[Images, Images],
    window: tuple[slice, slice],
    workers: int | None,
) -> None:
    """Fill in the columns of distances and scores; distances are over what the model sees.

    What a crop cuts off is never changed, and would only reduce the distances per pixel.
    """
    adversarials, originals = pairs
    apart = compute_distances(adversarials[:, :, *window], originals[:, :, *window])
    for name in ("l0", "l1", "l2", "l2_per_pixel", "linf", "mean_absolute"):
        columns[name][rows] = getattr(apart, name)
    if min(originals.shape[2:]) < _SMALLEST_FOR_PASS:
        return  # SSIM's window does not fit
    standard = compute_pass_scores(adversarials, originals, workers=workers)
    published = compute_pass_scores(adversarials, originals, protocol=PUBLISHED, workers=workers)
    columns["pass_scores"][rows], columns["ecc_failed"][rows] = standard.scores, standard.ecc_failed
    columns["pass_published"][rows] = published.scores
    columns["ecc_failed_published"][rows] = published.ecc_failed


def _measure_real(
    columns: dict[str, NDArray[Any]],
    rows: Ints,
    result: AttackResult,
    images: Images,
    window: tuple[slice, slice],
) -> None:
    """Fill in the columns for real-valued pixels; without such results, from whole grey levels.

    rows, images  those that were attacked
    """
    if result.real is None:
        for name in ("found", "linf", "l2"):
            columns[f"{name}_real"][rows] = columns[name][rows]
        return
    found = result.real.found
    apart = result.real.adversarials[found].astype(np.float64) - images[found]
    apart = apart[:, :, *window]
    columns["found_real"][rows] = found
    columns["linf_real"][rows[found]] = np.abs(apart).max(axis=(1, 2, 3), initial=0)
    columns["l2_real"][rows[found]] = np.sqrt(np.square(apart).sum(axis=(1, 2, 3)))


def run_attack(  # noqa: PLR0913  the settings are independent of each other
    model: Model,
    source: Source,
    run: AttackRun,
    reporter: Reporter | None = None,
    *,
    workers: int | None = None,
    predicted: Ints | None = None,
) -> AttackRecords:
    """Run an attack on a source's images; return the records, which are also written to run.path.

    predicted  int64, the model's predictions for all images of the source, if known

    Pieces that an interrupted run of the same description has finished are reused; an existing file
    of records is read. Memory: the net, and one piece.

    Raises RecordError if the folder holds the results of something else or another process is
    working on them, OSError if it cannot be written, ValueError as attack_images() does.
    """
    reporter = reporter or SilentReporter()
    count = count_images(source, run.limit)
    if (records := load_finished(run, count)) is not None:
        return records
    with lock_pieces(run):
        if run.again and not is_begun_again(run):
            remove_pieces(run)
            run.path.unlink(missing_ok=True)
            run.asked_again.touch()
        if (records := read_finished(run, count)) is not None:
            remove_pieces(run)
            return records
        describe_pieces(run)
        pieces = list(_split_into_pieces(model, count))
        left = [rows for rows in pieces if not locate_piece(run, rows).exists()]
        before = count - sum(rows.stop - rows.start for rows in left)
        with reporter.show_progress(run.attack.name, count, "image", before) as step:
            for rows in left:
                batch = source.read(rows)
                if len(batch.images) != rows.stop - rows.start:
                    raise ValueError(
                        f"the source returned {len(batch.images)} images for the numbers "
                        f"{rows.start} to {rows.stop - 1}"
                    )
                records, adversarials = attack_images(
                    model,
                    run.attack,
                    batch,
                    rows.start,
                    workers,
                    criterion=run.criterion,
                    predicted=None if predicted is None else predicted[rows],
                    only=None if run.only is None else run.only[rows],
                )
                save_records(locate_piece(run, rows), records, [adversarials], run.description)
                step(rows.stop - rows.start)
        return _join_pieces(model, run, pieces)


def load_finished(run: AttackRun, count: int) -> AttackRecords | None:
    """Return the records of `count` images if an earlier run has finished them; None if not, or if
    they are to be computed again.

    Raises RecordError if the folder holds the results of something else.
    """
    if run.again or (records := read_finished(run, count)) is None:
        return None
    remove_leftovers(run)
    return records


def _split_into_pieces(model: Model, count: int) -> Iterator[slice]:
    """Split the images into pieces of several batches, since finished images leave the batch."""
    values = int(np.prod(model.input_shape))
    # The same for every batch size that allows it, so that a resumed run may choose another.
    size = max(1, min(1000, _VALUES // values))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _join_pieces(model: Model, run: AttackRun, pieces: list[slice]) -> AttackRecords:
    """Join the pieces to one file, and verify all its adversarials with the model."""
    paths = [locate_piece(run, rows) for rows in pieces]
    records = concatenate([load_records(locate_piece(run, rows), rows) for rows in pieces])
    joined = run.parts / "joined.h5"
    save_records(joined, records, map(load_adversarials, paths), run.description)
    verified = np.zeros(len(records), np.bool_)
    found = np.flatnonzero(records.found)
    for rows, adversarials in read_adversarial_batches(joined, model.batch_size):
        which = found[rows]
        criterion = run.criterion(records.labels[which])
        verified[which] = criterion.is_satisfied(model.logits(adversarials), np.arange(len(which)))
    set_verified(joined, verified)
    move_into_place(joined, run.path)
    remove_pieces(run)
    return replace(records, verified=verified)
