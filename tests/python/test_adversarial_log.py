"""Logs of the solver type Adversarial, which Caffe's programs read; faulty set-ups end early."""

from pathlib import Path

import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from PIL import Image

from caffe_ext.runtime.checkout import ROOT
from log_samples import parse_log, run, train

NETWORK = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 8 dim: 5 } shape { dim: 8 } data_filler { type: "uniform" min: 0 max: 1 }
  data_filler { type: "constant" value: 1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
RELU_FIELDS = ["net", "max_iter", "lr_policy", "gamma", "power", "stepvalue"]
PGD = "attack { type: PGD_LINF epsilon: 8 } transform_param { scale: 0.00392156863 }"


def test_caffes_programs_show_its_outputs(tmp_path: Path) -> None:
    done = train(tmp_path, NETWORK, f'type: "Adversarial" adversarial_param {{ {PGD} }}')
    assert done.returncode == 0, done.stderr
    rows = parse_log(tmp_path)
    assert [float(row["NumIters"]) for row in rows] == [0, 10, 20]
    for row in rows:
        assert float(row["adversarial_loss"]) > float(row["clean_loss"])
        assert 0 < float(row["adversarial_linf"]) <= 8.001
        assert float(row["adversarial_accuracy"]) <= float(row["clean_accuracy"]) <= 1
    run(tmp_path, "plot_training_log.py", "adversarial_accuracy", "accuracy.png", "train.log")
    with Image.open(tmp_path / "accuracy.png") as picture:
        assert picture.size == (640, 480)


@pytest.mark.parametrize(
    ("solver", "sentence"),
    [
        (
            'type: "SGD" adversarial_param { attack { epsilon: 8 } }',
            'set type: "Adversarial" or remove adversarial_param',
        ),
        (
            f'type: "Adversarial" adversarial_param {{ {PGD} }} bang_param {{ beta: 1 }}',
            'does not read it; set base_type: "BANG" in adversarial_param or remove bang_param',
        ),
        (
            'type: "Adversarial" adversarial_param { attack { epsilon: 0.3 } }',
            "epsilon is 0.3; it is in grey levels, 0 to 255; for 0.3 of that range write 76.5",
        ),
        (
            'type: "Adversarial" adversarial_param { attack { epsilon: 8 } }',
            "(DummyData) does not state how its values derive from grey levels",
        ),
        ('type: "Adversarial"', "adversarial_param has no attack"),
    ],
)
def test_bad_settings_end_with_one_sentence(tmp_path: Path, solver: str, sentence: str) -> None:
    done = train(tmp_path, NETWORK, solver)
    assert done.returncode == 1
    assert sentence in done.stderr.splitlines()[-1]


def test_a_loss_that_is_not_finite_ends_it(tmp_path: Path) -> None:
    network = NETWORK.replace('type: "xavier"', 'type: "constant" value: 1e38')
    settings = f'type: "Adversarial" adversarial_param {{ {PGD} }}'
    done = train(tmp_path, network, settings)
    assert done.returncode == 1
    assert "Training stopped: at iteration 0 the loss is nan. Lower" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("*.caffemodel"))


@pytest.mark.parametrize(("warm_up", "warns"), [(30, False), (31, True)])
def test_warm_up_longer_than_the_training_warns(tmp_path: Path, warm_up: int, warns: bool) -> None:
    done = train(
        tmp_path, NETWORK, f'type: "Adversarial" adversarial_param {{ {PGD} warm_up: {warm_up} }}'
    )
    assert done.returncode == 0
    assert ("warm_up is 31 and max_iter 30: the attacks do not reach" in done.stderr) == warns


def test_solver_files_are_those_of_the_plain_training() -> None:
    """But for their type, their attacks and the names of their snapshots; those of the LeNet with
    ReLUs also for its network, its length and the course of the learning rate.
    """
    names = [path.stem for path in (ROOT / "solvers").glob("*.prototxt")]
    robust = [
        name for name in names if "Adversarial" in (ROOT / f"solvers/{name}.prototxt").read_text()
    ]
    assert len(robust) == 14
    for name in robust:
        stem = "lenet" if name.startswith("lenet") else "cifar10_quick"
        plain, other = (solver_settings(one) for one in (f"{stem}_sgd", name))
        assert other.type == "Adversarial" and other.adversarial_param.attack
        assert other.snapshot_prefix == f"snapshots/{name}"
        own = RELU_FIELDS if name.startswith("lenet_relu") else []
        for settings in (plain, other):
            for field in ("type", "adversarial_param", "bang_param", "snapshot_prefix", *own):
                settings.ClearField(field)
        assert plain == other


def solver_settings(name: str) -> caffe_pb2.SolverParameter:
    text = (ROOT / f"solvers/{name}.prototxt").read_text()
    return text_format.Parse(text, caffe_pb2.SolverParameter())
