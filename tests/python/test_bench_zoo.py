"""benchmarks/bench_zoo.py: what is compared and written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench_zoo as bench
import zoo_jobs
from child_process import measure_in_child

TINY = """
name: "tiny"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param {
  num_output: 8 kernel_size: 3 pad: 1 stride: 2 weight_filler { type: "msra" } } }
layer { name: "b" type: "BatchNorm" bottom: "c" top: "b"
  batch_norm_param { use_global_stats: true } }
layer { name: "s" type: "Scale" bottom: "b" top: "b" scale_param { bias_term: true } }
layer { name: "r" type: "ReLU" bottom: "b" top: "b" }
layer { name: "n" type: "LRN" bottom: "b" top: "n" lrn_param { alpha: 0.0001 } }
layer { name: "g" type: "Convolution" bottom: "n" top: "g" convolution_param {
  num_output: 8 kernel_size: 1 group: 2 bias_term: false weight_filler { type: "msra" } } }
layer { name: "e" type: "Eltwise" bottom: "g" bottom: "n" top: "e" }
layer { name: "m" type: "Concat" bottom: "e" bottom: "n" top: "m" }
layer { name: "p" type: "Pooling" bottom: "m" top: "p" pooling_param {
  pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "d" type: "Dropout" bottom: "p" top: "p" }
layer { name: "i" type: "InnerProduct" bottom: "p" top: "i"
  inner_product_param { num_output: 3 weight_filler { type: "msra" } } }
layer { name: "prob" type: "Softmax" bottom: "i" top: "prob" }
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> zoo_jobs.Subject:
    (tmp_path / "tiny_deploy.prototxt").write_text(TINY)
    monkeypatch.setattr(zoo_jobs, "ZOO", tmp_path)
    return zoo_jobs.make_subject("tiny", tmp_path / "tiny.caffemodel", 2, 1)


def test_all_that_is_installed_computes_the_same(tiny: zoo_jobs.Subject) -> None:
    found = {task: list(zoo_jobs.make_peers(tiny, task)) for task in zoo_jobs.TASKS}
    titles = [peer.title for peer in found["forward"]]
    assert titles[:2] == ["caffe_ext", "stock Caffe"]
    assert {title.split()[0] for title in titles} <= {one.split()[0] for one in bench.TITLES}
    assert max(peer.differ for peers in found.values() for peer in peers) < 1e-5
    assert all(peer.job.task == task for task, peers in found.items() for peer in peers)
    ours, stock = (np.asarray(peer.job.run()) for peer in found["gradient"][:2])
    np.testing.assert_allclose(ours, stock, rtol=1e-4, atol=1e-6)
    trained: list[Any] = [peer.job.run() for peer in found["training"][:2]]
    assert max(np.abs(mine).max() for mine in trained[0]) > 0
    for mine, theirs in zip(*trained, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())
    # For 2 images: 5 x 5 pixels of 27 and 4 products in 8 channels, 3 scores of 16 x 9. Training
    # needs no gradient with respect to the pixels.
    first, others = 2 * 2 * 25 * 8 * 27, 2 * 2 * (25 * 8 * 4 + 3 * 16 * 9)
    assert [peers[0].job.flop for peers in found.values()] == [
        *(first + others, 2 * (first + others), 2 * first + 3 * others)
    ]


def test_other_scores_are_refused(tiny: zoo_jobs.Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def make_wrong(_: Any) -> Any:
        tasks = {"forward": lambda: lambda: np.zeros((2, 3), np.float32)}
        yield zoo_jobs.Runner("OpenCV", tasks)

    monkeypatch.setitem(zoo_jobs._MAKERS, "cv2", make_wrong)
    with pytest.raises(ValueError, match="OpenCV differs from Caffe by 1"):
        list(zoo_jobs.make_peers(tiny, "forward"))


def job(task: str, framework: str, took: float, gflop: float = 0.0) -> dict[str, Any]:
    return {
        "task": task,
        "framework": framework,
        "gflop": gflop,
        "process_ms": took,
        "elapsed_ms": 2 * took,
    }


def test_the_table() -> None:
    jobs = [job("forward", "caffe_ext", 10, 1.0), job("gradient", "caffe_ext", 30, 2.0)]
    jobs += [job("forward", "stock Caffe", 40, 1.0), job("gradient", "stock Caffe", 60, 2.0)]
    jobs += [job("forward", "PyTorch eager", 9), job("forward", "PyTorch channels_last", 8)]
    jobs += [job("training", "caffe_ext", 50, 3.0), job("training", "PyTorch eager", 100)]
    jobs += [job("peak", "OpenBLAS", 20, 4.0)]
    measured = {"network": "tiny", "batch": 8, "threads": 1, "jobs": jobs}
    forward, gradient, training = bench.make_rows([measured])
    assert forward[:7] == ("tiny", "8", "1", "forward", "10.0", "40.0", "8.0")
    assert forward[7:] == ("0.80", "50 %")
    assert gradient[4:7] == ("30.0", "60.0", "–")
    assert training[4:7] == ("50.0", "–", "100.0")
    assert bench.find(measured | {"threads": 2}, "forward", "PyTorch") == 16


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--networks", "lenet"], "invalid choice: 'lenet'"),
        (["--batches", "0"], "--batches and --threads must be at least 1"),
        (["--rounds", "0"], "--rounds must be at least 1, not 0"),
    ],
)
def test_refused(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench.parse(arguments)
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(("options", "stem"), [([], "bench_zoo"), (["--avx2"], "bench_zoo_avx2")])
def test_a_small_network_is_measured(
    options: list[str], stem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--networks", "squeezenet_v1.1", "--batches", "1", "--rounds", "1", *options]
    assert bench.main([*few, "--output", str(tmp_path)]) == 0
    assert "| squeezenet_v1.1 | 1     | 1       | forward " in capsys.readouterr().out
    record = json.loads((tmp_path / f"{stem}.json").read_text())
    assert len(record["measurements"]) == 1
    frameworks = {job["framework"].split()[0] for job in record["measurements"][0]["jobs"]}
    assert frameworks >= {"caffe_ext", "stock", "OpenBLAS"}
    assert not options or frameworks <= {"caffe_ext", "stock", "OpenBLAS", "PyTorch"}
    assert "</svg>" in (tmp_path / f"{stem}.svg").read_text()
    text = (tmp_path / f"{stem}.md").read_text()
    assert text.startswith("# How fast networks of real size")
    assert ("CAFFE_EXT_VECTOR_LANES=8" in text) == bool(options)


def test_a_killed_child(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(SystemExit, match="measuring it was ended by signal 9: the memory may not"):
        measure_in_child(f"{program}", [], "it", {})


def test_rows_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(_: Any, network: str, batch: int, threads: int) -> dict[str, Any]:
        jobs = [job(task, "caffe_ext", 10, 1.0) for task in zoo_jobs.TASKS]
        jobs += [job(task, "stock Caffe", 20, 1.0) for task in zoo_jobs.TASKS]
        jobs += [job("peak", "OpenBLAS", 20, 4.0)]
        differ = {"stock Caffe": 1e-7}
        about = {"network": network, "batch": batch, "threads": threads, "differ": differ}
        return about | {"jobs": jobs}

    monkeypatch.setattr(bench, "measure", measure)
    few = ["--networks", "mobilenet", "--output", str(tmp_path), "--batches"]
    assert bench.main([*few, "1", "8"]) == 0
    assert bench.main([*few, "8", "32", "--add"]) == 0
    path = tmp_path / "bench_zoo.json"
    record = json.loads(path.read_text())
    assert [one["batch"] for one in record["measurements"]] == [1, 8, 32]
    assert record["command"].count(" && ") == 1
    path.write_text(json.dumps(record | {"commit": "another"}))
    with pytest.raises(SystemExit, match="cannot be added to: its commit is another, not"):
        bench.main([*few, "16", "--add"])
    with pytest.raises(SystemExit, match="cannot be added to"):
        bench.main(["--networks", "mobilenet", "--output", str(tmp_path / "empty"), "--add"])
    path.write_text("{}")
    with pytest.raises(SystemExit, match="measure again, without --add"):
        bench.main([*few, "16", "--add"])
