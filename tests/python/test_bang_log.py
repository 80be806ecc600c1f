"""Logs of the solver type BANG, which Caffe's own programs read; faulty set-ups end early."""

import subprocess
from pathlib import Path

import caffe
import pytest
from PIL import Image

import log_samples
from log_samples import parse_log, run

NETWORK = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 8 dim: 5 } shape { dim: 8 } data_filler { type: "gaussian" }
  data_filler { type: "constant" value: LABEL } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { SETTINGS num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


def train(
    folder: Path, solver: str, settings: str = "", label: str = "1"
) -> subprocess.CompletedProcess[str]:
    network = NETWORK.replace("SETTINGS", settings).replace("LABEL", label)
    return log_samples.train(folder, network, solver)


def test_caffes_programs_show_bangs_outputs(tmp_path: Path) -> None:
    assert train(tmp_path, 'type: "BANG"').returncode == 0
    rows = parse_log(tmp_path)
    assert [float(row["NumIters"]) for row in rows] == [0, 10, 20]
    assert all(
        0 <= float(row["fc_log10_eta_mean"]) <= float(row["fc_log10_eta_max"]) for row in rows
    )
    assert {"loss", "fc_zero_gradients", "misclassified"} <= set(rows[0])
    run(tmp_path, "plot_training_log.py", "fc_log10_eta_mean", "eta.png", "train.log")
    with Image.open(tmp_path / "eta.png") as picture:
        assert picture.size == (640, 480)
    run(tmp_path, "plot_training_log.py", "6", "loss.png", "train.log")
    assert (tmp_path / "loss.png").exists()


def test_networks_of_bangs_authors_train_and_test(tmp_path: Path) -> None:
    settings = "beta: 0.4 epsilon: 0.855 ratio: 0.5"
    done = train(tmp_path, 'type: "BANG"', settings)
    assert done.returncode == 0
    assert "BANG balances fc: beta = 0.4, epsilon = 0.855, incorrect_ratio = 0.5" in done.stderr
    assert done.stderr.count("settings in the network's layers") == 1
    command = ["caffe", "test", "--model=net.prototxt", "--iterations=2"]
    caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).save(str(tmp_path / "w.caffemodel"))
    tested = subprocess.run(
        [*command, "--weights=w.caffemodel"], cwd=tmp_path, capture_output=True, check=False
    )
    assert tested.returncode == 0


@pytest.mark.parametrize(
    ("solver", "settings", "sentence"),
    [
        ('type: "SGD"', "beta: 0.4 epsilon: 0.855", 'set type: "BANG" in the solver file'),
        ('type: "BANG" bang_param { beta: 0 }', "", "bang_param.beta is 0, which would freeze"),
        (
            'type: "BANG" bang_param { diagnostics_csv: "nowhere/d.csv" }',
            "",
            "cannot write nowhere/d.csv",
        ),
        ('type: "BANG" bang_param { diagnostics_csv: "old.csv" }', "", "old.csv exists already"),
    ],
)
def test_faulty_settings_end_before_the_first_iteration(
    tmp_path: Path, solver: str, settings: str, sentence: str
) -> None:
    (tmp_path / "old.csv").write_text("my own\n")
    done = train(tmp_path, solver, settings)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Iteration 0" not in done.stderr
    assert (tmp_path / "old.csv").read_text() == "my own\n"
