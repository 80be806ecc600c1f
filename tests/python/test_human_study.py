"""The human study: its images, who sees which, the answers, and the curves."""

import csv
import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from caffe_ext.cli import study as program
from caffe_ext.data.image_set import ImageSet
from caffe_ext.errors import RecordError
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.storage.provenance import hash_file
from caffe_ext.studies.gradient_sign import compute_loss_signs
from caffe_ext.studies.human.answer_table import make_rows
from caffe_ext.studies.human.curves import compute_interval, compute_people_curve
from caffe_ext.studies.human.design import EPSILONS, GAUSSIAN, HARD, NATURAL, SIGMAS, SIGN, SUBSETS
from caffe_ext.studies.human.preparation import make_subsets
from caffe_ext.studies.human.stimuli import IMAGES, RECORD, get_subset, load_stimuli
from caffe_ext.studies.human.store import (
    ANSWERS,
    Answer,
    AnswerStore,
    FullError,
    PositionError,
)
from classifier_models import write_model
from human_samples import TEN_CLASSES, write_stimuli
from image_samples import write_images


def run(*arguments: object) -> int:
    return program.main(["human", *map(str, arguments)])


def make_pool(count: int = 30) -> ImageSet:
    images = np.random.default_rng(3).integers(0, 256, (count, 1, 4, 4), np.uint8)
    return ImageSet(images, np.arange(count) % 10)


def make_store(folder: Path, clock: list[float] | None = None) -> AnswerStore:
    times = clock if clock is not None else [0.0]
    return AnswerStore(folder, "x", clock=lambda: times[-1])


def test_the_design_is_the_paper_s(tmp_path: Path) -> None:
    assert EPSILONS == (0.07, 0.14, 0.21, 0.28, 0.34, 0.4)
    assert SIGMAS == (0.09, 0.18, 0.27, 0.36, 0.45, 0.54)
    stimuli = write_stimuli(tmp_path, per_subset=15)
    assert stimuli.per_person == 205
    drawn = stimuli.draw(1)
    kinds = [get_subset(subset) for subset, _ in drawn]
    assert {subset: kinds.count(subset) for subset in kinds} == {
        **dict.fromkeys(SUBSETS, 15),
        get_subset(len(SUBSETS)): 10,
    }
    assert len(set(drawn)) == 205
    hard = [number for subset, number in drawn if get_subset(subset).kind == HARD]
    assert sorted(stimuli.hard_labels[hard]) == list(range(10))


def test_everyone_sees_other_images_in_another_order(tmp_path: Path) -> None:
    stimuli = write_stimuli(tmp_path, per_subset=3)
    one, other = stimuli.draw(1), stimuli.draw(2)
    assert one == stimuli.draw(1)
    assert sorted(one) != sorted(other)
    assert [subset for subset, _ in one] != sorted(subset for subset, _ in one)
    # 39 of 40 images: no person sees one with different noise.
    pool = [number for subset, number in one if subset < len(SUBSETS)]
    assert len(set(pool)) == len(pool) == 39


@pytest.mark.any_device
def test_noise_is_added_as_defined(tmp_path: Path) -> None:
    model = Classifier(*write_model(tmp_path, TEN_CLASSES), PixelSpace(0.004))
    zero = np.zeros((1, 1, 4, 4), np.float32)
    bias = model.logits(zero)[0].astype(np.float64)
    units = np.eye(16, dtype=np.float32).reshape(16, 1, 4, 4)
    weights = (model.logits(250 * units) - bias).T / 250  # per grey level
    pool = make_pool(20)
    expected = []
    for image, label in zip(pool.images, pool.labels, strict=True):
        scores = weights @ image.ravel() + bias
        chances = np.exp(scores - scores.max())
        chances /= chances.sum()
        chances[label] -= 1
        expected.append(np.sign(chances @ weights).reshape(1, 4, 4))
    signs = compute_loss_signs(model, pool.images, pool.labels)
    assert np.array_equal(signs, expected)
    made = dict(zip(SUBSETS, make_subsets(model, pool.images, pool.labels, 1), strict=True))
    originals = pool.images[:, 0].astype(np.float64)
    for number, (subset, images) in enumerate(made.items()):
        if subset.kind == NATURAL:
            assert np.array_equal(images, originals)
        if subset.kind == SIGN:
            whole = originals + 255 * subset.level * signs[:, 0]
            assert np.array_equal(images, np.clip(np.rint(whole), 0, 255))
        if subset.kind == GAUSSIAN:
            normals = np.random.default_rng([1, number]).standard_normal((20, 4, 4), np.float32)
            whole = originals + 255 * subset.level * normals
            assert np.array_equal(images, np.clip(np.rint(whole), 0, 255))


