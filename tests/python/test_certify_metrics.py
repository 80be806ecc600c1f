"""certify metrics: each metric as it is defined, results that go on, and what is refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from bounds_reference import convolution_matrix, dual_bounds
from bounds_samples import SHAPE, layer, write_net
from caffe_ext.certification import metrics_study
from caffe_ext.certification.bounds import Bounder
from caffe_ext.certification.metrics import (
    ImageMetrics,
    measure_images,
    measure_weights,
    surround_inputs,
)
from caffe_ext.certification.metrics_figure import group_snapshots, plot_training
from caffe_ext.certification.metrics_result import MeasuredModel, MetricsResult
from caffe_ext.certification.network import read_network
from caffe_ext.cli.certify import main
from caffe_ext.models.pixels import PixelSpace

IMAGES = np.random.default_rng(5).integers(60, 200, (6, 1, 7, 6), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 3, 0, 1])
NET = layer("conv", "Convolution", "data", "convolution_param { num_output: 3 kernel_size: 3 }")
NET += layer("relu", "ReLU", "conv", top="conv")
EPSILON = 5.0


def arguments(folder: Path) -> list[str]:
    """Return a command line for a small net and six images."""
    write_net(folder / "model", NET, "conv")
    yaml = "deploy: deploy.prototxt\nweights: w.caffemodel\nscale: 0.01\nmean: 100\n"
    (folder / "model" / "net.yaml").write_text(yaml)
    np.save(folder / "images.npy", IMAGES)
    np.save(folder / "labels.npy", LABELS)
    return [
        *("metrics", "--model", str(folder / "model" / "net.yaml")),
        *("--images", str(folder / "images.npy"), "--labels", str(folder / "labels.npy")),
        *("--output", str(folder / "out"), "--epsilon", f"{EPSILON}"),
    ]


def test_metrics_are_those_of_the_definitions(tmp_path: Path) -> None:
    """With dense matrices, image by image, and the dual bound as it is written."""
    description = write_net(tmp_path, NET, "conv")
    network, model = read_network(description), description.load(6)
    found = measure_images(model, Bounder(network, "dual"), IMAGES, LABELS, EPSILON)
    first, last = network.nodes[1].layer, network.nodes[-1].layer
    w1 = convolution_matrix(first.weights, SHAPE, stride=1, pad=0, dilation=1, group=1)  # type: ignore[union-attr]
    b1 = np.repeat(first.bias, len(w1) // 3)  # type: ignore[union-attr]
    w2, b2 = last.weights, last.bias  # type: ignore[union-attr]
    certified = []
    for number, label in enumerate(LABELS):
        x = (IMAGES[number].astype(np.float64).ravel() - 100) * 0.01
        radius = np.full(x.size, EPSILON * 0.01)
        hidden = w1 @ x + b1
        logits = w2 @ np.maximum(hidden, 0) + b2
        assert found.ce[number] == pytest.approx(
            np.log(np.exp(logits).sum()) - logits[label], rel=1e-4
        )
        assert found.err[number] == (logits.argmax() != label)
        jacobian = w2 @ ((hidden > 0)[:, None] * w1)
        assert found.jacob[number] == pytest.approx(np.linalg.norm(jacobian), rel=1e-4)
        lower, upper = dual_bounds([(w1, b1), (w2, b2)], x, radius)[-1]
        assert found.log_sense[number] == pytest.approx(np.log(upper - lower).sum(), abs=3e-3)
        rows = np.eye(4)[label] - np.eye(4)
        margins, _ = dual_bounds([(w1, b1), (rows @ w2, rows @ b2)], x, radius)[-1]
        worst = np.log(np.exp(-margins).sum())
        assert found.adv_loss[number] == pytest.approx(worst, rel=1e-3)
        others = np.delete(margins, label)
        assert found.adv_err[number] == (others.min() <= 0)
        certified.append(others.min() > 0)
    assert 0 < sum(certified) < len(LABELS)
    weights = (first.weights, w2)  # type: ignore[union-attr]
    expected = sum(float(np.linalg.norm(w.reshape(len(w), -1), 2)) for w in weights)
    assert measure_weights(network) == pytest.approx(expected)


def test_inputs_may_leave_the_range_of_pixels() -> None:
    space = PixelSpace((0.5, 0.25, 0.125), (10.0, 20.0, 30.0), "BGR")
    images = np.zeros((1, 3, 1, 1), np.uint8)
    box = surround_inputs(space, images, 8)
    np.testing.assert_allclose(box.lower.ravel(), [-9.0, -7.0, -4.75])
    np.testing.assert_allclose(box.upper.ravel(), [-1.0, -3.0, -2.75])


def test_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = arguments(tmp_path)
    assert main(line) == 0
    head, _, row = capsys.readouterr().out.splitlines()[:3]
    assert head.split() == [
        *("model", "CE", "ERR", "SENSE", "JACOB", "SPECTRAL", "ADV_LOSS", "ADV_ERR")
    ]
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    (result,) = record["results"]
    assert row.split()[0] == result["model"] == "w"
    with (tmp_path / "out" / "metrics.csv").open() as file:
        images = list(csv.DictReader(file))
    assert len(images) == record["images_measured"] == 6
    for name in ("ce", "err", "jacob", "adv_loss", "adv_err"):
        mean = np.mean([float(one[name]) for one in images])
        assert result[name] == pytest.approx(mean, rel=1e-4)
    sense = np.exp([float(one["log_sense"]) for one in images])
    assert result["sense"] == pytest.approx(sense.mean(), rel=1e-4)
    assert result["adv_err"] >= result["err"]
    assert record["settings"]["epsilon"] == EPSILON


def test_snapshots_are_plotted_over_training(tmp_path: Path) -> None:
    line = arguments(tmp_path)
    weights = tmp_path / "model" / "w.caffemodel"
    snapshots = [tmp_path / f"a_iter_{n}.caffemodel" for n in (200, 1000)]
    for path in snapshots:
        path.write_bytes(weights.read_bytes())
    assert main(line) == 0
    assert not (tmp_path / "out" / "metrics.png").exists()
    assert main([*line, "--weights", *map(str, reversed(snapshots))]) == 0
    assert (tmp_path / "out" / "metrics.png").read_bytes()[:4] == b"\x89PNG"
    assert main(line) == 0
    assert not list((tmp_path / "out").glob("metrics.*g"))  # they were of other models


def test_snapshots_are_ordered_by_their_iteration() -> None:
    numbers = ImageMetrics(*[np.ones(2)] * 6)
    names = ("a_iter_1000", "a_iter_200", "b_iter_5", "other")
    models = [MeasuredModel(name, numbers, number) for number, name in enumerate(names)]
    runs = group_snapshots(MetricsResult(np.zeros(2, np.int64), models))
    assert list(runs) == ["a"]
    assert [(n, summary.spectral) for n, summary in runs["a"]] == [(200, 1), (1000, 0)]
    panels = plot_training(runs, 2).axes
    assert [panel.get_title() for panel in panels[:3]] == ["CE", "ERR (%)", "SENSE"]
    np.testing.assert_array_equal(panels[1].lines[0].get_xydata(), [[200, 100], [1000, 100]])


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = arguments(tmp_path)
    monkeypatch.setattr(metrics_study, "_IMAGES_AT_A_TIME", 2)
    measured: list[int] = []
    measure = measure_images

    def counted(*given):  # type: ignore[no-untyped-def]
        if measured == [2]:
            measured.append(0)
            raise KeyboardInterrupt
        measured.append(len(given[2]))
        return measure(*given)

    monkeypatch.setattr(metrics_study, "measure_images", counted)
    assert main(line) == 130
    assert main(line) == 0
    assert sum(measured) == 6
    whole = (tmp_path / "out" / "metrics.csv").read_text()
    assert main(line) == 0
    assert sum(measured) == 6
    assert main([*line, "--again"]) == 0
    assert sum(measured) == 12
    assert (tmp_path / "out" / "metrics.csv").read_text() == whole
    (piece,) = (tmp_path / "out").glob("metrics-*.json")
    piece.write_text(piece.read_text().replace('"ce": [', '"ce": [1.0, ', 1))
    with pytest.raises(SystemExit, match="damaged: remove it, or use --again"):
        main(line)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epsilon", "-1"], "--epsilon: a distance must be in grey levels (8) or in 0..1"),
        (["--epsilon", "0.05"], "0.05of1"),
        (["--epsilon", "300"], "no pixel changes by more than 255"),
        (["--memory", "0"], "--memory must be at least 1, not 0"),
        (["--bounds", "exact"], "invalid choice: 'exact'"),
    ],
)
def test_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments(tmp_path), *options])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
