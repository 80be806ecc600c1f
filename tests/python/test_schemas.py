"""The programs' own JSON files, damaged or hostile: a sentence naming the file, or made anew."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe_ext.data.record import SourceRecord, read_record
from caffe_ext.errors import DataError, RecordError
from caffe_ext.evaluation.report import check_folder
from caffe_ext.evaluation.stability import check_counts
from caffe_ext.runs.campaign_files import check_campaign_files
from caffe_ext.studies.table1.training import read_models
from caffe_ext.training.folder import TrainingFolder
from caffe_ext.training.hard_positives.folder import read_set
from caffe_ext.training.settings import TrainingError

SETTINGS = "0123456789abcdef" * 4
NESTED = "[" * 100_000
# What every reader must withstand, whatever its file should hold.
JUNK = ("", "null", "5", '"x"', "[]", "{}", "{", NESTED, '{"format": 1}', "NaN", "9" * 5000)


NO_DIGESTS: tuple[Any, ...] = (
    *("../../../x", "/etc", "", 5, None, []),
    *(SETTINGS.upper(), SETTINGS + "0"),
)


def is_one_sentence(error: BaseException, path: Path) -> None:
    assert str(path) in f"{error}"
    assert "\n" not in f"{error}"


def training(**changes: Any) -> str:
    fields = {
        "format": 1,
        "settings": SETTINGS,
        "finished": True,
        "seconds": 1.5,
        "started": None,
        "devices": ["CPU"],
    }
    return json.dumps(fields | changes)


def test_a_training_s_record_is_read(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text(training())
    progress = TrainingFolder(tmp_path).claim(SETTINGS, again=False)
    assert (progress.finished, progress.seconds, progress.devices) == (True, 1.5, ("CPU",))
    # Other settings: what is there goes into a folder below this one.
    (tmp_path / "x_iter_5.caffemodel").write_text("weights")
    assert not TrainingFolder(tmp_path).claim("f" * 64, again=False).finished
    kept = tmp_path / "earlier" / SETTINGS[:12]
    assert {path.name for path in kept.iterdir()} == {"training.json", "x_iter_5.caffemodel"}


@pytest.mark.parametrize(
    "text",
    [
        *JUNK,
        *(training(settings=other) for other in NO_DIGESTS),
        training(format=2),
        training(seconds="long"),
        training(seconds=-1),
        training(seconds=10**400),
        training(started="now"),
        training(devices="CPU"),
        training(devices=[5]),
        training(finished=1),
    ],
)
def test_a_training_s_record_that_is_damaged_moves_nothing(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "a" / "b" / "out"
    folder.mkdir(parents=True)
    (folder / "training.json").write_text(text)
    (folder / "x_iter_5.caffemodel").write_text("precious")
    with pytest.raises(TrainingError) as refused:
        TrainingFolder(folder).claim("f" * 64, again=False)
    is_one_sentence(refused.value, folder)
    assert "training.json" in f"{refused.value}"
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"a/b/out/training.json", "a/b/out/x_iter_5.caffemodel"}


def source(**changes: Any) -> str:
    record = SourceRecord(
        data_set="digits",
        holds="digits",
        origin="here",
        published=True,
        remark="",
        embedded=True,
        files=(),
        validation=0,
        images={"test_lmdb": 5},
        extras=("mean.binaryproto",),
        versions={},
    )
    return json.dumps(json.loads(record.to_bytes()) | changes)


def test_a_data_set_s_record_is_read(tmp_path: Path) -> None:
    file = {"path": "/x/\udcff", "size": 3, "md5": "0" * 32}
    (tmp_path / "source.json").write_text(source(files=[file]))
    record = read_record(tmp_path)
    assert record is not None
    assert type(record) is SourceRecord
    assert (record.images, record.extras) == ({"test_lmdb": 5}, ("mean.binaryproto",))
    assert record.fingerprint == ("0" * 32,)
    assert json.loads(record.to_bytes()) == json.loads(source(files=[file]))


@pytest.mark.parametrize(
    "text",
    [
        *JUNK,
        source(images=5),
        source(images={"../x": 5}),
        source(images={"test_lmdb": "5"}),
        source(extras=["/etc/passwd"]),
        source(extras=[".."]),
        source(files=[{"path": "x"}]),
        source(files=[{"path": "x", "size": 3, "md5": "../x"}]),
        source(finished=False),
        source(format=2),
        source(validation=-1),
    ],
)
def test_a_data_set_s_record_that_is_damaged_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "source.json").write_text(text)
    assert read_record(tmp_path) is None


def hard_positives(**changes: Any) -> str:
    attack = {
        **dict.fromkeys(("attack", "name"), "hc1"),
        **dict.fromkeys(("attempted", "found", "unconfirmed", "below_pass", "above_pass"), 1),
        **{"kept": 1, "classes": [1, 2], "pass_scores": [0.1, 0.2, 0.3], "ecc_failed": 0},
    }
    record = {
        "format": 1,
        "finished": True,
        **{"images": 3, "hard_positives": 1, "originals": 2},
        "settings": {"seed": 0},
        "attacks": [attack | changes.pop("attack", {})],
    }
    return json.dumps(record | changes)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (hard_positives(), True),
        (hard_positives(attack={"pass_scores": None}), True),
        *((text, False) for text in JUNK),
        (hard_positives(settings=None), False),
        (hard_positives(attacks=None), False),
        (hard_positives(attack={"pass_scores": [1]}), False),
        (hard_positives(attack={"kept": "1"}), False),
        (hard_positives(originals=None), False),
        (hard_positives(finished=False), False),
    ],
)
def test_a_set_s_record(tmp_path: Path, text: str, good: bool) -> None:
    (tmp_path / "train_lmdb").mkdir()
    (tmp_path / "train_lmdb" / "data.mdb").touch()
    (tmp_path / "hard_positives.json").write_text(text)
    found = read_set(tmp_path)
    assert (found is not None) == good
    assert found is None or found.record == json.loads(text)


READERS: dict[str, tuple[Callable[[Path], object], type[Exception]]] = {
    "models.json": (read_models, DataError),
    "summary.json": (lambda path: check_campaign_files(path.parent, []), RecordError),
    "evaluation.json": (lambda path: check_folder(path.parent, {"seed": 0}), RecordError),
}


@pytest.mark.parametrize("text", [*JUNK, '{"models": [5]}', '{"models": [{"id": "R0"}]}'])
@pytest.mark.parametrize("name", READERS)
def test_what_is_not_made_again_is_named(tmp_path: Path, name: str, text: str) -> None:
    read, error = READERS[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match="is damaged") as refused:
        read(tmp_path / name)
    is_one_sentence(refused.value, tmp_path / name)
    assert (tmp_path / name).read_text() == text


def test_an_evaluation_of_something_else_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text('{"identity": {"seed": 1}}')
    with pytest.raises(RecordError, match="differs in: seed"):
        check_folder(tmp_path, {"seed": 0})
    check_folder(tmp_path, {"seed": np.int64(1).item()})


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ([[0, 5]] * 4, "4 images, but there are 3"),
        ([[0, 5], [0]], "must have 2 counts of at most 5"),
        ([[0, 6]], "must have 2 counts of at most 5"),
        ([[]], "must have 2 counts"),
    ],
)
def test_counts_of_noise(changed: list[list[int]], says: str) -> None:
    check_counts([[0, 5]] * 3, 3, 2, 5)
    check_counts([], 3, 2, 5)
    with pytest.raises(ValueError, match=says):
        check_counts(changed, 3, 2, 5)
