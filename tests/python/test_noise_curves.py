"""caffe-ext noise-curves on small trainings: results, resumption, refused input."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from PIL import Image

from caffe_ext.cli import noise_curves
from caffe_ext.evaluation import stability
from caffe_ext.evaluation.stability import measure_noise_stability
from caffe_ext.models.base import Images
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.storage.figure_file import save_figure
from caffe_ext.studies.noise_curves import measure as noise_curves_measure
from caffe_ext.studies.noise_curves import run as noise_curves_run
from caffe_ext.studies.noise_curves.curves import NoiseCurves, NoiseProtocol
from caffe_ext.studies.noise_curves.figure import plot_noise_curves
from caffe_ext.studies.noise_curves.snapshots import find_snapshots
from classifier_models import LINEAR

ITERATIONS = {"plain": (10, 20, 30), "robust": (10, 30, 40)}
# What each net compares: one pixel with another, or the means of two pixels.
COMPARED: dict[str, list[float]] = {"plain": [1, 0, -1, 0], "robust": [0.5, 0.5, -0.5, -0.5]}
LEVELS, SETTINGS = (5.0, 40.0, 100.0), ("--levels", "5", "40", "100", "--per-class", "3")


@dataclass(frozen=True)
class Place:
    """A folder with trainings, a model's YAML file, and images."""

    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def arguments(self, *more: object) -> list[str]:
        first, second = (str(self.folder / name) for name in ITERATIONS)
        trainings = ["--first", first, "--second", second]
        return [*trainings, *self.common, *SETTINGS, "--copies", "40", *map(str, more)]

    @property
    def common(self) -> list[str]:
        images = ["--images", self.folder / "images.npy", "--labels", self.folder / "labels.npy"]
        places = ["--model", self.folder / "model.yaml", *images, "--output", self.output]
        return list(map(str, places))

    def classifier(self, training: str, iteration: int) -> Classifier:
        weights = self.folder / training / f"net_iter_{iteration}.caffemodel"
        return Classifier(self.folder / "deploy.prototxt", weights, PixelSpace())

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.output / "noise_curves.json").read_text())
        return found

    def counts(self) -> list[list[str]]:
        return list(csv.reader((self.output / "noise_curves.csv").open()))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "model.yaml").write_text("deploy: deploy.prototxt\n")
    deploy = tmp_path / "deploy.prototxt"
    deploy.write_text(LINEAR.replace("num_output: 3", "num_output: 2"))
    net = caffe.Net(str(deploy), caffe.TEST)
    for name, iterations in ITERATIONS.items():
        (tmp_path / name).mkdir()
        for iteration in iterations:
            # At first the nets lean towards class 0, and are wrong about image 1.
            bias = 70 if iteration == 10 else 0
            net.params["score"][0].data[...] = np.multiply.outer([1, -1], COMPARED[name])
            net.params["score"][1].data[...] = [bias / 2, -bias / 2]
            net.save(str(tmp_path / name / f"net_iter_{iteration}.caffemodel"))
    bright, dark = [140, 140, 100, 100], [100, 100, 140, 140]
    images = [bright, [110, 110, 140, 140], bright, [0, 0, 255, 255], *4 * [bright], *4 * [dark]]
    labels = np.array([0, 1, 0, 1, *4 * [0], *4 * [1]])
    np.save(tmp_path / "images.npy", np.array(images, np.uint8).reshape(-1, 1, 2, 2))
    np.save(tmp_path / "labels.npy", labels)
    return Place(tmp_path)


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], str]:
    """Return a function that returns the sentence with which the tool ends."""

    def sentence(arguments: list[str]) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            noise_curves.main(arguments)
        assert capsys.readouterr().out == ""
        assert isinstance(end.value.code, str)  # printed to stderr, and the exit status is 1
        return end.value.code

    return sentence


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which each call of noise_stability with all copies adds its images."""
    seen: list[int] = []

    def counted(classifier: Classifier, images: Images, *more: Any, **others: Any) -> object:
        if more[-1] != 1:  # else the batch that is timed
            seen.append(len(images))
        return measure_noise_stability(classifier, images, *more, **others)

    monkeypatch.setattr(noise_curves_measure, "measure_noise_stability", counted)
    return seen


def test_rates_of_all_networks(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert noise_curves.main(place.arguments("--seed", 7)) == 0
    result = place.result()
    assert result["names"] == ["plain", "robust"]
    assert result["iterations"] == [10, 30]
    assert result["levels"] == list(LEVELS)
    # Image 1 is classified wrongly at iteration 10.
    assert result["images"]["chosen"] == [0, 2, 3, 4, 8, 9]
    chosen = np.load(place.folder / "images.npy")[[0, 2, 3, 4, 8, 9]]
    labels = np.array([0, 0, 1, 0, 1, 1])
    rows = place.counts()[1:]
    assert len(rows) == 2 * 2 * len(LEVELS)
    for number, name in enumerate(ITERATIONS):
        for place_of, iteration in enumerate((10, 30)):
            direct = measure_noise_stability(
                place.classifier(name, iteration),
                chosen,
                labels,
                LEVELS,
                40,
                seed=7,
                indices=np.array([0, 2, 3, 4, 8, 9]),
            )
            assert result["rates"][number][place_of] == direct.rates.tolist()
            mine = [row for row in rows if row[:2] == [name, str(iteration)]]
            assert [int(row[3]) for row in mine] == direct.changed.sum(axis=0).tolist()
            assert {row[4] for row in mine} == {"240"}
    (improvement,) = result["improvements"]
    apart = np.subtract(*result["rates"])
    assert improvement["of"] == "plain - robust"
    assert np.allclose(improvement["differences"], apart)
    assert apart[1, 1] > 0.05  # means of two pixels have less noise
    for suffix in ("png", "svg"):
        assert (place.output / f"noise_curves.{suffix}").stat().st_size > 10_000
    said = capsys.readouterr()
    assert "4 networks x 6 images x 40 noisy copies x 3 levels; 2,880 images are left" in said.err
    assert "rates at iteration 30" in said.out
    assert (
        "3 images per class and 40 noisy copies of each at each level; the paper takes 100 and"
        in said.out
    )
    assert f"{improvement['differences'][1][2]:.2%}"[:-1] in said.out


def test_goes_on_where_it_was(
    place: Place,
    calls: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Pieces of 4 images: 4 + 2 for each of the 4 networks.
    monkeypatch.setattr(stability, "_FORWARDS_AT_A_TIME", 4 * 40 * len(LEVELS))
    whole = place.arguments()
    whole[whole.index("--output") + 1] = str(place.folder / "whole")
    assert noise_curves.main(whole) == 0
    assert calls == [4, 2] * 4
    calls.clear()
    keep = noise_curves_run.write_piece

    def interrupted(path: Path, content: dict[str, object]) -> None:
        keep(path, content)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(noise_curves_measure, "write_piece", interrupted)
        assert noise_curves.main(place.arguments()) == 130
    said = capsys.readouterr()
    assert "run the same command again" in said.err
    assert not (place.output / "noise_curves.json").exists()
    assert noise_curves.main(place.arguments("--batch-size", 7)) == 0
    assert calls == [4, 2] * 4
    assert "42% of it is done" in capsys.readouterr().err
    for name in ("noise_curves.csv", "noise_curves.svg"):
        assert (place.output / name).read_bytes() == (place.folder / "whole" / name).read_bytes()
    calls.clear()
    assert noise_curves.main(place.arguments()) == 0
    assert calls == []


def test_other_results_are_kept(
    place: Place, refusal: Callable[[list[str]], str], calls: list[int]
) -> None:
    assert noise_curves.main(place.arguments()) == 0
    before = {path: path.read_bytes() for path in place.output.rglob("*.*")}
    assert "another run (it differs in: protocol.seed)" in refusal(place.arguments("--seed", 3))
    weights = place.folder / "plain" / "net_iter_30.caffemodel"
    weights.write_bytes((place.folder / "plain" / "net_iter_10.caffemodel").read_bytes())
    assert "another run (it differs in: trainings)" in refusal(place.arguments())
    assert {path: path.read_bytes() for path in place.output.rglob("*.*")} == before
    calls.clear()
    assert noise_curves.main(place.arguments("--again")) == 0
    assert len(calls) == 4
    for path in (place.output / "pieces").iterdir():
        path.unlink()
    (place.output / "pieces").rmdir()
    assert "holds results, but the folder pieces" in refusal(place.arguments())


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (("--per-class", 7), "only 6 images of class 0; 7 were requested"),
        (("--per-class", 6), "only 5 images of class 1 are classified correctly"),
        (("--per-class", 0), "per_class must be at least 1, not 0"),
        (("--copies", 0), "copies must be at least 1, not 0"),
        (("--copies", 10**20), "copies must be at most 2147483647, not 1000"),
        (("--levels", 20, 10), "levels must be ascending, not 20 10"),
        (("--levels", "nan"), "levels must be standard deviations"),
        (("--names", "A"), "1 --names for 2 trainings"),
        (("--names", "A", "A"), "two training runs are called A"),
        (("--names", "A", ""), "--names: '' is no name that can be shown"),
        (("--names", "A\x1b[31m", "B"), r"--names: 'A\x1b[31m' is no name that can be shown"),
        (("--second", "nowhere"), "nowhere does not exist"),
        (("--model", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_refused(
    place: Place,
    refusal: Callable[[list[str]], str],
    more: tuple[object, ...],
    match: str,
) -> None:
    assert match in refusal(place.arguments(*more))
    assert not list(place.output.glob("noise_curves.*"))
    # What was refused does not keep the folder.
    assert noise_curves.main(place.arguments()) == 0


@pytest.mark.parametrize("text", ["{", "7", "{}"])
@pytest.mark.parametrize("name", ["chosen", "1_iter_10"])
def test_damaged_pieces_are_named(
    place: Place, refusal: Callable[[list[str]], str], name: str, text: str
) -> None:
    assert noise_curves.main(place.arguments()) == 0
    piece = place.output / "pieces" / f"{name}.json"
    assert piece.exists()
    piece.write_text(text)
    assert f"{piece} is damaged: remove it, or use --again (" in refusal(place.arguments())


def test_the_name_that_is_there_twice_is_told(
    place: Place, refusal: Callable[[list[str]], str]
) -> None:
    more = ("--more", place.folder / "plain", "--names", "A", "B", "B")
    assert "two training runs are called B" in refusal(place.arguments(*more))


def test_images_without_labels(place: Place, refusal: Callable[[list[str]], str]) -> None:
    arguments = place.arguments()
    at = arguments.index("--labels")
    assert "have no labels" in refusal(arguments[:at] + arguments[at + 2 :])
    assert not place.output.exists()


def test_snapshots(place: Place, refusal: Callable[[list[str]], str]) -> None:
    folder = place.folder / "plain"
    assert list(find_snapshots([folder]).weights) == [10, 20, 30]
    files = [folder / f"net_iter_{number}.caffemodel" for number in (20, 10)]
    assert find_snapshots(files).name == "net"
    assert list(find_snapshots(files).weights) == [10, 20]
    only = ["--first", str(files[0]), "--second", str(place.folder / "robust")]
    assert (
        "no iteration has snapshots of all training runs: net: 20; robust: 10, 30, 40"
        in refusal([*only, *place.common])
    )
    (place.folder / "empty").mkdir()
    assert "holds no snapshots" in refusal(place.arguments("--second", place.folder / "empty"))
    assert "not named as Caffe names snapshots" in refusal(
        place.arguments("--second", place.folder / "model.yaml")
    )
    odd = folder.rename(folder.with_name("caf\x1b"))
    one = ["--first", f"{odd}", *place.common, "--per-class", "1"]
    assert noise_curves.main(one) == 0
    assert place.result()["names"] == [r"caf\x1b"]
    odd.rename(folder)
    files[0].rename(folder / "other_iter_10.caffemodel.h5")
    assert "are snapshots of the same iteration" in refusal(place.arguments())


def test_without_trainings(
    place: Place, refusal: Callable[[list[str]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise_curves, "DEMO", {"LeNet": place.folder / "nowhere"})
    with pytest.raises(SystemExit) as end:
        noise_curves.main(["--second", "x"])
    assert end.value.code == 2
    monkeypatch.setattr(
        noise_curves, "DEMO", {name.upper(): place.folder / name for name in ITERATIONS}
    )
    assert noise_curves.main([*place.common, *SETTINGS, "--copies", "2"]) == 0
    assert place.result()["names"] == ["PLAIN", "ROBUST"]


def test_one_training_and_three(place: Place) -> None:
    plain = str(place.folder / "plain")
    alone = ["--first", plain, *place.common, *SETTINGS, "--copies", "2", "--every", "20"]
    assert noise_curves.main(alone) == 0
    assert place.result()["iterations"] == [20, 30]  # the last in any case
    assert place.result()["improvements"] == []
    more = ["--more", plain, "--names", "one", "two", "three", "--again"]
    assert noise_curves.main(place.arguments(*more)) == 0
    assert place.result()["rates"][0] == place.result()["rates"][2]
    with Image.open(place.output / "noise_curves.png") as picture:
        assert picture.height > picture.width / 2  # the differences have a row of their own


def test_errors_are_of_images() -> None:
    """Two images with rates 0.2 and 0.6; the other training's are 0.2 and 0.2."""
    changed = np.array([[[[2], [6]]], [[[2], [2]]]])
    curves = NoiseCurves(("a", "b"), np.array([5]), np.array([10.0]), changed, 10)
    assert curves.rates.ravel() == pytest.approx([0.4, 0.2])
    assert curves.errors.ravel() == pytest.approx([0.2, 0])
    values, errors = curves.compute_improvements(1)
    assert (values.item(), errors.item()) == pytest.approx((0.2, 0.2))
    alone = NoiseCurves(("a",), curves.iterations, curves.levels, changed[:1, :, :1], 10)
    assert alone.to_dict()["standard_errors"] == [[[None]]]
    assert len(plot_noise_curves(alone).axes) == 2  # a map and its colours
    with pytest.raises(ValueError, match="the counts are"):
        NoiseCurves(("a",), curves.iterations, curves.levels, changed, 10)