def test_the_sign_exists_where_the_loss_is_saturated(tmp_path: Path) -> None:
    model = Classifier(*write_model(tmp_path, TEN_CLASSES), PixelSpace(1.0))
    images = make_pool(20).images
    labels = model.predict(images)
    assert (model.probabilities(images).max(axis=1) == 1).any()
    assert compute_loss_signs(model, images, labels).any(axis=(1, 2, 3)).all()


def test_answers_are_kept_in_order_and_once(tmp_path: Path) -> None:
    clock = [100.0]
    store = make_store(tmp_path, clock)
    token = store.add_person(lambda _: [(0, 5), (13, 2), (4, 1)])
    person = store.find_person(token)
    assert person == 1
    with pytest.raises(PositionError):
        store.save_answer(person, 0, 3)  # it has not been shown
    first = store.show_next(person)
    assert first and (first.position, first.total, first.subset, first.image) == (0, 3, 0, 5)
    clock.append(101.0)
    assert store.show_next(person) == first
    clock.append(103.5)
    store.save_answer(person, 0, 3)
    store.save_answer(person, 0, 4)
    with pytest.raises(PositionError):
        store.save_answer(person, 2, 4)
    reopened = make_store(tmp_path, clock)
    second = reopened.show_next(person)
    assert second and (second.position, second.subset) == (1, 13)
    reopened.save_answer(person, 1, 9)
    assert reopened.count_people() == (1, 0)
    assert reopened.read_answers() == []
    assert reopened.show_next(person)
    reopened.save_answer(person, 2, 0)
    assert reopened.show_next(person) is None
    reopened.save_answer(person, 2, 1)
    assert reopened.count_people() == (1, 1)
    assert store.read_answers() == [
        Answer(1, 0, 0, 5, 3, 2.5),  # since it was shown last
        Answer(1, 1, 13, 2, 9, 0.0),
        Answer(1, 2, 4, 1, 0, 0.0),
    ]


def test_only_people_who_answered_are_counted(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    assert store.count_people() == (0, 0)
    people = [store.find_person(store.add_person(lambda _: [(0, 1), (1, 1)])) for _ in range(3)]
    assert people == [1, 2, 3]
    store.show_next(2)
    store.save_answer(2, 0, 7)
    assert store.count_people() == (1, 0)
    assert [one.person for one in store.read_answers(unfinished=True)] == [2]
    with pytest.raises(FullError):
        store.add_person(lambda _: [], most=3)


def test_many_answers_at_once_are_one(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.add_person(lambda _: [(0, 1), (1, 1)])
    store.show_next(1)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda answer: store.save_answer(1, 0, answer), range(8)))
    (answer,) = store.read_answers(unfinished=True)
    assert answer.position == 0


