"""Caffe's own Python programs, as changed by patches/."""

import csv
import importlib
import math
import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from PIL import Image

LOG = """\
Log file created at: 2026/02/10 13:39:20
{day} 13:39:21.000000    42 solver.cpp:57] Solver scaffolding done.
{day} 13:39:22.000000    42 solver.cpp:293] Solving LeNet
{day} 13:39:22.500000    42 solver.cpp:347] Iteration 0, Testing net (#0)
{day} 13:39:23.000000    42 solver.cpp:414]     Test net output #0: accuracy = 0.125
{day} 13:39:23.000001    42 solver.cpp:414]     Test net output #1: loss = 2.5 (* 1 = 2.5 loss)
{day} 13:39:24.000000    42 solver.cpp:239] Iteration 0 (0 iter/s, 2s/100 iters), loss = 2.25
{day} 13:39:24.000001    42 solver.cpp:258]     Train net output #0: loss = 2.25 (* 1 = 2.25 loss)
{day} 13:39:24.000002    42 solver.cpp:258]     Train net output #1: bang_ip1_eta = 1e-05
{day} 13:39:24.000003    42 sgd_solver.cpp:112] Iteration 0, lr = 0.01
a line that something else printed

{day} 13:39:34.000000    42 solver.cpp:239] Iteration 100 (10 iter/s, 10s/100 iters), loss = nan
{day} 13:39:34.000001    42 solver.cpp:258]     Train net output #0: loss = nan (* 1 = nan loss)
{day} 13:39:34.000002    42 solver.cpp:258]     Train net output #1: bang_ip1_eta = inf
{day} 13:39:34.000003    42 sgd_solver.cpp:112] Iteration 100, lr = 0.005
"""
DAYS = ["I0210", "I20260210"]
"""The date as glog wrote it in Caffe's days, and as it does since glog 0.5."""

SETTINGS = "base_lr: 1 lr_policy: 'fixed' max_iter: 1"


@pytest.fixture(scope="module")
def root() -> Path:
    """Caffe's source, which has the programs."""
    root = Path(caffe.__file__).parents[2] / "caffe" / "src"
    if not root.is_dir():
        pytest.skip("Caffe's source lies only in a build folder")
    return root


