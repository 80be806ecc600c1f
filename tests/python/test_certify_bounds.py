"""certify bounds: results that go on, the largest radius, and what is refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bounds_samples import layer, write_net
from caffe_ext.certification.bounds import Bounder, LogitBounds
from caffe_ext.certification.bounds_study import BoundsSettings
from caffe_ext.certification.exact import ExactMethod
from caffe_ext.certification.largest_radius import TOLERANCE, find_largest_radii
from caffe_ext.certification.network import read_network
from caffe_ext.certification.windows import Doubles
from caffe_ext.cli.certify import main
from caffe_ext.data import ImageSource
from caffe_ext.models.base import Images, Ints

IMAGES = np.random.default_rng(5).integers(60, 200, (6, 1, 7, 6), dtype=np.uint8)
NET = layer("conv", "Convolution", "data", "convolution_param { num_output: 3 kernel_size: 3 }")
NET += layer("relu", "ReLU", "conv", top="conv")


def arguments(folder: Path, text: str = NET, bottom: str = "conv") -> list[str]:
    """Return a command line for a small net and six images, of which one has a wrong label."""
    description = write_net(folder / "model", text, bottom)
    yaml = "deploy: deploy.prototxt\nweights: w.caffemodel\nscale: 0.01\nmean: 100\n"
    (folder / "model" / "net.yaml").write_text(yaml)
    labels = description.load(6).predict(IMAGES) if text == NET else np.zeros(6, np.int64)
    labels[2] = (labels[2] + 1) % 4
    np.save(folder / "images.npy", IMAGES)
    np.save(folder / "labels.npy", labels)
    return [
        *("bounds", "--model", str(folder / "model" / "net.yaml")),
        *("--images", str(folder / "images.npy"), "--labels", str(folder / "labels.npy")),
        *("--output", str(folder / "out")),
    ]


def test_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    methods = ["--methods", "interval", "crown", "dual"]
    line = [*arguments(tmp_path), "--radii", "0", "0.5/255", "4", "40", *methods, "--largest"]
    assert main(line) == 0
    shown = capsys.readouterr().out
    rows = [row.split() for row in shown.splitlines() if row.startswith("w ")]
    assert [row[1] for row in rows] == ["0", "0.5", "4", "40", "mean"]
    assert rows[0][3:] == ["83.33%"] * 5 + ["0.00%"]  # all methods, attacked: what is correct
    with (tmp_path / "out" / "bounds.csv").open() as file:
        found = list(csv.DictReader(file))
    assert len(found) == 3 * 6 * 4
    for row in found:
        assert row["correct"] == ("0" if row["image"] == "2" else "1")
        # What is certified no attack finds, and the largest radius is a certified one.
        assert int(row["certified"]) <= int(row["robust_under_attack"])
        if row["certified"] == "1" and float(row["linf"]):
            assert float(row["largest_certified_linf"]) >= float(row["linf"]) - TOLERANCE
    assert any(row["certified"] == "1" for row in found if row["linf"] == "4")
    assert any(row["robust_under_attack"] == "0" for row in found if row["linf"] == "40")
    record = json.loads((tmp_path / "out" / "bounds.json").read_text())
    assert record["results"][0]["accuracy"] == pytest.approx(5 / 6)
    assert (tmp_path / "out" / "bounds.png").read_bytes()[:4] == b"\x89PNG"


def test_largest_radii_that_were_not_asked_for_are_no_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments(tmp_path), "--radii", "2", "--no-attack"]) == 0
    assert "mean largest" not in capsys.readouterr().out
    with (tmp_path / "out" / "bounds.csv").open() as file:
        assert {row["largest_certified_linf"] for row in csv.DictReader(file)} == {""}
    record = json.loads((tmp_path / "out" / "bounds.json").read_text())
    assert record["results"][0]["largest_certified_radius"] is None


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = [*arguments(tmp_path), "--radii", "2", "--no-attack"]
    asked: list[int] = []
    bound = Bounder.bound

    def counted(self: Bounder, images: Images, labels: Ints, radii: Doubles) -> LogitBounds:
        if sum(asked) == 4 and len(asked) == 1:
            asked.append(0)
            raise KeyboardInterrupt
        asked.append(len(images))
        return bound(self, images, labels, radii)

    monkeypatch.setattr(Bounder, "bound", counted)
    assert main(line) == 130
    assert main(line) == 0
    assert sum(asked) == 6
    whole = (tmp_path / "out" / "bounds.csv").read_text()
    assert main(line) == 0
    assert sum(asked) == 6
    assert main([*line, "--again"]) == 0
    assert sum(asked) == 12
    assert (tmp_path / "out" / "bounds.csv").read_text() == whole
    (piece,) = (tmp_path / "out").glob("bounds-*.json")
    piece.write_text(piece.read_text().replace('"margins": [', '"margins": [[],', 1))
    with pytest.raises(SystemExit, match="damaged: remove it, or use --again"):
        main(line)


def test_the_largest_radius_is_certified_and_a_little_more_is_not(tmp_path: Path) -> None:
    network = read_network(write_net(tmp_path, NET, "conv"))
    bounder = Bounder(network, "interval")
    exact = bounder.bound(IMAGES, np.zeros(6, np.int64), np.zeros(6))
    labels = exact.lower.argmax(axis=1)
    radii = find_largest_radii(bounder, IMAGES, labels)
    assert (radii > 0).all() and (radii < 255).all()
    assert bounder.bound(IMAGES, labels, radii).certified.all()
    assert not bounder.bound(IMAGES, labels, radii + TOLERANCE).certified.any()
    assert (find_largest_radii(bounder, IMAGES, (labels + 1) % 4) == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--radii", "-1"], "--radii: a distance must be in grey levels (8) or in 0..1"),
        (["--radii", "0.03"], "or 0.03of1"),
        (["--memory", "0"], "--memory must be at least 1, not 0"),
        (["--methods", "exact"], "invalid choice: 'exact'"),
    ],
)
def test_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments(tmp_path), *options])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("method", ["bounds", "exact", "smoothing"])
def test_a_folder_that_cannot_be_written_is_named_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    line = [method, *arguments(tmp_path)[1:]]
    (tmp_path / "out").mkdir()
    # Root may write everywhere.
    monkeypatch.setattr("os.access", lambda path, _: Path(path) != tmp_path / "out")
    monkeypatch.setattr(ImageSource, "sample", None)
    with pytest.raises(SystemExit, match=rf"^--output {tmp_path / 'out'}: .*cannot be written$"):
        main(line)


@pytest.mark.parametrize("method", ["bounds", "exact", "metrics", "smoothing"])
def test_images_that_do_not_fit_are_named_with_what_helps(tmp_path: Path, method: str) -> None:
    line = [method, *arguments(tmp_path)[1:]]
    np.save(tmp_path / "images.npy", np.zeros((6, 3, 9, 8), np.uint8))
    with pytest.raises(SystemExit) as stopped:
        main(line)
    says = "images are 9 x 8 colour and the network takes 7 x 6 grey; use --grey --resize 7x6"
    assert says in str(stopped.value.code)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["bounds", "exact", "metrics", "smoothing"])
def test_a_label_that_does_not_exist_is_named_with_its_file(tmp_path: Path, method: str) -> None:
    line = [method, *arguments(tmp_path)[1:]]
    (tmp_path / "pictures" / "7").mkdir(parents=True)
    Image.fromarray(IMAGES[0, 0]).save(tmp_path / "pictures" / "7" / "one.png")
    line[line.index("--images") + 1] = f"{tmp_path / 'pictures'}"
    del line[line.index("--labels") : line.index("--labels") + 2]
    with pytest.raises(SystemExit, match=r"^w: label 7 of image 0 \(7/one.png\) does not exist"):
        main(line)


def test_a_layer_without_bounds_is_named_before_anything_is_written(tmp_path: Path) -> None:
    line = arguments(tmp_path, layer("odd", "TanH", "data"), "odd")
    with pytest.raises(
        SystemExit, match=r"deploy.prototxt: layer 'odd' \(TanH\) cannot be bounded"
    ):
        main(line)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        ("pgd=8", "the attack pgd=8 must have the radius as E, such as"),
        ("hc1", "must have the radius as E"),
        ("pgd=E1", "unknown attack 'pgd=E1'"),
        ("pgd=E/E2", "unknown attack 'pgd=8.0/E2'"),
    ],
)
def test_attacks_that_do_not_follow_the_radius_are_refused(attack: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        BoundsSettings((8,), attack=attack)
    with pytest.raises(ValueError, match=says):
        ExactMethod(attack=attack)
