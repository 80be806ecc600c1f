"""runs/runner.py: pieces, and the records of each image."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attack_run_samples import (
    IMAGES,
    Stopping,
    equal,
    run_of,
)
from attack_samples import ArraySource, Batch, linear
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.data import ImageBatch, open_images
from caffe_ext.metrics.distances import compute_distances
from caffe_ext.metrics.pass_score import PUBLISHED, compute_pass_scores
from caffe_ext.models.classifier import Classifier
from caffe_ext.runs import runner as attack_run
from caffe_ext.runs.records import (
    load_adversarials,
    load_records,
    read_adversarial_batches,
)
from caffe_ext.runs.runner import attack_images, run_attack
from classifier_models import DEEP, SPACE, write_model

pytestmark = [pytest.mark.usefixtures("pieces_of_5"), pytest.mark.any_device]


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


def test_names_of_attacks_and_arrays_are_refused(classifier: Classifier) -> None:
    attack: Any = parse_attack("hc1")
    found, _ = attack_images(classifier, attack, ImageBatch(IMAGES))
    assert found.attempted.any()
    arrays: Any = IMAGES
    with pytest.raises(TypeError, match=r"pass parse_attack\('hc1'\)"):
        attack_images(classifier, "hc1", ImageBatch(IMAGES))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"pass ImageBatch\(images, labels\)"):
        attack_images(classifier, attack, arrays)
    with pytest.raises(TypeError, match=r"not ndarray; .* ImageBatch\(images, labels\)"):
        open_images(arrays)


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
    apart = compute_distances(adversarials, originals)
    for name in ("l0", "l1", "l2", "l2_per_pixel", "linf", "mean_absolute"):
        np.testing.assert_array_equal(getattr(found, name)[where], getattr(apart, name))
        assert np.isnan(getattr(found, name)[~where]).all()
    standard = compute_pass_scores(adversarials, originals)
    published = compute_pass_scores(adversarials, originals, protocol=PUBLISHED)
    np.testing.assert_array_equal(found.pass_scores[where], standard.scores)
    np.testing.assert_array_equal(found.pass_published[where], published.scores)
    np.testing.assert_array_equal(found.ecc_failed[where], standard.ecc_failed)
    assert (found.targets[found.attempted] >= 0).all()
    assert (found.targets[~found.attempted] == -1).all()
    assert not found.verified.any()  # nothing was read back


def test_the_border_that_a_crop_cuts_off_does_not_count(tmp_path: Path) -> None:
    deploy, weights = write_model(tmp_path / "net", DEEP)
    classifier = Classifier(deploy, weights, SPACE)
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 12, 14), np.uint8)
    found, adversarials = attack_images(classifier, parse_attack("hc1"), Batch(images, None))
    where = found.found
    assert where.any()
    seen = compute_distances(adversarials[:, :, 3:9, 4:10], images[where, :, 3:9, 4:10])
    whole = compute_distances(adversarials, images[where])
    np.testing.assert_array_equal(found.l2_per_pixel[where], seen.l2_per_pixel)
    np.testing.assert_array_equal(found.mean_absolute[where], seen.mean_absolute)
    np.testing.assert_array_equal(found.l2[where], whole.l2)
    assert (seen.l2_per_pixel > whole.l2_per_pixel).all()


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


def test_verified_are_those_that_still_mislead_when_they_are_read_back(
    tmp_path: Path, classifier: Classifier, source: ArraySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, original = run_of(tmp_path / "out"), read_adversarial_batches

    def restored(path: Path, batch: int) -> Any:
        """Put the original in the place of the first adversarial."""
        for rows, images in original(path, batch):
            if rows.start == 0:
                images[0] = IMAGES[np.flatnonzero(load_records(path).found)[0]]
            yield rows, images

    monkeypatch.setattr(attack_run, "read_adversarial_batches", restored)
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
    with pytest.raises(ValueError, match="source returned 2 images for the numbers 10 to 14"):
        run_attack(classifier, Short(IMAGES, source.labels), run)
    run_attack(classifier, source, run)  # what came before is taken over
    assert [part.start for part in source.asked] == [10, 15, 20]


def test_a_label_beyond_the_classes_is_named_by_its_image(
    tmp_path: Path, classifier: Classifier, source: ArraySource
) -> None:
    assert source.labels is not None
    source.labels[13] = 4
    with pytest.raises(
        ValueError, match=r"label 4 of image 13 does not exist: the network has 4 classes, 0\.\.3"
    ):
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
        ("hc4", "can be at most 3, not 4"),
        ("hot:4", "hot class must be one of .*not 4"),
        ("hc1@x", "blob 'x'"),
        ("hc1@data", "is not between"),
    ):
        with pytest.raises(ValueError, match=says):
            run_attack(classifier, source, run_of(tmp_path / "out", text))
    assert not list((tmp_path / "out").iterdir())


def test_pieces_bound_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shaped:
        def __init__(self, *shape: int) -> None:
            self.input_shape = shape

    monkeypatch.undo()
    for shape, longest in (((1, 28, 28), 1000), ((3, 227, 227), 27), ((3, 5000, 5000), 1)):
        classifier: Any = Shaped(*shape)
        pieces = list(attack_run._split_into_pieces(classifier, 2500))
        lengths = [rows.stop - rows.start for rows in pieces]
        assert sum(lengths) == 2500
        assert max(lengths) == longest
        assert max(lengths) * np.prod(shape) <= max(attack_run._VALUES, np.prod(shape))
    assert list(attack_run._split_into_pieces(classifier, 0)) == []


def test_progress_counts_what_was_done_before(
    tmp_path: Path, classifier: Classifier, source: ArraySource
) -> None:
    told: list[Any] = []

    class Listening:
        def note(self, text: str) -> None: ...

        def warn(self, text: str) -> None: ...

        def show_progress(self, what: str, total: int, unit: str, done: int = 0) -> Any:
            told.append((what, total, unit, done))
            return nullcontext(told.append)

    run = run_of(tmp_path / "out")
    stopping = Stopping(IMAGES, source.labels)
    stopping.at = 10
    with pytest.raises(KeyboardInterrupt):
        run_attack(classifier, stopping, run, Listening())
    run_attack(classifier, source, run, Listening())
    assert told == [("HC1", 23, "image", 0), 5, 5, ("HC1", 23, "image", 10), 5, 5, 3]


def test_a_model_without_scores_is_refused(classifier: Classifier) -> None:
    for blobs in classifier._net.params.values():
        blobs[0].data[...] = np.nan
    with pytest.raises(ValueError, match=r"the scores of all \d+ images are NaN: the weights are"):
        attack_images(classifier, parse_attack("hc1"), Batch(IMAGES, None))