def test_nothing_personal_is_stored(tmp_path: Path) -> None:
    store = make_store(tmp_path, [1234567890.5])
    token = store.add_person(lambda _: [(0, 1)])
    store.show_next(1)
    store.save_answer(1, 0, 7)
    content = (tmp_path / ANSWERS).read_bytes()
    assert token.encode() not in content
    with sqlite3.connect(tmp_path / ANSWERS) as connection:
        assert connection.execute("select * from trial").fetchall() == [
            (1, 0, 0, 1, None, 7, 0.0)  # no date, once it is answered
        ]
        columns = [row[1] for row in connection.execute("pragma table_info(person)")]
    assert columns == ["number", "token"]


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no stimuli"):
        load_stimuli(tmp_path)
    stimuli = write_stimuli(tmp_path)
    AnswerStore(tmp_path, stimuli.digest)
    with pytest.raises(RecordError, match="answers to other stimuli"):
        AnswerStore(tmp_path, "another")
    with sqlite3.connect(tmp_path / ANSWERS) as connection:
        connection.execute("insert into person values (1, 'x')")
        connection.execute("insert into trial values (1, 0, 99, 0, null, 3, 'long')")
    with pytest.raises(RecordError, match="seconds"):
        AnswerStore(tmp_path, stimuli.digest).read_answers()
    for answer in (Answer(1, 0, 99, 0, 3, 1.0), Answer(1, 0, 0, 99, 3, 1.0)):
        for read in (make_rows, compute_people_curve):
            with pytest.raises(RecordError, match="99, which does not exist"):
                read(stimuli, [answer])
    (tmp_path / ANSWERS).write_bytes(b"not a database" * 100)
    with pytest.raises(RecordError, match="cannot be used as a database"):
        AnswerStore(tmp_path, stimuli.digest)
    (tmp_path / IMAGES).write_bytes(b"")
    with pytest.raises(RecordError, match="missing or damaged"):
        load_stimuli(tmp_path)
    (tmp_path / RECORD).write_text("{}")
    with pytest.raises(RecordError, match="damaged"):
        load_stimuli(tmp_path)


def write_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, images=np.zeros(3, np.uint8))


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (None, "stimuli.npy is missing or damaged; choose another --output"),
        (Path.touch, "stimuli.npy cannot be read: "),
        (write_archive, r"stimuli.npy cannot be read: it is an archive of arrays \(.npz\)"),
        (
            lambda path: np.save(path, np.zeros((len(SUBSETS), 40, 4, 4))),
            "does not fit the images beside it",
        ),
    ],
)
def test_images_that_a_record_was_changed_for_are_refused(
    tmp_path: Path, write: Callable[[Path], None] | None, says: str
) -> None:
    write_stimuli(tmp_path)
    path = tmp_path / RECORD
    record = json.loads(path.read_text())
    (tmp_path / IMAGES).unlink()
    del record["digests"][IMAGES]
    if write is not None:
        write(tmp_path / IMAGES)
        record["digests"][IMAGES] = hash_file(tmp_path / IMAGES)
    path.write_text(json.dumps(record))
    with pytest.raises(RecordError, match=says):
        load_stimuli(tmp_path)


def test_an_interval_is_student_s() -> None:
    values = np.array([0.5, 0.7, 0.9, 0.8])
    found = compute_interval(values)
    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert [found.count, found.mean] == pytest.approx([4, 0.725])
    assert [found.low, found.high] == pytest.approx([low, high])
    assert compute_interval(np.array([0.0, 1.0])).low == 0
    assert compute_interval(np.array([0.9])).low is None


def test_people_count_alike_however_many_answers_they_gave(tmp_path: Path) -> None:
    stimuli = write_stimuli(tmp_path, per_subset=4)
    # Image n has label n % 10. One person is right once in four, another in the only answer.
    answers = [Answer(1, place, 1, place, 0, 1.0) for place in range(4)]
    answers += [Answer(2, 0, 1, 13, 3, 1.0), Answer(2, 1, 13, 19, 9, 1.0)]
    curve = compute_people_curve(stimuli, answers)
    signs, hard = curve.points
    assert signs.subset == SUBSETS[1]
    assert signs.accuracy.mean == pytest.approx((0.25 + 1) / 2)
    assert (signs.accuracy.count, signs.distortion) == (2, 0.01)
    assert (hard.subset.kind, hard.accuracy.mean, hard.distortion) == (HARD, 1, None)