def test_names_in_the_figure_are_no_formulae(tmp_path: Path) -> None:
    changed = np.array([[[[2], [6]]], [[[2], [2]]]])
    names = ("lr $\\lr{1}$", "$5 or $6")
    curves = NoiseCurves(names, np.array([5]), np.array([10.0]), changed, 10)
    figure = plot_noise_curves(curves, "$\\no{formula}$")
    assert [axes.get_title() for axes in figure.axes[:2]] == [*names]
    save_figure(figure, tmp_path / "a.png")


def test_no_label_of_a_line_covers_another() -> None:
    """Where the rate rises steeply, the lines of equal rates lie close to each other."""
    levels = np.arange(10.0, 110, 10)
    steep = 1 / (1 + np.exp(-0.4 * (levels - 50)))
    changed = np.broadcast_to(np.rint(1000 * steep), (2, 20, 1, 10)).astype(np.int64)
    names = ("plain", "a training with a name that is longer than its map is wide")
    curves = NoiseCurves(names, np.arange(20) * 500, levels, changed, 1000)
    figure = plot_noise_curves(curves)
    figure.draw_without_rendering()
    for axes in figure.axes[:2]:
        boxes = [label.get_window_extent() for label in axes.texts]
        assert len(boxes) >= 2
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    titles = [axes.title.get_window_extent() for axes in figure.axes[:3]]
    assert not any(one.overlaps(other) for one, other in combinations(titles, 2))


def test_the_papers_protocol_is_no_difference() -> None:
    assert NoiseProtocol((1.0,), 100, 1000, 0).remark == ""
    assert "10 images per class" in NoiseProtocol((1.0,), 10, 1000, 0).remark
