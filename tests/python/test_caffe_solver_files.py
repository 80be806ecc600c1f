"""Wrong solver files: one line and exit 1, before training."""

import shutil
from pathlib import Path

import caffe
import pytest

from caffe_nets import SOLVER, error_of, program, solver, write_files


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a net to train and a solver, as the working directory."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    return tmp_path


WRONG = {
    'net "x"': 't:1:5: Expected ":"',
    SOLVER + "no_such_field: 1": 'has no field named "no_such_field"',
    SOLVER + 'type: "Sgd"': "Unknown solver type: Sgd (known types: ",
    SOLVER.replace("fixed", "cosine"): 't: unknown lr_policy "cosine": choose fixed, step',
    SOLVER.replace('lr_policy: "fixed"', ""): "t: lr_policy is missing: choose fixed",
    SOLVER.replace("fixed", "step"): "t: stepsize is 0; it must be 1 or more",
    SOLVER.replace("fixed", "exp") + "gamma: -1": "t: gamma is -1; it must be 0 or more",
    SOLVER.replace("fixed", "poly").replace("max_iter: 1", "power: 1"): "t: max_iter is 0; it",
    SOLVER.replace("fixed", "multistep") + "gamma: 1 stepvalue: 9 stepvalue: 3": (
        "t: stepvalue 3 comes after 9; they must be in ascending order"
    ),
    SOLVER.replace("0.1", "nan"): "t: base_lr is nan; it must be 0 or more",
    SOLVER.replace("0.1", "inf"): "t: base_lr is inf; it must be a finite number",
    SOLVER.replace("0.1", "-1"): "t: base_lr is -1; it must be 0 or more",
    SOLVER.replace("base_lr: 0.1", ""): "t: base_lr, the learning rate, is missing",
    SOLVER + "power: nan": "t: power is nan; it must be a finite number",
    SOLVER.replace("fixed", "multistep"): "t: stepvalue is missing: the iterations at which",
    SOLVER + "stepvalue: -3": "t: stepvalue is -3; it must be 0 or more",
    SOLVER + "random_seed: -5": "t: random_seed is -5; it must be 0 or more, or -1",
    SOLVER + "random_seed: 4294967296": "t: random_seed is 4294967296; it must be at most 429496",
    SOLVER + "device_id: -1": "t: device_id is -1; it must be 0 or more",
    SOLVER + 'type: "RMSProp" momentum: 0.9': "t: momentum is 0.9; RMSProp does not use it",
    SOLVER + 'type: "AdaDelta" delta: 0': "t: delta is 0; for AdaDelta it must be more than 0",
    SOLVER + 'type: "BANG" bang_param { base_type: "Adam" } delta: 0': "t: delta is 0; for Adam it",
    SOLVER
    + 'type: "Adversarial" adversarial_param { base_type: "BANG" } '
    + 'bang_param { base_type: "RMSProp" } momentum: 0.9': "t: momentum is 0.9; RMSProp does not",
    SOLVER + "solver_mode: TPU": 'Unknown enumeration value of "TPU" for field "solver_mode"',
    SOLVER + "iter_size: 99999999999": "Integer out of range (99999999999)",
    SOLVER + "max_iter: 2": 'field "max_iter" is specified multiple times',
    SOLVER + 'regularization_type: "L3"': 't: regularization_type is "L3"; it must be "L1" or "L2"',
    SOLVER + "test_iter: 1": "t: test_interval is 0; it must be 1 or more",
    SOLVER + "test_iter: -1 test_interval: 1": "t: test_iter is -1; it must be 0 or more",
    SOLVER + "test_interval: 5": "t: test_iter, the number of batches of a test, is missing",
    SOLVER.replace("fixed", "step") + "stepsize: 5": 't: gamma is missing: lr_policy "step"',
    SOLVER.replace("fixed", "inv") + "gamma: 1": 't: power is missing: lr_policy "inv" needs it',
    SOLVER.replace("fixed", "poly"): 't: power is missing: lr_policy "poly" needs it',
    SOLVER.replace("fixed", "poly") + "power: -1": "t: power is -1; it must be 0 or more",
    SOLVER + "clip_gradients: inf": "t: clip_gradients is inf; it must be a finite number",
    SOLVER + "test_interval: -1": "t: test_interval is -1; it must be 0 or more",
    SOLVER + "average_loss: 0": "t: average_loss is 0; it must be 1 or more",
    SOLVER + "iter_size: 0": "t: iter_size is 0; it must be 1 or more",
    SOLVER + "iter_size: -2": "t: iter_size is -2; it must be 1 or more",
    SOLVER + "display: -1": "t: display is -1; it must be 0 or more",
    SOLVER + "snapshot: -1": "t: snapshot is -1; it must be 0 or more",
    SOLVER.replace("max_iter: 1", "max_iter: -1"): "t: max_iter is -1; it must be 0 or more",
    SOLVER + "clip_gradients: -2": "t: clip_gradients is -2; it must be more than 0, or -1",
    SOLVER + "clip_gradients: 0": "t: clip_gradients is 0; it must be more than 0, or -1",
    SOLVER + "clip_gradients: nan": "t: clip_gradients is nan; it must be more than 0, or -1",
    SOLVER + "momentum: nan": "t: momentum is nan; it must be at least 0 and less than 1",
    SOLVER + "momentum: 1": "t: momentum is 1; it must be at least 0 and less than 1",
    SOLVER + 'type: "Adam" momentum2: 1': "t: momentum2 is 1; it must be at least 0 and less",
    SOLVER + 'type: "RMSProp" rms_decay: -1': "t: rms_decay is -1; it must be at least 0 and",
    SOLVER + "weight_decay: -1": "t: weight_decay is -1; it must be 0 or more",
    SOLVER + "delta: inf": "t: delta is inf; it must be a finite number",
    SOLVER.replace("train.prototxt", ""): "t: net is empty; it must be the path of a file",
    SOLVER + 'test_net: "" test_iter: 1 test_interval: 1': "t: test_net is empty; it must be",
    SOLVER + 'weights: ""': "t: weights is empty; it must be the path of a file",
    SOLVER + 'snapshot_prefix: "a\\000b"': "t: snapshot_prefix has a NUL character",
    SOLVER.replace("after_train: false", f'prefix: "{"a" * 300}"'): "aaa': File name too long",
    SOLVER.replace("train.prototxt", "nowhere"): "cannot open nowhere: No such file or directory",
    SOLVER + 'net_param { name: "x" }': "must not contain more than one of these fields",
    "base_lr: 0.1 lr_policy: 'fixed' max_iter: 1": "must specify a train net using one of these",
}


