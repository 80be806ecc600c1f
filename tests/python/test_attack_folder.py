"""runs/folder.py: interruptions, and which runs may use a folder of results."""

import os
from pathlib import Path
from typing import Any

import pytest

from attack_run_samples import (
    IDENTITY,
    IMAGES,
    Stopping,
    content,
    equal,
    run_of,
)
from attack_samples import ArraySource
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.errors import RecordError
from caffe_ext.models.classifier import Classifier
from caffe_ext.runs import runner as attack_run
from caffe_ext.runs.records import load_description, load_records
from caffe_ext.runs.runner import AttackRun, check_run, run_attack
from caffe_ext.storage.lock import lock_folder

pytestmark = pytest.mark.usefixtures("pieces_of_5")


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
    with lock_folder(run.parts, None):
        busy = r"another process is using .*hc1\.parts; wait for"
        with pytest.raises(RecordError, match=busy):
            run_attack(classifier, source, run)
        assert not source.asked
        run_attack(classifier, source, run_of(tmp_path / "out", "hc2"))  # another attack can run
    run_attack(classifier, source, run)


def test_who_waited_for_the_lock_takes_what_the_other_has_finished(
    tmp_path: Path, classifier: Classifier, source: ArraySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path / "out")
    original, locks = os.open, 0

    def late(path: Path, *rest: int) -> int:
        """Let another process do all of it between mkdir and lock."""
        nonlocal locks
        descriptor = original(path, *rest)
        if path == run.parts:
            locks += 1
            if locks == 1:
                run_attack(classifier, source, run)
        return descriptor

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", late)
        found = run_attack(classifier, source, run)
    assert len(source.asked) == 5
    equal(found, load_records(run.path))
    assert [file.name for file in run.folder.iterdir()] == [run.path.name]


@pytest.mark.parametrize("text", ["{", "", "7"])
def test_a_damaged_description_is_named(tmp_path: Path, text: str) -> None:
    run = run_of(tmp_path / "out")
    run.parts.mkdir(parents=True)
    run.note.write_text(text)
    with pytest.raises(RecordError) as refused:
        check_run(run)
    says = f"{run.note} is damaged: delete {run.parts}, or choose another folder"
    assert str(refused.value).startswith(says)


def test_pieces_beside_finished_records_are_removed(
    tmp_path: Path, classifier: Classifier, source: ArraySource
) -> None:
    """As a kill leaves them between the last rename and the removal of the pieces."""
    run = run_of(tmp_path / "out")
    run_attack(classifier, source, run)
    before = content(run.path)
    run.parts.mkdir()
    (run.parts / "00000000-00000005.h5").write_bytes(run.path.read_bytes())
    run.note.write_text("{}")
    with lock_folder(run.parts, None):  # another process is about to do so
        run_attack(classifier, source, run)
    assert run.parts.exists()
    run_attack(classifier, source, run)
    assert [file.name for file in run.folder.iterdir()] == [run.path.name]
    assert content(run.path) == before
