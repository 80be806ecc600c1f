"""Small adversarials of whole grey levels in L2, from real-valued ones.

Rays. The whole perturbation d(s) = clip(round(s v)) of a ray v is the smallest for a linear margin
m = m0 + <g, d> if v = -g: adding one to |d_i| increases |d|^2 by 2 |d_i| + 1 and lowers the margin
by |g_i|, so the best increments are those with |g_i| / (2 |d_i| + 1) above a threshold, which
amounts to rounding s |g_i| to the nearest. On each ray the smallest adversarial d(s) is bracketed,
then bisected.

1. The first ray is the real-valued adversarial's perturbation.
2. At the smallest adversarial so far, with the margin m and its gradient g, the ray turns towards
   the minimum of the linear margin:

       v = (1 - a) v + a w       w = clip(-t g), with the t for which m + <g, w - d> = 0

   a starts at 1/2, is multiplied by 1.5 where d became shorter, and halved where it did not; below
   1/50 an image is dropped.
3. Undo. Moving a d_i != 0 by one towards 0 raises the margin by about -sign(d_i) g_i and reduces
   |d|^2 by 2 |d_i| - 1. Pixels are undone in order of their cost, as many as leave the image
   adversarial, found by bisection; this is repeated until none can be undone.

Results are points that were classified, so they are also adversarial when read from a file.
"""

from itertools import chain, count

import numpy as np

from caffe_ext.attacks.budget import Norm
from caffe_ext.attacks.criteria import Bools
from caffe_ext.attacks.norms import Lengths, as_rows, compute_norms
from caffe_ext.attacks.smallest.nearest import NearestAdversarials
from caffe_ext.attacks.smallest.queries import MarginQueries, Points
from caffe_ext.models.base import Images, Ints

_SCALES = (1.0, 1.01, 1.03, 1.1, 1.3, 2.0, 4.0)
_HALVINGS = 7
_FIRST_TURN, _LEAST_TURN = 0.5, 0.02
_UNDO_ROUNDS = 8


def minimize_l2(
    asked: MarginQueries, images: Images, start: NearestAdversarials, steps: int
) -> NearestAdversarials:
    """Return adversarials of whole grey levels, from real-valued ones.

    start  the real-valued ones; images without one are skipped
    steps  turns of the ray, at most
    """
    best = NearestAdversarials.make_empty(images)
    rays = start.points - images
    which = np.flatnonzero(start.found)
    search_rays(asked, images, rays[which], which, best)
    _turn_rays(asked, images, rays, best, steps)
    _undo(asked, images, best)
    return best


def search_rays(  # noqa: PLR0913, PLR0917  they are independent of each other
    asked: MarginQueries,
    images: Images,
    rays: Points,
    which: Ints,
    best: NearestAdversarials,
    norm: Norm = "l2",
) -> tuple[Bools, Lengths]:
    """Offer the smallest adversarials on rays; return where one was nearer, and the scales s.

    rays  float32 (n, C, H, W), of the images `which`
    norm  in which it is nearer
    """
    origins = images[which].astype(np.float32)
    shape = (-1, 1, 1, 1)
    nearer = np.zeros(len(which), np.bool_)
    outside, inside = np.full(len(which), np.nan), np.zeros(len(which))

    def query(rows: Ints, scales: Lengths) -> Bools:
        apart = np.rint(scales.astype(np.float32).reshape(shape) * rays[rows])
        points = np.clip(origins[rows] + apart, 0, 255)
        answers = asked.ask(points, which[rows])
        lengths = compute_norms(points - origins[rows], norm)
        nearer[rows] |= best.offer(which[rows], points, lengths, answers.adversarial)
        return answers.adversarial

    rows, farthest = np.arange(len(which)), 256 / np.maximum(compute_norms(rays, "linf"), 1e-6)
    for scale in chain(_SCALES, (_SCALES[-1] * 2.0**k for k in count(1))):
        # A change of all pixels by less than half a grey level is far from any rounding.
        rows = rows[scale <= np.maximum(farthest[rows], _SCALES[-1])]
        if not len(rows):
            break
        good = query(rows, np.full(len(rows), scale))
        outside[rows[good]], inside[rows[~good]] = scale, scale
        rows = rows[~good]
    rows = np.flatnonzero(~np.isnan(outside))
    inside[inside == 0] = 0.9
    # The bracket's lower end is at first not queried: it is only a guess.
    for _ in range(_HALVINGS if len(rows) else 0):
        middle = (inside[rows] + outside[rows]) / 2
        good = query(rows, middle)
        outside[rows[good]], inside[rows[~good]] = middle[good], middle[~good]
    return nearer, outside


