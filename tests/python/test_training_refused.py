"""training: refused input, in one sentence, before anything is written."""

import fcntl
import os
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from caffe_ext.data import write_database
from caffe_ext.storage import atomic
from caffe_ext.training import TrainingError, TrainingRequest, train
from caffe_ext.training import run as training
from caffe_ext.training.folder import Progress, TrainingFolder
from data_samples import image_set, snapshot
from training_samples import DATABASE_NETWORK, Listener, tiny_request


@pytest.fixture
def request_(tmp_path: Path) -> TrainingRequest:
    return tiny_request(tmp_path)


def refusal(request: TrainingRequest) -> str:
    with pytest.raises(TrainingError) as refused:
        train(request)
    assert not request.output.is_dir(), "found before anything is written"
    return str(refused.value)


def test_missing_and_wrong_files_are_refused(request_: TrainingRequest) -> None:
    root, solver = request_.root, request_.solver
    assert refusal(replace(request_, solver=root / "none.prototxt")) == (
        f"cannot read the solver file {root / 'none.prototxt'}: No such file or directory"
    )
    os.mkfifo(root / "pipe")
    for endless in (Path("/dev/zero"), root / "pipe"):
        assert refusal(replace(request_, solver=endless)) == (
            f"cannot read the solver file {endless}: not a regular file"
        )
    message = refusal(replace(request_, overrides="no_such_field: 1"))
    assert "'no_such_field: 1' are not solver settings" in message
    assert refusal(replace(request_, sources={"x": "y"})) == f"{solver}: no network reads x"
    assert refusal(replace(request_, overrides="max_iter: 0")) == f"{solver} does not set max_iter"
    assert refusal(replace(request_, overrides='weights: "w"')) == (
        "the solver's weights w do not exist"
    )
    (root / "net.prototxt").unlink()
    assert refusal(request_) == (
        f"cannot read the network of {solver} {root / 'net.prototxt'}: No such file or directory"
    )
    solver.write_text("type: 7")
    assert f"the solver file {solver} is not valid: 1:7" in refusal(request_)
    solver.write_text("max_iter: 1")
    assert "names no network" in refusal(request_)


def test_missing_data_are_refused(request_: TrainingRequest) -> None:
    root = request_.root
    (root / "net.prototxt").write_text(DATABASE_NETWORK)
    message = "net.prototxt reads the LMDB data/train_lmdb, which does not exist; create it first"
    assert refusal(request_) == message
    (root / "data" / "train_lmdb").mkdir(parents=True)
    assert refusal(request_).endswith("which is not an LMDB: it has no data.mdb")
    moved = replace(request_, sources={"data/train_lmdb": "elsewhere"})
    assert "the LMDB elsewhere, which does not exist" in refusal(moved)
    (root / "data" / "train_lmdb").rmdir()
    write_database(root / "data" / "train_lmdb", image_set(8), 5)
    # The data of the test count only where there are tests.
    assert "data/test_lmdb" in refusal(request_)


def test_output_that_cannot_be_written_is_refused(request_: TrainingRequest) -> None:
    (request_.root / "file").touch()
    message = refusal(replace(request_, output=request_.root / "file" / "tiny"))
    assert message == f"cannot write into {request_.root / 'file' / 'tiny'}: Not a directory"


def test_a_folder_in_use_is_refused(request_: TrainingRequest) -> None:
    request_.output.mkdir(parents=True)
    descriptor = os.open(request_.output, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(TrainingError, match="another process is training in"):
        train(request_)
    os.close(descriptor)


def test_no_caffe(request_: TrainingRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(request_.root / "python"))
    monkeypatch.setenv("PATH", str(request_.root))
    assert refusal(request_).startswith("no program caffe was found; run `make`, then")
    program = request_.root / "caffe"
    program.touch(mode=0o755)
    assert training.find_caffe_program() == str(program)


@pytest.mark.parametrize("record", [None, "{", "[]"])
@pytest.mark.parametrize("name", ["tiny_iter_9.caffemodel", "a_iter_9.solverstate", "train.log"])
def test_weights_of_others_stay(request_: TrainingRequest, record: str | None, name: str) -> None:
    request_.output.mkdir(parents=True)
    (request_.output / name).write_text("mine")
    if record is not None:
        (request_.output / "training.json").write_text(record)
    before = snapshot(request_.output)
    for again in (False, True):
        with pytest.raises(TrainingError, match="choose another folder, or move them away"):
            train(replace(request_, again=again))
    assert snapshot(request_.output) == before


def test_an_earlier_training_does_not_come_back_over_files_of_others(
    request_: TrainingRequest,
) -> None:
    listener = Listener()
    train(replace(request_, overrides="max_iter: 3"))
    train(replace(request_, overrides="max_iter: 2"), listener)
    (earlier,) = (request_.output / "earlier").iterdir()
    assert listener.notes[0].endswith(f"training that was here; it is kept in {earlier}")
    (request_.output / "training.json").write_text("{")
    before = snapshot(request_.output)
    with pytest.raises(TrainingError, match=r"or its record training\.json is damaged"):
        train(replace(request_, overrides="max_iter: 3"))
    assert snapshot(request_.output) == before


def test_a_move_that_was_cut_short_is_finished(request_: TrainingRequest) -> None:
    short = replace(request_, overrides="max_iter: 3")
    weights = train(short).weights
    train(replace(request_, overrides="max_iter: 2"))
    (earlier,) = (request_.output / "earlier").iterdir()
    for path in (*request_.output.glob("*_iter_*"), *request_.output.glob("*.*")):
        path.unlink(missing_ok=True)
    (earlier / weights.name).replace(weights)
    assert train(short).reused


def test_a_full_disk_is_named(request_: TrainingRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_file = atomic.replace_file

    def full(path: Path, *, sync: bool = True) -> AbstractContextManager[BinaryIO]:
        if path.name == name:
            raise OSError(28, "No space left on device", str(path))
        return replace_file(path, sync=sync)

    monkeypatch.setattr(atomic, "replace_file", full)
    output = request_.output
    name = "solver.prototxt"
    with pytest.raises(TrainingError, match=f"^cannot write into {output}: No space left"):
        train(request_)
    name = "training.json"
    text = f"^cannot write {output / 'training.json'}: No space left on device$"
    with pytest.raises(TrainingError, match=text):
        train(request_)


def test_a_full_disk_does_not_hide_what_caffe_says(
    request_: TrainingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = TrainingFolder.write

    def full(folder: TrainingFolder, progress: Progress) -> None:
        if progress.seconds:
            raise TrainingError("cannot write")
        write(folder, progress)

    monkeypatch.setattr(TrainingFolder, "write", full)
    with pytest.raises(TrainingError, match=r"caffe train failed: .*base_type"):
        train(replace(request_, overrides='bang_param { base_type: "BANG" }'))
    with pytest.raises(TrainingError, match="cannot write"):
        train(request_)
