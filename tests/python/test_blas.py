"""Which BLAS Caffe computes with, and what is said if it does not know the processor."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from caffe_ext.runtime.blas import UNKNOWN, describe_blas, describe_slow_blas, find_blas_function

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }
layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }
"""
AVX2 = {"avx2", "fma"} <= set(Path("/proc/cpuinfo").read_text().split())


def run_with_core(core: str, code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OPENBLAS_CORETYPE": core}
    environment.pop("GLOG_minloglevel", None)
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )


def test_it_is_described() -> None:
    blas = describe_blas()
    if blas.name == UNKNOWN:
        pytest.skip("the BLAS is not OpenBLAS")
    assert blas.name == "OpenBLAS"
    assert [int(part) for part in blas.version.split(".")] >= [0, 3]
    assert blas.core
    assert blas.threads is not None


def test_functions_are_those_of_caffe_s_own() -> None:
    a = np.array([[1, 2], [3, 4]], np.float32)
    b = np.array([[5, 6], [7, 8]], np.float32)
    c = np.empty((2, 2), np.float32)
    p, q, r = (matrix.ctypes.data_as(ctypes.c_void_p) for matrix in (a, b, c))
    one, zero = ctypes.c_float(1), ctypes.c_float(0)
    find_blas_function("cblas_sgemm")(101, 111, 111, 2, 2, 2, one, p, 2, q, 2, zero, r, 2)
    assert np.array_equal(c, a @ b)
    with pytest.raises(LookupError, match="has no function cblas_frobnicate"):
        find_blas_function("cblas_frobnicate")


def test_it_knows_this_processor() -> None:
    if os.environ.get("OPENBLAS_CORETYPE"):
        pytest.skip("OPENBLAS_CORETYPE chooses its kernels")
    assert describe_slow_blas() == ""


@pytest.mark.skipif(not AVX2, reason="a processor without AVX2")
def test_kernels_of_an_old_processor_are_told(tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text(NET)
    code = f"import caffe, caffe_ext; [caffe.Net({str(net)!r}, caffe.TEST) for _ in range(2)]"
    slow, fast = (run_with_core(core, code) for core in ("Nehalem", "Haswell"))
    assert slow.stderr.count("uses its kernels for Nehalem, which are several times slower") == 1
    assert "OPENBLAS_CORETYPE=Haswell" in slow.stderr
    assert "kernels for" not in fast.stderr
