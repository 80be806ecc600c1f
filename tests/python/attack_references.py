"""Slow, obvious programs of attacks within a budget: one image, plain loops, from the papers."""

import math
from collections.abc import Callable
from math import ceil, exp, log
from typing import Any

import numpy as np

Array = Any


def project(point: Array, image: Array, epsilon: float, norm: str) -> Array:
    """Return the point in the ball and in 0..255."""
    apart = point - image
    if norm == "linf":
        apart = np.minimum(np.maximum(apart, -epsilon), epsilon)
    elif np.linalg.norm(apart) > epsilon:
        apart = apart * epsilon / np.linalg.norm(apart)
    return np.minimum(np.maximum(image + apart, 0), 255)


def steepest(gradient: Array, norm: str) -> Array:
    """Return the unit step."""
    if norm == "linf":
        return np.sign(gradient)
    length = np.linalg.norm(gradient)
    return gradient / length if length > 0 else gradient


def loss_value(loss: str, logits: Array, label: int, target: int | None = None) -> float:
    """Return a loss of the paper; ce as its rising function that does not saturate."""
    z = [float(one) for one in logits]
    others = [z[i] for i in range(len(z)) if i != label]
    ordered = sorted(z, reverse=True)
    if loss == "ce":
        total = sum(exp(one - max(others)) for one in others)
        return max(others) + log(total) - z[label]
    if loss == "margin":
        return -(z[label] - max(others))
    if loss == "dlr":
        return -(z[label] - max(others)) / (ordered[0] - ordered[2])
    assert target is not None
    return -(z[label] - z[target]) / (ordered[0] - (ordered[2] + ordered[3]) / 2)


def loss_derivative(loss: str, logits: Array, label: int, target: int | None = None) -> Array:
    """Return the derivative by the logits, by differences."""
    z, step = np.asarray(logits, np.float64), 1e-6
    found = np.zeros(len(z))
    for i in range(len(z)):
        up, down = z.copy(), z.copy()
        up[i] += step
        down[i] -= step
        rise = loss_value(loss, up, label, target) - loss_value(loss, down, label, target)
        found[i] = rise / (2 * step)
    return found


def apgd(  # noqa: PLR0917  the paper's
    value: Callable[[Array], float],
    gradient: Callable[[Array], Array],
    adversarial: Callable[[Array], bool],
    image: Array,
    start: Array,
    epsilon: float,
    norm: str,
    iterations: int,
) -> tuple[Array | None, list[Array]]:
    """Return the adversarial, or None, and all points; Algorithm 1 of Croce and Hein."""
    p = [0.0, 0.22]
    while p[-1] <= 1:
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    w = [ceil(round(one * iterations, 9)) for one in p if round(one, 9) <= 1]
    x, eta, path = start, 2 * epsilon, [start]
    if adversarial(x):
        return x, path
    f, best, best_f = value(x), x, value(x)
    previous = x
    reduced, f_at_checkpoint, rises = True, best_f, 0
    for k in range(iterations):
        z = project(x + eta * steepest(gradient(x), norm), image, epsilon, norm)
        new = (
            z
            if k == 0
            else project(x + 0.75 * (z - x) + 0.25 * (x - previous), image, epsilon, norm)
        )
        path.append(new)
        new_f = value(new)
        rises += new_f > f
        if new_f > best_f:
            best, best_f = new, new_f
        previous, x, f = x, new, new_f
        if adversarial(x):
            return x, path
        if k + 1 in w:
            since = k + 1 - w[w.index(k + 1) - 1]
            condition_1 = rises < 0.75 * since
            condition_2 = not reduced and f_at_checkpoint == best_f
            reduced, f_at_checkpoint, rises = condition_1 or condition_2, best_f, 0
            if reduced:
                eta, x, f = eta / 2, best, best_f
    return None, path


def shortest_step(point: Array, w: Array, rise: float, norm: str) -> Array:
    """Return the shortest d with <w, d> = rise within 0..255, or all that there is; bisection."""

    def moved(t: float) -> Array:
        d = np.zeros(len(point))
        for i in range(len(point)):
            length = t if norm == "linf" else t * abs(w[i])
            wanted = np.sign(w[i]) * np.sign(rise) * length
            d[i] = min(max(point[i] + wanted, 0), 255) - point[i]
        return d

    low, high = 0.0, 1e12
    for _ in range(200):
        middle = (low + high) / 2
        if abs(float(np.dot(w, moved(middle)))) < abs(rise):
            low = middle
        else:
            high = middle
    return moved(high)


def size(difference: Array, norm: str) -> float:
    """Return the norm."""
    return float(np.abs(difference).max() if norm == "linf" else np.linalg.norm(difference))


def fab(  # noqa: PLR0917  the paper's
    value: Callable[[Array], float],
    gradient: Callable[[Array], Array],
    adversarial: Callable[[Array], bool],
    image: Array,
    epsilon: float,
    norm: str,
    iterations: int,
) -> Array | None:
    """Return an adversarial within epsilon, or None; images are flat."""
    x = image
    for _ in range(iterations):
        f, w = value(x), gradient(x)
        d = shortest_step(x, w, -f, norm)
        d_image = shortest_step(image, w, float(np.dot(w, x - image)) - f, norm)
        both = size(d, norm) + size(d_image, norm)
        alpha = min(size(d, norm) / both if both > 0 else 0, 0.1)
        x = (1 - alpha) * (x + 1.05 * d) + alpha * (image + 1.05 * d_image)
        x = np.minimum(np.maximum(x, 0), 255)
        if adversarial(x):
            if size(x - image, norm) <= epsilon:
                return x
            x = image + 0.9 * (x - image)
    return None