def check_that_export_keeps_files(output: Path) -> None:
    assert run("export", "--output", output) == 0  # again: answers.csv is made of the answers
    for kept in (output / "stimuli.json", output / "answers.sqlite"):
        before = kept.read_bytes()
        with pytest.raises(SystemExit, match="exists: --csv names another file"):
            run("export", "--output", output, "--csv", kept)
        assert kept.read_bytes() == before


def test_the_programs_work_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deploy, weights = write_model(tmp_path / "net", TEN_CLASSES)
    model = tmp_path / "net.yaml"
    model.write_text(f"deploy: {deploy}\nweights: {weights}\nscale: 0.004\n")
    pool, hard = (write_images(tmp_path / name, make_pool(30)) for name in ("pool", "hard"))
    output = tmp_path / "study"
    prepare = ["prepare", "--model", model, "--images", pool, "--output", output]
    prepare += ["--per-level", 2]
    assert run(*prepare, "--hard-digits", hard) == 0
    assert "36 images" in capsys.readouterr().out
    before = (output / RECORD).read_bytes()
    assert run(*prepare, "--hard-digits", hard) == 0
    assert (output / RECORD).read_bytes() == before
    with pytest.raises(SystemExit, match="hard_digits"):
        run(*prepare)
    assert run(*prepare, "--again") == 0
    assert "no hard digits" in capsys.readouterr().out

    with pytest.raises(SystemExit, match="no answers"):
        run("export", "--output", output)
    # Nobody has started: the images can still be replaced.
    assert run(*prepare, "--again", "--seed", 3) == 0
    stimuli = load_stimuli(output)
    store = AnswerStore(output, stimuli.digest)
    for right in (True, False, True):
        person = store.find_person(store.add_person(stimuli.draw))
        assert person
        while trial := store.show_next(person):
            label = stimuli.get_label(trial.subset, trial.image)
            store.save_answer(person, trial.position, label if right else (label + 1) % 10)
    store.add_person(stimuli.draw)
    with pytest.raises(SystemExit, match="answers to stimuli that are not these"):
        run(*prepare, "--again", "--seed", 2)

    assert run("export", "--output", output) == 0
    assert "3 people have begun to answer; 3 have finished." in capsys.readouterr().out
    check_that_export_keeps_files(output)
    rows = list(csv.DictReader((output / "answers.csv").open()))
    assert len(rows) == 3 * 26
    assert list(rows[0]) == [
        *("person", "position", "image", "kind", "level", "label", "answer", "seconds")
    ]
    assert all((row["answer"] == row["label"]) == (row["person"] != "2") for row in rows)
    assert [row["position"] for row in rows[:26]] == [f"{place}" for place in range(1, 27)]

    assert run("plot", "--model", model, "--output", output, "--limit", 20) == 0
    out = capsys.readouterr().out
    assert "66.7% (0.0 to 100.0)" in out
    record = json.loads((output / "curves.json").read_text())
    assert (record["people"], record["images_per_network_and_subset"]) == (3, 20)
    by_curve = [row["of"] for row in record["curves"]]
    assert by_curve.count("people") == by_curve.count("networks") == 13
    network = Classifier(deploy, weights, PixelSpace(0.004))
    natural = next(row for row in record["curves"] if row["of"] == "networks")
    assert natural["accuracy"] == network.accuracy(
        stimuli.images[0, :20, None], stimuli.labels[:20]
    )
    # The model that made the images is misled as by its own gradient.
    shared, own = (
        [row["accuracy"] for row in record["curves"] if row["of"] == name and row["kind"] == SIGN]
        for name in ("networks", "networks, each on its own gradient sign")
    )
    assert shared == own
    assert (output / "curves.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "--per-level", "0"], "--per-level must be at least 1"),
        (["serve", "--port", "70000"], "--port must be 0 to 65535"),
        (["prepare", "--seed", f"{2**32}"], "--seed must be at most 4,294,967,295"),
        (["plot", "--limit", "-1"], "--limit must be at least 0"),
        (["prepare", "--hard-digits", ""], "--hard-digits: must name images, not be an empty text"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run(*arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err
