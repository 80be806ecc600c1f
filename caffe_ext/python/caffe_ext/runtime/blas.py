"""The BLAS that Caffe computes with, among those that NumPy and others bring into the process."""

import ctypes
from dataclasses import dataclass
from typing import Any

from caffe_ext import PLUGIN
from caffe_ext.runtime.native import library

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Blas:
    """The BLAS that Caffe computes with, as this process has set it up.

    core  the processor for which the BLAS has chosen its kernels
    """

    name: str
    version: str
    core: str
    threads: int | None


def describe_blas() -> Blas:
    """Ask Caffe's BLAS for its name and version; one that is not OpenBLAS is unknown."""
    try:
        config, core, threads = (
            find_blas_function(f"openblas_{name}")
            for name in ("get_config", "get_corename", "get_num_threads")
        )
    except LookupError:
        return Blas(UNKNOWN, UNKNOWN, UNKNOWN, None)
    config.restype = core.restype = ctypes.c_char_p
    name, version, *_ = config().decode().split()
    return Blas(name, version, core().decode(), threads())


def describe_slow_blas() -> str:
    """Return what to do if the BLAS has chosen kernels for a much older processor, else ""."""
    return str(library.caffe_ext_slow_blas().decode())


def find_blas_function(name: str) -> Any:
    """Return the function of Caffe's BLAS with that name, such as cblas_sgemm, for ctypes.

    Raises LookupError if it has none.
    """
    plugin = ctypes.CDLL(str(PLUGIN))  # whose symbols are found in what it depends on
    for symbol in (f"scipy_{name}", name):  # the OpenBLAS that the build bundles has a prefix
        if hasattr(plugin, symbol):
            return getattr(plugin, symbol)
    raise LookupError(f"Caffe's BLAS has no function {name}")
