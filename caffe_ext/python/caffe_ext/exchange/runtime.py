"""ONNX Runtime, and how far its values may differ from Caffe's."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

TOLERANCE = 1e-4
"""The largest allowed difference; if values exceed 1, relative to the largest of them."""


def run_onnx(model: bytes, inputs: Mapping[str, NDArray[Any]], output: str) -> NDArray[Any]:
    """Return an output of an ONNX model on the CPU.

    Raises ValueError for a model that ONNX Runtime rejects, or that fails for these inputs.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors raise, and warnings only concern this library
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        values: NDArray[Any] = session.run([output], dict(inputs))[0]
    except Exception as error:  # its classes derive from nothing else
        reason = " ".join(f"{error}".split())
        raise ValueError(f"ONNX Runtime cannot run this model: {reason}") from error
    return values


def compute_largest_difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return max |found - expected| / max(1, max |expected|); infinity where one has a NaN.

    Raises ValueError if the shapes differ.
    """
    if found.shape != expected.shape:
        raise ValueError(f"the shapes differ: {found.shape}, and {expected.shape} of the original")
    if not found.size:
        return 0.0
    difference = np.abs(found.astype(np.float64) - expected).max()
    largest = float(difference) / max(1.0, float(np.abs(expected).max()))
    return largest if np.isfinite(largest) else float("inf")


def check_difference(
    compute: Callable[[slice], NDArray[Any]], expected: NDArray[Any], what: str
) -> float:
    """Return the largest difference, of all images at once and of one by itself.

    compute   returns the values of some of the images
    expected  the values of all images

    Raises ValueError, with a message beginning with `what`, if it is larger than TOLERANCE.
    """
    worst = max(
        compute_largest_difference(compute(rows), expected[rows])
        for rows in (slice(None), slice(0, 1))
    )
    if worst > TOLERANCE:
        raise ValueError(f"{what} by {worst:.2g}, more than {TOLERANCE:g}; nothing is written")
    return worst
