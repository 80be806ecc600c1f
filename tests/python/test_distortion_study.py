"""The study of distorted digits: its networks, stacks, and the program."""

import json
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from scipy import ndimage

from caffe_ext.cli import study as program
from caffe_ext.cli import study_distortion
from caffe_ext.cli.evaluate import main as evaluate
from caffe_ext.models.description import read_model
from caffe_ext.models.loadable_file import read_loadable
from caffe_ext.studies.distortion import stages, study
from caffe_ext.studies.distortion.measure import measure_curve
from caffe_ext.studies.distortion.models import (
    DEFENCES,
    FIGURES,
    NETWORKS,
    VARIANCES,
    list_networks,
)
from caffe_ext.studies.distortion.stacks import make_kernel, merge_weights, write_defence
from caffe_ext.training.settings import read_settings
from caffe_nets import read_net
from data_samples import image_set

PROTOTXT = Path("prototxt")
AUTOENCODER = PROTOTXT / "mnist_autoencoder_train_test.prototxt"
LENET = PROTOTXT / "lenet_dropout_train_test.prototxt"
PAPER = {
    "plain": (0.83, 73.6, 96.1),
    "dropout-all": (0.91, 35.7, 98.1),
    "lowpass-5": (1.38, 52.0, 95.0),
    "lowpass-dropout-all": (2.51, 34.8, 88.5),
    "dae": (1.27, 52.4, 93.2),
    "dae-dropout-all": (1.56, 21.4, 90.3),
    "committee": (0.86, 70.9, 97.2),
    "stage-5": (0.87, 44.5, 92.1),
    "stage-committee": (0.65, 9.8, 36.5),
}
"""Table 2 of the paper."""


def test_the_defences_are_the_paper_s() -> None:
    assert {one.id: one.paper for one in DEFENCES.values() if one.paper} == PAPER
    assert list(DEFENCES) == list(study_distortion.IDS)
    assert {name for _, names in FIGURES.values() for name in names} <= set(DEFENCES)
    names = [network.id for network in list_networks(DEFENCES.values())]
    assert names == list(NETWORKS)
    assert [network.id for network in list_networks([DEFENCES["dae-dropout-input"]])] == [
        *("dropout-input", "autoencoder")
    ]
    assert [network.id for network in list_networks([DEFENCES["stage-5"]])] == [
        *("plain", "stage-1", "stage-2", "stage-3", "stage-4", "stage-5")
    ]
    assert NETWORKS["stage-3"].previous == "stage-2"
    assert NETWORKS["stage-1"].previous == "plain"


@pytest.mark.parametrize(
    ("solver", "iterations", "rates"),
    [
        ("lenet_no_dropout", 10_000, {}),
        ("lenet_dropout_input", 35_000, {"data": 0.2}),
        (
            "lenet_dropout_all",
            40_000,
            {"data": 0.2, "pool1": 0.2, "pool2": 0.2, "ip1": 0.5, "ip2": 0.5},
        ),
    ],
)
def test_dropout_is_that_of_table_1(solver: str, iterations: int, rates: dict[str, float]) -> None:
    settings = read_settings(Path("solvers") / f"{solver}.prototxt", root=Path()).solver
    assert settings.max_iter == iterations
    chosen = set(settings.train_state.stage)
    found = {
        layer.bottom[0]: layer.dropout_param.dropout_ratio
        for layer in read_net(LENET).layer
        if layer.type == "Dropout" and set(layer.include[0].stage) <= chosen
    }
    assert found == pytest.approx(rates)


def test_the_autoencoder_is_the_paper_s() -> None:
    net = read_net(AUTOENCODER)
    widths = [one.inner_product_param.num_output for one in net.layer if one.type == "InnerProduct"]
    assert widths == [1000, 500, 250, 30, 250, 500, 1000, 784]
    assert read_settings(Path("solvers/mnist_autoencoder.prototxt"), root=Path()).solver.type == (
        "Nesterov"
    )


