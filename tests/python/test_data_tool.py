"""caffe-ext get-data as a user sees it: output and exit status."""

import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from caffe_ext.data import preparation
from caffe_ext.data.mnist import MNIST, NAMES
from data_samples import (
    TOOL,
    Server,
    elsewhere,
    nobody,
    packed_mnist,
    serving,
    snapshot,
    write_mnist,
)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "CAFFE_EXT_DATA"}
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path)} | more


def run(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, TOOL, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment(**more), check=False
    )


def fails(ran: subprocess.CompletedProcess[str], status: int = 1) -> str:
    """Return the one line of a failure."""
    assert ran.returncode == status
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    return ran.stderr


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_mnist(tmp_path / "raw")


def test_mnist(tmp_path: Path, raw: Path) -> None:
    out = tmp_path / "out"
    first = run("mnist", "--data-dir", raw, "--output", out, "--validation", "10")
    assert first.returncode == 0
    assert first.stdout.splitlines()[1:] == [
        "  train_lmdb           50 images",
        "  val_lmdb             10 images",
        "  test_lmdb            20 images",
    ]
    assert "not the published MNIST" in first.stdout
    assert "WARNING: not the published MNIST" in first.stderr
    # Progress bars are for terminals.
    assert "\r" not in first.stderr
    before = snapshot(out)
    second = run("mnist", "--output", out, "--validation", "10", CAFFE_EXT_DATA=str(raw))
    assert second.stdout.startswith(f"{out}/mnist is up to date: MNIST (not the published")
    assert snapshot(out) == before


def test_help_needs_no_package() -> None:
    ran = subprocess.run(
        [sys.executable, "-E", "-S", TOOL, "--help"], capture_output=True, text=True, check=True
    )
    for word in ("mnist", "cifar10", "digits", "--validation", "CAFFE_EXT_DATA", "examples"):
        assert word in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 100


def test_without_the_package_it_says_so() -> None:
    ran = subprocess.run(
        [sys.executable, "-E", "-S", TOOL, "mnist"], capture_output=True, text=True, check=False
    )
    assert "; run `make`, then" in fails(ran)


@pytest.mark.parametrize(
    "arguments",
    [(), ("imagenet",), ("mnist", "--validation", "-1"), ("mnist", "--validation", "x")],
)
def test_arguments_that_make_no_sense(arguments: tuple[str, ...]) -> None:
    assert "get_data.py: error: " in fails(run(*arguments), status=2)


def test_errors_are_one_sentence(tmp_path: Path, raw: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    out = ("--output", tmp_path / "out")
    named = ("mnist", *out, "--data-dir")
    for ran, message in (
        (run(*named, tmp_path / "empty"), f"{tmp_path}/empty holds no MNIST"),
        (run(*named, tmp_path / "nowhere"), "nowhere, which is not a folder"),
        (run("mnist", *out, CAFFE_EXT_DATA="/nowhere"), "CAFFE_EXT_DATA names /nowhere"),
        (run(*named, raw, "--validation", "60"), "cannot hold out 60 validation images"),
        (run("cifar10", "--no-download", *out), "put cifar-10-binary.tar.gz"),
        (
            run("mnist", "--data-dir", raw, "--output", tmp_path / "file"),
            f"{tmp_path}/file/mnist: Not a directory",
        ),
    ):
        error = fails(ran)
        assert message in error
        sentences = [
            line for line in error.splitlines() if not line.startswith(("MNIST found", "WARNING: "))
        ]
        assert len(sentences) == 1
    (raw / NAMES[2]).write_bytes((raw / NAMES[2]).read_bytes()[:-7])
    assert f"{raw / NAMES[2]} is truncated" in fails(run(*named, raw))


def test_no_network_means_digits_and_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CAFFE_EXT_DATA", raising=False)
    monkeypatch.setitem(
        preparation.COLLECTIONS, "mnist", elsewhere(MNIST, nobody(), {f"{NAMES[0]}.gz": b"x"})
    )
    tool = import_module("caffe_ext.cli.get_data")
    monkeypatch.setattr(tool, "DATA", tmp_path)
    assert tool.main(["mnist", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("WARNING: MNIST is not on this machine and no mirror could be")
    assert "NOT results on MNIST" in printed.err
    assert "scikit-learn's handwritten digits" in printed.out
    assert "1,497 images" in printed.out


def test_a_download_has_no_bar_in_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CAFFE_EXT_DATA", raising=False)
    tool = import_module("caffe_ext.cli.get_data")
    monkeypatch.setattr(tool, "DATA", tmp_path)
    with serving(Server(packed_mnist())) as server:
        collection = elsewhere(MNIST, server.url, server.files)
        monkeypatch.setitem(preparation.COLLECTIONS, "mnist", collection)
        assert tool.main(["mnist", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert f"downloaded to {tmp_path}/mnist/raw" in printed.out
    assert printed.err.startswith("WARNING: not the published MNIST")


# The program, stopped for ever in the middle of reading.
WAITING = """
import pathlib, runpy, sys, time
from caffe_ext.data import idx

def wait(path):
    print("waiting", flush=True)
    time.sleep(60)

idx.read_labels = wait
sys.argv = sys.argv[1:]
sys.path.insert(0, str(pathlib.Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_ctrl_c_is_short_and_clean(tmp_path: Path, raw: Path) -> None:
    out = tmp_path / "out"
    arguments = ("mnist", "--data-dir", str(raw), "--output", str(out))
    command = [sys.executable, "-c", WAITING, str(TOOL), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert error.splitlines()[1:] == ["interrupted; run the same command again to resume"]
    assert snapshot(out) == {}
