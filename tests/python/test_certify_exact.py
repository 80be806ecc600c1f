"""certify exact: results that go on, more time for what was undecided, and what is refused."""

import csv
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest

from bounds_samples import layer, write_net
from caffe_ext.certification.bounds_study import BoundsSettings
from caffe_ext.certification.exact import Decider, Decision, Subject
from caffe_ext.certification.exact_study import ExactSettings
from caffe_ext.certification.largest_radius import TOLERANCE
from caffe_ext.certification.mixed_integer import Program
from caffe_ext.cli.certify import main
from caffe_ext.models.description import read_model
from test_certify_bounds import IMAGES, arguments

NET = layer("ip", "InnerProduct", "data", "inner_product_param { num_output: 8 }")
NET += layer("relu", "ReLU", "ip", top="ip")


def exact_line(folder: Path, *more: str) -> list[str]:
    """Return a command line for a small net and six images, of which one has a wrong label."""
    write_net(folder / "model", NET, "ip", 1)
    model = folder / "model" / "net.yaml"
    model.write_text("deploy: deploy.prototxt\nweights: w.caffemodel\nscale: 0.02\nmean: 130\n")
    labels = read_model(model).load(6).predict(IMAGES)
    labels[2] = (labels[2] + 1) % 4
    np.save(folder / "images.npy", IMAGES)
    np.save(folder / "labels.npy", labels)
    return [
        *("exact", "--model", f"{model}", "--output", f"{folder / 'out'}"),
        *("--images", f"{folder / 'images.npy'}", "--labels", f"{folder / 'labels.npy'}", *more),
    ]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "out" / "exact.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(exact_line(tmp_path, "--radii", "0", "0.5/255", "4", "40", "--largest")) == 0
    shown = capsys.readouterr().out
    rows = [row.split() for row in shown.splitlines() if row.startswith("w ")]
    assert [row[1] for row in rows] == ["0", "0.5", "4", "40", "mean"]
    assert rows[0][3:] == ["83.33%", "83.33%", "83.33%", "0.00%", "0.00%", "83.33%"]
    for row in rows[:4]:
        accuracy, bounds, robust, undecided, vulnerable, attacked = (
            float(it.rstrip("%")) for it in row[3:]
        )
        assert bounds <= robust <= robust + undecided <= attacked + 0.01
        assert robust + undecided + vulnerable == pytest.approx(accuracy, abs=0.02)
    found = rows_of(tmp_path)
    assert len(found) == 6 * 4
    assert [row["verdict"] for row in found if row["image"] == "2"] == ["misclassified"] * 4
    assert {"robust", "vulnerable"} <= {row["verdict"] for row in found}
    for line in found:
        robust, broken = (
            float(line["largest_robust_linf"]),
            float(line["smallest_adversarial_linf"]),
        )
        if line["verdict"] == "robust":
            assert float(line["least_margin_at_least"]) >= 0
            assert float(line["linf"]) <= robust
        elif line["verdict"] == "vulnerable":
            assert broken <= float(line["adversarial_linf"]) <= float(line["linf"])
            assert broken - robust <= TOLERANCE
    record = json.loads((tmp_path / "out" / "exact.json").read_text())
    assert record["results"][0]["robust_at_least"][0] == pytest.approx(5 / 6)
    with np.load(tmp_path / "out" / "exact.npz") as file:
        assert len(file["images"]) == sum(row["verdict"] == "vulnerable" for row in found)
        distances = np.abs(file["images"] - IMAGES[file["originals"]]).max(axis=(1, 2, 3))
        assert (distances <= file["radii"]).all()
    assert (tmp_path / "out" / "exact.png").read_bytes()[:4] == b"\x89PNG"


