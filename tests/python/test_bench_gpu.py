"""benchmarks/bench_gpu.py: what is measured and written, on fake GPUs and without a GPU."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench_gpu as bench
import gpu_search
from caffe_ext.models.description import read_model
from caffe_ext.runtime.device import Device, count_gpus
from classifier_models import write_model
from data_samples import CHECKOUT
from device_samples import made_up
from engine_jobs import CIFAR, LENET
from gpu_report import PEERS, compute_speed, report
from job_timing import RUNS, Job, repeat

TOOL = CHECKOUT / "benchmarks" / "bench_gpu.py"


@pytest.mark.skipif(bool(count_gpus()), reason="there is a GPU")
def test_without_a_gpu_it_is_skipped(tmp_path: Path) -> None:
    command = [sys.executable, str(TOOL), "--output", str(tmp_path / "out")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("skipped: no GPU: th")
    assert not (tmp_path / "out").exists()


def test_another_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch, 1)
    with pytest.raises(SystemExit) as end:
        bench.main(["--gpu", "1"])
    assert end.value.code == "there is no GPU 1: there is 1 GPU, number 0"


def test_a_repeated_job_waits_once() -> None:
    order: list[str] = []
    job = Job("SGD", "it", lambda: order.append("run"), lambda: order.append("ready"), 2.0)
    three = repeat(job, 3, lambda: order.append("finish"))
    three.ready()
    three.run()
    assert order == ["ready", "run", "run", "run", "finish"]
    assert (three.task, three.framework, three.flop) == ("SGD", "it", 6.0)


def test_what_caffe_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "ITERATIONS", 1)
    found = bench.run_caffe_child(LENET, "cpu", 1)
    assert [(job["framework"], job["task"]) for job in found["jobs"]] == [
        (framework, task)
        for framework in ("stock Caffe", "caffe_ext")
        for task in ("SGD", "BANG", "forward")
    ]
    assert all(job["runs"] == RUNS and job["elapsed_ms"] > 0 for job in found["jobs"])
    assert found["bang"]["pairs"] == 4
    assert found["bang"]["ratio"] > 0  # no bound: a busy machine decides how long a run takes
    assert np.shape(found["scores"]) == (bench.SCORES, 10)


def test_pytorch_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "find_torch_version", lambda: None)
    found = bench.run_torch_child(CIFAR, "gpu:0", 1)
    assert found == {"version": None, "reason": "PyTorch is not installed"}


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """Put figures in the place of the processes; return which were asked for."""
    asked: list[tuple[str, str, str]] = []

    def call(python: str, what: str, network: Any, _: argparse.Namespace) -> dict[str, Any]:
        asked.append((python, what, network.stem))
        number = len(asked)
        frameworks = ("stock Caffe", "caffe_ext") if what == "caffe" else PEERS
        tasks = ("SGD", "BANG", "forward") if what == "caffe" else ("SGD", "forward")
        jobs = [
            {"task": task, "framework": name, "elapsed_ms": bench.ITERATIONS * 10.0 * number}
            for name in frameworks
            for task in tasks
        ]
        if what == "caffe":
            bang = {"ratio": 1 + number / 100, "quartiles": [1.0, 1.01, 1.02], "pairs": 20}
            return {"jobs": jobs, "bang": bang, "scores": [[1.0, 2.0]]}
        if python == "none":
            return {"version": None, "reason": "PyTorch is not installed"}
        return {"version": "9.9", "device": "Made-up 0", "jobs": jobs, "scores": [[1.0, 2.002]]}

    monkeypatch.setattr(bench, "call_child", call)
    return asked


def run(tmp_path: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    common = ["--networks", "lenet", "--limit", "30", "--batch-size", "10"]
    assert bench.main([*common, "--output", str(tmp_path / "out"), *arguments]) == 0
    record = json.loads((tmp_path / "out" / "bench_gpu.json").read_text())
    return record, (tmp_path / "out" / "bench_gpu.md").read_text()


def test_a_benchmark(
    no_processes: list[tuple[str, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made_up(monkeypatch, 1)
    weights = write_model(tmp_path / "m", (CHECKOUT / "prototxt/lenet_deploy.prototxt").read_text())
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 28, 28), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    classifier = read_model(CHECKOUT / "prototxt/lenet.yaml", weights[1]).load()
    np.save(tmp_path / "labels.npy", classifier.predict(images))
    given = ["--weights", str(weights[1]), "--images", str(tmp_path / "images.npy")]
    given += ["--labels", str(tmp_path / "labels.npy"), "--torch-python", "other"]
    record, page = run(tmp_path, *given)
    assert no_processes == [(sys.executable, "caffe", "lenet"), ("other", "torch", "lenet")] * 3
    assert record["device"] == "GPU 0: Made-up 0"
    (measured,) = record["measurements"]
    assert (measured["network"], measured["batch"], measured["pytorch"]) == ("LeNet", 64, "9.9")
    # Processes 1, 3, 5 are Caffe's and take 10, 30, 50 ms; 2, 4, 6 are PyTorch's.
    assert compute_speed(measured, "BANG", "caffe_ext") == pytest.approx(1000 / 30)
    assert compute_speed(measured, "BANG", "PyTorch eager") == pytest.approx(25)
    assert compute_speed(measured, "SGD", "nobody") is None
    assert measured["scores_differ"] == pytest.approx(0.001, rel=0.01)
    assert "| LeNet (64), BANG" in page
    assert "1.010, 1.030, 1.050" in page
    assert "PyTorch 9.9 on Made-up 0" in page
    searched = record["search"]["measurements"]
    assert [(one["device"], one["batch_size"]) for one in searched] == [
        ("GPU 0", 10),
        ("GPU 0", 1000),
        ("CPU", 10),
    ]
    assert all(one["images"] == one["attacked"] == 30 for one in searched)
    printed = capsys.readouterr().out.strip()
    assert len(printed.split("\n\n")) == 3
    for part in printed.split("\n\n"):
        assert part in page
        assert len({len(line) for line in part.splitlines()}) == 1
    picture = tmp_path / "out" / "bench_gpu.svg"
    assert picture.read_text().count("<svg") == 1
    # The same once more from the record alone, and where nothing can be drawn.
    for path in (picture, picture.with_suffix(".md")):
        path.unlink()
    again = ["--report", str(picture.with_suffix(".json"))]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.figure", None)
        assert bench.main(again) == 0
    assert picture.with_suffix(".md").read_text() == page
    assert not picture.exists()
    assert "--report draws it elsewhere" in capsys.readouterr().err
    assert bench.main(again) == 0
    assert picture.exists()


def test_random_images_and_no_pytorch(
    no_processes: list[tuple[str, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up(monkeypatch, 1)

    def none(_: argparse.Namespace) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(gpu_search, "find_models", none)
    record, page = run(tmp_path, "--torch-python", "none", "--processes", "1")
    (measured,) = record["measurements"]
    assert measured["without_pytorch"] == "PyTorch is not installed"
    assert measured["pytorch"] is measured["scores_differ"] is None
    assert "| peer | PyTorch is not installed |" in page
    assert record["search"]["images"] == "random images"
    assert len(no_processes) == 2
    assert report(record) == page
    with pytest.raises(FileNotFoundError):
        gpu_search.measure_search(bench.parse(["--weights", "none"]), Device())


def test_a_process_that_fails(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = bench.parse(["--rounds", "1"])
    missing = bench.call_child("/bin/false", "torch", LENET, arguments)
    assert missing == {"version": None, "reason": "PyTorch failed on LeNet (exit status 1)"}
    assert "WARNING: PyTorch failed on LeNet (exit status 1), see above" in capfd.readouterr().err
    with pytest.raises(SystemExit, match="measuring LeNet \\(nothing\\) failed, see above"):
        bench.call_child(sys.executable, "nothing", LENET, arguments)


@pytest.mark.parametrize("name", ["rounds", "processes"])
def test_wrong_arguments(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main([f"--{name}", "0"])
    assert f"--{name} must be at least 1" in capsys.readouterr().err


def test_all_images(tmp_path: Path) -> None:
    model: Any = argparse.Namespace(name="mine")
    np.save(tmp_path / "images.npy", np.arange(23, dtype=np.uint8).reshape(23, 1, 1, 1))
    for limit, count in (("0", 23), ("7", 7), ("50", 50)):
        arguments = bench.parse(["--images", str(tmp_path / "images.npy"), "--limit", limit])
        images, labels, _ = gpu_search._read_images(arguments, model)
        assert images.ravel().tolist() == [number % 23 for number in range(count)]
        assert labels is None


@pytest.mark.gpu
def test_on_a_gpu(tmp_path: Path) -> None:
    assert bench.main(["--rounds", "1", "--processes", "1", "--limit", "100",
                       "--output", str(tmp_path)]) == 0  # fmt: skip
    record = json.loads((tmp_path / "bench_gpu.json").read_text())
    for measured in record["measurements"]:
        assert measured["scores_differ"] is None or measured["scores_differ"] < 1e-3
