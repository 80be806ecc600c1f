"""The plug-in for ctypes, and calls of its functions on arrays (caffe_ext/native/native.hpp)."""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_ext import PLUGIN

library = ctypes.CDLL(str(PLUGIN), ctypes.RTLD_LOCAL)


def call(name: str, *arguments: NDArray[Any] | int | float) -> None:
    """Call a function that returns 0, without Python's lock.

    Arrays must be contiguous and of the type and size that the function expects; Python's integers
    become int, and its floats double. Raises MemoryError where the function returns anything else.
    """
    if getattr(library, name)(*(_passed(argument) for argument in arguments)) != 0:
        raise MemoryError(f"{name}: not enough memory")


def _passed(argument: NDArray[Any] | int | float) -> Any:
    if isinstance(argument, np.ndarray):
        if not argument.flags.c_contiguous:
            raise ValueError("arrays must be contiguous")
        return ctypes.c_void_p(argument.ctypes.data)
    return ctypes.c_double(argument) if isinstance(argument, float) else ctypes.c_int(argument)
