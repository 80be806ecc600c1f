"""certify smoothing: counts that go on, results, and what is refused."""

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.stats import norm

from caffe_ext.certification.class_counts import ESTIMATION, SELECTION, ClassCounts, Sampler
from caffe_ext.certification.noise import NoisyCopies, add_noise, make_gaussian_table
from caffe_ext.cli.certify import main
from caffe_ext.data.image_set import ImageSet
from caffe_ext.errors import RecordError
from caffe_ext.models.base import NO_CLASS, Ints, Pixels
from classifier_models import LINEAR, write_model
from smoothing_samples import LinearModel

MODEL = LinearModel(np.array([[3, -1], [2, 1]]), threshold=560)
IMAGES = np.random.default_rng(2).integers(60, 200, (5, 1, 2, 2), dtype=np.uint8)
NOISE = make_gaussian_table(30.0), 4


class Images5:
    """A source of IMAGES."""

    def __len__(self) -> int:
        return len(IMAGES)

    def read(self, rows: slice) -> ImageSet:
        return ImageSet(IMAGES[rows], np.zeros(len(IMAGES[rows]), np.int64), "")


class Interrupted(LinearModel):
    """MODEL, until it has seen so many samples."""

    def __init__(self, allowed: int, batch_size: int = 1) -> None:
        super().__init__(MODEL.weights, MODEL.threshold, batch_size)
        self.allowed = allowed

    def predict(self, images: Pixels) -> Ints:
        self.allowed -= len(images)
        if self.allowed < 0:
            raise KeyboardInterrupt
        return super().predict(images)


def fresh(path: Path, description: str = "x") -> ClassCounts:
    counts = ClassCounts(path, {"of": description}, len(IMAGES), 3)
    counts.load()
    return counts


def expected(samples: range) -> list[list[int]]:
    rows = []
    for number in range(len(IMAGES)):
        which = np.zeros(len(samples), np.int64)
        copies = NoisyCopies(which, which + number, np.array(samples))
        noisy = add_noise(IMAGES[number : number + 1], *NOISE, copies)
        rows.append(np.bincount(MODEL.predict(noisy), minlength=3).tolist())
    return rows


def count(
    counts: ClassCounts, kind: str, number: int, model: LinearModel = MODEL
) -> list[list[int]]:
    steps: list[int] = []
    left = counts.count_missing(kind, (number,))
    found = counts.count_on(kind, number, Sampler(model, Images5(), *NOISE), steps.append)
    assert sum(steps) == left
    rows: list[list[int]] = found.tolist()
    return rows


def test_counts_are_those_of_the_samples_by_their_numbers(tmp_path: Path) -> None:
    counts = fresh(tmp_path / "counts.h5")
    assert count(counts, ESTIMATION, 50) == expected(range(50))
    assert count(counts, SELECTION, 20) == expected(range(2**31, 2**31 + 20))


def test_more_samples_are_counted_on(tmp_path: Path) -> None:
    path = tmp_path / "counts.h5"
    count(fresh(path), ESTIMATION, 50)
    counts = fresh(path)
    assert counts.count_missing(ESTIMATION, (50,)) == 0
    assert counts.count_missing(ESTIMATION, (50, 120, 200)) == 5 * (200 - 50)
    assert count(counts, ESTIMATION, 120) == expected(range(120))
    # Fewer are counted on from the next smaller number.
    assert counts.count_missing(ESTIMATION, (90,)) == 5 * (90 - 50)
    assert count(counts, ESTIMATION, 90) == expected(range(90))
    assert fresh(path).counts.keys() == {(ESTIMATION, n) for n in (50, 90, 120)}


def test_an_interrupted_count_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caffe_ext.certification.class_counts._VALUES", 28)
    path = tmp_path / "counts.h5"
    with pytest.raises(KeyboardInterrupt):
        count(fresh(path), ESTIMATION, 50, Interrupted(120))
    counts = fresh(path)
    assert counts.count_missing(ESTIMATION, (50,)) == 250 - 119  # the last whole piece of seven
    # More samples go on from there as well, image by image.
    assert counts.count_missing(ESTIMATION, (60,)) == 300 - 119
    assert count(counts, ESTIMATION, 50, Interrupted(131, 64)) == expected(range(50))


