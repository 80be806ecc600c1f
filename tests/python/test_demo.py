"""caffe-ext demo as a user sees it: the table, the record, and what is not repeated."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from caffe_ext import __version__
from data_samples import CHECKOUT

TOOL = CHECKOUT / "tools" / "demo.py"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, TOOL, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first(output: Path) -> subprocess.CompletedProcess[str]:
    ran = run("--digits", "--iterations", "3", "--seed", "7", "--output", output)
    assert ran.returncode == 0, ran.stderr
    return ran


@pytest.fixture(scope="module")
def record(first: subprocess.CompletedProcess[str], output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "result.json").read_text())
    return content


def test_the_table(first: subprocess.CompletedProcess[str], record: dict[str, Any]) -> None:
    lines = first.stdout.splitlines()
    assert lines[0].startswith("data: scikit-learn's handwritten digits, in ")
    heads, rule, plain, bang = lines[2:6]
    assert heads.split() == ["model", "beta", "epsilon", "test", "accuracy", "training", "time"]
    assert set(rule) == {"─"}
    assert len({len(heads), len(rule), len(plain), len(bang)}) == 1
    figures = r"( +[\d.]+%) +\d+ min +\d+ s"
    found = re.fullmatch(rf"LeNet +– +–{figures}", plain)
    assert found
    accuracy = record["models"][0]["result"]["accuracy"]
    assert float(found[1].strip(" %")) == pytest.approx(100 * accuracy, abs=0.005)
    assert re.fullmatch(rf"LeNet with BANG +1 +0\.815{figures}", bang)
    assert lines[7].endswith("result.json")


def test_what_is_told_on_the_way(first: subprocess.CompletedProcess[str]) -> None:
    starts = re.findall(r"^(\w+): training, 3 iterations; log: ", first.stderr, re.MULTILINE)
    assert starts == ["lenet_sgd", "lenet_bang"]
    ends = re.findall(r"^(\w+): accuracy [\d.]+%, 3 iterations", first.stderr, re.MULTILINE)
    assert ends == ["lenet_sgd", "lenet_bang"]
    assert "\r" not in first.stderr, "progress bars are for terminals"


def test_the_record(record: dict[str, Any], output: Path) -> None:
    assert f"tools/demo.py --digits --iterations 3 --seed 7 --output {output}" in record["command"]
    assert (record["seed"], record["version"]) == (7, __version__)
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", record["commit"] or "0" * 40)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record["date"])
    data, machine = record["data"], record["machine"]
    assert data["embedded"]
    assert data["images"] == {"train_lmdb": 1497, "test_lmdb": 300}
    assert all(re.fullmatch("[0-9a-f]{32}", file["md5"]) for file in data["files"])
    assert machine["cores"] >= 1
    assert machine["memory_gib"] > 0
    assert {"cpu", "system", "compiler", "blas", "python"} < machine.keys()
    plain, bang = record["models"]
    assert (plain["solver"], plain["beta"]) == ("solvers/lenet_sgd.prototxt", None)
    assert (bang["beta"], bang["epsilon"]) == (1.0, 0.815)
    for model in record["models"]:
        result = model["result"]
        assert 0 <= result["accuracy"] <= 1
        assert result["iterations"] == 3
        assert Path(result["weights"]).is_file()
        assert re.fullmatch("[0-9a-f]{64}", result["weights_sha256"])
    # Both from the same seed, and to different weights.
    logs = [Path(model["result"]["log"]).read_text() for model in record["models"]]
    at_start = [re.findall(r"Test net output #\d: (.*)", log)[:2] for log in logs]
    assert at_start[0] == at_start[1]
    assert plain["result"]["weights_sha256"] != bang["result"]["weights_sha256"]


def test_nothing_is_trained_twice(record: dict[str, Any], output: Path) -> None:
    again = run("--digits", "--iterations", "3", "--seed", "7", "--output", output)
    assert again.stderr.count(": trained before, accuracy ") == 2
    assert "training," not in again.stderr
    new = json.loads((output / "result.json").read_text())
    weights = [[m["result"]["weights_sha256"] for m in r["models"]] for r in (record, new)]
    assert weights[0] == weights[1]
    assert [model["result"]["reused"] for model in new["models"]] == [True, True]
    forced = run("--digits", "--iterations", "3", "--seed", "7", "--output", output, "--again")
    assert forced.stderr.count(": training, 3 iterations") == 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_and_continued(number: int, status: int, tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, TOOL, "--digits"]
    command += ["--iterations", "100000", "--output", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr
        log = tmp_path / "lenet_sgd" / "train.log"
        deadline = time.monotonic() + 60
        while not (log.is_file() and "Iteration 0 " in log.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, number)
        told = process.stderr.read().decode()
    assert process.returncode == status
    assert "Traceback" not in told
    if number == signal.SIGINT:
        assert re.search(r"lenet_sgd: stopped, iteration \d+ is saved; run the same command", told)
    (state,) = (tmp_path / "lenet_sgd").glob("*.solverstate")
    assert f"Snapshotting solver state to binary proto file {state}" in log.read_text()


def test_wrong_arguments() -> None:
    for arguments, reason in (
        (("--iterations", "0"), "--iterations must be at least 1, not 0"),
        (("--seed", "-1"), "--seed must be at least 0, not -1"),
        (("--digits", "--data-dir", "x"), "--data-dir does not apply to --digits"),
    ):
        ran = run(*arguments)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert reason in ran.stderr


def test_data_that_are_not_there(tmp_path: Path) -> None:
    ran = run("--data-dir", tmp_path / "none", "--output", tmp_path / "out")
    assert ran.returncode == 1
    assert ran.stderr == f"--data-dir names {tmp_path / 'none'}, which is not a folder\n"


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = run("--digits", "--output", tmp_path / "file")
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert str(tmp_path / "file") in ran.stderr


def test_without_the_package_it_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-S", str(TOOL), "--output", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr == ("No module named 'lmdb'; run `make`, then `. build/venv/bin/activate`\n")
    ran = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "--digits" in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 100