def _turn_rays(
    asked: MarginQueries, images: Images, rays: Points, best: NearestAdversarials, steps: int
) -> None:
    """Turn rays towards the minimum of the linear margin as long as that helps."""
    turns = np.full(len(images), _FIRST_TURN)
    which = np.flatnonzero(best.found)
    for _ in range(steps):
        if not len(which):
            break
        origins = images[which].astype(np.float32)
        answers, gradients = asked.ascend(best.points[which], which)
        apart = best.points[which] - origins
        minima = _find_linear_minima(apart, gradients, answers.margins, origins)
        part = turns[which].astype(np.float32).reshape(-1, 1, 1, 1)
        turned = (1 - part) * rays[which] + part * minima
        nearer, scales = search_rays(asked, images, turned, which, best)
        accepted = which[nearer]
        rays[accepted] = turned[nearer] * scales[nearer].astype(np.float32).reshape(-1, 1, 1, 1)
        turns[which] = np.where(nearer, np.minimum(1, turns[which] * 1.5), turns[which] / 2)
        which = which[turns[which] >= _LEAST_TURN]


def _find_linear_minima(
    apart: Points, gradients: Points, margins: Lengths, origins: Points
) -> Points:
    """Return the shortest w = clip(-t g) with m + <g, w - d> = 0; the longest w if there is none.

    apart  d, with the margin m and its gradient g there
    """
    images = len(apart)
    flat = as_rows(gradients)
    largest = np.maximum(np.abs(flat).max(axis=1, keepdims=True, initial=0), 1e-30)
    slopes = flat / largest
    wanted = np.einsum("ij,ij->i", slopes, as_rows(apart), dtype=np.float64)
    wanted -= np.where(np.isfinite(margins), margins, 0) / largest[:, 0]
    low, high = -as_rows(origins), 255 - as_rows(origins)
    short, long = np.zeros(images), np.full(images, 255.0 * 16)
    for _ in range(24):
        middle = (short + long) / 2
        reached = np.clip(-middle[:, None].astype(np.float32) * slopes, low, high)
        enough = np.einsum("ij,ij->i", slopes, reached, dtype=np.float64) <= wanted
        long, short = np.where(enough, middle, long), np.where(enough, short, middle)
    found = np.clip(-long[:, None].astype(np.float32) * slopes, low, high)
    return np.asarray(found.reshape(apart.shape), np.float32)


def _undo(asked: MarginQueries, images: Images, best: NearestAdversarials) -> None:
    """Undo unneeded changes."""
    which = np.flatnonzero(best.found)
    for _ in range(_UNDO_ROUNDS):
        if not len(which):
            return
        origins = images[which].astype(np.float32)
        _, gradients = asked.ascend(best.points[which], which)
        apart = as_rows(best.points[which] - origins)
        which = which[_undo_once(asked, best, which, apart, gradients.reshape(apart.shape))]


def _undo_once(
    asked: MarginQueries, best: NearestAdversarials, which: Ints, apart: Points, gradients: Points
) -> Bools:
    """Move as many of the cheapest pixels as possible by one towards the image; say where any."""
    signs = np.sign(apart)
    prices = np.where(signs != 0, -signs * gradients / np.maximum(2 * np.abs(apart) - 1, 1), np.inf)
    order = np.argsort(prices, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(order.shape[1])[None, :], axis=1)
    most = (signs != 0).sum(axis=1)
    undone, refused = np.zeros(len(which), np.int64), most + 1
    shape = best.points.shape[1:]
    origins = as_rows(best.points[which]) - apart
    rows = np.arange(len(which))
    # Bisection, starting with powers of two from below, as mostly few pixels can be undone.
    tried = np.minimum(1, most)
    while len(rows := rows[refused[rows] - undone[rows] > 1]):
        counts = tried[rows]
        shorter = apart[rows] - signs[rows] * (ranks[rows] < counts[:, None])
        points = (origins[rows] + shorter).reshape(-1, *shape)
        answers = asked.ask(points, which[rows])
        good = answers.adversarial
        best.offer(which[rows], points, compute_norms(shorter, "l2"), good)
        undone[rows[good]], refused[rows[~good]] = counts[good], counts[~good]
        doubled = np.minimum(2 * undone[rows], most[rows])
        middle = (undone[rows] + refused[rows]) // 2
        tried[rows] = np.where(refused[rows] > most[rows], np.maximum(doubled, 1), middle)
    return np.asarray(undone > 0)