def test_samples_without_a_class_are_counted(tmp_path: Path) -> None:
    class Nothing(LinearModel):
        def predict(self, images: Pixels) -> Ints:
            return np.full(len(images), NO_CLASS, np.int64)

    model = Nothing(MODEL.weights, MODEL.threshold)
    assert count(fresh(tmp_path / "counts.h5"), ESTIMATION, 7, model) == [[0, 0, 7]] * 5


def test_a_damaged_file_and_one_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "counts.h5"
    count(fresh(path), ESTIMATION, 10)
    with pytest.raises(RecordError, match="holds results of another run"):
        fresh(path, "y")
    with h5py.File(path, "r+") as file:
        file["estimation/10"][2, 0] = 11
    with pytest.raises(RecordError, match=r"damaged: estimation/10 .* use --again"):
        fresh(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(RecordError, match=r"damaged: .*; remove it, or use --again"):
        fresh(path)


def arguments(folder: Path, *more: str) -> list[str]:
    """Return a command line for a net of three classes and four images."""
    deploy, _ = write_model(folder / "model", LINEAR, hdf5=True)
    (folder / "model" / "model.yaml").write_text(f"deploy: {deploy.name}\nweights: w.h5\n")
    images = np.array([[0, 1, 2, 3], [255, 0, 4, 8], [9, 9, 9, 9], [0, 255, 0, 0]], np.uint8)
    np.save(folder / "images.npy", images.reshape(4, 1, 2, 2))
    np.save(folder / "labels.npy", np.array([0, 2, 0, 0]))
    return [
        *("smoothing", "--model", str(folder / "model" / "model.yaml")),
        *("--images", str(folder / "images.npy"), "--labels", str(folder / "labels.npy")),
        *("--output", str(folder / "out"), *more),
    ]


def test_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = arguments(tmp_path)
    assert main([*line, "--sigma", "5", "51", "--n", "100", "500", "--radii", "0", "10"]) == 0
    shown = capsys.readouterr()
    assert "4,800 samples in all" in shown.err  # 4 images, 2 sigmas, 500 + 100
    lines = [line for line in shown.out.splitlines() if line.startswith("w ")]
    assert [line.split()[1:4] for line in lines] == [
        ["5", "(0.01961)", "100"],
        ["5", "(0.01961)", "500"],
        ["51", "(0.2)", "100"],
        ["51", "(0.2)", "500"],
    ]
    out = tmp_path / "out"
    record = json.loads((out / "smoothing.json").read_text())
    assert record["settings"]["sigmas"] == [5.0, 51.0]
    assert record["images_certified"] == 4
    with (out / "smoothing.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 4
    sure = [row for row in rows if row["count"] == "500"]
    assert sure and float(sure[0]["l2_radius"]) == pytest.approx(
        float(sure[0]["sigma"]) * norm.ppf(0.001 ** (1 / 500)), rel=1e-4
    )
    assert (out / "smoothing.png").read_bytes()[:4] == b"\x89PNG"
    # Nothing is counted again; of pixels in 0..1 it is the same sigma.
    files = {path: path.stat().st_mtime_ns for path in out.glob("counts-*.h5")}
    assert len(files) == 2
    units = ["--sigma", "0.2of1", "--n", "100"]
    assert main([*line, *units]) == 0
    assert "samples in all" not in capsys.readouterr().err
    assert files == {path: path.stat().st_mtime_ns for path in out.glob("counts-*.h5")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sigma", "0"], "--sigma must be above 0 grey levels, not 0.0"),
        (["--sigma", "nan"], "--sigma: a distance must be in grey levels (8) or in 0..1"),
        (
            ["--sigma", "0.25"],
            "0.25 of one changes few pixels of an image file: did you mean 63.75",
        ),
        (["--radii", "-1"], "--radii: a distance must be in grey levels (8) or in 0..1"),
        (["--alpha", "1"], "--alpha must lie between 0 and 1, not 1"),
        (["--alpha", "0"], "--alpha must lie between 0 and 1, not 0"),
        (["--n", "100", "0"], "--n must be at least 1, not 0"),
        (["--n0", "0"], "--n0 must be at least 1, not 0"),
        (["--seed", "-1"], "--seed must be from 0 to 2^64 - 1, not -1"),
    ],
)
def test_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments(tmp_path, *options))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_images_without_labels(tmp_path: Path) -> None:
    line = arguments(tmp_path)
    del line[5:7]
    with pytest.raises(SystemExit, match="the images have no labels"):
        main(line)
