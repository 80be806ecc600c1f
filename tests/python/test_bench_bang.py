"""benchmarks/bench_bang.py and paired_timing.py: what is measured and written."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import bench_bang as bench
from caffe_ext.storage.provenance import collect_provenance, describe_machine
from data_samples import CHECKOUT
from paired_timing import compare, time_pair

TOOL = CHECKOUT / "benchmarks" / "bench_bang.py"


def test_medians_and_quartiles() -> None:
    ratio = compare([1.0, 2.0, 4.0, 8.0, 16.0], [1.0, 4.0, 4.0, 24.0, 64.0])
    assert (ratio.pairs, ratio.first_ms, ratio.second_ms) == (5, 4000.0, 4000.0)
    # The ratios are 1, 2, 1, 3, 4.
    assert (ratio.ratio, ratio.quartiles) == (1.0, (1.0, 2.0, 3.0))


def test_jobs_take_turns() -> None:
    order, pairs = [], 0

    def count() -> None:
        nonlocal pairs
        pairs += 1

    time_pair(lambda: order.append("a"), lambda: order.append("b"), 3, 2, count)
    assert "".join(order) == "abba" + "abbaab"
    assert pairs == 3


def test_the_slower_job_is_found() -> None:
    def work(milliseconds: float) -> None:
        end = time.thread_time() + milliseconds / 1000
        while time.thread_time() < end:
            pass

    # A disturbance that grows by the minute hits both.
    drift = iter(range(10_000))
    times = time_pair(lambda: work(1 + next(drift) / 40), lambda: work(2 + next(drift) / 20), 20)
    assert times.thread.pairs == times.process.pairs == times.elapsed.pairs == 20
    assert 1.8 < times.thread.quartiles[1] < 2.2


def test_one_pair_has_no_quartiles() -> None:
    with pytest.raises(ValueError, match="at least 2 pairs are needed, not 1"):
        time_pair(lambda: None, lambda: None, 1)


def test_the_machine() -> None:
    about = describe_machine()
    assert about.cores >= 1
    assert 0.1 < about.memory_gib < 1e5
    assert re.search(r"GCC|clang", about.compiler)
    assert about.blas.name == "OpenBLAS"
    assert re.match(r"\d+\.\d+", about.blas.version)


def test_an_installed_package_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caffe_ext.storage.provenance.CHECKOUT", None)
    assert (
        collect_provenance().commit is None
    )  # the current folder may be a repository of the user's


def check_measurement(row: dict[str, Any], pairs: int) -> None:
    for clock in ("elapsed", "thread"):
        figures = row[clock]
        assert figures["pairs"] == pairs
        assert figures["ratio"] == pytest.approx(figures["second_ms"] / figures["first_ms"])
        lower, middle, upper = figures["quartiles"]
        assert 0 < lower <= middle <= upper
    assert row["blas"]["threads"] == row["threads"]


def test_a_benchmark_without_data(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bench, "DATA", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(sys, "argv", ["benchmarks/bench_bang.py", "--networks", "lenet"])
    out = tmp_path / "results"
    assert bench.main(["--networks", "lenet", "--iterations", "4", "--output", str(out)]) == 0
    printed, told = capfd.readouterr()
    assert told == "data/mnist is not there; random images serve as well\n"

    record = json.loads((out / "bench_bang.json").read_text())
    assert record["command"] == "python benchmarks/bench_bang.py --networks lenet"
    assert record["target_ratio"] == 1.05
    assert {"date", "version", "commit", "machine", "load_average"} < record.keys()
    (row,) = record["measurements"]
    assert (row["network"], row["batch"], row["data"]) == ("LeNet", 64, "random images")
    check_measurement(row, 4)

    page = (out / "bench_bang.md").read_text()
    assert printed in page
    heads, rule, line = printed.splitlines()
    assert len({len(heads), len(rule), len(line)}) == 1
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["LeNet", "64", "1"]
    assert cells[5] == f"{row['elapsed']['ratio']:.3f}"
    assert record["machine"]["cpu"] in page


def test_random_images_serve_both_networks(tmp_path: Path) -> None:
    for network in bench.NETWORKS.values():
        folder = tmp_path / network.stem
        folder.mkdir()
        sources = bench.write_random_images(network, folder)
        for kind in ("sgd", "bang"):
            text = bench.write_solver(f"{network.stem}_{kind}", sources, folder).read_text()
            assert "test_iter" not in text
            assert "snapshot: 0" in text
            assert "display: 0" in text


def test_wrong_arguments(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for arguments, reason in (
        (["--iterations", "1"], "--iterations must be at least 2, not 1"),
        (["--networks", "vgg"], "invalid choice: 'vgg'"),
        (["--output", str(tmp_path / "file")], f"{tmp_path / 'file'}: File exists"),
    ):
        command = [sys.executable, str(TOOL), *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode != 0
        assert reason in ran.stderr
        assert "Traceback" not in ran.stderr