def run(
    program: Path, *arguments: object, folder: Path, status: int = 0, **variables: object
) -> str:
    """Run a program of Caffe's in `folder`; return what it prints, or its errors."""
    # -P: the program's own folder holds a `caffe` that was not built.
    command = [sys.executable, "-P", program, *arguments]
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=os.environ | {name: str(value) for name, value in variables.items()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


def make_module(folder: Path, name: str, source: str = "raise ImportError") -> None:
    """Write a module, by default one that is as if it were not installed."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(f"{source}\n")


@pytest.mark.parametrize("day", DAYS)
def test_parse_log(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, day: str) -> None:
    monkeypatch.syspath_prepend(root / "tools" / "extra")
    parse_log: Any = importlib.import_module("parse_log")
    log = tmp_path / "caffe.log"
    log.write_text(LOG.format(day=day), encoding="utf-8")
    train, test = parse_log.parse_log(str(log))
    assert [dict(row) for row in test] == [
        {"NumIters": 0, "Seconds": 1, "LearningRate": pytest.approx(math.nan, nan_ok=True)}
        | {"accuracy": 0.125, "loss": 2.5}
    ]
    assert [row["NumIters"] for row in train] == [0, 100]
    assert [row["Seconds"] for row in train] == pytest.approx([2, 12], abs=1e-3)
    assert [row["bang_ip1_eta"] for row in train] == [1e-5, math.inf]
    assert train[0]["loss"] == 2.25
    assert math.isnan(train[1]["loss"])

    parse_log.save_csv_files(str(log), str(tmp_path), train, test)
    with (tmp_path / "caffe.log.train").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["NumIters", "Seconds", "LearningRate", "loss", "bang_ip1_eta"]
    assert [row["loss"] for row in rows] == ["2.25", "nan"]


@pytest.mark.parametrize("day", DAYS)
def test_extract_seconds_reads_the_date(
    root: Path, monkeypatch: pytest.MonkeyPatch, day: str
) -> None:
    monkeypatch.syspath_prepend(root / "tools" / "extra")
    extract_seconds: Any = importlib.import_module("extract_seconds")
    line = f"{day} 13:39:22.381027 25210 solver.cpp:204] Iteration 100, lr = 0.01"
    expected = datetime(2026, 2, 10, 13, 39, 22, 381027)
    assert extract_seconds.extract_datetime_from_line(line, 2026) == expected


def test_parse_log_sh_needs_no_column(root: Path, tmp_path: Path) -> None:
    # Debian's images for containers lack this program; plot_training_log.py calls the script.
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("awk", "basename", "cat", "dirname", "grep", "paste", "rm", "sed"):
        (programs / name).symlink_to(shutil.which(name) or "")
    # Not which("python3"): pyenv's is a script, which needs the rest of PATH.
    (programs / "python3").symlink_to(sys.executable)
    (tmp_path / "caffe.log").write_text(LOG.format(day=DAYS[1]), encoding="utf-8")
    done = subprocess.run(
        [shutil.which("bash") or "", root / "tools" / "extra" / "parse_log.sh", "caffe.log"],
        cwd=tmp_path,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    test, train = ((tmp_path / f"caffe.log.{kind}").read_text() for kind in ("test", "train"))
    assert test.splitlines()[1].split() == ["0", "0.500000", "0.125", "2.5"]
    assert train.splitlines()[2].split() == ["100", "12.000000", "nan", "0.005"]


def test_summarize(root: Path, tmp_path: Path) -> None:
    net = root / "examples" / "mnist" / "lenet_train_test.prototxt"
    lines = run(root / "tools" / "extra" / "summarize.py", net, folder=tmp_path).splitlines()
    assert len(lines) == 11
    assert lines[2].startswith("conv1    Convolution     (, x2.0) ")
    assert lines[2].endswith(" -> \033[94mconv1\033[0m       5 20 ")


def test_draw_net(root: Path, tmp_path: Path) -> None:
    net = root / "examples" / "mnist" / "lenet_train_test.prototxt"
    program = root / "python" / "draw_net.py"
    run(program, net, "net.raw", "--phase", "TEST", "--rankdir", "TB", folder=tmp_path)
    text = (tmp_path / "net.raw").read_text(encoding="utf-8")
    assert '"accuracy (Accuracy)"' in text
    assert "rankdir=TB" in text


def test_draw_net_without_pydot(root: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    make_module(hidden, "pydot")
    make_module(hidden, "pydotplus")
    net = root / "examples" / "mnist" / "lenet_train_test.prototxt"
    path = os.pathsep.join((str(hidden), os.environ.get("PYTHONPATH", "")))
    program = root / "python" / "draw_net.py"
    says = run(program, net, "net.png", folder=tmp_path, status=1, PYTHONPATH=path)
    assert says == "draw_net.py: caffe.draw needs pydot: `pip install caffe_ext[draw]` brings it\n"
    assert "usage:" in run(program, "--help", folder=tmp_path, PYTHONPATH=path)


def test_draw_net_calls_graphviz(root: Path, tmp_path: Path) -> None:
    net = root / "examples" / "mnist" / "lenet_train_test.prototxt"
    program, picture = root / "python" / "draw_net.py", tmp_path / "net.png"
    path = tmp_path / "path"
    path.mkdir()
    says = run(program, net, picture, folder=tmp_path, status=1, PATH=path)
    assert len(says.splitlines()) == 1
    assert "`apt install graphviz`" in says
    assert not picture.exists()
    dot = path / "dot"
    dot.write_text("#!/bin/sh\necho a picture $1\n")
    dot.chmod(0o755)
    run(program, net, picture, folder=tmp_path, PATH=path)
    assert picture.read_text() == "a picture -Tpng\n"


def test_detect_says_what_it_needs_before_long_work(root: Path, tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    path = os.pathsep.join((str(modules), os.environ.get("PYTHONPATH", "")))

    def detect(output: str, *options: str) -> str:
        arguments = (*options, "windows.csv", output)
        program = root / "python" / "detect.py"
        return run(program, *arguments, folder=tmp_path, status=1, PYTHONPATH=path)

    make_module(modules, "pandas")
    assert detect("found.csv") == (
        "detect.py needs pandas: `pip install caffe_ext[detect]` brings it\n"
    )
    make_module(modules, "pandas", "")
    make_module(modules, "tables")
    assert detect("found.h5").startswith("detect.py needs PyTables for other output than .csv: ")
    (sentence,) = detect("found.csv").splitlines()
    assert sentence.startswith("detect.py: --crop_mode selective_search, the default, needs https:")


def test_train_without_nccl(root: Path, tmp_path: Path) -> None:
    if caffe.has_nccl():
        pytest.skip("this Caffe has NCCL")
    says = run(root / "python" / "train.py", "--solver", "none", folder=tmp_path, status=1)
    assert says.startswith("train.py: this Caffe was built without NCCL; ")


def test_classify(root: Path, tmp_path: Path) -> None:
    net = root / "examples" / "cifar10" / "cifar10_quick.prototxt"
    caffe.Net(str(net), caffe.TEST).save(str(tmp_path / "net.caffemodel"))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    options = ["--model_def", net, "--pretrained_model", "net.caffemodel", "--images_dim", "36,36"]
    program = root / "python" / "classify.py"
    printed = run(program, *options, "picture.png", "scores.npy", folder=tmp_path)
    assert "Classifying 1 inputs." in printed
    scores = np.load(tmp_path / "scores.npy")
    assert scores.shape == (1, 10)
    assert scores.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("library", ["opencv", "PIL"])
def test_resize_and_crop_images(root: Path, tmp_path: Path, library: str) -> None:
    (tmp_path / "list.txt").write_text("cat.jpg 0\nno.jpg 1\nfish-bike.jpg 2\n", encoding="utf-8")
    printed = run(
        root / "tools" / "extra" / "resize_and_crop_images.py",
        f"--image_lib={library}",
        "--input=list.txt",
        f"--input_folder={root / 'examples' / 'images'}/",
        f"--output_folder={tmp_path / 'small'}/",
        "--output_side_length=90",
        "--num_clients=2",
        folder=tmp_path,
    )
    assert printed.startswith("no.jpg 1 <class ")
    small = sorted((tmp_path / "small").iterdir())
    assert [path.name for path in small] == ["cat.jpg", "fish-bike.jpg"]
    assert Image.open(small[0]).size == (90, 90)


@pytest.mark.parametrize("given", ["-gpu=1234", "-gpu=0,x", "solver_mode: GPU device_id: 1234"])
def test_a_gpu_that_is_not_there_is_one_sentence(given: str, tmp_path: Path) -> None:
    solver = tmp_path / "solver.prototxt"
    solver.write_text(f"{SETTINGS} {given if given[0] != '-' else ''}\n")
    program = Path(caffe.__file__).parents[2] / "bin" / "caffe"
    command = [program, "train", f"-solver={solver}", *([given] if given[0] == "-" else [])]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line[0] != "I"]
    assert len(errors) == 1
    assert "was requested (-gpu, or solver_mode" in errors[0]


@pytest.mark.parametrize("kind", ["", 'type: "SGD"', 'type: "Adam"'])
def test_a_bang_param_that_nobody_reads_is_an_error(kind: str, tmp_path: Path) -> None:
    solver = tmp_path / "solver.prototxt"
    solver.write_text(f"{SETTINGS} {kind} bang_param {{ epsilon: 0.5 }}\n")
    program = Path(caffe.__file__).parents[2] / "bin" / "caffe"
    command = [str(program), "train", f"-solver={solver}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    says = f"{solver}: it has a bang_param, but solver type"
    assert says in done.stderr
    assert "Check failure" not in done.stderr
    with pytest.raises(ValueError, match='set type: "BANG" or remove bang_param'):
        caffe.get_solver(str(solver))
