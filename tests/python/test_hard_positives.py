"""training/hard_positives: the LMDB holds exactly what the attacks found."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe_ext.attacks.registry import parse_attack
from caffe_ext.data import DataError, SilentReporter, open_images, read_database, write_png
from caffe_ext.data.mixture import Pool, shuffle
from caffe_ext.errors import RecordError
from caffe_ext.reporting import Step
from caffe_ext.runs.runner import attack_images
from caffe_ext.training.hard_positives.folder import read_set
from caffe_ext.training.hard_positives.presets import BEST, PRESETS, Recipe
from caffe_ext.training.hard_positives.training_set import SetRequest, make_set
from data_samples import records, snapshot
from hard_positive_samples import (
    COUNT,
    WRONG,
    content,
    images_of,
    other_model,
    small_request,
)
from training_samples import Listener

ALONE = Recipe(attacks=("hc1*1.05", "hc2", "fgs"), mix=False)
MIXED = replace(ALONE, mix=True)


@pytest.fixture
def request_(tmp_path: Path) -> SetRequest:
    return small_request(tmp_path, ALONE)


def expected(request: SetRequest) -> list[tuple[float, int, bytes]]:
    """Return PASS, label and pixels of every adversarial, attacked image by image."""
    classifier, rows = request.model.load(), []
    for text in request.recipe.attacks:
        for number in range(request.recipe.limit or COUNT):
            batch = request.source.read(slice(number, number + 1))
            found, images = attack_images(classifier, parse_attack(text), batch, number)
            if len(images):
                assert batch.labels is not None
                rows.append((found.pass_scores[0], int(batch.labels[0]), images[0].tobytes()))
    return rows


def originals(request: SetRequest) -> Counter[tuple[int, bytes]]:
    batch = request.source.read(slice(None))
    assert batch.labels is not None
    pairs = zip(batch.labels.tolist(), batch.images, strict=True)
    return Counter((label, image.tobytes()) for label, image in pairs)


def counted(rows: list[tuple[float, int, bytes]]) -> Counter[tuple[int, bytes]]:
    return Counter((label, pixels) for _, label, pixels in rows)


def test_presets_are_the_papers() -> None:
    assert list(PRESETS) == ["HC-D-9-1.05", "HC-D-9", "HC-D-5", "HC-S-5", "FGV", "FGS"]
    assert Recipe().attacks == PRESETS[BEST] == tuple(f"hc{k}*1.05" for k in range(1, 10))
    assert PRESETS["HC-D-5"] == ("hc1", "hc2", "hc3", "hc4", "hc5")
    assert PRESETS["HC-S-5"] == ("hc1-s", "hc2-s", "hc3-s", "hc4-s", "hc5-s")
    names = [
        [attack.name for attack in Recipe(attacks).parse_attacks()] for attacks in PRESETS.values()
    ]
    assert [len(some) for some in names] == [9, 9, 5, 5, 1, 1]
    assert names[0][8] == "HC9 x 1.05"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attacks": ("hc1", "nonsense")}, "unknown attack 'nonsense'"),
        ({"attacks": ("hc1", "HC1*1")}, "hc1 is listed twice"),
        ({"attacks": ()}, "at least one attack"),
        ({"min_pass": 0.9, "max_pass": 0.8}, "PASS of at least 0.9 and at most 0.8"),
        ({"min_pass": 1.1}, "PASS of at least 1.1 and at most 1"),
        ({"max_pass": float("nan")}, "no image has a PASS"),
        ({"limit": 0}, "1 image or more"),
        ({"per_class": 0}, "per class must be 1 image or more"),
        ({"per_class": 1, "limit": 1}, "exclude each other"),
        ({"seed": -1}, "0 or more"),
    ],
)
def test_recipes_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


def test_alone_it_holds_what_the_attacks_found(request_: SetRequest) -> None:
    made = make_set(request_)
    rows = expected(request_)
    assert content(made.folder) == counted(rows)
    assert (made.made, made.record["images"], made.record["originals"]) == (True, len(rows), 0)
    # What the model takes for something else than its label.
    images = read_database(made.database)
    assert (request_.model.load().predict(images.images) != images.labels).all()
    assert list(records(made.database))[:2] == [b"00000000", b"00000001"]


def test_the_record_counts(request_: SetRequest) -> None:
    made = make_set(replace(request_, about={"seen": "beside"}))
    images = read_database(made.database)
    record = json.loads((made.folder / "hard_positives.json").read_bytes())
    assert record == made.record
    assert record["classes"] == np.bincount(images.labels, minlength=4).tolist()
    assert record["seen"] == "beside"
    assert [one["attack"] for one in record["attacks"]] == ["hc1*1.05", "hc2", "fgs"]
    for one in record["attacks"]:
        rows = expected(replace(request_, recipe=replace(ALONE, attacks=(one["attack"],))))
        scores = [score for score, *_ in rows]
        assert one["attempted"] == COUNT - WRONG
        assert one["found"] == one["kept"] == sum(one["classes"]) == len(rows)
        assert one["pass_scores"] == pytest.approx(
            [min(scores), sum(scores) / len(scores), max(scores)]
        )
        assert one["unconfirmed"] == one["below_pass"] == one["above_pass"] == 0
    assert record["settings"]["images"] == request_.source.compute_digest()
    assert record["settings"]["model"]["weights_sha256"]


def test_mixed_it_holds_the_originals_too(request_: SetRequest) -> None:
    asked = replace(request_, recipe=replace(MIXED, limit=10))
    made = make_set(asked)
    rows = expected(asked)
    # The limit is on what is attacked: the mix has all originals.
    assert content(made.folder) == counted(rows) + originals(asked)
    assert (made.record["hard_positives"], made.record["originals"]) == (len(rows), COUNT)
    assert made.record["attacks"][0]["attempted"] == 10 - WRONG


def test_filters_drop_exactly_what_they_say(request_: SetRequest) -> None:
    rows = sorted(expected(request_))
    third = len(rows) // 3
    least, greatest = rows[third][0], rows[2 * third][0]
    recipe = replace(ALONE, min_pass=least, max_pass=greatest)
    made = make_set(replace(request_, recipe=recipe))
    inside = [row for row in rows if least <= row[0] <= greatest]
    assert 0 < len(inside) < len(rows)
    assert content(made.folder) == counted(inside)

    def total(name: str) -> int:
        return sum(one[name] for one in made.record["attacks"])

    assert total("found") == len(rows)
    assert total("kept") == made.record["images"] == len(inside)
    assert total("below_pass") == sum(row[0] < least for row in rows) == third
    assert total("above_pass") == sum(row[0] > greatest for row in rows)
    scores = [one["pass_scores"] for one in made.record["attacks"] if one["kept"]]
    assert min(low for low, *_ in scores) == least
    assert max(high for *_, high in scores) == greatest


def test_a_filter_that_leaves_nothing(request_: SetRequest) -> None:
    recipe = replace(MIXED, min_pass=0.999999)
    with pytest.raises(
        DataError, match=r"is left of the \d+ .* \d+ have a PASS below 0.999999; no"
    ):
        make_set(replace(request_, recipe=recipe))
    assert not (request_.folder / "train_lmdb").exists()
    assert read_set(request_.folder) is None
    with pytest.raises(DataError, match=r"left of the \d+ adv.* \d+ have a PASS above -0.9; no"):
        make_set(replace(request_, recipe=replace(ALONE, max_pass=-0.9)))
    # What was attacked serves the next one.
    assert make_set(request_).made


def test_the_seed_decides_about_the_order(request_: SetRequest, tmp_path: Path) -> None:
    one = make_set(request_)
    same = make_set(replace(request_, folder=tmp_path / "same"))
    other = make_set(replace(request_, folder=tmp_path / "x", recipe=replace(ALONE, seed=1)))
    assert records(one.database) == records(same.database)
    assert one.record["sha256"] == same.record["sha256"]
    assert records(one.database) != records(other.database)
    assert content(one.folder) == content(other.folder)
    # Not attack by attack, either.
    order = [pixels for _, _, pixels in expected(request_)]
    assert [image.tobytes() for image in read_database(one.database).images] != order


class Interrupting(SilentReporter):
    """The Ctrl-C when a certain work begins."""

    def __init__(self, what: str) -> None:
        self.what = what

    def show_progress(
        self, what: str, total: int, unit: str, done: int = 0
    ) -> AbstractContextManager[Step]:
        if what == self.what:
            raise KeyboardInterrupt
        return super().show_progress(what, total, unit, done)


@pytest.mark.parametrize("what", ["HC2", "FGS", "writing train_lmdb"])
def test_an_interrupted_run_goes_on(request_: SetRequest, tmp_path: Path, what: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_set(request_, Interrupting(what))
    assert read_set(request_.folder) is None
    listener = Listener()
    made = make_set(request_, listener)
    assert made.made
    begun = ["HC1 x 1.05", "HC2", "FGS", "writing train_lmdb"]
    bars = [bar for bar, *_ in listener.bars if bar != "checking the images"]
    assert bars == begun[begun.index(what) :]
    whole = make_set(replace(request_, folder=tmp_path / "whole"))
    assert records(made.database) == records(whole.database)
    assert not list(made.folder.glob(".*"))


def test_a_second_run_does_nothing(request_: SetRequest) -> None:
    first = make_set(request_)
    before = snapshot(request_.folder)
    second = make_set(request_)
    assert (second.made, second.record) == (False, first.record)
    assert snapshot(request_.folder) == before


def test_other_settings_are_refused_and_need_no_new_attack(request_: SetRequest) -> None:
    make_set(request_)
    before = snapshot(request_.folder)
    other = replace(request_, recipe=replace(MIXED, seed=3))
    with pytest.raises(RecordError, match=r"other settings \(it differs in: mix, seed\)"):
        make_set(other)
    assert snapshot(request_.folder) == before
    listener = Listener()
    made = make_set(replace(other, again=True), listener)
    assert {bar for bar, *_ in listener.bars} == {"checking the images", "writing train_lmdb"}
    assert made.record["originals"] == COUNT


def test_another_model_replaces_nothing_unless_asked(request_: SetRequest, tmp_path: Path) -> None:
    first = make_set(request_)
    other = replace(request_, model=other_model(tmp_path))
    with pytest.raises(RecordError, match="it differs in: model"):
        make_set(other)
    (request_.folder / "hard_positives.json").unlink()
    shutil.rmtree(first.database)
    with pytest.raises(RecordError, match="another run"):
        make_set(other)
    made = make_set(replace(other, again=True))
    assert content(made.folder) == counted(expected(other))


def test_folders_with_other_things_are_refused(request_: SetRequest) -> None:
    request_.folder.mkdir()
    (request_.folder / "thesis.txt").write_text("precious")
    for again in (False, True):
        with pytest.raises(DataError, match=r"holds other files \(thesis.txt\)"):
            make_set(replace(request_, again=again))
    (request_.folder / "thesis.txt").rename(request_.folder / "train_lmdb")
    with pytest.raises(DataError, match=r"holds other files \(train_lmdb\)"):
        make_set(replace(request_, again=True))
    assert snapshot(request_.folder) == {"train_lmdb": b"precious"}


def test_what_cannot_be_is_refused_before_anything_is_written(
    request_: SetRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "nine.npy", np.full(COUNT, 9))
    images = tmp_path / "images.npy"
    np.save(tmp_path / "small.npy", np.load(images)[:, :, :8, :8])
    for changed, error, message in (
        ({"source": open_images(images)}, DataError, "images.npy.*: there are no labels"),
        (
            {"source": open_images(images, tmp_path / "nine.npy")},
            ValueError,
            "label 9 .* does not exist",
        ),
        (
            {"source": open_images(tmp_path / "small.npy", tmp_path / "labels.npy")},
            ValueError,
            "hc1.*small.npy.*take",
        ),
        ({"recipe": Recipe(("hc1", "hc4"))}, ValueError, "hc4 .*can be at most 3, not 4"),
        ({"recipe": Recipe(("hc1@ip9",))}, ValueError, "hc1@ip9 .*no blob 'ip9'"),
    ):
        with pytest.raises(error, match=message):
            make_set(replace(request_, **changed))
        assert not request_.folder.exists()
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 19)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"needs up to \d MiB, and its disk has 0 MiB left"):
        make_set(request_)
    assert snapshot(request_.folder) == {}


def test_colours_are_in_the_networks_order(tmp_path: Path) -> None:
    plain = make_set(small_request(tmp_path, MIXED, channels=3))
    assert plain.record["channel_order"] == "RGB"
    asked = small_request(tmp_path, MIXED, channels=3, order="BGR")
    made = make_set(replace(asked, folder=tmp_path / "bgr"))
    assert made.record["channel_order"] == "BGR"
    swapped = open_images(made.database, channel_order="BGR").read(slice(None))
    assert swapped.labels is not None
    pairs = zip(swapped.labels.tolist(), swapped.images, strict=True)
    assert counted(expected(asked)) + originals(asked) == Counter(
        (label, image.tobytes()) for label, image in pairs
    )


def test_a_mixture_is_read_part_by_part() -> None:
    asked: list[int] = []

    def pool(first: int, count: int) -> Pool:
        values = np.arange(first, first + count)

        def read(rows: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, Any]:
            asked.append(len(rows))
            assert (np.diff(rows) > 0).all()
            return np.asarray(values[rows].astype(np.uint8).reshape(-1, 1, 1, 1))

        return Pool(values + 1000, read)

    def parts(seed: int) -> Iterator[list[int]]:
        for part in shuffle([pool(0, 17), pool(17, 0), pool(17, 30)], (1, 1, 1), seed, 10):
            assert (part.labels == part.images.reshape(-1).astype(int) + 1000).all()
            yield part.images.reshape(-1).tolist()

    some = list(parts(0))
    assert [len(part) for part in some] == [10, 10, 10, 10, 7]
    assert max(asked) <= 10
    flat = [value for part in some for value in part]
    assert sorted(flat) == list(range(47))
    assert flat != sorted(flat)
    assert list(parts(0)) == some != list(parts(1))


def test_labels_are_read_once_for_all(request_: SetRequest, tmp_path: Path) -> None:
    """A source of another kind, of which nothing is in memory: an LMDB that was made before."""
    first = make_set(replace(request_, recipe=MIXED))
    source = open_images(first.database)
    asked = replace(request_, source=source, recipe=MIXED, folder=tmp_path / "second")
    made = make_set(asked)
    assert made.record["originals"] == len(source)
    assert content(made.folder) >= content(first.folder)
    assert images_of(tmp_path).compute_digest() != source.compute_digest()


def test_of_each_class_some_that_are_classified_correctly(
    request_: SetRequest, tmp_path: Path
) -> None:
    batch, classifier = request_.source.read(slice(None)), request_.model.load()
    labels = batch.labels
    assert labels is not None
    correct = classifier.predict(batch.images) == labels
    rows = [np.flatnonzero(correct & (labels == label))[:4] for label in range(4)]
    counts = [len(some) for some in rows]
    # Some classes have fewer, and others more than that.
    assert min(counts) < 4 < max((correct & (labels == label)).sum() for label in range(4))
    asked = replace(request_, recipe=replace(ALONE, per_class=4))
    listener = Listener()
    made = make_set(asked, listener)
    few = {label: counts[label] for label in np.unique(labels).tolist() if counts[label] < 4}
    assert few == {3: 0}
    assert (
        "1 class has fewer than 4 images that are classified correctly: all of these are attacked "
        "(class 3: 0)"
    ) in listener.notes
    chosen = request_.source.choose(np.sort(np.concatenate(rows)), "")
    assert content(made.folder) == counted(expected(replace(asked, source=chosen)))
    assert [one["attempted"] for one in made.record["attacks"]] == [sum(counts)] * 3
    assert made.record["settings"]["per_class"] == 4
    assert made.attacked == 3 * sum(counts)
    # Mixed, there are all originals.
    mixed = make_set(replace(asked, recipe=replace(MIXED, per_class=4), again=True))
    assert (mixed.record["originals"], mixed.attacked) == (COUNT, 0)
    with pytest.raises(RecordError, match="per_class"):
        make_set(replace(asked, recipe=replace(MIXED, per_class=3)))


def test_an_interrupted_choice_goes_on(request_: SetRequest, tmp_path: Path) -> None:
    asked = replace(request_, recipe=replace(MIXED, per_class=2))
    with pytest.raises(KeyboardInterrupt):
        make_set(asked, Interrupting("FGS"))
    listener = Listener()
    made = make_set(asked, listener)
    assert [bar for bar, *_ in listener.bars if bar != "checking the images"] == [
        "choosing the images",
        "FGS",
        "writing train_lmdb",
    ]
    whole = make_set(replace(asked, folder=tmp_path / "whole"))
    assert records(made.database) == records(whole.database)


def test_a_model_that_is_never_right(request_: SetRequest, tmp_path: Path) -> None:
    labels = np.load(tmp_path / "labels.npy")
    wrong = (request_.model.load().predict(np.load(tmp_path / "images.npy")) + 1) % 4
    assert len(wrong) == len(labels)
    np.save(tmp_path / "labels.npy", wrong)
    with pytest.raises(DataError, match="classifies no image correctly"):
        make_set(replace(request_, source=images_of(tmp_path), recipe=replace(MIXED, per_class=2)))


def test_a_limit_attacks_a_sample_of_a_folder(request_: SetRequest, tmp_path: Path) -> None:
    batch = request_.source.read(slice(None))
    assert batch.labels is not None
    for number, (image, label) in enumerate(zip(batch.images, batch.labels, strict=True)):
        (tmp_path / "photos" / str(label)).mkdir(parents=True, exist_ok=True)
        write_png(tmp_path / "photos" / str(label) / f"{number}.png", image)
    recipe = replace(ALONE, attacks=("fgs",), limit=12)
    source = open_images(tmp_path / "photos")
    made = make_set(replace(request_, source=source, recipe=recipe, sample_seed=2))
    assert made.record["settings"]["sample_seed"] == 2
    wanted = source.sample(12, 2)
    tried = replace(request_, source=wanted, recipe=recipe)
    assert content(made.folder) == counted(expected(tried))
    other = replace(request_, source=source, recipe=recipe)
    with pytest.raises(RecordError, match="sample_seed"):
        make_set(other)
    assert content(make_set(replace(other, again=True)).folder) == counted(
        expected(replace(other, source=source.sample(12, 0)))
    )