@pytest.mark.parametrize("text", WRONG)
def test_settings(text: str) -> None:
    with pytest.raises((caffe.Error, RuntimeError)):
        solver(text)
    assert WRONG[text] in error_of("caffe", "train", "-solver=t")


def test_a_learning_rate_beyond_all_numbers() -> None:
    Path("t").write_text(SOLVER.replace("fixed", "exp").replace("iter: 1", "iter: 9 gamma: 1e38"))
    says = error_of("caffe", "train", "-solver=t")
    assert says == "the learning rate of iteration 2 is inf: choose a smaller gamma or power"


def test_a_training_without_an_end() -> None:
    Path("t").write_text(SOLVER.replace("max_iter: 1", ""))
    says = error_of("caffe", "train", "-solver=t")
    assert says.startswith("t: max_iter, the number of iterations, is missing")
    solver(SOLVER.replace("max_iter: 1", "")).step(1)  # a program counts for itself


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_snapshot_that_cannot_be_written(folder: Path) -> None:
    options = SOLVER.replace("snapshot_after_train: false", "snapshot: 1")
    (folder / "file").touch()
    Path("t").write_text(options + 'snapshot_prefix: "file/a"')
    says = error_of("caffe", "train", "-solver=t")
    assert "Cannot write to snapshot prefix 'file/a': Not a directory" in says
    (folder / "snaps").mkdir()
    Path("t").write_text(options + 'snapshot_prefix: "snaps/a"')
    Path("snaps/a_iter_1.caffemodel").symlink_to("/dev/full")
    says = error_of("caffe", "train", "-solver=t")
    assert says == "cannot write snaps/a_iter_1.caffemodel: No space left on device"


