"""runtime/native.py: types of all functions, and arguments that do not fit."""

import ctypes
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from caffe_ext import PLUGIN
from caffe_ext.runtime import engine, native

IMAGES = np.zeros((3, 1, 12, 12), np.uint8)
FLOATS = np.ones((3, 1, 12, 12), np.float32)
UNITS, LIMITS = np.empty_like(FLOATS), np.empty(3)
BEYOND_INT = (1 << 32) + 1  # the lowest 32 bits are 1


def test_every_function_for_python_has_its_types() -> None:
    listed = subprocess.run(
        ["nm", "--dynamic", "--defined-only", PLUGIN], capture_output=True, text=True, check=True
    ).stdout
    exported = set(re.findall(r" T (caffe_ext_\w+)$", listed, re.MULTILINE))
    assert exported == set(native.SIGNATURES)
    for name in exported:
        assert getattr(native.library, name).argtypes is not None


def pointers(*arrays: np.ndarray[Any, Any] | None) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(None if array is None else array.ctypes.data) for array in arrays]


def test_counts_beyond_32_bits_are_not_cut_off() -> None:
    """A count of 2^32 + 1 that became 1 would be a success."""
    function = ctypes.CDLL(str(PLUGIN)).caffe_ext_normalize_directions
    function.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 2 + [ctypes.c_void_p] * 2
    arrays = pointers(IMAGES, FLOATS)
    results = pointers(UNITS, LIMITS)
    for count, values in ((BEYOND_INT, 1 << 40), (1 << 62, 1 << 62), (-1, 4), (1, -4)):
        assert function(*arrays, count, values, *results) == 2
    assert function(*arrays, 3, 144, *results) == 0
    assert function(*arrays, 0, BEYOND_INT, *results) == 0


@pytest.mark.parametrize("missing", range(4))
def test_a_missing_array_is_an_error(missing: int) -> None:
    function = ctypes.CDLL(str(PLUGIN)).caffe_ext_normalize_directions
    function.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 2 + [ctypes.c_void_p] * 2
    arrays = pointers(IMAGES, FLOATS, UNITS, LIMITS)
    arrays[missing] = ctypes.c_void_p(None)
    assert function(*arrays[:2], 3, 144, *arrays[2:]) == 2
    assert b"is null" in native.library.caffe_ext_last_error()


def test_numbers_too_large_for_their_type_are_refused() -> None:
    with pytest.raises(ctypes.ArgumentError, match="beyond 32 bits"):
        native.library.caffe_ext_set_threads(BEYOND_INT)
    with pytest.raises(ValueError, match=str(BEYOND_INT)):
        engine.set_threads(BEYOND_INT)
    grey = IMAGES[:, 0]
    with pytest.raises(ValueError, match=f"iterations is {BEYOND_INT}"):
        native.estimate_homographies(grey, grey, iterations=BEYOND_INT, epsilon=1e-3)
    with pytest.raises(TypeError, match="beyond 64 bits"):
        native.estimate_homographies(grey, grey, iterations=1 << 64, epsilon=1e-3)


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        native.normalize_directions(IMAGES, FLOATS[:2])
    with pytest.raises(TypeError, match="normalize_directions"):
        native.normalize_directions(IMAGES, FLOATS.astype(np.float64))
    with pytest.raises(TypeError, match="normalize_directions"):
        native.normalize_directions(IMAGES[..., ::2], FLOATS[..., ::2])
    with pytest.raises(ValueError, match="image number is out of range"):
        native.perturb(IMAGES, FLOATS, np.array([0, 3]), np.zeros(2))
    with pytest.raises(ValueError, match="image number is out of range"):
        native.perturb(IMAGES, FLOATS, np.array([-1]), np.zeros(1))
    small = np.zeros((1, 10, 12), np.uint8)
    with pytest.raises(ValueError, match="height is 10; it must be from 11"):
        native.compute_ssim(small, small, np.ones(11), (1, 1), inner=True)
    with pytest.raises(ValueError, match="11 weights"):
        native.compute_ssim(small, small, np.ones(10), (1, 1), inner=True)
    wide = np.zeros((1, 1, 32767), np.uint8)
    with pytest.raises(ValueError, match="width is 32767; it must be from 1 to 32766"):
        native.estimate_homographies(wide, wide, iterations=1, epsilon=1e-3)


NO_THREADS = """
import ctypes
import sys
import numpy as np
from caffe_ext.runtime import engine, native
engine.set_threads(4)
libc = ctypes.CDLL(None)
attributes = ctypes.create_string_buffer(256)
libc.pthread_attr_init(attributes)
libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(1 << 46))
assert libc.pthread_setattr_default_np(attributes) == 0  # no system has such a stack
images, directions = np.zeros((2000, 784), np.uint8), np.full((2000, 784), 2, np.float32)
units, limits = native.normalize_directions(images, directions)
assert (units == 1).all() and (limits == 255).all()
"""


def test_without_new_threads_the_calling_one_works() -> None:
    subprocess.run([sys.executable, "-c", NO_THREADS], check=True)
