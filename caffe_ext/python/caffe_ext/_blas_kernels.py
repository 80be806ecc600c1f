"""Have OpenBLAS run the kernels for this processor where it does not know it; before it is loaded.

OpenBLAS 0.3.34 takes AMD's Zen 5 for Haswell: products of matrices take twice as long as with its
kernels for AVX-512. It chooses them while it is loaded, by OPENBLAS_CORETYPE if that is set. The
variable is inherited: what a program starts, `caffe train` say, computes the same.
"""

import os
from pathlib import Path

_VARIABLE = "OPENBLAS_CORETYPE"
_ZEN_5 = 26  # the first family of AMD's that computes the vectors of AVX-512 at once
_AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_ONE_PROCESSOR = 1 << 14


def choose_kernels() -> None:
    """Set the variable if it helps, and the user has not set it."""
    if _VARIABLE not in os.environ:
        core = find_core(read_first_processor())
        if core:
            os.environ[_VARIABLE] = core


def find_core(processor: dict[str, str]) -> str:
    """Return the core whose kernels OpenBLAS should run; "": those that it chooses by itself.

    processor  the fields of an entry of /proc/cpuinfo
    """
    family = processor.get("cpu family", "")
    is_new = processor.get("vendor_id") == "AuthenticAMD" and family.isdigit()
    if is_new and int(family) >= _ZEN_5 and set(processor.get("flags", "").split()) >= _AVX512:
        return "SkylakeX"
    return ""


def read_first_processor(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Return the fields of the first entry; {} where there is no such file."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            entry = file.read(_ONE_PROCESSOR).split("\n\n")[0]
    except OSError:
        return {}
    fields = (line.partition(":") for line in entry.splitlines())
    return {name.strip(): value.strip() for name, _, value in fields}
