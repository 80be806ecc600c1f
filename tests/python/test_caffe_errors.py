"""What a wrong file, net, solver or argument does in pycaffe: an exception with a sentence."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from caffe_nets import NET, SOLVER, error_of, net, python, solver, write_files

CAFFE = Path(caffe.__file__).parents[2] / "bin" / "caffe"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a net, a net to train and a solver, as the working directory."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    return tmp_path


def reshaped(*shape: int) -> None:
    there = net()
    there.blobs["data"].reshape(*shape)
    there.reshape()


def half_a_file() -> None:
    net().save("w")
    whole = Path("w").read_bytes()
    Path("w").write_bytes(whole[: len(whole) // 2])
    net().copy_from("w")


def wider() -> None:
    net(NET.replace("num_output: 2 kernel", "num_output: 4 kernel")).save("w")
    net(weights="w")


def restore_weights(name: str, save: str) -> None:
    there = solver(SOLVER)
    getattr(there.net, save)(name)
    there.restore(name)


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "syntax": (lambda: net("layer { name: "), "not the prototxt of a net: t:1:15: "),
    "field": (
        lambda: net('layer { name: "a" type: "Permute" permute_param { } }'),
        't:1:49: Message type "caffe.LayerParameter" has no field named "permute_param".',
    ),
    "layer type": (
        lambda: net('layer { name: "a" type: "Interp" }'),
        "t, layer 'a': Unknown layer type: Interp (known types: ",
    ),
    "bottom": (
        lambda: net('layer { name: "a" type: "ReLU" bottom: "x" top: "y" }'),
        "t: Unknown bottom blob 'x' (layer 'a', bottom index 0)",
    ),
    "no LMDB": (
        lambda: net(
            'layer { name: "a" type: "Data" top: "x" '
            'data_param { source: "nowhere" batch_size: 1 backend: LMDB } }'
        ),
        "t, layer 'a': cannot open LMDB nowhere: No such file or directory",
    ),
    "no weights": (
        lambda: net().copy_from("nowhere.caffemodel"),
        "cannot open nowhere.caffemodel: No such file or directory",
    ),
    "a folder as weights": (lambda: net().copy_from("."), "cannot read .: it is a folder"),
    "weights of another shape": (wider, "w, layer 'conv': Cannot copy param 0 weights from"),
    "half of the weights": (half_a_file, "w is not a readable .caffemodel"),
    "save into no folder": (
        lambda: net().save("nowhere/x.caffemodel"),
        "cannot write nowhere/x.caffemodel: No such file or directory",
    ),
    "save HDF5 into no folder": (
        lambda: net().save_hdf5("nowhere/x.h5"),
        "cannot write nowhere/x.h5: No such file or directory",
    ),
    "larger input": (
        lambda: reshaped(1, 1, 9, 9),
        "layer 'fc': Input size incompatible with inner product parameters.",
    ),
    "more channels": (
        lambda: reshaped(1, 3, 8, 8),
        "layer 'conv': Input size incompatible with convolution kernel. "
        "(Check failed: bottom[0]->shape(channel_axis_) == channels_ (3 vs. 1))",
    ),
    "no images": (lambda: reshaped(0, 1, 8, 8), "blob 'data' is empty: its shape is 0 1 8 8 (0)"),
    "no images in the prototxt": (
        lambda: net(NET.replace("dim: 1 dim: 1", "dim: 0 dim: 1")),
        "t, layer 'conv': blob 'data' is empty",
    ),
    "solver syntax": (lambda: solver('net "x"'), "not a solver file: t:1:5: "),
    "bang_param": (
        lambda: solver(SOLVER + 'type: "BANG" bang_param { ratio: 0.5 }'),
        'Message type "caffe.BangParameter" has no field named "ratio".',
    ),
    "solver type": (lambda: solver(SOLVER + 'type: "Bang"'), "Unknown solver type: Bang (known "),
    "no lr_policy": (
        lambda: solver(SOLVER.replace('lr_policy: "fixed"', "")),
        "t: lr_policy is missing: choose fixed, step, exp, inv, multistep, poly or sigmoid",
    ),
    "lr_policy": (
        lambda: solver(SOLVER.replace("fixed", "cosine")),
        't: unknown lr_policy "cosine": choose fixed, ',
    ),
    "no state": (
        lambda: solver(SOLVER).restore("nowhere.solverstate"),
        "cannot open nowhere.solverstate: No such file or directory",
    ),
    "weights as a state": (
        lambda: restore_weights("w", "save"),
        "w: holds weights, not a solver state: restore and --snapshot take a .solverstate",
    ),
    "weights of HDF5 as a state": (
        lambda: restore_weights("w.h5", "save_hdf5"),
        "w.h5: holds weights, not a solver state: ",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_or_argument_raises(case: str) -> None:
    call, sentence = WRONG[case]
    with pytest.raises(caffe.Error) as raised:
        call()
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value, RuntimeError)


@pytest.mark.parametrize("name", ["pipe", "pipe.h5", "/dev/null"])
@pytest.mark.parametrize(
    "arguments",
    [
        "train --solver={}",
        "train --solver=solver.prototxt --weights={}",
        "train --solver=solver.prototxt --snapshot={}",
        "test --model={} --weights=w",
        "test --model=train.prototxt --weights={} --iterations=1",
        "train --solver=hdf5.prototxt",
    ],
)
def test_what_is_no_file_is_not_waited_for(folder: Path, arguments: str, name: str) -> None:
    for pipe in ("pipe", "pipe.h5"):
        os.mkfifo(pipe)
    (folder / "list").write_text(f"{name}\n")
    (folder / "net").write_text(
        'layer { name: "a" type: "HDF5Data" top: "data" '
        'hdf5_data_param { source: "list" batch_size: 1 } }'
    )
    (folder / "hdf5.prototxt").write_text(SOLVER.replace("train.prototxt", "net"))
    says = error_of("caffe", *arguments.format(name).split())
    assert f"cannot read {name}: it is not a file" in says


def test_a_solver_may_come_from_a_pipe_that_is_meant(folder: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, (folder / "solver.prototxt").read_bytes())
    os.close(writing)
    command = [str(CAFFE), "train", "--solver=/dev/stdin"]
    done = subprocess.run(command, stdin=reading, capture_output=True, text=True, check=False)
    os.close(reading)
    assert done.returncode == 0, done.stderr


def test_a_net_is_whole_after_a_failed_call() -> None:
    there = net()
    before = there.forward(data=np.ones((1, 1, 8, 8)))["prob"].copy()
    for shape in ((1, 1, 9, 9), (0, 1, 8, 8), (1, 3, 8, 8)):
        there.blobs["data"].reshape(*shape)
        for call in (there.reshape, there.forward):
            with pytest.raises(caffe.Error):
                call()
    there.blobs["data"].reshape(1, 1, 8, 8)
    assert np.array_equal(there.forward(data=np.ones((1, 1, 8, 8)))["prob"], before)


def test_a_failed_restore_changes_nothing(folder: Path) -> None:
    there = caffe.get_solver("solver.prototxt")
    there.step(1)
    there.snapshot()
    state = folder / "solver_iter_1.solverstate"
    weights = there.net.params["fc"][0].data
    weights[...] = 7
    message = caffe_pb2.SolverState.FromString(state.read_bytes())
    message.iter = 5
    message.history[1].shape.dim[0] = 99
    (folder / "other.solverstate").write_bytes(message.SerializeToString())
    for name, sentence in {
        "other.solverstate": "other.solverstate: belongs to another net: the shape of",
        "solver.prototxt": "solver.prototxt: is damaged, incomplete, or not a solver state",
        "empty": "empty: is empty, or not a solver state",
    }.items():
        Path("empty").touch()
        with pytest.raises(caffe.Error) as raised:
            there.restore(name)
        assert sentence in str(raised.value)
        assert there.iter == 1
        assert (weights == 7).all()


@pytest.mark.parametrize("snapshot_format", ["BINARYPROTO", "HDF5"])
def test_a_state_finds_its_weights_beside_itself(folder: Path, snapshot_format: str) -> None:
    (folder / "old").mkdir()
    options = f'snapshot_prefix: "old/a" snapshot_format: {snapshot_format}'
    there = solver(SOLVER + options)
    there.net.params["fc"][0].data[...] = 3
    there.snapshot()
    (folder / "old").rename(folder / "new")
    (state,) = (folder / "new").glob("*.solverstate*")
    again = solver(SOLVER)
    again.restore(str(state))
    assert (again.net.params["fc"][0].data == 3).all()
    for weights in (folder / "new").glob("*.caffemodel*"):
        weights.unlink()
    with pytest.raises(caffe.Error, match=r"its weights are missing: no old/a_iter_0"):
        again.restore(str(state))


def test_what_failed_is_freed() -> None:
    """Half-built nets, and the files that they had open, go with the exception."""
    done = python("""
import resource
from caffe_nets import *
wide = NET.replace("num_output: 2 weight_filler", "num_output: 100000 weight_filler")
for number in range(100):
    try:
        net(wide.replace('type: "Softmax"', 'type: "Missing"'))
    except caffe.Error:
        pass
    else:
        raise AssertionError
    if number == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
""")
    assert done.returncode == 0, done.stderr
