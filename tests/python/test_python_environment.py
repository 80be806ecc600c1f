"""The build refuses a Python that its packages do not support, before it installs any."""

import subprocess
from pathlib import Path

from data_samples import CHECKOUT


def test_an_old_python_is_named(tmp_path: Path) -> None:
    python, build = tmp_path / "python3", tmp_path / "build"
    python.write_text("#!/bin/sh\necho 3.10\n")
    python.chmod(0o755)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(old LANGUAGES NONE)\n"
        f"include({CHECKOUT}/caffe_ext/python/environment.cmake)\n"
    )
    done = subprocess.run(
        ["cmake", "-S", tmp_path, "-B", build, f"-DCAFFE_EXT_PYTHON={python}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "is Python 3.10; caffe_ext needs 3.11 or newer" in " ".join(done.stderr.split())
    assert not (build / "venv").exists()
