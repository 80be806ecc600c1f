"""Snapshots that a power cut has left empty or cut off: a training goes on from the one before."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from caffe.proto import caffe_pb2

from caffe_ext.training import TrainingRequest, train
from caffe_ext.training.folder import TrainingFolder
from caffe_ext.training.snapshots import is_whole_state, is_whole_weights
from training_samples import Listener, tiny_request


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def drop_history(path: Path) -> None:
    state = caffe_pb2.SolverState.FromString(path.read_bytes())
    del state.history[:]
    path.write_bytes(state.SerializeToString())


def shorten_blobs(path: Path) -> None:
    net = caffe_pb2.NetParameter.FromString(path.read_bytes())
    for layer in net.layer:
        for blob in layer.blobs:
            del blob.data[-1]
    path.write_bytes(net.SerializeToString())


def remove_group(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for name in ("history", "data"):
            if name in file:
                del file[name]


def make_endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


COMMON = (empty, halve, zero, make_endless, Path.unlink)
DAMAGES: dict[str, tuple[Callable[[Path], object], ...]] = {
    ".solverstate": (*COMMON, drop_history),
    ".caffemodel": (*COMMON, shorten_blobs),
    ".solverstate.h5": (*COMMON, remove_group),
    ".caffemodel.h5": (*COMMON, remove_group),
}
CASES = [(suffix, damage) for suffix, damages in DAMAGES.items() for damage in damages]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainingRequest]:
    """The request of a finished training with two snapshots, by the suffix of its format."""
    requests = {}
    for suffix, form in (("", "BINARYPROTO"), (".h5", "HDF5")):
        settings = f"snapshot: 100 snapshot_format: {form}"
        request = tiny_request(tmp_path_factory.mktemp(f"trained{suffix}"))
        requests[suffix] = replace(request, overrides=settings)
        train(requests[suffix])
    return requests


@pytest.fixture
def request_(trained: dict[str, TrainingRequest], suffix: str, tmp_path: Path) -> TrainingRequest:
    """A copy of the training for one case."""
    original = trained[".h5" if suffix.endswith(".h5") else ""]
    shutil.copytree(original.root, tmp_path / "copy")
    root = tmp_path / "copy"
    return replace(original, solver=root / "solver.prototxt", output=root / "out/tiny", root=root)


@pytest.mark.parametrize(("suffix", "damage"), CASES)
def test_a_damaged_snapshot_is_passed_over(
    request_: TrainingRequest, suffix: str, damage: Callable[[Path], object]
) -> None:
    folder = TrainingFolder(request_.output)
    ending = ".solverstate.h5" if suffix.endswith(".h5") else ".solverstate"
    newest, older = (request_.output / f"tiny_iter_{at}{ending}" for at in (200, 100))
    assert folder.find_newest_state() == (200, newest)
    damage(request_.output / f"tiny_iter_200{suffix}")
    listener = Listener()
    assert folder.find_newest_state(listener) == (100, older)
    assert all("damaged or incomplete" in note for note in listener.notes)
    assert len(listener.notes) == newest.exists()


@pytest.mark.parametrize("suffix", [""])
def test_a_log_that_is_no_file_is_refused(request_: TrainingRequest) -> None:
    log = request_.output / "train.log"
    make_endless(log)
    with pytest.raises(OSError, match=f"not a regular file: '{log}'"):
        train(request_)


@pytest.mark.parametrize("suffix", [".caffemodel", ".solverstate", ".caffemodel.h5"])
def test_a_training_goes_on_after_a_power_cut(request_: TrainingRequest, suffix: str) -> None:
    folder = TrainingFolder(request_.output)
    weights = folder.find_weights(200)
    assert weights is not None
    expected = weights.read_bytes() if weights.suffix != ".h5" else None
    record = request_.output / "training.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"finished": False}))
    empty(request_.output / f"tiny_iter_200{suffix}")
    listener = Listener()
    result = train(request_, listener)
    assert "damaged or incomplete" in listener.notes[0]
    assert "resuming from iteration 100 of 200" in listener.notes[1]
    assert result.accuracy == 1.0
    assert is_whole_weights(result.weights)
    if expected is not None:
        assert result.weights.read_bytes() == expected


@pytest.mark.parametrize("suffix", [".caffemodel"])
def test_a_finished_training_without_its_weights_is_none(
    request_: TrainingRequest, suffix: str
) -> None:
    empty(request_.output / f"tiny_iter_200{suffix}")
    result = train(request_)
    assert not result.reused
    assert is_whole_weights(result.weights)
    assert train(request_).reused


def test_a_solver_of_a_net_without_weights_has_no_history(tmp_path: Path) -> None:
    state, weights = tmp_path / "a.solverstate", tmp_path / "a.caffemodel"
    state.write_bytes(caffe_pb2.SolverState(iter=1).SerializeToString())
    net = caffe_pb2.NetParameter()
    net.layer.add(name="data")
    weights.write_bytes(net.SerializeToString())
    assert is_whole_state(state)
    net.layer[0].blobs.add(data=[1.0]).shape.dim[:] = [1]
    weights.write_bytes(net.SerializeToString())
    assert is_whole_weights(weights)
    assert not is_whole_state(state)
