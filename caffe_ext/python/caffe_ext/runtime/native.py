"""The plug-in through ctypes: a function on arrays for each one in caffe_ext/native/native.hpp.

Every function that the library exports for Python has its types here, so that a number too large
for one of them is an error instead of another number. Arrays must have the type that is named, and
be C-contiguous. All calls release Python's lock.

Raises MemoryError where there is not enough memory, TypeError or ValueError for arguments that do
not fit.
"""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_ext import PLUGIN

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

library = ctypes.CDLL(str(PLUGIN), ctypes.RTLD_LOCAL)


class _Int(ctypes.c_int):
    """An int that refuses what it cannot hold, where ctypes would take the lowest bits."""

    @classmethod
    def from_param(cls, value: int) -> ctypes.c_int:
        """Return what is passed; ctypes makes an ArgumentError of any exception here."""
        if cls(value).value != value:
            raise OverflowError(f"{value} is beyond {8 * ctypes.sizeof(cls)} bits")
        return cls(value)


class _Count(ctypes.c_int64):
    """The same with 64 bits."""

    @classmethod
    def from_param(cls, value: int) -> ctypes.c_int64:
        """Return what is passed."""
        if cls(value).value != value:
            raise OverflowError(f"{value} is beyond {8 * ctypes.sizeof(cls)} bits")
        return cls(value)


_INT, _COUNT, _DOUBLE, _RESULT = _Int, _Count, ctypes.c_double, ctypes.c_int
_BYTES, _FLOATS, _DOUBLES, _NUMBERS, _SHORTS, _UNSIGNED = (
    np.ctypeslib.ndpointer(dtype, flags="C_CONTIGUOUS")
    for dtype in (np.uint8, np.float32, np.float64, np.int64, np.int16, np.uint64)
)

SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    # engine/engine.hpp
    "caffe_ext_engine_enabled": (_RESULT, []),
    "caffe_ext_set_engine": (None, [_INT]),
    "caffe_ext_vector_lanes": (_RESULT, []),
    "caffe_ext_threads": (_RESULT, []),
    "caffe_ext_set_threads": (None, [_INT]),
    # kernels/matrix/blas.hpp
    "caffe_ext_slow_blas": (ctypes.c_char_p, []),
    # native/device.hpp
    "caffe_ext_gpu_count": (_RESULT, []),
    "caffe_ext_gpu_problem": (ctypes.c_char_p, [_INT]),
    "caffe_ext_gpu_name": (ctypes.c_char_p, [_INT]),
    "caffe_ext_device": (_RESULT, []),
    "caffe_ext_synchronize": (None, []),
    # native/sources.hpp
    "caffe_ext_source_digest": (ctypes.c_char_p, []),
    # native/native.hpp
    "caffe_ext_last_error": (ctypes.c_char_p, []),
    "caffe_ext_normalize_directions": (
        _RESULT,
        [_BYTES, _FLOATS, _COUNT, _COUNT, _FLOATS, _DOUBLES],
    ),
    "caffe_ext_directional_derivatives": (
        _RESULT,
        [_BYTES, _FLOATS, _FLOATS, _COUNT, _COUNT, _DOUBLES],
    ),
    "caffe_ext_perturb": (
        _RESULT,
        [_BYTES, _FLOATS, _COUNT, _NUMBERS, _DOUBLES, _COUNT, _COUNT, _BYTES],
    ),
    "caffe_ext_add_integer_noise": (
        _RESULT,
        [
            *(_UNSIGNED, _SHORTS, ctypes.c_uint64),
            *(_BYTES, _COUNT, _NUMBERS, _NUMBERS, _NUMBERS, _COUNT, _COUNT, _BYTES),
        ],
    ),
    "caffe_ext_scatter_windows": (_RESULT, [_NUMBERS, _DOUBLES, _COUNT, _DOUBLES]),
    "caffe_ext_ecc_homographies": (
        _RESULT,
        [_BYTES, _BYTES, _COUNT, _COUNT, _COUNT, _COUNT, _DOUBLE, _FLOATS, _DOUBLES, _BYTES],
    ),
    "caffe_ext_warp_images": (_RESULT, [_BYTES, _COUNT, _COUNT, _COUNT, _COUNT, _FLOATS, _BYTES]),
    "caffe_ext_ssim": (
        _RESULT,
        [_BYTES, _BYTES, _COUNT, _COUNT, _COUNT, _DOUBLES, _DOUBLE, _DOUBLE, _INT, _DOUBLES],
    ),
}
"""The result and argument types of each function."""

for _name, (_result, _arguments) in SIGNATURES.items():
    _function = getattr(library, _name)
    _function.restype, _function.argtypes = _result, _arguments


def get_source_digest() -> str:
    """Return the SHA-256, in hexadecimal, of the sources that libcaffe and the plug-in were built
    from; it does not depend on compilers, processors and CUDA.
    """
    return str(library.caffe_ext_source_digest().decode())


def normalize_directions(images: Images, directions: Floats) -> tuple[Floats, Doubles]:
    """Return the directions over their largest magnitude, and how far images can go along them.

    Both are (N, ...), the results (N, ...) and (N,); see NormalizeDirections().
    """
    _check_shapes(images, directions)
    units, limits = np.empty(images.shape, np.float32), np.empty(len(images))
    _call("normalize_directions", images, directions, *_count_values(images), units, limits)
    return units, limits