def side_of_square(query: int, queries: int, height: int, width: int) -> int:
    """Return the side of the window that a query of Square changes."""
    share = 0.8
    for after in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
        if int(query / queries * 10000) > after:
            share /= 2
    return min(max(1, round(math.sqrt(share * height * width))), height, width)


def square_linf(  # noqa: PLR0917  the paper's
    margin: Callable[[Array], float],
    image: Array,
    epsilon: float,
    queries: int,
    random: np.random.Generator,
    at_a_time: int,
) -> Array | None:
    """Return the point with a margin below 0, or None; one image (C, H, W), pixel by pixel."""
    channels, height, width = image.shape
    x = image.copy()
    signs = random.integers(0, 2, (channels, 1, width))
    for c in range(channels):
        for row in range(height):
            for column in range(width):
                x[c, row, column] += epsilon if signs[c, 0, column] else -epsilon
    x = np.minimum(np.maximum(x, 0), 255)
    best = margin(x)
    if best < 0:
        return x
    for query in range(1, queries):
        if (query - 1) % at_a_time == 0:
            numbers = random.random((at_a_time, 5 + channels), np.float32)
        drawn = numbers[(query - 1) % at_a_time]
        side = side_of_square(query, queries, height, width)
        top = int(drawn[0] * (height - side + 1))
        left = int(drawn[1] * (width - side + 1))
        new = x.copy()
        for c in range(channels):
            for row in range(top, top + side):
                for column in range(left, left + side):
                    change = -epsilon if drawn[5 + c] < 0.5 else epsilon
                    new[c, row, column] = min(max(image[c, row, column] + change, 0), 255)
        found = margin(new)
        if found < best:
            x, best = new, found
        if found < 0:
            return new
    return None


def bump(side: int) -> Array:
    """Return eta of the length 1, rectangle by rectangle."""
    eta = np.zeros((side, side))
    for first, last, sign in ((0, side // 2, 1), (side // 2, side, -1)):
        height = last - first
        half = np.zeros((height, side))
        for k in range(max(height // 2, side // 2) + 1):
            for row in range(height // 2 - k, height // 2 + k + 1):
                for column in range(side // 2 - k, side // 2 + k + 1):
                    if 0 <= row < height and 0 <= column < side:
                        half[row, column] += 1 / (k + 1) ** 2
        if height:
            eta[first:last] = sign * half / np.linalg.norm(half)
    return eta / np.linalg.norm(eta)


def square_l2(  # noqa: PLR0912, PLR0917  the paper's
    margin: Callable[[Array], float],
    image: Array,
    epsilon: float,
    queries: int,
    random: np.random.Generator,
    at_a_time: int,
) -> Array | None:
    """Return the point with a margin below 0, or None; one image (C, H, W), Algorithms 1 and 3."""
    channels, height, width = image.shape

    def on_the_sphere(d: Array) -> Array:
        point = image + epsilon * d / np.linalg.norm(d)
        return project(np.minimum(np.maximum(point, 0), 255), image, epsilon, "l2")

    side = max(1, min(height, width) // 5)
    rows, columns = height // side, width // side
    signs = random.integers(0, 2, (channels, rows, columns))
    turned = random.integers(0, 2, (rows, columns))
    d = np.zeros(image.shape)
    for row in range(rows):
        for column in range(columns):
            tile = bump(side).T if turned[row, column] else bump(side)
            for c in range(channels):
                for i in range(side):
                    for j in range(side):
                        sign = 1 if signs[c, row, column] else -1
                        d[c, row * side + i, column * side + j] = sign * tile[i, j]
    x = on_the_sphere(d)
    best = margin(x)
    if best < 0:
        return x
    for query in range(1, queries):
        if (query - 1) % at_a_time == 0:
            numbers = random.random((at_a_time, 5 + channels), np.float32)
        drawn = numbers[(query - 1) % at_a_time]
        side = side_of_square(query, queries, height, width)
        side = max(3, side if side % 2 else side + 1)
        side = min(side, height, width)
        corners = [int(drawn[k] * (room - side + 1)) for k, room in enumerate((height, width) * 2)]
        first = [
            (i, j)
            for i in range(corners[0], corners[0] + side)
            for j in range(corners[1], corners[1] + side)
        ]
        second = [
            (i, j)
            for i in range(corners[2], corners[2] + side)
            for j in range(corners[3], corners[3] + side)
        ]
        d = x - image
        unused = max(0.0, epsilon**2 - float(np.sum(d**2)))
        eta = bump(side) if drawn[4] < 0.5 else bump(side).T
        new = d.copy()
        for c in range(channels):
            both = sum(d[c, i, j] ** 2 for i, j in set(first) | set(second))
            own = sum(d[c, i, j] ** 2 for i, j in first) ** 0.5
            sign = -1 if drawn[5 + c] < 0.5 else 1
            form = np.zeros((side, side))
            for i, j in first:
                a, b = i - corners[0], j - corners[1]
                form[a, b] = sign * eta[a, b] + (d[c, i, j] / own if own > 0 else 0)
            length = np.linalg.norm(form)
            for i, j in second:
                new[c, i, j] = 0
            for i, j in first:
                a, b = i - corners[0], j - corners[1]
                unit = form[a, b] / length if length > 0 else 0
                new[c, i, j] = unit * (both + unused / channels) ** 0.5
        new = on_the_sphere(new)
        found = margin(new)
        if found < best:
            x, best = new, found
        if found < 0:
            return new
    return None
