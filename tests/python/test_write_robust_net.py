"""write-robust-net: the program, the nets in prototxt/, and the solvers that train them."""

from pathlib import Path
from typing import Any

import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_ext.cli.write_robust_net import main
from data_samples import CHECKOUT
from robust_samples import NETS, write_stock

WRITTEN = {
    "mnist_conv1": ("sm", "kw"),
    "mnist_conv2": ("sm", "kw", "jacob", "spectral"),
}


@pytest.mark.parametrize(
    ("name", "method"), [(name, one) for name, methods in WRITTEN.items() for one in methods]
)
def test_nets_are_those_that_the_program_writes(tmp_path: Path, name: str, method: str) -> None:
    stock = CHECKOUT / "prototxt" / f"{name}_train_test.prototxt"
    path = tmp_path / "written.prototxt"
    assert main([f"{stock}", "--method", method, "--shape", "1,28,28", "--output", f"{path}"]) == 0
    committed = CHECKOUT / "prototxt" / f"{name}_{method}_train_test.prototxt"
    assert path.read_text() == committed.read_text()


def test_solvers_name_these_nets() -> None:
    """Each net has a solver, and differs from the others of its table in the net alone."""
    solvers: dict[str, Any] = {}
    tables: dict[bool, Any] = {}
    for path in (CHECKOUT / "solvers").glob("mnist_*.prototxt"):
        if path.stem == "mnist_autoencoder":
            continue
        solver = text_format.Parse(path.read_text(), caffe_pb2.SolverParameter())
        assert solver.snapshot_prefix == f"snapshots/{path.stem}"
        assert (CHECKOUT / solver.net).is_file()
        solvers[solver.net] = solver
        same = caffe_pb2.SolverParameter()
        same.CopyFrom(solver)
        for field in ("net", "snapshot_prefix"):
            same.ClearField(field)
        tables.setdefault("conv1" in path.stem, same)
        assert tables["conv1" in path.stem] == same
    expected = {
        f"prototxt/{name}{method}_train_test.prototxt"
        for name, methods in WRITTEN.items()
        for method in ("", *(f"_{one}" for one in methods))
    }
    assert set(solvers) == expected
    assert {"Adam", "SGD"} == {solver.type for solver in tables.values()}


def test_replaces_nothing_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_stock(tmp_path, NETS["conv2"]).rename("a_train_test.prototxt")
    options = ["a_train_test.prototxt", "--method", "sm", "--shape", "2,8,8"]
    assert main(options) == 0
    assert capsys.readouterr().out == "a_sm_train_test.prototxt: 22 layers\n"
    first = Path("a_sm_train_test.prototxt").read_text()
    assert first.startswith("# Written by caffe-ext write-robust-net from a_train_test.prototxt:\n")
    assert "epsilon: 0.1275 " in first  # 12.75 grey levels, times the data layer's scale
    with pytest.raises(SystemExit, match=r"a_sm_train_test.prototxt exists; --again replaces it"):
        main(options)
    assert main([*options, "--again", "--epsilon", "0.1of1", "--weight", "0.5"]) == 0
    second = Path("a_sm_train_test.prototxt").read_text()
    assert "--epsilon 25.5 --weight 0.5" in second
    assert "loss_weight: 0.5" in second


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "jacob", "--epsilon", "8"], "the method jacob has no --epsilon"),
        (["--method", "sm", "--epsilon", "0"], "--epsilon must be above 0 grey levels"),
        (["--method", "sm", "--epsilon", "300"], "no pixel changes by more than 255"),
        (
            ["--method", "sm", "--weight", "-1"],
            "--weight must be a number from 1e-30 to 1e+30, not -1.0",
        ),
        (["--method", "sm", "--weight", "1e39"], "from 1e-30 to 1e+30, not 1e+39"),
        (
            ["--method", "sm", "--weight", "nan"],
            "--weight must be a number from 1e-30 to 1e+30, not nan",
        ),
        (["--method", "smm"], "did you mean"),
    ],
)
def test_wrong_arguments(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["net.prototxt", "--shape", "2,8,8", *options])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("stock.prototxt", "is the stock net"),
        (".", "is a folder: --output names a file"),
        ("nowhere/net.prototxt", "nowhere is not a folder"),
    ],
)
def test_refused_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = write_stock(tmp_path, NETS["conv1"]).read_text()
    options = ["stock.prototxt", "--method", "sm", "--shape", "2,8,8", "--again"]
    with pytest.raises(SystemExit, match=message):
        main([*options, "--output", output])
    assert (tmp_path / "stock.prototxt").read_text() == before


def test_a_net_that_is_not_there(tmp_path: Path) -> None:
    options = ["--method", "sm", "--shape", "1,28,28"]
    for net, why in ((tmp_path / "no.prototxt", "No such file"), (tmp_path, "not a regular file")):
        with pytest.raises(SystemExit, match=f"^{net}: {why}"):
            main([f"{net}", *options])