def compute_directional_derivatives(
    images: Images, directions: Floats, gradients: Floats
) -> Doubles:
    """Return the derivatives (N,) along directions, of functions with these gradients.

    All are (N, ...); see ComputeDirectionalDerivatives().
    """
    _check_shapes(images, directions, gradients)
    derivatives = np.empty(len(images))
    _call(
        "directional_derivatives",
        images,
        directions,
        gradients,
        *_count_values(images),
        derivatives,
    )
    return derivatives


def perturb(
    images: Images, units: Floats, which: NDArray[np.int64], step_lengths: Doubles
) -> Images:
    """Return images number `which` (n,), moved step_lengths (n,) along units; see Perturb().

    images, units  (N, ...)
    """
    _check_shapes(images, units)
    _check_shapes(which, step_lengths)
    perturbed = np.empty((len(which), *images.shape[1:]), np.uint8)
    count, values = _count_values(perturbed)
    _call("perturb", images, units, len(images), which, step_lengths, count, values, perturbed)
    return perturbed


def add_integer_noise(
    images: Images,
    table: tuple[NDArray[np.uint64], NDArray[np.int16]],
    seed: int,
    copies: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
) -> Images:
    """Return noisy copies of images; see AddIntegerNoise().

    images  (N, ...)
    table   thresholds and aliases (512,)
    copies  which, numbers and samples (n,)
    """
    (thresholds, aliases), (which, numbers, samples) = table, copies
    _check_shapes(which, numbers, samples)
    if thresholds.shape != (512,) or aliases.shape != (512,):
        raise ValueError(f"a table has 512 columns, not {thresholds.shape} and {aliases.shape}")
    noisy = np.empty((len(which), *images.shape[1:]), np.uint8)
    sizes = _count_values(noisy)
    _call(
        "add_integer_noise", thresholds, aliases, seed, images, len(images), *copies, *sizes, noisy
    )
    return noisy


def scatter_windows(parts: Doubles, stride: tuple[int, int], dilation: tuple[int, int]) -> Doubles:
    """Return the sums (N, H, W) of what positions add to what they see; see ScatterWindows().

    parts  (N, kernel height, kernel width, positions' height, positions' width)
    """
    planes, *size, height, width = parts.shape
    extents = [
        (positions - 1) * step + (side - 1) * apart + 1
        for positions, step, side, apart in zip(
            (height, width), stride, size, dilation, strict=True
        )
    ]
    totals = np.empty((planes, *extents))
    kernel = np.array([*size, *stride, *dilation, height, width], np.int64)
    _call("scatter_windows", kernel, parts, planes, totals)
    return totals


def estimate_homographies(
    images: Images, templates: Images, *, iterations: int, epsilon: float
) -> tuple[Floats, Doubles, NDArray[np.bool_]]:
    """Return homographies (N, 3, 3), correlations (N, 2), and which pairs failed (N,).

    images, templates  (N, H, W); see FindEccHomographies()
    """
    _check_shapes(images, templates)
    homographies = np.empty((len(images), 3, 3), np.float32)
    correlations, failed = np.empty((len(images), 2)), np.empty(len(images), np.uint8)
    settings = iterations, epsilon
    found = homographies, correlations, failed
    _call("ecc_homographies", images, templates, *images.shape, *settings, *found)
    return homographies, correlations, failed.astype(np.bool_)


def warp_images(images: Images, homographies: Floats) -> Images:
    """Return the images (N, C, H, W) as homographies (N, 3, 3) see them; see WarpImages()."""
    if homographies.shape != (len(images), 3, 3):
        raise ValueError(f"{homographies.shape} homographies for {images.shape} images")
    warped = np.empty(images.shape, np.uint8)
    _call("warp_images", images, *images.shape, homographies, warped)
    return warped


def compute_ssim(
    first: Images, second: Images, weights: Doubles, constants: tuple[float, float], *, inner: bool
) -> Doubles:
    """Return the SSIM (N,) of planes (N, H, W); see ComputeSsim().

    weights    of the window, (11,)
    constants  c1 and c2
    inner      the mean over the pixels whose window lies in the plane; else over all
    """
    _check_shapes(first, second)
    if weights.shape != (11,):
        raise ValueError(f"the window has 11 weights, not {weights.shape}")
    scores = np.empty(len(first))
    _call("ssim", first, second, *first.shape, weights, *constants, int(not inner), scores)
    return scores


_ERRORS: dict[int, type[Exception]] = {1: MemoryError, 2: ValueError}


def _call(name: str, *arguments: Any) -> None:
    """Call a function that returns a status."""
    name = f"caffe_ext_{name}"
    try:
        status = getattr(library, name)(*arguments)
    except ctypes.ArgumentError as error:
        raise TypeError(f"{name}: {error}") from error
    if status != 0:
        text = (library.caffe_ext_last_error() or b"").decode(errors="replace")
        raise _ERRORS.get(status, RuntimeError)(f"{name}: {text}")


def _check_shapes(first: NDArray[Any], *others: NDArray[Any]) -> None:
    for other in others:
        if other.shape != first.shape:
            raise ValueError(f"arrays of the shapes {first.shape} and {other.shape} do not fit")


def _count_values(images: NDArray[Any]) -> tuple[int, int]:
    """Return the number of images and of the values of each."""
    return len(images), int(np.prod(images.shape[1:]))