def test_weights_and_states_that_are_confused(folder: Path) -> None:
    Path("t").write_text(SOLVER.replace("after_train: false", "after_train: true"))
    assert program("caffe", "train", "-solver=t").returncode == 0
    says = error_of("caffe", "train", "-solver=t", "-snapshot=t_iter_1.caffemodel")
    assert says.startswith("t_iter_1.caffemodel: holds weights, not a solver state: ")
    assert "--weights" in says
    says = error_of("caffe", "train", "-solver=t", "-weights=t_iter_1.solverstate")
    assert says.startswith("t_iter_1.solverstate is not a readable .caffemodel")
    (folder / "page.caffemodel").write_text("<html></html>")
    for command in (("train", "-solver=t"), ("test", "-model=train.prototxt", "-iterations=1")):
        says = error_of("caffe", *command, "-weights=page.caffemodel")
        assert says.startswith("page.caffemodel is not a readable .caffemodel")


PROGRAMS = [
    (("caffe", "train"), "Need a solver definition to train."),
    (("caffe", "nonsense"), None),
    (("caffe", "test", "-model=net.prototxt", "-weights=no"), "cannot open no: No such file"),
    (("caffe", "time", "-model=no"), "cannot open no: No such file"),
    (("upgrade_net_proto_text", "no", "new"), "cannot open no: No such file"),
    (("upgrade_net_proto_text", "net.prototxt", "no/new"), "cannot write no/new: No such file"),
    (("upgrade_net_proto_binary", "no", "new"), "cannot open no: No such file"),
    (("upgrade_solver_proto_text", "no", "new"), "cannot open no: No such file"),
    (("extract_features", "no", "no", "fc", "new", "1", "lmdb"), "cannot open no: No such file"),
    (("convert_mnist_data", "no", "no", "new"), "Unable to open file no"),
    (("classification", "no", "no", "no", "no", "no"), "cannot open no: No such file"),
    (("convert_cifar_data", ".", ".", "lmdb"), "Unable to open train file #1"),
    (("convert_mnist_siamese_data", "no", "no", "new"), "Unable to open file no"),
]


@pytest.mark.parametrize(("command", "sentence"), PROGRAMS)
def test_programs(command: tuple[str, ...], sentence: str | None) -> None:
    done = program(*command)
    assert done.returncode == 1, done.stderr
    assert "stack trace" not in done.stderr
    assert "HDF5-DIAG" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert (sentence or "Unknown action: nonsense") in last


@pytest.mark.parametrize("where", ["file", "net_param", "train_net_param"])
def test_old_layers(where: str) -> None:
    old = """
      layers { name: "d" type: DUMMY_DATA top: "x" top: "label"
               dummy_data_param { shape { dim: 8 dim: 5 } shape { dim: 8 } } }
      layers { name: "fc" type: INNER_PRODUCT bottom: "x" top: "fc"
               inner_product_param { num_output: 3 } }
      layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc" bottom: "label" top: "loss" }
    """
    Path("train.prototxt").write_text(old)
    shutil.copy("train.prototxt", "old")
    settings = SOLVER.replace('net: "train.prototxt"', "")
    named = 'net: "train.prototxt"' if where == "file" else f"{where} {{ {old} }}"
    there = solver(settings + named)
    there.step(1)
    assert there.net.blobs["loss"].data > 0
    if where == "net_param":
        tested = solver(settings + named + "test_iter: 1 test_interval: 1")
        assert list(tested.test_nets[0].blobs["fc"].shape) == [8, 3]