def count_decisions(monkeypatch: pytest.MonkeyPatch, stop: int = -1) -> list[float]:
    """Return a list to which each decision adds its seconds; at one of them, press Ctrl-C once."""
    asked: list[float] = []
    decide = Decider.decide

    def count(
        self: Decider,
        subject: Subject,
        radius: float,
        seconds: float,
        known: Decision | None = None,
    ) -> Decision:
        if len(asked) == stop:
            asked.append(0)
            raise KeyboardInterrupt
        asked.append(seconds)
        found = decide(self, subject, radius, seconds, known)
        if seconds == 1 and subject.index == 3:
            return Decision("undecided", "milp", -1.0)
        return found

    monkeypatch.setattr(Decider, "decide", count)
    return asked


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = exact_line(tmp_path, "--radii", "20", "--no-attack")
    asked = count_decisions(monkeypatch, stop=3)
    assert main(line) == 130
    assert main(line) == 0
    assert len(asked) == 5 + 1
    whole = (tmp_path / "out" / "exact.csv").read_text()
    assert main(line) == 0
    assert len(asked) == 6
    assert main([*line, "--again"]) == 0
    assert len(asked) == 11
    assert (tmp_path / "out" / "exact.csv").read_text() == whole
    (piece,) = (tmp_path / "out").glob("exact-*.json")
    piece.write_text(piece.read_text().replace('"decisions": [', '"decisions": [{},', 1))
    with pytest.raises(SystemExit, match="damaged: remove it, or use --again"):
        main(line)


CONTRADICTED = ("--radii", "1", "20", "40", "--largest")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run, which is read again."""
    folder = tmp_path_factory.mktemp("finished")
    line = exact_line(folder, *CONTRADICTED)
    assert main(line) == 0
    assert main(line) == 0
    return folder


def break_piece(piece: dict[str, Any], kind: str) -> None:
    """Make a file's decisions, at the radii 1, 20 and 40, contradict themselves."""
    decided = [it for it in piece["images"] if it["decisions"]]
    one = next(it for it in decided if it["decisions"][2]["verdict"] == "vulnerable")
    small, far = one["decisions"][0], one["decisions"][2]
    if kind == "far":
        far["adversarial"] = [255 - it for it in far["adversarial"]]
    elif kind == "right":
        pixels = IMAGES[piece["images"].index(one)].astype(float).ravel().tolist()
        pixels[0] += 20 if pixels[0] < 128 else -20
        for vulnerable in one["decisions"][1:]:
            vulnerable["adversarial"] = pixels
    elif kind == "margin":
        far["margin"] = 3.0
    elif kind == "robust":
        small["margin"] = -1.0
    elif kind == "nearer":
        one["decisions"][2] = small
    elif kind == "by":
        far["method"] = "bounds"
    elif kind == "none":
        one["decisions"], one["largest"] = [], [0.0, 0.0]
    elif kind == "largest":
        one["largest"] = [0.0, 0.0]
    else:
        one["largest"] = [1.0, -1.0]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("far", "its adversarial at radius 40 is"),
        ("right", "the model classifies an adversarial correctly"),
        ("margin", "it is vulnerable at radius 40 with a margin of at least 3"),
        ("robust", "it is robust at radius 1 with a margin of at least -1"),
        ("nearer", "it is robust at radius 40, with an adversarial"),
        ("by", "it is vulnerable at radius 40 by"),
        ("none", "is classified correctly"),
        ("largest", "it is robust at radius 1, but only up to 0"),
        ("unbroken", "its nearest adversarial is"),
    ],
)
def test_decisions_that_contradict_themselves_are_refused(
    tmp_path: Path, finished: Path, kind: str, says: str
) -> None:
    line = exact_line(tmp_path, *CONTRADICTED)
    shutil.copytree(finished / "out", tmp_path / "out")
    (path,) = (tmp_path / "out").glob("exact-*.json")
    piece = json.loads(path.read_text())
    break_piece(piece, kind)
    path.write_text(json.dumps(piece))
    with pytest.raises(SystemExit) as end:
        main(line)
    assert f"{path.name} is damaged: remove it, or use --again (image " in str(end.value.code)
    assert says in str(end.value.code)


def test_more_time_is_for_what_was_undecided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = exact_line(tmp_path, "--radii", "2", "--no-attack", "--time-limit")
    asked = count_decisions(monkeypatch)
    assert main([*line, "1"]) == 0
    assert asked == [1] * 5
    assert [row["verdict"] for row in rows_of(tmp_path)].count("undecided") == 1
    assert main([*line, "1"]) == 0
    assert main([*line, "60"]) == 0
    assert asked == [1] * 5 + [60]
    assert "undecided" not in [row["verdict"] for row in rows_of(tmp_path)]


