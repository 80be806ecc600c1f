"""Which BLAS Caffe computes with, and what is said if it does not know the processor."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from caffe_ext._blas_kernels import find_core, read_first_processor
from caffe_ext.runtime.blas import UNKNOWN, blas_function, describe_blas

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }
layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }
"""
FLAGS = set(Path("/proc/cpuinfo").read_text().split())
AVX2 = {"avx2", "fma"} <= FLAGS
AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= FLAGS


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
    blas_function("cblas_sgemm")(101, 111, 111, 2, 2, 2, one, p, 2, q, 2, zero, r, 2)
    assert np.array_equal(c, a @ b)
    with pytest.raises(LookupError, match="has no function cblas_frobnicate"):
        blas_function("cblas_frobnicate")


ZEN_5 = {
    "vendor_id": "AuthenticAMD",
    "cpu family": "26",
    "flags": "avx2 avx512f avx512bw avx512cd avx512dq avx512vl",
}


@pytest.mark.parametrize(
    ("changed", "core"),
    [
        ({}, "SkylakeX"),
        ({"cpu family": "25"}, ""),
        ({"vendor_id": "GenuineIntel"}, ""),
        ({"flags": "avx2 avx512f"}, ""),
        ({"cpu family": "unknown"}, ""),
    ],
)
def test_the_core_of_a_processor(changed: dict[str, str], core: str) -> None:
    assert find_core(ZEN_5 | changed) == core
    assert find_core({}) == ""


def test_the_processor_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nflags\t\t: fpu avx2\npower:\n\nprocessor\t: 1\n\n")
    assert read_first_processor(path) == {"processor": "0", "flags": "fpu avx2", "power": ""}
    assert read_first_processor(tmp_path / "none") == {}


@pytest.mark.parametrize("chosen", ["", "Haswell"])
def test_kernels_are_chosen_before_caffe_is_loaded(chosen: str) -> None:
    code = "import os, caffe_ext; print(os.environ.get('OPENBLAS_CORETYPE', ''))"
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_CORETYPE"}
    environment |= {"OPENBLAS_CORETYPE": chosen} if chosen else {}
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == (chosen or find_core(read_first_processor()))


@pytest.mark.skipif(not AVX2, reason="a processor without AVX2")
def test_kernels_of_an_old_processor_are_told(tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text(NET)
    best = "SkylakeX" if AVX512 else "Haswell"
    code = f"import caffe, caffe_ext; [caffe.Net({str(net)!r}, caffe.TEST) for _ in range(2)]"
    slow, fast = (run_with_core(core, code) for core in ("Nehalem", best))
    assert slow.stderr.count("uses its kernels for Nehalem, which are slower") == 1
    assert f"OPENBLAS_CORETYPE={best}" in slow.stderr
    assert "kernels for" not in fast.stderr
