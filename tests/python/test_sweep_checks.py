"""What of a sweep is tried before any work: its solvers, networks and models (checks.py)."""

from pathlib import Path
from typing import Any

import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_ext.sweeps.checks import describe_solver_kind
from caffe_ext.sweeps.data import SweepData
from caffe_ext.sweeps.description import SweepPoint
from caffe_ext.sweeps.file import read_sweep
from caffe_ext.sweeps.sweep import Sweep
from sweep_samples import plan_sweep, write_sweep


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"axes": {"bang_param.bet": [1]}}, "did you mean beta?"),
        ({"axes": {"bang_param.beta": [1, 0]}}, "beta is 0, which would freeze the weights"),
        ({"axes": {"bang_param.epsilon": [1, -1]}}, "must be a finite number, 0 or larger"),
        ({"settings": {"lr_policy": "invers"}}, "invers"),
        ({"settings": {"max_iter": 0}}, "does not set max_iter"),
        ({"settings": {"type": "BNAG"}}, "BNAG"),
        ({"axes": {"random_seed": [1, -1]}}, "seed 1 and baseline, random_seed -1 are the same"),
        ({"axes": {"momentum": [0.1, 0.1000000001]}}, "momentum 0.1 and .* are the same training"),
    ],
)
def test_every_point_is_checked_before_any_work(
    tmp_path: Path, changes: Any, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        plan_sweep(tmp_path, **changes)


def test_adversarial_training_is_checked(tmp_path: Path) -> None:
    """On the tiny network of the checks, whose layers and blobs have other names."""
    attack = 'adversarial_param { loss_layer: "loss" attack { epsilon: 8 } }'
    path = write_sweep(tmp_path / "files", axes={"max_iter": [1, 2]}, baseline=None)
    solver = path.with_name("solver.prototxt")
    text = solver.read_text().replace('"BANG"', '"Adversarial"')
    solver.write_text(text + attack)
    assert len(Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files").plan().points) == 2
    solver.write_text(text + attack.replace("8", "-8"))
    with pytest.raises(ValueError, match=r"max_iter 1: .*epsilon") as caught:
        Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files").plan()
    assert "/tmp" not in f"{caught.value}"


def test_a_batch_may_be_split_between_attacks(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "files", axes={"max_iter": [1, 2]}, baseline=None)
    solver = path.with_name("solver.prototxt")
    text = solver.read_text().replace('"BANG"', '"Adversarial"')
    attacks = "attack { epsilon: 8 } attack { type: FGSM epsilon: 8 }"
    solver.write_text(text + f"adversarial_param {{ mix: BATCH alpha: 0.4 {attacks} }}")
    assert len(Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files").plan().points) == 2


def test_the_loss_layer_may_have_any_name(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "files", axes={"max_iter": [1, 2]}, baseline=None)
    net, solver = path.with_name("net.prototxt"), path.with_name("solver.prototxt")
    net.write_text(net.read_text().replace('name: "loss"', 'name: "other"'))
    text = solver.read_text()
    solver.write_text(text + 'bang_param { incorrect_ratio: 0.5 loss_layer: "other" }')
    sweep = Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files")
    assert len(sweep.plan().points) == 2
    solver.write_text(text + 'bang_param { incorrect_ratio: 0.5 loss_layer: "loss" }')
    with pytest.raises(ValueError, match=r"max_iter 1: .*loss_layer 'loss'"):
        sweep.plan()


@pytest.mark.parametrize(
    ("settings", "right", "wrong"),
    [
        ('type: "BANG" bang_param { layer { name: "NAME" epsilon: 0.5 } }', "ip", "nowhere"),
        (
            'type: "Adversarial" adversarial_param { data_blob: "NAME" attack { epsilon: 8 } }',
            *("data", "nowhere"),
        ),
    ],
)
def test_every_variant_is_tried_on_its_network(
    tmp_path: Path, settings: str, right: str, wrong: str
) -> None:
    """Settings of layers that a network does not have would end its training."""
    files = tmp_path / "files"
    variants = [{"name": name, "solver": f"{name}.prototxt"} for name in ("first", "second")]
    write_sweep(files)
    text = (files / "solver.prototxt").read_text().replace('type: "BANG"', settings)
    for name in ("first", "second"):
        (files / f"{name}.prototxt").write_text(text.replace("NAME", right))
    changes: dict[str, Any] = {"axes": {"variant": variants, "random_seed": [1]}, "baseline": None}
    assert len(plan_sweep(tmp_path, **changes).points) == 2
    (files / "second.prototxt").write_text(text.replace("NAME", wrong))
    with pytest.raises(ValueError, match=rf"variant second.*: .*{wrong}"):
        plan_sweep(tmp_path, **changes)


def test_each_kind_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def count(point: SweepPoint, _: SweepData) -> float:
        tried.append(point.title)
        return 0.5

    monkeypatch.setattr("caffe_ext.sweeps.checks._try", count)
    axes: dict[str, list[Any]] = {"bang_param.beta": [1, 1.2], "bang_param.epsilon": [0.5, 0.8]}
    assert plan_sweep(tmp_path, axes=axes).seconds == 20 * 0.5
    assert tried == ["baseline", "beta 1, epsilon 0.5"]
    del tried[:]
    plan_sweep(tmp_path, axes={"iter_size": [1, 2], "base_lr": [0.1, 0.2]}, baseline=None)
    assert tried == ["iter_size 1, base_lr 0.1", "iter_size 2, base_lr 0.1"]


def test_the_kind_of_a_solver() -> None:
    def describe(text: str) -> str:
        return describe_solver_kind(text_format.Parse(text, caffe_pb2.SolverParameter()))

    same = 'type: "Adversarial" adversarial_param { attack { epsilon: EPSILON } } max_iter: 5'
    eight = describe(same.replace("EPSILON", "8"))
    assert describe(same.replace("EPSILON", "4").replace("5", "6")) == eight
    others = (
        *(same.replace("EPSILON", "0"), same.replace("EPSILON", "8 steps: 3")),
        same.replace("EPSILON", "8") + " iter_size: 2",
        same.replace("EPSILON } }", "8 } attack { epsilon: 8 } }"),
        same.replace("EPSILON } }", "8 } trades_beta: 6 }"),
    )
    assert len({eight, *map(describe, others)}) == 6


def test_the_stages_of_a_solver_are_trained(tmp_path: Path) -> None:
    """Dropout may be a stage of a network, as in solvers/lenet_dropout_all.prototxt."""
    path = write_sweep(tmp_path / "files", axes={"max_iter": [1, 2]}, baseline=None)
    net, solver = path.with_name("net.prototxt"), path.with_name("solver.prototxt")
    stages = 'train_state { stage: "deep" }'
    solver.write_text(solver.read_text() + stages)
    sweep = Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files")
    trained = sweep.plan().points[0].description["solver"]
    parsed = text_format.Parse(trained, caffe_pb2.SolverParameter())
    assert list(parsed.train_state.stage) == ["deep"]
    axes = {"train_state.stage": [[], ["deep"]]}
    assert len({one.digest for one in plan_sweep(tmp_path, axes=axes, baseline=None).points}) == 2
    # Each stage is tried before any work.
    net.write_text(net.read_text() + 'layer { name: "x" type: "Odd" include { stage: "deep" } }')
    sweep = Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files")
    with pytest.raises(ValueError, match=r"stage \['deep'\]: .*Odd"):
        sweep.plan()


def test_a_network_that_reads_something_else_is_refused(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "files")
    net = path.with_name("net.prototxt")
    net.write_text(net.read_text().replace("train_lmdb", "mine_lmdb"))
    with pytest.raises(ValueError, match=r"reads data/digits/mine_lmdb, which .* does not have"):
        Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files").plan()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("num_output: 10", "num_output: 7", "beta 1.0, epsilon 0.5: .*ip"),
        ("dim: 28", "dim: 14", "beta 1.0, epsilon 0.5: "),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    path = write_sweep(tmp_path / "files", baseline=None)
    deploy = path.with_name("deploy.prototxt")
    deploy.write_text(deploy.read_text().replace(old, new))
    with pytest.raises(ValueError, match=sentence):
        Sweep(read_sweep(path), tmp_path / "out", tmp_path / "files").plan()


def test_a_point_that_diverges_is_not_refused(tmp_path: Path) -> None:
    """It fails by itself, later, and the others are computed."""
    for solver in ("plain.prototxt", "solver.prototxt"):
        axes = {"base_lr": [1e37, 0.01]}
        assert len(plan_sweep(tmp_path, solver=solver, axes=axes, baseline=None).points) == 2