@pytest.mark.parametrize(("width", "variance"), [(3, 7), (5, 1.3), (7, 0.6)])
def test_the_filters_are_the_paper_s(width: int, variance: float) -> None:
    assert VARIANCES[width] == variance
    points = np.linspace(-3, 3, width)
    expected = np.array([[np.exp(-(u * u + v * v) / 2 / variance) for u in points] for v in points])
    inset = (7 - width) // 2
    kernel = make_kernel(width)
    inner = kernel[0, 0, inset : 7 - inset, inset : 7 - inset]
    assert inner == pytest.approx(expected / expected.sum())
    assert kernel.shape == (1, 1, 7, 7)
    assert kernel.sum() == pytest.approx(inner.sum()) == pytest.approx(1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return random weights of an autoencoder and of LeNets."""
    folder = tmp_path_factory.mktemp("weights")
    random = np.random.default_rng(5)
    found = {}
    for name in ("autoencoder", "plain", *(f"plain-{number}" for number in range(2, 7))):
        deploy = "lenet_deploy.prototxt"
        if name == "autoencoder":
            deploy = "lenet_autoencoder_deploy.prototxt"
        net = caffe.Net(str(PROTOTXT / deploy), caffe.TEST)
        parts = caffe_pb2.NetParameter()
        for layer, blobs in net.params.items():
            if name == "autoencoder" and "code" not in layer:
                continue
            one = parts.layer.add(name=layer)
            for blob in blobs:
                deviation = 1 / np.sqrt(np.prod(blob.data.shape[1:])) if blob.data.ndim > 1 else 0.1
                values = random.normal(scale=deviation, size=blob.data.shape)
                one.blobs.add(data=values.ravel()).shape.dim.extend(values.shape)
        found[name] = folder / f"{name}.caffemodel"
        found[name].write_bytes(parts.SerializeToString())
    return found


IMAGES = image_set(5)


def sigmoid(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


def read_blobs(path: Path) -> dict[str, list[Any]]:
    parts = caffe_pb2.NetParameter()
    parts.ParseFromString(path.read_bytes())
    return {
        layer.name: [np.reshape(blob.data, blob.shape.dim) for blob in layer.blobs]
        for layer in parts.layer
    }


def test_an_autoencoder_and_a_network_are_stacked(weights: dict[str, Path], tmp_path: Path) -> None:
    path = write_defence(tmp_path, DEFENCES["dae"], weights)
    values = IMAGES.images.reshape(5, -1) / 256
    blobs = read_blobs(weights["autoencoder"])
    assert len(blobs) == 8
    for layer in ("encode1", "encode2", "encode3", "encode4", "decode4", "decode3", "decode2"):
        values = values @ blobs[layer][0].T + blobs[layer][1]
        values = values if layer == "encode4" else sigmoid(values)  # as in Caffe's example
    values = sigmoid(values @ blobs["decode1"][0].T + blobs["decode1"][1])
    cleaned = (256 * values).reshape(5, 1, 28, 28).astype(np.float32)
    alone = read_model(PROTOTXT / "lenet.yaml", weights["plain"]).load()
    stack = read_model(path).load()
    assert stack.logits(IMAGES.images) == pytest.approx(alone.logits(cleaned), abs=1e-4)
    assert abs(stack.gradient(IMAGES.images, np.eye(10)[:5])).max() > 0


def test_a_filter_is_put_before_a_network(weights: dict[str, Path], tmp_path: Path) -> None:
    path = write_defence(tmp_path, DEFENCES["lowpass-5"], weights)
    net = caffe.Net(
        str(PROTOTXT / "lenet_lowpass_deploy.prototxt"),
        caffe.TEST,
        weights=str(path.with_suffix(".caffemodel")),
    )
    net.blobs["data"].reshape(5, 1, 28, 28)
    net.blobs["data"].data[...] = IMAGES.images / 256
    net.forward()
    noise = 256 * (net.blobs["noisy"].data - net.blobs["data"].data)
    assert noise.std() == pytest.approx(64, rel=0.05)
    smooth = ndimage.correlate(
        net.blobs["noisy"].data.astype(float), make_kernel(5), mode="constant"
    )
    assert net.blobs["smooth"].data == pytest.approx(smooth, abs=1e-5)
    # Smooth values may be negative: the network itself, not the model, takes them.
    alone = caffe.Net(
        str(PROTOTXT / "lenet_deploy.prototxt"), caffe.TEST, weights=str(weights["plain"])
    )
    alone.blobs["data"].reshape(5, 1, 28, 28)
    alone.blobs["data"].data[...] = smooth
    alone.forward()
    assert net.blobs["ip2"].data == pytest.approx(alone.blobs["ip2"].data, abs=1e-4)


def test_a_committee_is_a_file_with_its_members(weights: dict[str, Path], tmp_path: Path) -> None:
    path = write_defence(tmp_path / "models", DEFENCES["committee"], weights)
    members = [
        read_model(PROTOTXT / "lenet.yaml", file).load()
        for name, file in weights.items()
        if name != "autoencoder"
    ]
    mean = np.mean([one.probabilities(IMAGES.images) for one in members], axis=0)
    found = read_loadable(path).load().probabilities(IMAGES.images)
    assert found == pytest.approx(mean, abs=1e-5)


def test_weights_that_cannot_be_merged(weights: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"plain-2\.caffemodel: layer 'conv1' is in another part"):
        merge_weights([weights["plain"], weights["plain-2"]], tmp_path / "x", {})
    damaged = tmp_path / "damaged.caffemodel"
    damaged.write_bytes(weights["plain"].read_bytes()[:-9])
    with pytest.raises(
        ValueError, match=r"damaged\.caffemodel is not a Caffe model, or is damaged"
    ):
        merge_weights([damaged], tmp_path / "x", {})
    assert not (tmp_path / "x").exists()


SHORT = ("distortion", "--digits", "--iterations", "4", "--levels", "4", "--limit", "40")


def test_a_study_from_the_training_to_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'an "odd" name \u00fc\U0001f600'
    arguments = [
        *(*SHORT, "--defences", "lowpass-5", "dae", "stage-committee"),
        *("--output", f"{out}", "--results", f"{tmp_path / 'results'}"),
    ]
    assert program.main(arguments) == 0
    said = capsys.readouterr().out
    assert "Errors (%) at distortions 0, 0.1, 0.2" in said
    record = json.loads((tmp_path / "results" / "distortion.json").read_text())
    assert [one["id"] for one in record["networks"]] == [
        *("plain", "autoencoder", "stage-1", "stage-2", "stage-3", "stage-4", "stage-5")
    ]
    found = {
        one["id"]: [(curve["noise"], curve["gradient_of"]) for curve in one["curves"]]
        for one in record["defences"]
    }
    sign, both = "gradient-sign", ("gaussian", None)
    assert found == {
        "lowpass-5": [(sign, None), (sign, "plain"), both],
        "dae": [(sign, None), (sign, "plain"), both],
        "stage-committee": [(sign, None), (sign, "plain"), (sign, "stage-5"), both],
    }
    for curve in (curve for one in record["defences"] for curve in one["curves"]):
        assert curve["images"] == 40
        assert curve["distortions"] == pytest.approx([0, 0.0625, 0.125, 0.1875], abs=0.003)
    page = (tmp_path / "results" / "distortion.md").read_text()
    assert "| committee of the stages | the whole | " in page
    assert "|  | *the paper's* | *0.65* | *9.8* | *36.5* |" in page
    assert max(map(len, page.splitlines())) <= 120
    pictures = sorted(path.name for path in (tmp_path / "results").glob("*.png"))
    assert pictures == ["figure5.png", "figure6.png", "figure7.png"]
    lines = (tmp_path / "results" / "distortion.csv").read_text().splitlines()
    assert len(lines) == 1 + 10 * 4
    # The same command finds everything there.
    monkeypatch.setattr(study, "measure_curve", None)
    monkeypatch.setattr(stages, "make_stage_images", None)
    assert program.main(arguments) == 0
    again = json.loads((tmp_path / "results" / "distortion.json").read_text())
    assert again["defences"] == record["defences"]
    # One curve is missing: only that one is measured.
    monkeypatch.setattr(study, "measure_curve", measure_curve)
    curve = next((out / "curves").glob("dae-gaussian-*.json"))
    others = {path: path.stat().st_mtime_ns for path in curve.parent.iterdir() if path != curve}
    good = json.loads(curve.read_text())
    curve.unlink()
    assert program.main(arguments) == 0
    assert json.loads(curve.read_text())["found"]["errors"] == good["found"]["errors"]
    assert {path: path.stat().st_mtime_ns for path in others} == others
    other = next((out / "curves").glob("lowpass-5-gaussian-*.json"))
    for text, says in (
        ("{", "is damaged"),
        (other.read_text(), r"holds other results \(it differs in: model\..*"),
    ):
        curve.write_text(text)
        with pytest.raises(SystemExit, match=rf"dae-gaussian-.*{says}") as end:
            program.main(arguments)
        assert "remove it, or use --again" in f"{end.value}"
    capsys.readouterr()
    # Stacks and committees are models like any other.
    models = [f"{out / 'models' / name}.yaml" for name in ("dae", "stage-committee")]
    report = [
        *("--model", *models, "--images", f"{out / 'data' / 'digits' / 'test_lmdb'}"),
        *("--quick", "--limit", "5", "--noise-images", "1", "--noise-copies", "2", "--probe", "2"),
        *("--output", f"{tmp_path / 'report'}", "--jobs", "1"),
    ]
    assert evaluate(report) == 0
    assert "committee of the stages" in capsys.readouterr().out


def test_a_defence_that_is_in_none_of_the_figures(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "figure4.png").write_text("a picture of another study")
    arguments = ["--output", f"{tmp_path / 'out'}", "--results", f"{results}"]
    assert program.main([*SHORT, "--defences", "lowpass-3", *arguments]) == 0
    page = (results / "distortion.md").read_text()
    assert "| low-pass 3x3 | the whole | " in page
    assert "Figure" not in page
    assert "\n\n\n" not in page
    assert not list(results.glob("*.png"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--defences", "dea"], "did you mean dae?"),
        (["--levels", "0"], "--levels must be at least 1"),
        (["--levels", "10001"], "--levels must be at most 10,000"),
        (["--iterations", "2147483648"], "--iterations must be at most 2,147,483,647"),
        (["--seed", "4294967296"], "--seed must be at most 4,294,967,295"),
        (["--limit", "-1"], "--limit must be at least 0"),
        (["--digits", "--data-dir", "x"], "--data-dir does not apply to --digits"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(["distortion", *arguments])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
