"""benchmarks/bench_search.py: what is measured and written."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench_search as bench
import foolbox_lenet
import search_report
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.description import describe_model
from caffe_ext.models.pixels import PixelSpace
from classifier_models import write_model
from data_samples import CHECKOUT
from search_timing import Answers, Comparison, Sample, measure_all

LENET = CHECKOUT / "prototxt" / "lenet_deploy.prototxt"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("lenet"), LENET.read_text())[1]


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> tuple[Path, Path]:
    """Images, every second of them with the label that a LeNet of random weights gives it."""
    folder = tmp_path_factory.mktemp("images")
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 28, 28), dtype=np.uint8)
    labels = Classifier(LENET, weights, PixelSpace(1 / 256)).predict(images)
    labels[1::2] = (labels[1::2] + 1) % 10
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    return folder / "images.npy", folder / "labels.npy"


def arguments(weights: Path, listing: tuple[Path, Path], out: Path) -> list[str]:
    images, labels = map(str, listing)
    given = ["--weights", str(weights), "--images", images, "--labels", labels]
    return [*given, "--compared", "6", "--runs", "2", "--output", str(out)]


def test_a_small_benchmark(
    weights: Path,
    listing: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(foolbox_lenet, "find_versions", lambda: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks/bench_search.py", "--runs", "2"])
    assert bench.main(arguments(weights, listing, tmp_path)) == 0
    printed, told = capsys.readouterr()
    assert "Foolbox and PyTorch are not installed; `python -m pip install -e '.[bench]'`" in told

    record = json.loads((tmp_path / "bench_search.json").read_text())
    assert record["command"] == "python benchmarks/bench_search.py --runs 2"
    assert {"date", "version", "commit", "machine", "images_sha256"} < record.keys()
    assert record["model"]["weights_sha256"]
    found = record["all"]
    assert (found["images"], found["attacked"]) == (12, 6)
    assert 0 < found["found"] <= 6
    assert found["forwards_per_attacked_image"] > 2
    assert found["images_per_second"] == pytest.approx(12 / found["seconds"]["search"])
    assert found["seconds_for_10000_images"] == pytest.approx(10_000 / found["images_per_second"])
    assert 0.1 < found["network_share"] < 1
    assert 50 < found["peak_memory_mib"]["before"] <= found["peak_memory_mib"]["after"]
    beside = {row["name"]: row for row in record["beside_hc1"]}
    assert {"Caffe's own layers", "amplitude by amplitude, image by image, on these"} < set(beside)
    same = beside["doubling and bisection, image by image, on these"]
    assert same["images"] == 3
    assert same["same_adversarial"] == same["still_adversarial"] == 1
    assert min(same["forwards_per_image"]) > 2
    for row in record["beside_hc1"]:
        assert row["elapsed"]["pairs"] == row["process"]["pairs"] == 2
        assert row["elapsed"]["ratio"] > 0

    page = (tmp_path / "bench_search.md").read_text()
    assert "Left out: Foolbox and PyTorch are not installed" in page
    for part in printed.strip().split("\n\n"):
        assert part in page
        assert len({len(line) for line in part.splitlines()}) == 1
    assert not list(tmp_path.glob(".*"))


def sample_and_classifier(tmp_path: Path) -> tuple[Sample, Classifier]:
    classifier = Classifier(*write_model(tmp_path / "linear"), PixelSpace())
    images = np.array([[[[50, 9], [9, 40]]], [[[99, 9], [9, 9]]]], np.uint8)
    return Sample.select_correct(classifier, images, classifier.predict(images)), classifier


def test_others_are_judged(tmp_path: Path) -> None:
    sample, classifier = sample_and_classifier(tmp_path)
    ours = sample.search(classifier, parse_attack("margin-s"))
    assert np.isfinite(ours.amplitudes).all()

    def half() -> Answers:
        adversarials = ours.adversarials.copy()
        adversarials[1] = sample.images[1]
        return Answers(np.array([7.0, np.nan]), adversarials)

    (row,) = Comparison(classifier, sample, lambda: ours, 3).compare_all("it", {"half": half})
    assert (row["name"], row["images"], row["elapsed"]["pairs"]) == ("half", 2, 3)
    assert (row["found"], row["same_adversarial"], row["mean_amplitude"]) == (0.5, 0.5, 7)
    assert row["still_adversarial"] == 1

    original = Answers(np.array([1.0, 1.0]), sample.images)
    (row,) = Comparison(classifier, sample, lambda: ours, 2).compare_all(
        "it", {"no": lambda: original}
    )
    assert (row["found"], row["still_adversarial"]) == (1, 0)


def test_only_what_is_classified_correctly_is_searched(tmp_path: Path) -> None:
    sample, classifier = sample_and_classifier(tmp_path)
    wrong = (sample.labels + np.array([0, 1])) % 3
    assert len(Sample.select_correct(classifier, sample.images, wrong).images) == 1
    steps: list[int] = []
    images = np.resize(np.arange(256, dtype=np.uint8), (3, 1, 12, 12))
    deploy = tmp_path / "wide.prototxt"
    deploy.write_text(
        (tmp_path / "linear" / "deploy.prototxt")
        .read_text()
        .replace("dim: 2 dim: 2", "dim: 12 " * 2)
    )
    wide = Classifier(*write_model(tmp_path / "wide", deploy.read_text()), PixelSpace(1 / 256))
    labels = wide.predict(images)
    labels[0] = (labels[0] + 1) % 3
    figures = measure_all(wide, parse_attack("hc1"), images, labels, steps.append)
    assert (figures["images"], figures["attacked"], steps) == (3, 2, [3])


def test_foolbox_runs_on_the_same_lenet(weights: Path, listing: tuple[Path, Path]) -> None:
    pytest.importorskip("torch", reason="`pip install -e .[bench]` installs PyTorch")
    pytest.importorskip("foolbox", reason="`pip install -e .[bench]` installs Foolbox")
    model = describe_model({"deploy": str(LENET), "scale": 1 / 256}, weights=weights)
    lenet, classifier = foolbox_lenet.TorchLeNet(model), model.load()
    images = np.load(listing[0])
    logits = classifier.logits(images)
    np.testing.assert_allclose(lenet.logits(images), logits, atol=1e-4 * np.abs(logits).max())
    sample = Sample.select_correct(classifier, images, classifier.predict(images))
    ours = sample.search(classifier, parse_attack("fgs"))
    attacks = lenet.attacks()
    grid, ascending = (
        attacks[name](sample.images, sample.labels)
        for name in ("FGSM, 255 epsilons", "FGSM, epsilon by epsilon")
    )
    np.testing.assert_array_equal(grid.amplitudes, ascending.amplitudes)
    np.testing.assert_array_equal(grid.adversarials, ascending.adversarials)
    both = np.isfinite(ours.amplitudes) & np.isfinite(grid.amplitudes)
    assert both.any()
    for row in np.flatnonzero(both):
        apart = np.abs(grid.adversarials[row].astype(int) - sample.images[row]).max()
        assert apart == grid.amplitudes[row]


def test_what_is_no_lenet_is_left_out(tmp_path: Path) -> None:
    pytest.importorskip("foolbox", reason="`pip install -e .[bench]` installs Foolbox")
    deploy, weights = write_model(tmp_path / "linear")
    model = describe_model({"deploy": str(deploy)}, weights=weights)
    with pytest.raises(ValueError, match="is not LeNet as prototxt"):
        foolbox_lenet.TorchLeNet(model)


def test_the_page_of_a_comparison_with_foolbox() -> None:
    ratio = {"pairs": 2, "first_ms": 10.0, "second_ms": 40.0, "ratio": 4.0, "quartiles": [3, 4, 5]}
    row: dict[str, Any] = {"name": "FMN", "images": 10, "elapsed": ratio, "process": ratio}
    good = row | {"found": 1.0, "mean_amplitude": 12.5, "still_adversarial": 0.5}
    none = row | {"found": 0.0, "mean_amplitude": None, "still_adversarial": None}
    lines = search_report._format_fgs([good, none]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2][:4] == ["FMN", "1.00 ms", "4.00 ms", "4.00"]
    assert cells[2][4:] == ["3.00 – 5.00", "4.00", "100%", "12.50", "50%"]
    assert cells[3][-3:] == ["0%", "–", "–"]


def test_wrong_arguments(
    weights: Path,
    listing: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(["--runs", "1"])
    assert ended.value.code == 2
    assert "--runs must be at least 2, not 1" in capsys.readouterr().err

    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="file: File exists"):
        bench.main(arguments(weights, listing, tmp_path / "file"))

    images, labels = listing
    wrong = tmp_path / "wrong.npy"
    np.save(wrong, (np.load(labels)[:1] + 1).repeat(12) % 10)
    given = arguments(weights, (images, wrong), tmp_path / "out")
    with pytest.raises(SystemExit, match="gets all of the first 1 images wrong"):
        bench.main([*given, "--compared", "1"])
