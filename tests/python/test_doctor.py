"""caffe-ext doctor: what it finds here, and what it says of broken installations."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import caffe
import pytest

from caffe_ext import PLUGIN, __version__
from caffe_ext.cli import doctor
from caffe_ext.cli.console import run_program
from caffe_ext.runtime import checkout, engine, installation
from data_samples import CHECKOUT

BIN = PLUGIN.parents[1] / "bin"


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, CHECKOUT / "tools" / "doctor.py", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_works_is_one_line_each() -> None:
    done = run(PATH=f"{BIN}:{os.environ['PATH']}", CAFFE_EXT_ENGINE="1", OMP_NUM_THREADS="1")
    lines = {line[9:].split()[0]: line for line in done.stdout.splitlines()}
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(lines)[:8] == [
        "caffe_ext", "packages", "Caffe", "plug-in", "program", "BLAS", "engine", "GPU",
    ]  # fmt: skip
    assert __version__ in lines["caffe_ext"]
    assert str(Path(caffe.__file__).parent) in lines["Caffe"]
    assert str(PLUGIN) in lines["plug-in"]
    assert "on, threads: 1" in lines["engine"]
    for about in ("caffe_ext", "packages", "Caffe", "plug-in", "program", "engine"):
        assert lines[about].startswith("ok "), lines[about]


def test_json() -> None:
    findings = json.loads(run("--json").stdout)
    assert {finding["status"] for finding in findings} <= {"ok", "note", "problem"}
    assert findings[0].keys() == {"about", "status", "found", "remedy"}


@pytest.fixture
def broken_pycaffe(tmp_path: Path) -> Path:
    (tmp_path / "caffe").mkdir()
    (tmp_path / "caffe" / "_caffe.so").write_text("")
    error = "libboost_python311.so: missing"
    (tmp_path / "caffe" / "__init__.py").write_text(f"raise ImportError({error!r})")
    return tmp_path


def test_no_pycaffe(broken_pycaffe: Path) -> None:
    done = run(PYTHONPATH=str(broken_pycaffe))
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("problem  Caffe ")
    assert "libboost_python311.so: missing; run `make`" in done.stdout
    assert done.stderr == ""


def test_another_libcaffe_is_found_first(broken_pycaffe: Path) -> None:
    libraries = broken_pycaffe / "lib"
    libraries.mkdir()
    (libraries / "libcaffe.so.1.0.0").write_text("")
    done = run(PYTHONPATH=str(broken_pycaffe), LD_LIBRARY_PATH=f"/nowhere:{libraries}")
    assert f"; take {libraries}, where another Caffe is, out of LD_LIBRARY_PATH\n" in done.stdout


@pytest.mark.parametrize("content", ["x = 1", "what = is this", "import no_such_module"])
def test_a_module_hides_pycaffe(tmp_path: Path, content: str) -> None:
    (tmp_path / "caffe.py").write_text(content)
    done = run(PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1] == (
        f"problem  Caffe      {tmp_path}/caffe.py is imported in place of pycaffe; "
        f"rename it, or take {tmp_path} off PYTHONPATH"
    )


def test_a_module_hides_pycaffe_from_the_package(tmp_path: Path) -> None:
    (tmp_path / "caffe.py").write_text("x = 1")
    for program in ("import caffe_ext.runtime.native", "import caffe_ext, caffe"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}/caffe_ext/python"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"ImportError: {tmp_path}/caffe.py is imported in place of pycaffe" in done.stderr


def test_no_plugin(tmp_path: Path) -> None:
    done = run(CAFFE_EXT_LIBRARY=str(tmp_path / "libcaffe_ext.so"))
    assert done.returncode == 1
    assert f"the plug-in {tmp_path}/libcaffe_ext.so is missing" in done.stdout
    assert "Traceback" not in done.stderr


def test_another_caffe_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no `caffe` on PATH" in doctor.find_program().found
    (tmp_path / "caffe").write_text("#!/bin/sh\n")
    (tmp_path / "caffe").chmod(0o755)
    found = doctor.find_program()
    assert (found.status, found.remedy) == ("note", f"put {BIN} first on PATH")


def test_an_old_processor_s_kernels() -> None:
    done = run(OPENBLAS_CORETYPE="Nehalem")
    line = next(line for line in done.stdout.splitlines() if " BLAS " in line)
    if "Nehalem" not in line:
        pytest.skip("the BLAS is not OpenBLAS, or ignores OPENBLAS_CORETYPE")
    assert line.startswith("note ")
    assert "OPENBLAS_CORETYPE=Haswell" in line


def test_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    with engine.switch(on=False):
        assert doctor.find_engine().remedy == "unset CAFFE_EXT_ENGINE"
    before = engine.get_threads()
    engine.set_threads(1000)
    assert "OMP_NUM_THREADS" in doctor.find_engine().remedy
    engine.set_threads(before)


def test_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "DATA", tmp_path)
    found = doctor.find_data("mnist")
    assert (found.status, found.remedy) == ("note", "caffe-ext get-data mnist")
    (tmp_path / "mnist").mkdir()
    assert "not by get-data" in doctor.find_data("mnist").found


def test_the_remedy_is_that_of_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installation.explain_reinstallation().startswith("run `make`")
    monkeypatch.setattr(installation, "is_wheel", lambda: True)
    with pytest.raises(SystemExit, match=r"^no numpy; install the wheel again: "):
        run_program(_fail_to_import, Namespace())


def _fail_to_import(_: Namespace) -> None:
    raise ImportError("no numpy")


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "no-such-package"))
    found = doctor.find_packages()
    assert found.status == "problem"
    assert found.remedy.startswith("pip install no-such-package")
