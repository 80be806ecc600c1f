"""--gpu of all programs: its meaning, and the error where there is no GPU."""

import argparse
import subprocess
import sys
from typing import Any

import pytest

from caffe_ext.cli import (
    demo,
    evaluate,
    fastgradient,
    hardpositives,
    hotcold,
    noise_curves,
    table1,
)
from caffe_ext.cli.console import run_program
from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.training_arguments import make_lenet_training
from caffe_ext.runtime.device import Device, get_current_device
from data_samples import CHECKOUT
from device_samples import made_up

PROGRAMS = (demo, evaluate, fastgradient, hardpositives, hotcold, noise_curves, table1)


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_device_argument(parser)
    parser.add_argument("--other", action="store_true")
    return parser.parse_args(arguments)


def test_the_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed().gpu is None
    assert parsed("--gpu", "--other").gpu == 0
    assert parsed("--gpu", "3").gpu == 3
    for wrong in ("-1", "all", "0,1"):
        with pytest.raises(SystemExit):
            parsed(f"--gpu={wrong}")
        assert f"the number of a GPU must be 0, 1, ..., not '{wrong}'" in capsys.readouterr().err


def test_programs_compute_there(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = made_up(monkeypatch, 3)
    seen: list[Device] = []
    for arguments in (parsed(), parsed("--gpu", "2"), argparse.Namespace()):
        assert run_program(lambda _: seen.append(get_current_device()), arguments) == 0
    assert seen == [Device(), Device(2), Device(2)]
    assert gpus.told == ["device 2", "gpu"]


def test_without_it_nothing_is_loaded() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tools'); from argparse import Namespace\n"
        "from caffe_ext.cli.device_argument import use_device\n"
        "use_device(Namespace(gpu=None)); print('caffe' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
@pytest.mark.parametrize(
    ("count", "reason"),
    [
        (-1, "this Caffe was built for the CPU: build it with `make CUDA=1`"),
        (0, "there is no GPU here (CUDA: no driver)"),
        (1, "there is no GPU 1: there is 1 GPU, number 0"),
    ],
)
def test_a_missing_gpu_ends_a_program(
    program: Any, count: int, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    made_up(monkeypatch, count, gpu_0=b"no driver")
    with pytest.raises(SystemExit) as end:
        program.main(["--gpu", "1", "--output", str(tmp_path / "out")])
    assert end.value.code == f"--gpu 1: {reason}"
    assert not (tmp_path / "out").exists()


def test_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    for program in PROGRAMS:
        with pytest.raises(SystemExit):
            program.main(["--help"])
        assert "--gpu [N]" in capsys.readouterr().out


def test_trainings_go_there() -> None:
    class Data:
        folder = CHECKOUT / "data" / "mnist"

        class record:  # noqa: N801
            embedded = True
            images = {"test_lmdb": 300}  # noqa: RUF012

    for given, gpu in (([], None), (["--gpu", "1"], 1)):
        training = make_lenet_training(demo.parse(given))
        assert training.make_request(Data(), "lenet_sgd").gpu == gpu  # type: ignore[arg-type]
