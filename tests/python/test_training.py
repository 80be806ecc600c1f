"""training: `caffe train` monitored, interrupted, resumed and reused."""

import json
import os
import shutil
import signal
import subprocess
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
from caffe.proto import caffe_pb2
from numpy.typing import NDArray

from caffe_ext.data import write_database
from caffe_ext.training import TrainingError, TrainingRequest, train
from caffe_ext.training import run as training
from caffe_ext.training.log import parse_log
from data_samples import image_set
from training_samples import DATABASE_NETWORK, LONG, NETWORK, Listener, tiny_request


@pytest.fixture
def request_(tmp_path: Path) -> TrainingRequest:
    return tiny_request(tmp_path)


def parameters(path: Path) -> list[NDArray[np.float32]]:
    net = caffe_pb2.NetParameter.FromString(path.read_bytes())
    return [np.array(blob.data, np.float32) for layer in net.layer for blob in layer.blobs]


def same_weights(one: Path, other: Path) -> bool:
    pairs = list(zip(parameters(one), parameters(other), strict=True))
    assert pairs
    return all(np.array_equal(a, b) for a, b in pairs)


def snapshots(request: TrainingRequest) -> list[str]:
    return sorted(path.name for path in request.output.glob("*_iter_*"))


def test_a_training(request_: TrainingRequest) -> None:
    listener = Listener()
    result = train(request_, listener)
    assert result.accuracy == 1.0
    assert result.loss is not None
    assert 0 < result.loss < 2.3  # log 10, of a guess
    assert (result.iterations, result.reused) == (200, False)
    assert result.seconds > 0
    assert result.weights == request_.output / "tiny_iter_200.caffemodel"
    log = parse_log(result.log.read_text())
    assert log.tests[-1].loss == result.loss
    assert "ip_log10_eta_mean" in log.trains[0].outputs
    assert listener.bars == [("tiny", 200, 0)]
    assert listener.done == 200
    assert listener.notes[0] == "tiny: training, 200 iterations; log: out/tiny/train.log"
    assert listener.notes[1].startswith("tiny: accuracy 100.00%, 200 iterations, ")
    with pytest.raises(FrozenInstanceError):
        result.accuracy = 0.0  # type: ignore[misc]


def test_the_settings_that_are_kept_are_complete(request_: TrainingRequest) -> None:
    result = train(replace(request_, overrides="max_iter: 30 test_iter: 7 bang_param { beta: 2 }"))
    kept = result.solver.read_text()
    assert kept.count("test_iter: 7") == kept.count("test_iter:") == 1
    for text in ("max_iter: 30", "beta: 2", "epsilon: 0.5", 'net: "out/tiny/network.prototxt"'):
        assert text in kept
    # Of 30 iterations no test is due at the end.
    assert (result.accuracy, result.loss) == (None, None)
    before = result.weights.read_bytes()
    command = (
        kept.splitlines()[0].removeprefix("# ").replace("caffe", training.find_caffe_program(), 1)
    )
    subprocess.run(command.split(), cwd=request_.root, check=True, capture_output=True)
    assert result.weights.read_bytes() == before


def test_a_finished_training_is_reused(request_: TrainingRequest) -> None:
    first = train(request_)
    written = first.log.stat().st_mtime_ns
    listener = Listener()
    second = train(request_, listener)
    assert second == replace(first, reused=True)
    assert listener.bars == []
    assert listener.notes[0].startswith("tiny: trained before, accuracy 100.00%")
    assert first.log.stat().st_mtime_ns == written
    third = train(replace(request_, again=True))
    assert not third.reused
    assert third.log.stat().st_mtime_ns > written


def test_other_settings_put_a_training_aside(request_: TrainingRequest) -> None:
    first = train(request_)
    model = first.weights.read_bytes()
    other = train(replace(request_, overrides="base_lr: 0.01"))
    assert not other.reused
    assert other.weights.read_bytes() != model
    back = train(request_)
    assert back.reused
    assert back.weights.read_bytes() == model
    assert train(replace(request_, overrides="base_lr: 0.01")).reused
    assert snapshots(request_) == ["tiny_iter_200.caffemodel", "tiny_iter_200.solverstate"]


def test_weights_of_several_files(request_: TrainingRequest) -> None:
    first = train(request_).weights.rename(request_.root / "first.caffemodel")
    second = shutil.copy(first, request_.root / "second.caffemodel")
    both = replace(request_, overrides=f'weights: "{first}, {second}" max_iter: 201', again=True)
    assert train(both).iterations == 201
    (request_.root / "second.caffemodel").unlink()
    with pytest.raises(TrainingError, match=r"second\.caffemodel do not exist; a comma in `weig"):
        train(both)


