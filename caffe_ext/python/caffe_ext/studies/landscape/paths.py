"""Paths between minima: the nudged elastic band.

The two nets' units are matched, and both are widened by units that are 0, so that a path can lead
from one to the other. Images on it are pushed down across the path and held apart along it
(Henkelman and Jonsson, 2000), on the smooth surface of softplus units. The highest energy on the
path, of ReLUs, is an upper bound on the barrier between the two minima.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.signal import find_peaks

from caffe_ext.studies.landscape.network import (
    Doubles,
    Ints,
    LossSurface,
    Widths,
    join_layers,
    split_parameters,
)
from caffe_ext.studies.landscape.quench import descend
from caffe_ext.studies.landscape.reduction import align_units, pad_net

SHARPNESS = 100.0
_IMAGES, _ITERATIONS = 13, 300
_SPRING = 0.02
_LONGEST = 0.2
_BETWEEN = 20
"""Points at which the energy is measured between two images."""
_PROMINENCE = 1e-6
"""How far the energy falls on both sides of a peak, at least."""


@dataclass(frozen=True, eq=False)
class Path:
    """A path between two minima: images (n, P) of nets with these widths, the minima included.

    highest  the largest energy on it, of ReLUs
    peaks    see measure_peaks()
    """

    images: Doubles
    widths: Widths
    highest: float
    peaks: list[tuple[float, Doubles, Doubles]]


def match_nets(
    one: tuple[Doubles, Widths], other: tuple[Doubles, Widths], most: Widths
) -> tuple[Doubles, Doubles, Widths]:
    """Return two nets with the same widths, whose units are in the order that fits best.

    A unit without a partner gets one that is 0, as long as there are no more than `most`.
    """
    (first, mine), (second, yours) = one, other
    hidden = [
        min(one_width + other_width, top)
        for one_width, other_width, top in zip(mine, yours, most, strict=True)
    ][1:-1]
    widths = (mine[0], *hidden, mine[-1])
    start = pad_net(first, mine, widths)
    end = align_units(pad_net(second, yours, widths), widths, start)
    used = []
    for number in range(len(widths) - 2):
        sizes = sum(
            np.abs(split_parameters(it, widths)[number]).max(axis=1)
            + np.abs(split_parameters(it, widths)[number + 1][:, :-1]).max(axis=0)
            for it in (start, end)
        )
        used.append(np.flatnonzero(sizes > 0))
    start, kept = _choose_units(start, widths, used)
    return start, _choose_units(end, widths, used)[0], kept


def find_path(
    surface: LossSurface, start: Doubles, end: Doubles, widths: Widths, images: int = _IMAGES
) -> Path:
    """Return a path between two nets by the nudged elastic band."""
    ends = [descend(surface, it, widths, (SHARPNESS,), 300) for it in (start, end)]
    shares = np.linspace(0, 1, images)[:, None]
    band = (1 - shares) * ends[0] + shares * ends[1]
    velocity = np.zeros_like(band)
    step, mixing, good = 0.1, 0.1, 0
    for _ in range(_ITERATIONS):  # FIRE
        force = _compute_forces(surface, band, widths)
        power = float((force * velocity).sum())
        if power > 0:
            size = np.linalg.norm(velocity) / np.linalg.norm(force)
            velocity = (1 - mixing) * velocity + mixing * size * force
            good += 1
            if good > 5:
                step, mixing = min(1.1 * step, 1.0), 0.99 * mixing
        else:
            velocity[:] = 0
            step, mixing, good = max(0.5 * step, 0.02), 0.1, 0
        velocity = velocity + step * force
        move = step * velocity
        band = band + move * min(1.0, _LONGEST / max(np.abs(move).max(), 1e-300))
    whole = np.concatenate([start[None], band, end[None]])
    highest, peaks = measure_peaks(surface, whole, widths)
    return Path(whole, widths, highest, peaks)


def measure_peaks(
    surface: LossSurface, images: Doubles, widths: Widths
) -> tuple[float, list[tuple[float, Doubles, Doubles]]]:
    """Return the largest energy on the straight lines between images, of ReLUs, and the peaks.

    A peak is its energy and two points on the line, one on each side of it; the highest comes
    first. It rises by more than 1e-6 from both sides.
    """
    shares = np.linspace(0, 1, _BETWEEN + 1)[1:, None]
    parts = [(1 - shares) * one + shares * other for one, other in pairwise(images)]
    points = np.concatenate([images[:1], *parts])
    energies = np.array([surface.compute_pass(point, widths).energy for point in points])
    found, _ = find_peaks(energies, prominence=_PROMINENCE)
    peaks = [
        (float(energies[top]), points[top - 1], points[top + 1])
        for top in sorted(found.tolist(), key=lambda top: -energies[top])
    ]
    return float(energies.max()), peaks


def _choose_units(parameters: Doubles, widths: Widths, used: list[Ints]) -> tuple[Doubles, Widths]:
    layers = [layer.copy() for layer in split_parameters(parameters, widths)]
    for number, units in enumerate(used):
        layers[number] = layers[number][units]
        above = layers[number + 1]
        layers[number + 1] = np.hstack([above[:, units], above[:, -1:]])
    return join_layers(layers)


def _compute_forces(surface: LossSurface, band: Doubles, widths: Widths) -> Doubles:
    """Return the nudged forces on the images of a band; 0 at its ends."""
    energies, gradients = zip(
        *(surface.evaluate(it, widths, SHARPNESS) for it in band), strict=True
    )
    force = np.zeros_like(band)
    for number in range(1, len(band) - 1):
        ahead, behind = band[number + 1] - band[number], band[number] - band[number - 1]
        up, down = energies[number + 1], energies[number - 1]
        if up > energies[number] > down:
            tangent = ahead
        elif up < energies[number] < down:
            tangent = behind
        else:
            far, near = sorted((abs(up - energies[number]), abs(down - energies[number])))[::-1]
            forward = far if up > down else near
            tangent = forward * ahead + (far + near - forward) * behind
        tangent = tangent / max(np.linalg.norm(tangent), 1e-300)
        across = -gradients[number] + (gradients[number] @ tangent) * tangent
        along = _SPRING * (np.linalg.norm(ahead) - np.linalg.norm(behind))
        force[number] = across + along * tangent
    return force