def test_without_time_nothing_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Program, "minimize_margin", None)
    line = exact_line(tmp_path, "--radii", "12", "--no-attack", "--time-limit", "1e-9")
    assert main(line) == 0
    undecided = [row for row in rows_of(tmp_path) if row["verdict"] == "undecided"]
    assert undecided
    assert all(float(row["least_margin_at_least"]) < 0 for row in undecided)  # that of the bounds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--radii", "-1"], "--radii: a distance must be in grey levels (8) or in 0..1"),
        (["--radii", "nan"], "--radii: a distance must be in grey levels (8) or in 0..1"),
        (
            ["--radii", "8", "300"],
            "--radii: no pixel changes by more than 255 grey levels, and 300",
        ),
        (["--time-limit", "0"], "--time-limit must be above 0 seconds, not 0"),
        (["--time-limit", "nan"], "--time-limit must be above 0 seconds, not nan"),
        (["--method", "sat"], "invalid choice: 'sat'"),
    ],
)
def test_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(exact_line(tmp_path, *options))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_layer_without_bounds_is_named_before_anything_is_written(tmp_path: Path) -> None:
    line = ["exact", *arguments(tmp_path, layer("odd", "TanH", "data"), "odd")[1:]]
    with pytest.raises(
        SystemExit, match=r"deploy.prototxt: layer 'odd' \(TanH\) cannot be bounded"
    ):
        main(line)
    assert not (tmp_path / "out").exists()


def test_branch_and_bound_refuses_a_net_of_many_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caffe_ext.certification.branching.MOST_INPUTS", 41)
    with pytest.raises(SystemExit, match="at most 41 inputs, and this net has 42: use the method"):
        main(exact_line(tmp_path, "--method", "branch"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["exact", "bounds"])
def test_bounds_beyond_float64_are_refused_by_name(tmp_path: Path, method: str) -> None:
    """The ReLU is off in the images, so that they are classified, but not all around them."""
    names = [f"ip{number}" for number in range(12)]
    below = ["data", "relu", *names[1:]]
    inner = "inner_product_param { num_output: 3 }"
    layers = [
        layer(name, "InnerProduct", bottom, inner)
        for name, bottom in zip(names, below, strict=False)
    ]
    layers.insert(1, layer("relu", "ReLU", "ip0"))
    line = exact_line(tmp_path, "--radii", "255")
    folder = tmp_path / "model"
    write_net(folder, "".join(layers), names[-1], 1)
    weights = str(folder / "w.caffemodel")
    net = caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST, weights=weights)
    for name in names:
        net.params[name][0].data[...] = 1 if name == "ip0" else 1e37
        net.params[name][1].data[...] = -95 if name == "ip0" else 0
    net.save(weights)
    model = read_model(folder / "net.yaml").load(6)
    assert np.isfinite(model.logits(IMAGES)).all()
    np.save(tmp_path / "labels.npy", model.predict(IMAGES))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SystemExit) as end:
            main([method, *line[1:]])
    assert str(end.value.code).startswith("w: the bounds of layer 'ip")
    assert "exceed the range of float64" in str(end.value.code)


def test_a_radius_counts_once(tmp_path: Path) -> None:
    assert main(exact_line(tmp_path, "--radii", "1", "1.0", "1/255", "--no-attack")) == 0
    assert len(rows_of(tmp_path)) == 6
    assert ExactSettings((8.0, 4.0, 8.0)).radii == (8.0, 4.0)
    assert BoundsSettings((8.0, 4.0, 8.0)).radii == (8.0, 4.0)
    for settings in (ExactSettings, BoundsSettings):
        with pytest.raises(ValueError, match="more than 255 grey levels"):
            settings((256.0,))


@pytest.mark.parametrize("method", ["exact", "bounds"])
def test_almost_black_images_give_no_warning(tmp_path: Path, method: str) -> None:
    """Real-valued points near them are the program's own."""
    line = exact_line(tmp_path, "--radii", "0.4/255")
    dark = np.zeros_like(IMAGES)
    dark[:, :, 0, 0] = 1
    np.save(tmp_path / "images.npy", dark)
    model = read_model(tmp_path / "model" / "net.yaml").load(6)
    np.save(tmp_path / "labels.npy", model.predict(dark))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main([method, *line[1:]]) == 0
