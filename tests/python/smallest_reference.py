"""FMN, DDN and DeepFool from the papers' pseudo-code: one image at a time, in plain loops.

Gradients are 0 in pixels at 0 or 255 that downhill would leave the range, as attacks/smallest has
it; FMN's first radii are (1 + gamma) as far beyond d; and
an image leaves FMN when its distance has stalled for a third of the steps.
"""

from math import cos, inf, pi

import numpy as np
from numpy.typing import NDArray

from caffe_ext.models.base import Model

Point = NDArray[np.float64]


class OneImage:
    """An image and its label."""

    def __init__(self, model: Model, image: NDArray[np.uint8], label: int) -> None:
        self.model, self.label = model, label
        self.x = image.astype(np.float64)

    def ask(self, point: Point) -> NDArray[np.float64]:
        """Return the logits."""
        logits = self.model.logits(point[None].astype(np.float32))
        return np.asarray(logits[0], np.float64)

    def rival(self, logits: NDArray[np.float64]) -> int:
        """Return the class with the largest logit besides the label."""
        others = logits.copy()
        others[self.label] = -inf
        return int(others.argmax())

    def gradient(self, point: Point, derivative: NDArray[np.float64]) -> Point:
        """Return the gradient of <derivative, logits>, held at 0 and 255."""
        gradients = self.model.gradient(
            point[None].astype(np.float32), derivative[None].astype(np.float32)
        )
        found = np.asarray(gradients[0], np.float64)
        for place in np.ndindex(point.shape):
            if (point[place] <= 0 and found[place] > 0) or (
                point[place] >= 255 and found[place] < 0
            ):
                found[place] = 0
        return found

    def difference(self, above: int, below: int, classes: int) -> NDArray[np.float64]:
        """Return the derivative of h_above - h_below."""
        derivative = np.zeros(classes)
        derivative[above], derivative[below] = 1, -1
        return derivative


def length(values: Point, norm: str) -> float:
    return float(np.abs(values).max() if norm == "linf" else np.sqrt((values**2).sum()))


def dual(values: Point, norm: str) -> float:
    return float(np.abs(values).sum() if norm == "linf" else np.sqrt((values**2).sum()))


def clipped(one: OneImage, apart: Point) -> Point:
    return np.clip(one.x + apart, 0, 255) - one.x


def fmn(one: OneImage, norm: str, steps: int) -> float:
    """Return the distance of the nearest adversarial that FMN sees; infinite for none."""
    apart, best, radius, seen, history = np.zeros_like(one.x), inf, inf, False, [inf]
    farthest = length(np.maximum(one.x, 255 - one.x), norm)
    for step in range(steps):
        wave = (1 + cos(pi * step / steps)) / 2
        alpha, gamma = 2.55 + (255 - 2.55) * wave, 0.001 + (0.05 - 0.001) * wave
        logits = one.ask(one.x + apart)
        rival = one.rival(logits)
        margin = logits[one.label] - logits[rival]
        slope = one.gradient(one.x + apart, one.difference(one.label, rival, len(logits)))
        if margin < 0:
            seen, best = True, min(best, length(apart, norm))
            radius = min(radius * (1 - gamma), best)
        elif seen:
            radius *= 1 + gamma
        elif slope.any():
            radius = length(apart, norm) + (1 + gamma) * abs(margin) / dual(slope, norm)
        radius = min(radius, farthest)
        history.append(best)
        if not slope.any():
            return best
        patience = max(1, steps // 3)
        if step >= patience and best > history[step - patience] * 0.999:
            return best
        apart = apart - alpha * slope / dual(slope, "l2")
        if norm == "linf":
            apart = np.clip(apart, -radius, radius)
        else:
            apart = apart * min(1, radius / length(apart, "l2"))
        apart = clipped(one, apart)
    return best


def ddn(one: OneImage, steps: int) -> float:
    """Return the distance of the nearest adversarial that DDN sees; infinite for none."""
    apart, best, radius = np.zeros_like(one.x), inf, 255.0
    farthest = length(np.maximum(one.x, 255 - one.x), "l2")
    for step in range(steps):
        alpha = 2.55 + (255 - 2.55) * (1 + cos(pi * step / steps)) / 2
        logits = one.ask(one.x + apart)
        adversarial = logits[one.rival(logits)] > logits[one.label]
        loss = np.exp(logits - logits.max())
        loss /= -loss.sum()
        loss[one.label] += 1  # downhill on ln p_label
        slope = one.gradient(one.x + apart, loss)
        if adversarial:
            best = min(best, length(apart, "l2"))
        apart = apart - alpha * slope / dual(slope, "l2")
        radius = min(radius * (0.95 if adversarial else 1.05), farthest)
        apart = clipped(one, apart * radius / length(apart, "l2"))
    return best


def deepfool(one: OneImage, norm: str, steps: int) -> float:
    """Return the distance of DeepFool's adversarial; infinite for none."""
    apart = np.zeros_like(one.x)
    for step in range(steps + 1):
        point = one.x + clipped(one, 1.02 * apart)
        logits = one.ask(point)
        if logits[one.rival(logits)] > logits[one.label]:
            return length(point - one.x, norm)
        if step == steps:
            break
        nearest, move = inf, np.zeros_like(apart)
        for other in range(len(logits)):
            if other == one.label:
                continue
            slope = one.gradient(point, one.difference(one.label, other, len(logits)))
            far = abs(logits[one.label] - logits[other]) / dual(slope, norm)
            if far < nearest:
                nearest = far
                move = -far * (np.sign(slope) if norm == "linf" else slope / dual(slope, "l2"))
        apart = apart + move
    return inf
