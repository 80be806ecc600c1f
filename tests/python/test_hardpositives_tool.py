"""caffe-ext hardpositives as a user sees it: output, files, refused input."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from caffe_ext.cli import hardpositives
from caffe_ext.data import read_database
from caffe_ext.training.hard_positives.presets import PRESETS, Recipe, make_presets
from data_samples import CHECKOUT, snapshot
from hard_positive_samples import COUNT, small_request

TOOL = CHECKOUT / "tools" / "hardpositives.py"
Arguments = list[str]


@pytest.fixture
def arguments(tmp_path: Path) -> Arguments:
    """Write model and images; return the arguments that name them."""
    small_request(tmp_path, Recipe())
    return [
        f"--model={tmp_path / 'model' / 'model.yaml'}",
        f"--images={tmp_path / 'images.npy'}",
        f"--labels={tmp_path / 'labels.npy'}",
        f"--output={tmp_path / 'out'}",
    ]


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str], arguments: Arguments) -> Callable[..., str]:
    """Return a function that returns the sentence with which the tool ends."""

    def sentence(*more: str) -> str:
        with pytest.raises(SystemExit) as end:
            hardpositives.main([*arguments, *more])
        assert capsys.readouterr().out == ""
        assert isinstance(end.value.code, str)  # printed to stderr, and the exit status is 1
        return end.value.code

    return sentence


def test_a_set_and_its_record(
    arguments: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*arguments, "--attacks", "hc1*1.05", "fgv", "--max-pass", "0.95", "--seed", "4"]
    assert hardpositives.main(command) == 0
    printed = capsys.readouterr()
    record = json.loads((tmp_path / "out" / "hard_positives.json").read_bytes())
    images = read_database(tmp_path / "out" / "train_lmdb")
    assert len(images) == record["images"] == record["hard_positives"] + COUNT
    lines = printed.out.splitlines()
    assert lines[0].split()[:5] == ["attack", "tried", "on", "found", "dropped"]
    kept = [one["kept"] for one in record["attacks"]]
    dropped = [one["found"] - one["kept"] for one in record["attacks"]]
    assert [line.split()[-5:-3] for line in lines[2:4]] == [
        [str(a), str(b)] for a, b in zip(dropped, kept, strict=True)
    ]
    assert f"{record['hard_positives']} hard positives and {COUNT} originals" in printed.out
    assert re.search(
        rf"^{2 * COUNT} attacks on single images: [\d,.]+ images a second; peak memory [\d,]+ MiB$",
        printed.out,
        re.MULTILINE,
    )
    # Where it comes from, beside it.
    settings = record["settings"]
    assert (settings["attacks"], settings["max_pass"]) == (["hc1*1.05", "fgv"], 0.95)
    assert (settings["seed"], settings["mix"], settings["limit"]) == (4, True, None)
    assert record["pass_protocol"] == {
        "moving": "adversarial",
        "average": "inner",
        "accept_worse": False,
    }
    assert len(record["model"]["weights_sha256"]) == len(settings["images"]) == 64
    assert record["provenance"]["command"]
    assert record["source"]["images"] == COUNT
    # Once more it does nothing.
    before = snapshot(tmp_path / "out")
    assert hardpositives.main(command) == 0
    assert f"{tmp_path / 'out'} is up to date" in capsys.readouterr().out
    assert snapshot(tmp_path / "out") == before


def test_alone_with_a_preset(
    arguments: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hardpositives.main([*arguments, "--preset", "FGS", "--alone", "--limit", "9"]) == 0
    assert "and 0 originals" in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "hard_positives.json").read_bytes())
    assert [one["name"] for one in record["attacks"]] == ["FGS"]
    assert record["images"] == record["hard_positives"] <= 9


def test_presets_have_as_many_attacks_as_there_are_classes(
    arguments: Arguments, tmp_path: Path
) -> None:
    assert hardpositives.main([*arguments, "--limit", "6"]) == 0
    record = json.loads((tmp_path / "out" / "hard_positives.json").read_bytes())
    assert record["settings"]["attacks"] == ["hc1*1.05", "hc2*1.05", "hc3*1.05"]
    assert make_presets(10) == PRESETS
    assert make_presets(2)["HC-S-5"] == ("hc1-s",)
    assert "HC-D-20" not in make_presets(20)
    assert make_presets(1000)["HC-D-20"] == tuple(f"hc{rank}" for rank in range(1, 21))
    assert make_presets(7)["HC-D-9"] == tuple(f"hc{rank}" for rank in range(1, 7))


def test_the_default_folder_is_ready_for_caffe(
    arguments: Arguments,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(hardpositives, "OUTPUT", tmp_path / "out")
    assert hardpositives.main([*arguments[:-1], "--preset", "FGV"]) == 0
    weights = tmp_path / "model" / "w.caffemodel"
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"caffe train --solver=solvers/lenet_finetune.prototxt --weights={weights}"


def test_what_makes_no_sense_is_refused(
    refusal: Callable[..., str], arguments: Arguments, tmp_path: Path
) -> None:
    assert refusal("--preset", "HC-D-3") == (
        "unknown preset 'HC-D-3'; known presets: HC-D-9-1.05, HC-D-9, HC-D-5, HC-S-5, FGV, FGS"
    )
    assert "unknown attack 'fgz'" in refusal("--attacks", "fgz")
    assert "at least 0.9 and at most 0.5" in refusal("--min-pass", "0.9", "--max-pass", "0.5")
    assert "can be at most 3, not 4" in refusal("--attacks", "hc4")  # there are 4 classes
    assert "is not a file" in refusal("--weights", "nowhere.caffemodel")
    arguments.remove(f"--labels={tmp_path / 'labels.npy'}")
    (tmp_path / "labels.npy").unlink()
    assert "there are no labels" in refusal("--preset", "FGS")
    assert not (tmp_path / "out").exists()


def test_nothing_left_and_other_things(refusal: Callable[..., str], tmp_path: Path) -> None:
    sentence = refusal("--preset", "FGS", "--min-pass", "1")
    assert "no hard positive is left of" in sentence
    (tmp_path / "out" / "source.json").touch()
    assert "holds other files (source.json)" in refusal("--preset", "FGS")


def test_arguments_exclude_each_other(arguments: Arguments) -> None:
    for more in (["--preset", "FGS", "--attacks", "fgs"], ["--mix", "--alone"]):
        with pytest.raises(SystemExit) as end:
            hardpositives.main([*arguments, *more])
        assert end.value.code == 2


def test_a_damaged_image_is_named(
    refusal: Callable[..., str], arguments: Arguments, tmp_path: Path
) -> None:
    (tmp_path / "images.npy").write_bytes(b"\x93NUMPY")
    assert "images.npy" in refusal("--preset", "FGS")
    np.save(tmp_path / "images.npy", np.zeros((0, 1, 12, 12), np.uint8))
    assert "images.npy" in refusal("--preset", "FGS")


def test_images_per_class(
    arguments: Arguments, refusal: Callable[..., str], tmp_path: Path
) -> None:
    assert "per class must be 1 image or more" in refusal("--per-class", "0")
    assert "exclude each other" in refusal("--per-class", "1", "--limit", "1")
    assert "does not fit" in refusal("--crop", "13x13")
    assert hardpositives.main([*arguments, "--preset", "FGS", "--per-class", "2"]) == 0
    record = json.loads((tmp_path / "out" / "hard_positives.json").read_bytes())
    assert record["attacks"][0]["attempted"] <= 8


def test_help_needs_no_package() -> None:
    ran = subprocess.run(
        [sys.executable, "-E", "-S", TOOL, "--help"], capture_output=True, text=True, check=True
    )
    for word in (*PRESETS, "--min-pass", "--alone", "mnist:train", "examples"):
        assert word in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 100
