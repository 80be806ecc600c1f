"""caffe-ext evaluate on tiny models, and on the LeNets that BANG's authors have published."""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe_ext.cli import evaluate
from caffe_ext.data import open_images
from caffe_ext.evaluation import assessment
from caffe_ext.evaluation.result import Settings
from caffe_ext.storage.lock import lock_folder
from data_samples import CHECKOUT, snapshot
from evaluation_samples import MASKED, OPEN, VALUES, write_brightness, write_images

Arguments = list[object]


@pytest.fixture
def given(tmp_path: Path) -> Arguments:
    """Return the arguments for both models."""
    models = [write_brightness(tmp_path, n, g) for n, g in (("masked", MASKED), ("open", OPEN))]
    images, labels = write_images(tmp_path)
    options = ["--images", images, "--labels", labels, "--output", tmp_path / "out"]
    return ["--model", *models, *options, "--jobs", 1, "--noise-copies", 5, "--noise-images", 2]


def main(*arguments: object) -> int:
    return evaluate.main([*map(str, arguments)])


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that returns the sentence with which the tool ends."""

    def sentence(*arguments: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(*arguments)
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err if isinstance(end.value.code, int) else str(end.value.code)

    return sentence


def test_report(given: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(*given) == 0
    printed = capsys.readouterr()
    assert "masked    80.00%  FGS, paper's protocol" in printed.out
    assert "images: all 5, NumPy file" in printed.err
    assert f"The report: {tmp_path / 'out' / 'report.html'}" in printed.out
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [model["name"] for model in record["models"]] == ["masked", "open"]
    assert record["models"][0]["noise"]["levels"] == list(range(10, 101, 10))
    assert record["models"][0]["noise"]["copies"] == 5
    assert record["settings"]["pass_protocols"]["published"] == {
        "moving": "original",
        "average": "all",
        "accept_worse": True,
    }
    assert (tmp_path / "out" / "masked" / "margin-s.h5").is_file()


def test_again_and_more(given: Arguments, tmp_path: Path) -> None:
    assert main(*given) == 0
    before = (tmp_path / "out" / "open" / "fgs.h5").stat().st_mtime_ns
    assert main(*given, "--attacks", "fgs=8", "pgd=9+margin", "--probe", 2) == 0
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    attacks = [one["attack"] for one in record["models"][1]["attacks"]]
    assert attacks[-2:] == ["fgs=8.0", "pgd=9.0/1.0x40+margin"]
    assert (tmp_path / "out" / "open" / "fgs.h5").stat().st_mtime_ns == before
    assert main(*given, "--again", "--noise-images", 0) == 0
    assert (tmp_path / "out" / "open" / "fgs.h5").stat().st_mtime_ns > before
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert record["models"][0]["noise"] is None


def test_what_is_there_is_not_overwritten(
    given: Arguments, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    assert main(*given) == 0
    before = snapshot(tmp_path)
    assert "differs in: limit" in refusal(*given, "--limit", 3)
    assert "differs in: seed" in refusal(*given, "--seed", 7)
    names = ("evaluation.json", "table.csv", "attacks.csv", "report.html")
    for name in names:
        (tmp_path / "out" / name).rename(tmp_path / name)
    assert "holds results of another run" in refusal(*given, "--limit", 3)
    for name in names:
        (tmp_path / name).rename(tmp_path / "out" / name)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["table.csv", "attacks.csv", "report.html"])
def test_files_of_others_stay(
    given: Arguments, tmp_path: Path, refusal: Callable[..., str], name: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    before = snapshot(tmp_path)
    assert f"{name} exists, but evaluation.json" in refusal(*given)
    assert snapshot(tmp_path) == before


def test_refused(given: Arguments, tmp_path: Path, refusal: Callable[..., str]) -> None:
    # 255 times the root of 144 pixels.
    apart = "no two images of 1 x 12 x 12 are further apart than L2 3060 (12.0 of 1), and L2 3060"
    assert apart in refusal(*given, "--within", "8", "l2=3060")
    assert "there is no HC2: the network has 2 classes" in refusal(*given, "--hot", "1-2")
    assert "--hot takes ranks" in refusal(*given, "--hot", "0")
    assert "unknown attack 'hc'" in refusal(*given, "--attacks", "hc")
    assert "no blob 'nowhere'" in refusal(*given, "--attacks", "hc1@nowhere")
    assert "--noise-copies must be at least 1" in refusal(*given, "--noise-copies", 0)
    assert "copies must be at most" in refusal(*given, "--noise-copies", 10**20)
    assert "--seed must be at least 0" in refusal(*given, "--seed", -1)
    assert "standard deviations" in refusal(*given, "--noise-levels", -3)
    for radius in ("-5", "0", "nan", "inf"):
        assert "--probe-epsilon must be above 0" in refusal(*given, "--probe-epsilon", radius)
    assert "does not exist" in refusal(*given, "--images", tmp_path / "nowhere")
    assert "network takes 12 x 12" in refusal(*given, "--resize", "20x20")
    (tmp_path / "file").write_text("")
    assert "is not a folder" in refusal(*given, "--output", tmp_path / "file")
    assert not (tmp_path / "out").exists()


def test_nothing_is_classified_correctly(given: Arguments, tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.where(np.array(VALUES) > 100, 0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(*given, "--probe-epsilon", 8) == 0

    def refuse(text: str) -> None:
        raise AssertionError(text)

    text = (tmp_path / "out" / "evaluation.json").read_text()
    record = json.loads(text, parse_constant=refuse)
    assert [model["probe"] for model in record["models"]] == [None, None]


def test_one_at_a_time(given: Arguments, tmp_path: Path, refusal: Callable[..., str]) -> None:
    with lock_folder(tmp_path / "out", None):
        assert "another process is writing" in refusal(*given)


def test_interrupted(
    given: Arguments, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(assessment, "write_report", interrupted)
        assert main(*given) == 130
    assert "run the same command again to resume" in capsys.readouterr().err
    assert main(*given) == 0


def test_quick(given: Arguments) -> None:
    source = open_images(str(given[given.index("--images") + 1]))

    def settings(*arguments: str) -> Settings:
        return evaluate.read_settings(evaluate.parse(arguments), source)

    quick = settings("--quick")
    assert (quick.limit, quick.ranks, quick.probe) == (500, (1,), 200)
    assert quick.noise
    assert (quick.noise.per_class, quick.noise.copies) == (5, 20)
    other = settings("--quick", "--limit", "30", "--noise-images", "0", "--hot", "2-3")
    assert (other.limit, other.noise, other.ranks) == (30, None, (1, 2, 3))
    assert settings("--quick", "--limit", "0").limit is settings("--limit", "0").limit is None
    usual = settings()
    assert (usual.limit, usual.ranks, usual.probe, usual.seed) == (None, None, 1000, 1)
    assert usual.noise
    assert (usual.noise.per_class, usual.noise.copies) == (10, 100)


def test_help() -> None:
    command = [sys.executable, str(CHECKOUT / "tools" / "evaluate.py"), "--help"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "table.csv" in printed
    assert "--noise-copies" in printed


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the record of both published LeNets on the first 200 test images."""
    models, data = os.environ.get("CAFFE_EXT_MODELS"), os.environ.get("CAFFE_EXT_DATA")
    if not models or not data:
        pytest.skip(
            "needs lenet_{R0,B1}.caffemodel.h5 in CAFFE_EXT_MODELS, MNIST in CAFFE_EXT_DATA"
        )
    weights = [Path(models) / f"lenet_{name}.caffemodel.h5" for name in ("R0", "B1")]
    output = tmp_path_factory.mktemp("published")
    few = ["--quick", "--limit", 200, "--probe", 50, "--noise-images", 3]
    usual = ["--model", CHECKOUT / "prototxt" / "lenet.yaml", "--data-dir", data, "--jobs", 1]
    assert main(*usual, "--weights", *weights, *few, "--output", output) == 0
    return json.loads((output / "evaluation.json").read_text())


