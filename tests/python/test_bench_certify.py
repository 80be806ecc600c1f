"""benchmarks/bench_certify.py: what is measured and written, with PyTorch and without it."""

import json
import sys
from pathlib import Path

import pytest

import bench_certify as bench
from engine_jobs import LENET
from torch_jobs import find_torch_version


def test_without_pytorch_ours_is_measured_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the default build, in which `make bench` is to go on with the next program."""
    monkeypatch.setattr(bench, "has_torch", lambda _: False)
    few = ["--networks", "lenet", "--rounds", "1", "--output", str(tmp_path)]
    assert bench.main(few) == 0
    printed, told = capsys.readouterr()
    assert "PyTorch is not installed and left out" in told
    assert printed.startswith("LeNet, threads: 1: ")
    assert "target" not in printed
    for measured in json.loads((tmp_path / "bench_certify.json").read_text())["measurements"]:
        assert measured["samples_per_second"] > 0
        assert measured["pytorch"] == {}
        assert measured["ratio"] is measured["processor_ratio"] is measured["pytorch_best"] is None


def test_the_fastest_way_of_pytorch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = iter(
        [
            {"caffe_ext": [100.0, 10.0]},
            {"eager": [50.0, 20.0], "compile": [40.0, 18.0]},
            {"caffe_ext": [120.0, 12.0]},
            {"eager": [30.0, 30.0], "compile": [60.0, 22.0]},
        ]
    )
    asked = []

    def run_round(python: Path, framework: str, *_: object) -> dict[str, list[float]]:
        asked.append((python, framework))
        return next(rounds)

    monkeypatch.setattr(bench, "run_round", run_round)
    measured = bench.measure(2, {"caffe": Path("a"), "torch": Path("b")}, LENET, 1)
    assert asked == [(Path("a"), "caffe"), (Path("b"), "torch")] * 2
    assert measured["pytorch_best"] == "compile"
    assert measured["ratio"] == 110 / 50
    assert measured["processor_ratio"] == 20 / 11
    assert "; 2.20 times compile, in processor time 1.82; target" in bench.format_figures(measured)


def test_whether_pytorch_is_there() -> None:
    assert bench.has_torch(Path(sys.executable)) == (find_torch_version() is not None)