def test_interrupted_and_continued(request_: TrainingRequest) -> None:
    # Interrupted twice; what it has reached then is what a training in one piece reaches.
    long = replace(request_, overrides=f"max_iter: {LONG} display: 100")
    with pytest.raises(KeyboardInterrupt, match=r"^tiny: stopped, iteration [\d,]+ is saved; run"):
        train(long, Listener(stop_at=100))
    (state,) = request_.output.glob("*.solverstate")
    reached = int(state.stem.rpartition("_")[2])
    assert 100 <= reached < LONG
    assert parse_log((request_.output / "train.log").read_text()).stopped

    listener = Listener(stop_at=reached + 500)
    with pytest.raises(KeyboardInterrupt):
        train(long, listener)
    assert listener.notes == [
        f"tiny: training, resuming from iteration {reached:,} of {LONG:,} iterations; "
        "log: out/tiny/train.log"
    ]
    assert listener.bars == [("tiny", LONG, reached)]

    log = (request_.output / "train.log").read_text()
    assert f"Resuming from out/tiny/{state.name}" in log
    _, newest = max(
        (int(path.stem.rpartition("_")[2]), path) for path in request_.output.glob("*.solverstate")
    )
    last = int(newest.stem.rpartition("_")[2])
    whole = train(
        replace(
            request_, output=request_.root / "whole", overrides=f"max_iter: {last} display: 100"
        )
    )
    assert same_weights(newest.with_suffix(".caffemodel"), whole.weights)


def test_a_continued_training_finishes(request_: TrainingRequest) -> None:
    request = replace(request_, overrides="snapshot: 100")
    whole = train(request)
    weights, seconds = parameters(whole.weights), whole.seconds
    # As after a crash: the record says unfinished, and the last state was cut short.
    record = request.output / "training.json"
    record.write_text(record.read_text().replace("true", "false"))
    state = request.output / "tiny_iter_200.solverstate"
    state.write_bytes(state.read_bytes()[:-7])
    listener = Listener()
    result = train(request, listener)
    assert "resuming from iteration 100 of 200" in listener.notes[1]
    assert "Resuming from out/tiny/tiny_iter_100.solverstate" in result.log.read_text()
    assert listener.done == 200
    assert all(map(np.array_equal, parameters(result.weights), weights))
    assert result.accuracy == 1.0
    assert result.seconds > seconds
    assert [train.iteration for train in parse_log(result.log.read_text()).trains] == [
        0,
        50,
        100,
        150,
        200,
    ]


def test_the_time_is_known_even_if_the_watcher_was_killed(request_: TrainingRequest) -> None:
    request = replace(request_, overrides="snapshot: 100")
    seconds = train(request).seconds
    record = request.output / "training.json"
    fields = json.loads(record.read_text())
    ended = (request.output / "train.log").stat().st_mtime
    record.write_text(
        json.dumps(fields | {"finished": False, "seconds": 10.0, "started": ended - 1000})
    )
    assert 1010 < train(request).seconds < 1010 + seconds + 60


def test_a_second_interruption_ends_it_at_once(request_: TrainingRequest) -> None:
    class Impatient:
        def __init__(self) -> None:
            self.sent: list[object] = []

        def send_signal(self, number: int) -> None:
            self.sent.append(number)

        def wait(self) -> None:
            if "kill" not in self.sent:
                raise KeyboardInterrupt

        def kill(self) -> None:
            self.sent.append("kill")

    process = Impatient()
    training._stop(process)  # type: ignore[arg-type]
    assert process.sent == [signal.SIGINT, "kill"]


def test_any_exception_ends_caffe(request_: TrainingRequest) -> None:
    class Broken(Listener):
        def step(self, count: int) -> None:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        train(replace(request_, overrides=f"max_iter: {LONG}"), Broken())
    # The folder's lock is free: nothing trains there.
    train(request_)


def test_failures_of_caffe_are_reported(request_: TrainingRequest) -> None:
    net = request_.root / "net.prototxt"
    net.write_text(NETWORK.replace('"Accuracy"', '"Acuracy"'))
    with pytest.raises(TrainingError) as failure:
        train(request_)
    assert "Unknown layer type: Acuracy" in str(failure.value)
    assert str(failure.value).startswith("caffe train failed: ")
    assert str(failure.value).endswith(f"(log: {request_.output / 'train.log'})")
    net.write_text(NETWORK)
    with pytest.raises(TrainingError, match=r"caffe train failed: .*base_type"):
        train(replace(request_, overrides='bang_param { base_type: "BANG" }'))
    assert train(request_).accuracy == 1.0


def test_data_that_changed_are_other_settings(request_: TrainingRequest) -> None:
    root = request_.root
    (root / "net.prototxt").write_text(DATABASE_NETWORK + NETWORK.partition("}\n}")[2])
    (root / "data").mkdir()
    for part in ("train_lmdb", "test_lmdb"):
        write_database(root / "data" / part, image_set(8), 5)
    request = replace(request_, overrides="base_lr: 1e-9 max_iter: 3")
    assert not train(request).reused
    assert train(request).reused
    database = root / "data" / "train_lmdb" / "data.mdb"
    os.utime(database, ns=(0, database.stat().st_mtime_ns + 1))
    assert not train(request).reused