def test_published_models(published: Any) -> None:
    plain, bang = published["models"]
    attacks = [
        {(one["attack"], one["variant"]): one for one in model["attacks"]}
        for model in (plain, bang)
    ]
    assert plain["accuracy"] > 0.98
    assert bang["accuracy"] > 0.98
    for one, rates, linf, scores in zip(
        attacks,
        ((0.93, 0.99, 0.99), (0.02, 0.82, 0.94)),
        ((39, 41, 115), (5.5, 58, 198)),
        ((0.40, 0.40, 0.75), (0.74, 0.33, 0.485)),
        strict=True,
    ):
        keys = (("fgs", "paper"), ("fgs", "strict"), ("hc1", "all"))
        for key, rate, distance, score in zip(keys, rates, linf, scores, strict=True):
            assert one[key]["rate"] == pytest.approx(rate, abs=0.04)
            assert one[key]["linf"]["mean"] == pytest.approx(distance, rel=0.15)
            assert one[key]["pass_published"]["mean"] == pytest.approx(score, abs=0.08)
        assert one["margin-s", "logit"]["rate"] > 0.98
        assert all(summary["unverified"] == 0 for summary in one.values())
    # What the table hides: along the logits both break at about the same distance.
    near = [one["margin-s", "logit"]["linf"]["mean"] for one in attacks]
    assert near == [pytest.approx(39, abs=4)] * 2
    signs = {warning["sign"] for warning in bang["warnings"]}
    assert {
        "paper-below-others",
        "strict-below-logit",
        "saturated-softmax",
        "zero-gradient",
    } <= signs
    assert plain["noise"]["rates"][-1] > 2 * bang["noise"]["rates"][-1]


def test_images_without_labels(
    given: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unlabelled = [one for one in given if one not in {"--labels", tmp_path / "labels.npy"}]
    assert main(*unlabelled, "--probe", 0) == 0
    said = capsys.readouterr().err
    assert "WARNING: the images have no labels" in said
    # Nobody asked for the default radii: that 25.5 is 25 in whole grey levels is no warning.
    assert said.count("WARNING") == 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The images have no labels." in page
    assert "classified correctly; means" not in page
