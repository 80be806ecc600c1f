"""attack_run.py, attack_folder.py: pieces, interruptions, and what a folder may be used for."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from attack_samples import ArraySource, Batch, linear
from caffe_ext import attack_folder, attack_run
from caffe_ext.attack_run import AttackRun, attack_images, check_run, run_attack
from caffe_ext.attacks import parse_attack
from caffe_ext.classifier import Classifier
from caffe_ext.folder_lock import lock_folder
from caffe_ext.metrics import distances
from caffe_ext.pass_score import PUBLISHED, pass_scores
from caffe_ext.records import (
    COLUMNS,
    AttackRecords,
    RecordError,
    adversarial_batches,
    load_adversarials,
    load_description,
    load_records,
)

SHAPE = (1, 12, 12)
RANDOM = np.random.default_rng(5)
WEIGHTS = RANDOM.integers(-3, 4, (4, 144))
IMAGES = RANDOM.integers(0, 256, (23, *SHAPE), dtype=np.uint8)
IDENTITY = {"model": {"weights_sha256": "ab", "scale": 1.0}, "images_sha256": "cd"}


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    return linear(tmp_path / "net", WEIGHTS, shape=SHAPE, batch_size=4)


@pytest.fixture
def source(classifier: Classifier) -> ArraySource:
    """Return images, three of which are not classified as their labels."""
    which = classifier.predict(IMAGES)
    which[[2, 11, 22]] = (which[[2, 11, 22]] + 1) % 4
    return ArraySource(IMAGES, which)


@pytest.fixture(autouse=True)
def pieces_of_5(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_run, "_VALUES", 5 * 144)


def run_of(folder: Path, text: str = "hc1", **options: Any) -> AttackRun:
    return AttackRun(parse_attack(text, seed=1), IDENTITY, folder, **options)


def equal(one: AttackRecords, other: AttackRecords, but: tuple[str, ...] = ()) -> None:
    for name in COLUMNS:
        if name not in but:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def content(path: Path) -> dict[str, Any]:
    """Return all that is in a file of records."""
    with h5py.File(path) as file:
        return {name: file[name][...].tobytes() for name in file} | dict(file.attrs)


@pytest.mark.parametrize("text", ["hc1", "fgs*1.5", "pgd=40/4x10+margin", "hot:2", "margin=60"])
def test_a_run_is_attack_images_piece_by_piece(
    tmp_path: Path, classifier: Classifier, source: ArraySource, text: str
) -> None:
    run = run_of(tmp_path / "out", text)
    found = run_attack(classifier, source, run)
    whole, adversarials = attack_images(classifier, run.attack, Batch(IMAGES, source.labels))
    equal(found, whole, but=("verified",))
    assert [(part.start, part.stop) for part in source.asked] == [
        (0, 5),
        (5, 10),
        (10, 15),
        (15, 20),
        (20, 23),
    ]
    assert np.array_equal(load_adversarials(run.path), adversarials)
    equal(load_records(run.path), found)
    assert np.array_equal(found.verified, found.found)
    assert [file.name for file in run.folder.iterdir()] == [run.path.name]


def test_what_the_columns_say(classifier: Classifier, source: ArraySource) -> None:
    found, adversarials = attack_images(
        classifier, parse_attack("hc1"), Batch(IMAGES, source.labels), 100, workers=1
    )
    assert found.indices.tolist() == list(range(100, 123))
    assert np.flatnonzero(~found.attempted).tolist() == [2, 11, 22]
    assert found.labels.tolist() == np.asarray(source.labels).tolist()
    assert np.array_equal(found.predicted, classifier.predict(IMAGES))
    assert found.found.sum() == len(adversarials) > 0
    assert not found.found[~found.attempted].any()
    where, originals = found.found, IMAGES[found.found]
    assert np.array_equal(found.classes[where], classifier.predict(adversarials))
    assert (found.classes[where] != found.labels[where]).all()
    apart = distances(adversarials, originals)
    for name in ("l0", "l1", "l2", "l2_per_pixel", "linf", "mean_absolute"):
        np.testing.assert_array_equal(getattr(found, name)[where], getattr(apart, name))
        assert np.isnan(getattr(found, name)[~where]).all()
    standard = pass_scores(adversarials, originals)
    published = pass_scores(adversarials, originals, protocol=PUBLISHED)
    np.testing.assert_array_equal(found.pass_scores[where], standard.scores)
    np.testing.assert_array_equal(found.pass_published[where], published.scores)
    np.testing.assert_array_equal(found.ecc_failed[where], standard.ecc_failed)
    assert (found.targets[found.attempted] >= 0).all()
    assert (found.targets[~found.attempted] == -1).all()
    assert not found.verified.any()  # nothing was read back


def test_images_too_small_for_pass_have_none(tmp_path: Path) -> None:
    classifier = linear(tmp_path, [[1, 0], [0, 1]])
    images = np.array([[[[200, 90]]]], np.uint8)
    found, _ = attack_images(classifier, parse_attack("hc1"), Batch(images, None))
    assert found.found.all()
    assert np.isfinite(found.linf).all()
    assert np.isnan(found.pass_scores).all()


@pytest.mark.parametrize("text", ["hc1", "pgd=40/4x10"])
def test_without_labels_they_are_what_the_images_are_classified_as(
    tmp_path: Path, classifier: Classifier, text: str
) -> None:
    found = run_attack(classifier, ArraySource(IMAGES), run_of(tmp_path / "out", text))
    assert found.attempted.all()
    assert np.array_equal(found.labels, found.predicted)


def test_random_starts_do_not_depend_on_the_pieces(
    tmp_path: Path, classifier: Classifier, source: ArraySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_of(tmp_path / "first", "pgd=40/4x10+margin")
    found = run_attack(classifier, source, first)
    monkeypatch.setattr(attack_run, "_VALUES", 9 * 144)
    second = run_of(tmp_path / "second", "pgd=40/4x10+margin")
    equal(run_attack(classifier, source, second), found)
    assert np.array_equal(load_adversarials(first.path), load_adversarials(second.path))


class Stopping(ArraySource):
    """A source that is interrupted as it is asked for the images from one on."""

    at = 0
    error: type[BaseException] = KeyboardInterrupt

    def read(self, rows: slice) -> Batch:
        if rows.start >= self.at:
            raise self.error
        return super().read(rows)


@pytest.mark.parametrize("at", [0, 5, 10, 20])
@pytest.mark.parametrize("again", [False, True])
def test_an_interrupted_run_goes_on(
    tmp_path: Path, classifier: Classifier, source: ArraySource, at: int, again: bool
) -> None:
    straight = run_of(tmp_path / "straight")
    run_attack(classifier, source, straight)
    run = run_of(tmp_path / "out", again=again)
    stopping = Stopping(IMAGES, source.labels)
    stopping.at = at
    with pytest.raises(KeyboardInterrupt):
        run_attack(classifier, stopping, run)
    assert not run.path.exists()
    assert run.parts.exists() == (at > 0)
    source.asked.clear()
    run_attack(classifier, source, run)
    assert [part.start for part in source.asked] == list(range(at, 23, 5))
    assert content(run.path) == content(straight.path)
    assert [file.name for file in run.folder.iterdir()] == [run.path.name]


@pytest.mark.parametrize("where", ["save_records", "set_verified", "load_adversarials"])
def test_an_interruption_at_the_end_loses_nothing(
    tmp_path: Path,
    classifier: Classifier,
    source: ArraySource,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    straight, run = run_of(tmp_path / "straight"), run_of(tmp_path / "out")
    run_attack(classifier, source, straight)
    original = getattr(attack_run, where)

    def interrupted(path: Path, *arguments: Any) -> Any:
        if where == "load_adversarials" or path.name == "joined.h5":
            raise KeyboardInterrupt
        return original(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(attack_run, where, interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_attack(classifier, source, run)
    assert not run.path.exists()
    source.asked.clear()
    run_attack(classifier, source, run)
    assert not source.asked
    assert content(run.path) == content(straight.path)


def test_what_is_finished_is_read_and_not_done_again(
    tmp_path: Path, classifier: Classifier, source: ArraySource
) -> None:
    run = run_of(tmp_path / "out")
    found = run_attack(classifier, source, run)
    run.folder.chmod(0o500)  # not even a folder is made
    source.asked.clear()
    equal(run_attack(classifier, source, run), found)
    assert not source.asked
    run.folder.chmod(0o700)
    run_attack(classifier, source, run_of(tmp_path / "out", again=True))
    assert len(source.asked) == 5


OTHERS = [
    ({"model": {"weights_sha256": "xy", "scale": 1.0}}, "model.weights_sha256"),
    ({"images_sha256": "xy"}, "images_sha256"),
    ({"more": 1}, "more"),
]


@pytest.mark.parametrize(("other", "key"), OTHERS)
@pytest.mark.parametrize("finished", [False, True])
def test_results_of_something_else_are_never_overwritten(  # noqa: PLR0917
    tmp_path: Path,
    classifier: Classifier,
    source: ArraySource,
    other: dict[str, Any],
    key: str,
    finished: bool,
) -> None:
    run = run_of(tmp_path / "out")
    stopping = Stopping(IMAGES, source.labels)
    stopping.at = 100 if finished else 10
    try:
        run_attack(classifier, stopping, run)
    except KeyboardInterrupt:
        assert not finished
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    source.asked.clear()
    another = AttackRun(run.attack, IDENTITY | other, run.folder)
    for refused in (check_run, lambda run: run_attack(classifier, source, run)):
        with pytest.raises(RecordError, match=rf"it differs in: {key}\); choose another folder"):
            refused(another)
    assert not source.asked
    after = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    assert after == before
    run_attack(classifier, source, AttackRun(run.attack, IDENTITY | other, run.folder, again=True))
    assert load_description(run.path)["images_sha256"] == another.identity["images_sha256"]
    assert len(source.asked) == 5


def test_seeds_and_limits_are_part_of_what_is_run(
    tmp_path: Path, classifier: Classifier, source: ArraySource
) -> None:
    run = run_of(tmp_path / "out", "pgd=40/4x10", limit=7)
    found = run_attack(classifier, source, run)
    assert found.indices.tolist() == list(range(7))
    other = AttackRun(parse_attack("pgd=40/4x10", seed=2), IDENTITY, run.folder, limit=8)
    with pytest.raises(RecordError, match=r"differs in: limit, seed\)"):
        run_attack(classifier, source, other)
    more = run_of(tmp_path / "more", limit=1000)
    assert len(run_attack(classifier, source, more)) == 23
    for limit in (0, -1):
        with pytest.raises(ValueError, match=f"limit must be 1 image or more, not {limit}"):
            run_of(tmp_path, limit=limit)


def test_attacks_share_a_folder(
    tmp_path: Path, classifier: Classifier, source: ArraySource
) -> None:
    for text in ("hc1", "hc1*1.05", "hc1=1.05", "hc2"):
        run_attack(classifier, source, run_of(tmp_path / "out", text))
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_two_processes_do_not_share_the_pieces(
    tmp_path: Path, classifier: Classifier, source: ArraySource
) -> None:
    run = run_of(tmp_path / "out")
    run.parts.mkdir(parents=True)
    lock = lock_folder(run.parts)
    with pytest.raises(RecordError, match=r"another process is at work in .*hc1\.parts; wait for"):
        run_attack(classifier, source, run)
    assert not source.asked
    run_attack(classifier, source, run_of(tmp_path / "out", "hc2"))  # another attack can run
    os.close(lock)
    run_attack(classifier, source, run)


def test_who_waited_for_the_lock_takes_what_the_other_has_finished(
    tmp_path: Path, classifier: Classifier, source: ArraySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path / "out")
    original, locks = lock_folder, 0

    def late(folder: Path) -> int:
        """Let another process do all of it between mkdir and lock."""
        nonlocal locks
        locks += 1
        if locks == 1:
            with monkeypatch.context() as patch:
                patch.setattr(attack_folder, "lock_folder", original)
                run_attack(classifier, source, run)
        return original(folder)

    with monkeypatch.context() as patch:
        patch.setattr(attack_folder, "lock_folder", late)
        found = run_attack(classifier, source, run)
    assert len(source.asked) == 5
    equal(found, load_records(run.path))
    assert [file.name for file in run.folder.iterdir()] == [run.path.name]


def test_verified_are_those_that_still_mislead_when_they_are_read_back(
    tmp_path: Path, classifier: Classifier, source: ArraySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, original = run_of(tmp_path / "out"), adversarial_batches

    def restored(path: Path, batch: int) -> Any:
        """Put the original in the place of the first adversarial."""
        for rows, images in original(path, batch):
            if rows.start == 0:
                images[0] = IMAGES[np.flatnonzero(load_records(path).found)[0]]
            yield rows, images

    monkeypatch.setattr(attack_run, "adversarial_batches", restored)
    found = run_attack(classifier, source, run)
    wrong = np.flatnonzero(found.found != found.verified)
    assert wrong.tolist() == np.flatnonzero(found.found)[:1].tolist()
    assert np.array_equal(load_records(run.path).verified, found.verified)


class Short(ArraySource):
    def read(self, rows: slice) -> Batch:
        return super().read(slice(rows.start, min(rows.stop, 12)))


def test_a_source_that_gives_less_than_it_has(
    tmp_path: Path, classifier: Classifier, source: ArraySource
) -> None:
    run = run_of(tmp_path / "out")
    with pytest.raises(ValueError, match="source has given 2 images for 10 to 14"):
        run_attack(classifier, Short(IMAGES, source.labels), run)
    run_attack(classifier, source, run)  # what came before is taken over
    assert [part.start for part in source.asked] == [10, 15, 20]


def test_a_label_beyond_the_classes_is_named_by_its_image(
    tmp_path: Path, classifier: Classifier, source: ArraySource
) -> None:
    assert source.labels is not None
    source.labels[13] = 4
    with pytest.raises(ValueError, match=r"label 4 of image 13 is none of the 4 classes 0\.\.3"):
        run_attack(classifier, source, run_of(tmp_path / "out"))


@pytest.mark.parametrize(
    ("images", "which", "says"),
    [
        (IMAGES[:, :, :11], None, r"make an input \(N, 1, 11, 12\)"),
        (IMAGES.astype(np.float32), None, "images must be uint8"),
        (IMAGES, np.zeros(22, np.int64), r"labels must be integers \(5,\)|\(3,\)"),
        (IMAGES, np.zeros(23), "labels must be integers"),
    ],
)
def test_what_does_not_fit_leaves_no_file(
    tmp_path: Path, classifier: Classifier, images: Any, which: NDArray[Any] | None, says: str
) -> None:
    run = run_of(tmp_path / "out", limit=None)
    with pytest.raises(ValueError, match=says):
        run_attack(classifier, ArraySource(images, which), run)
    left = [path for path in run.folder.rglob("*") if path.is_file()]
    assert not left or which is not None


def test_an_attack_that_the_net_does_not_have_leaves_no_file(
    tmp_path: Path, classifier: Classifier, source: ArraySource
) -> None:
    for text, says in (
        ("hc4", "no class of rank 4"),
        ("hot:4", "hot class 4"),
        ("hc1@x", "blob 'x'"),
        ("hc1@data", "no inner blob"),
    ):
        with pytest.raises(ValueError, match=says):
            run_attack(classifier, source, run_of(tmp_path / "out", text))
    assert not list((tmp_path / "out").iterdir())


def test_pieces_bound_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shaped:
        def __init__(self, *shape: int) -> None:
            self.input_shape = shape

    monkeypatch.undo()
    for shape, longest in (((1, 28, 28), 1000), ((3, 227, 227), 108), ((3, 5000, 5000), 1)):
        classifier: Any = Shaped(*shape)
        pieces = list(attack_run._pieces(classifier, 2500))
        lengths = [rows.stop - rows.start for rows in pieces]
        assert sum(lengths) == 2500
        assert max(lengths) == longest
        assert max(lengths) * np.prod(shape) <= max(attack_run._VALUES, np.prod(shape))
    assert list(attack_run._pieces(classifier, 0)) == []


def test_progress_counts_what_was_done_before(
    tmp_path: Path, classifier: Classifier, source: ArraySource
) -> None:
    told: list[Any] = []

    class Listening:
        def note(self, text: str) -> None: ...

        def warn(self, text: str) -> None: ...

        def progress(self, what: str, total: int, unit: str, done: int = 0) -> Any:
            told.append((what, total, unit, done))
            return nullcontext(told.append)

    run = run_of(tmp_path / "out")
    stopping = Stopping(IMAGES, source.labels)
    stopping.at = 10
    with pytest.raises(KeyboardInterrupt):
        run_attack(classifier, stopping, run, Listening())
    run_attack(classifier, source, run, Listening())
    assert told == [("HC1", 23, "image", 0), 5, 5, ("HC1", 23, "image", 10), 5, 5, 3]
