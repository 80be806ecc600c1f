"""The L2 and Linf norms of N perturbations at a time, in grey levels.

    linf   max |d_i|             dual  sum |g_i|
    l2     sqrt(sum d_i^2)       dual  sqrt(sum g_i^2)

A function with the gradient g falls by at most ||g||_dual per grey level of the norm, to first
order.
"""

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.budget import Norm

Real = NDArray[np.floating]
Lengths = NDArray[np.float64]


def as_rows(values: Real) -> Real:
    """Return values (N, ...) as (N, values), also for N = 0."""
    return values.reshape(len(values), int(np.prod(values.shape[1:])))


def compute_norms(differences: Real, norm: Norm) -> Lengths:
    """Return the norms of perturbations (N, ...), float64 (N,)."""
    flat = as_rows(differences)
    if norm == "linf":
        return np.asarray(np.abs(flat).max(axis=1, initial=0), np.float64)
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", flat, flat, dtype=np.float64)))


def compute_dual_norms(gradients: Real, norm: Norm) -> Lengths:
    """Return the dual norms of gradients (N, ...), float64 (N,)."""
    if norm == "l2":
        return compute_norms(gradients, "l2")
    flat = as_rows(gradients)
    return np.asarray(np.abs(flat).sum(axis=1, dtype=np.float64))


def shorten(differences: Real, radii: Lengths, norm: Norm) -> None:
    """Project perturbations (N, ...) onto balls with the radii, float64 (N,), in place."""
    shape = (-1,) + (1,) * (differences.ndim - 1)
    if norm == "linf":
        limits = radii.astype(differences.dtype).reshape(shape)
        np.clip(differences, -limits, limits, out=differences)
    else:
        scales = radii / np.maximum(np.maximum(compute_norms(differences, "l2"), radii), 1e-30)
        differences *= scales.astype(differences.dtype).reshape(shape)


def normalize_l2(gradients: Real) -> Real:
    """Return gradients (N, ...) scaled to L2 norm 1; 0 where they are 0."""
    shape = (-1,) + (1,) * (gradients.ndim - 1)
    # Scaled by the largest value first, as squares of small float32 numbers underflow.
    largest = compute_norms(gradients, "linf")
    scaled = gradients / np.where(largest > 0, largest, 1).astype(gradients.dtype).reshape(shape)
    lengths = np.maximum(compute_norms(scaled, "l2"), 1)
    scaled /= lengths.astype(gradients.dtype).reshape(shape)
    return scaled


def hold_at_bounds(gradients: Real, points: Real) -> None:
    """Set gradients to 0, in place, in pixels that a descent step would take out of 0..255."""
    gradients[((points <= 0) & (gradients > 0)) | ((points >= 255) & (gradients < 0))] = 0
