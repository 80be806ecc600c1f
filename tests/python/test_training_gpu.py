"""Training on a GPU: the arguments of `caffe train`, the records, and early errors."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from caffe_ext.runtime.device import Device
from caffe_ext.training import TrainingError, TrainingRequest, train
from caffe_ext.training import run as training
from caffe_ext.training.log import parse_log
from caffe_ext.training.settings import read_settings
from device_samples import made_up
from training_samples import Listener, tiny_request

# Takes note of what it is told, leaves --gpu out, and runs Caffe.
PROGRAM = """#!/bin/sh
echo "$@" >> {told}
for argument; do
  shift
  case "$argument" in --gpu=*) ;; *) set -- "$@" "$argument" ;; esac
done
exec {caffe} "$@"
"""


@pytest.fixture
def request_(tmp_path: Path) -> TrainingRequest:
    return tiny_request(tmp_path)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program in Caffe's place that runs it on the CPU; return what it was told."""
    told, program = tmp_path / "told", tmp_path / "caffe"
    program.write_text(PROGRAM.format(told=told, caffe=training.find_caffe_program()))
    program.chmod(0o755)
    monkeypatch.setattr(training, "find_caffe_program", lambda: str(program))
    return told


def test_caffe_is_told(
    request_: TrainingRequest, told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up(monkeypatch, 2)
    listener = Listener()
    result = train(replace(request_, gpu=1, overrides="snapshot: 100"), listener)
    assert told.read_text() == "train --solver=out/tiny/solver.prototxt --gpu=1\n"
    assert result.devices == ("GPU 1: Made-up 1",)
    assert listener.notes[0].startswith("tiny: training on GPU 1, 200 iterations; log: ")
    record = request_.output / "training.json"
    assert json.loads(record.read_text())["devices"] == ["GPU 1: Made-up 1"]
    # What is finished is; what is not goes on anywhere.
    again = train(replace(request_, overrides="snapshot: 100"))
    assert again == replace(result, reused=True)
    record.write_text(record.read_text().replace("true", "false"))
    for path in request_.output.glob("*_200.*"):
        path.unlink()
    continued = train(replace(request_, overrides="snapshot: 100"))
    assert continued.devices == ("GPU 1: Made-up 1", "CPU")
    assert told.read_text().splitlines()[1] == (
        "train --solver=out/tiny/solver.prototxt --snapshot=out/tiny/tiny_iter_100.solverstate"
    )


def test_records_of_earlier_versions(request_: TrainingRequest, told: Path) -> None:
    first = train(request_)
    assert first.devices == ("CPU",)
    assert "--gpu" not in told.read_text()
    record = request_.output / "training.json"
    fields = json.loads(record.read_text())
    del fields["devices"]
    record.write_text(json.dumps(fields))
    assert train(request_) == replace(first, reused=True, devices=())


@pytest.mark.parametrize(
    ("changes", "gpu"),
    [("", None), ("solver_mode: CPU device_id: 1", None), ("solver_mode: GPU device_id: 1", 1)],
)
def test_solver_files_may_ask_for_a_gpu(
    changes: str, gpu: int | None, request_: TrainingRequest
) -> None:
    settings = read_settings(request_.solver, changes, root=request_.root)
    assert settings.device == Device(gpu)


@pytest.mark.parametrize("asked", ["argument", "solver file"])
def test_a_missing_gpu_is_found_before_anything_is_written(
    asked: str, request_: TrainingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up(monkeypatch, -1)
    if asked == "argument":
        request = replace(request_, gpu=0)
    else:
        request = replace(request_, overrides="solver_mode: GPU")
    with pytest.raises(TrainingError) as error:
        train(request)
    assert str(error.value) == (
        "tiny: this Caffe was built for the CPU: build it with `make CUDA=1`"
    )
    assert not request_.output.exists()


@pytest.mark.gpu
def test_a_training_on_a_gpu(request_: TrainingRequest) -> None:
    result = train(replace(request_, gpu=0, overrides="display: 1"))
    other = train(replace(request_, output=request_.root / "cpu", overrides="display: 1"))
    assert result.accuracy == other.accuracy == 1.0
    assert result.devices[0].startswith("GPU 0: ")
    losses, expected = (
        [entry.loss for entry in parse_log(one.log.read_text()).trains] for one in (result, other)
    )
    assert len(losses) == len(expected) == 201
    assert losses == pytest.approx(expected, rel=1e-4)
