"""Bounds on a net's logits for all images within an Linf distance: four methods, bounded memory.

    bounder = Bounder(read_network(description), "crown")
    bounder.bound(images, labels, radii).certified

interval   interval arithmetic, layer by layer; the last linear layers together
crown-ibp  intervals inside, and linear bounds from the logits back to the image
crown      linear bounds back to the image for inner units as well; each bound is the tightest of
           these, crown-ibp's and the interval's
dual       as crown, without the other two: Wong and Kolter's dual bound (2018, Algorithm 1)

The two linear bounds of a ReLU have the same slope u / (u - l), with which CROWN's bound equals the
dual one. The pixels also stay within 0..255. Bounds hold for real-valued pixels, and so for whole
grey levels, too.

Everything is computed in float64, and bounds are widened, relative to their magnitude: by 1e-9
inside the net, and by MARGIN at the logits, as the float32 scores of Caffe's forward pass are not
exact.

Zhang et al., 2018 (CROWN), and 2020 (CROWN-IBP); Wong and Kolter, 2018; Gowal et al., 2018.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from caffe_ext.certification.layers import Interval, LinearLayer, Relu, Rows
from caffe_ext.certification.network import BoundableNetwork
from caffe_ext.certification.windows import Doubles, Window
from caffe_ext.models.base import Images, Ints
from caffe_ext.models.pixels import PixelSpace, allow_dark_pixels

Method = Literal["interval", "crown-ibp", "crown", "dual"]
METHODS: tuple[Method, ...] = get_args(Method)

MARGIN = 1e-5
_INNER_MARGIN = 1e-9
_FLOAT32_MAX = float(np.finfo(np.float32).max)
# Arrays of a layer's size in memory at a time, besides those that the layer counts.
_COPIES = 4
# Values in an array; larger ones are slower: they exceed the caches, and the system reclaims and
# clears their memory each time.
_VALUES = 1 << 19


@dataclass(frozen=True, eq=False)
class LogitBounds:
    """Bounds for N images.

    lower, upper  float64 (N, K), of the logits
    margins       float64 (N, K), lower bounds of z_label - z_t for each class t; infinity at the
                  label
    """

    lower: Doubles
    upper: Doubles
    margins: Doubles

    @property
    def certified(self) -> NDArray[np.bool_]:
        """Return which images keep their label, bool (N,)."""
        return np.asarray((self.margins > 0).all(axis=1))


class Bounder:
    """Bounds the logits of a net by one method.

    memory  bytes that its arrays may occupy

    Raises ValueError for an unknown method; its methods also do for bounds that are not finite.
    """

    def __init__(
        self, network: BoundableNetwork, method: Method = "crown", memory: int = 1 << 30
    ) -> None:
        """Keep the settings."""
        if method not in METHODS:
            raise ValueError(f"unknown method {method!r}; the methods are {', '.join(METHODS)}")
        self.network, self.method = network, method
        self._values = memory // 8 // _COPIES
        self._at_a_time = min(self._values, _VALUES)

    def bound(self, images: Images, labels: Ints, radii: Doubles) -> LogitBounds:
        """Return the bounds for images, each within its radius.

        images  uint8 (N, C, H, W)
        labels  int64 (N,)
        radii   float64 (N,), Linf, in grey levels, 0 or more

        Raises ValueError for a radius below 0, and for too little memory for an image.
        """
        if not (np.isfinite(radii) & (radii >= 0)).all():
            raise ValueError(f"radii must be 0 or more grey levels, not {np.min(radii)}")
        step = self._count_images_at_a_time()
        parts = [
            self._bound(
                make_pixel_box(self.network.pixel_space, images[rows], radii[rows]), labels[rows]
            )
            for rows in (slice(start, start + step) for start in range(0, len(images), step))
        ]
        return self._concatenate(parts)

    def bound_boxes(self, boxes: Interval, labels: Ints) -> LogitBounds:
        """Return the bounds for all inputs of the net (N, C, h, w) in boxes, each with its label.

        Raises ValueError for too little memory for a box.
        """
        step = self._count_images_at_a_time()
        parts = [
            self._bound(Interval(boxes.lower[rows], boxes.upper[rows]), labels[rows])
            for rows in (slice(start, start + step) for start in range(0, len(labels), step))
        ]
        return self._concatenate(parts)

    @np.errstate(over="ignore", invalid="ignore")  # checked by _check_finite()
    def bound_nodes(self, box: Interval) -> list[Interval]:
        """Return the bounds of all nodes for all inputs in a box, (1, C, h, w).

        With the methods crown and dual, those below a ReLU or a maximum come from linear bounds.
        Raises ValueError for too little memory.
        """
        self._count_images_at_a_time()
        if self.method in ("interval", "crown-ibp"):
            return self._compute_intervals(box)
        return self._tighten(box, intersect=self.method == "crown")

    def _concatenate(self, parts: list[LogitBounds]) -> LogitBounds:
        return LogitBounds(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                if parts
                else np.empty((0, self.network.classes))
                for name in ("lower", "upper", "margins")
            )
        )

    def _count_images_at_a_time(self) -> int:
        """Return how many images fit, each with its intervals and one row of each layer."""
        nodes = self.network.nodes
        intervals = 2 * sum(int(np.prod(node.shape)) for node in nodes)
        row = max(self._count_values_of_row(number) for number in range(1, len(nodes)))
        needed = intervals + row
        if needed > self._values:
            least = -(-needed * 8 * _COPIES // 2**20)
            raise ValueError(f"bounds of this net need at least {least:,} MiB of memory (--memory)")
        return max(1, self._at_a_time // max(intervals, row))

    @np.errstate(over="ignore", invalid="ignore")
    def _bound(self, box: Interval, labels: Ints) -> LogitBounds:
        """Return the bounds of some boxes."""
        last = len(self.network.nodes) - 1
        rows = self._make_logit_rows(labels)
        if self.method == "dual":
            found = self._backward(last, rows, self._tighten(box, intersect=False))
        else:
            intervals = self._compute_intervals(box)
            found = self._backward(last, rows, intervals, only_linear=True)
            if self.method != "interval":
                found = _intersect(found, self._backward(last, rows, intervals))
            if self.method == "crown":
                found = _intersect(found, self._backward(last, rows, self._tighten(box)))
        self._check_finite(last, found)
        classes = self.network.classes
        magnitude = np.maximum(np.abs(found.lower[:, :classes]), np.abs(found.upper[:, :classes]))
        margin = MARGIN * np.maximum(1, magnitude.max(axis=1, keepdims=True))
        margins = found.lower[:, classes:] - 2 * margin
        # Beyond float32 Caffe's scores are infinite, and so may be equal.
        huge = (magnitude > _FLOAT32_MAX).any(axis=1)
        margins[huge] = np.minimum(margins[huge], 0)
        margins[np.arange(len(labels)), labels] = np.inf
        return LogitBounds(
            found.lower[:, :classes] - margin, found.upper[:, :classes] + margin, margins
        )

    def _make_logit_rows(self, labels: Ints) -> Doubles:
        """Return the rows of the logits, and of z_label - z_t of all t, (n, 2 K, K, 1, 1)."""
        identity = np.eye(self.network.classes)
        margins = identity[labels][:, None] - identity
        logits = np.broadcast_to(identity, margins.shape)
        return np.concatenate([logits, margins], axis=1)[..., None, None]

    def _compute_intervals(self, box: Interval) -> list[Interval]:
        """Return the bounds of all nodes by interval arithmetic."""
        found = [box]
        for number in range(1, len(self.network.nodes)):
            found.append(self._compute_interval(number, found))
        return found

    def _compute_interval(self, number: int, found: list[Interval]) -> Interval:
        """Return the interval of a node from those of the nodes before."""
        node = self.network.nodes[number]
        bottoms = [found[bottom] for bottom in node.bottoms]
        if node.layer is not None:
            made = node.layer.compute_interval(bottoms[0])
        else:
            pairs = list(zip(node.coefficients, bottoms, strict=True))
            made = Interval(
                np.sum([c * (b.lower if c >= 0 else b.upper) for c, b in pairs], axis=0),
                np.sum([c * (b.upper if c >= 0 else b.lower) for c, b in pairs], axis=0),
            )
        return self._check_finite(number, _widen(made))

    def _check_finite(self, number: int, found: Interval) -> Interval:
        """Return the bounds of a node; ValueError naming its layer if they are not finite."""
        if not (np.isfinite(found.lower).all() and np.isfinite(found.upper).all()):
            name = f"{self.network.name}: " if self.network.name else ""
            raise ValueError(
                f"{name}the bounds of layer '{self.network.nodes[number].name}' exceed the range "
                "of float64: its weights, or those of layers before it, are too large"
            )
        return found

    def _tighten(self, box: Interval, *, intersect: bool = True) -> list[Interval]:
        """Return the bounds of all nodes, linear ones for those below a ReLU or a maximum."""
        nodes, found = self.network.nodes, [box]
        open_below = {
            bottom: node.layer
            for node in nodes
            if node.layer is not None and not isinstance(node.layer, LinearLayer)
            for bottom in node.bottoms
        }
        for number in range(1, len(nodes)):
            interval = self._compute_interval(number, found)
            if number in open_below:
                relu = isinstance(open_below[number], Relu)
                interval = self._bound_units(number, interval, found, intersect, only_open=relu)
            found.append(interval)
        return found

    def _bound_units(
        self,
        number: int,
        interval: Interval,
        found: list[Interval],
        intersect: bool,
        *,
        only_open: bool,
    ) -> Interval:
        """Return linear bounds of a node's units, some of them at a time.

        only_open  skip those that are above 0 in all images, or below 0 in all
        """
        shape = self.network.nodes[number].shape
        lower, upper = interval.lower.copy(), interval.upper.copy()
        row_values = self._count_values_of_row(number, Window(0, 1, 0, 1))
        for top in range(shape[1]):
            for left in range(shape[2]):
                window = Window(top, top + 1, left, left + 1)
                units = np.arange(shape[0])
                if only_open and intersect:
                    open_ = (lower[:, :, top, left] < 0) & (upper[:, :, top, left] > 0)
                    units = np.flatnonzero(open_.any(axis=0))
                step = max(1, self._at_a_time // (len(lower) * row_values))
                for start in range(0, len(units), step):
                    some = units[start : start + step]
                    rows = np.eye(shape[0])[some][None, :, :, None, None]
                    bound = _widen(self._backward(number, rows, found, window))
                    if intersect:
                        known = Interval(lower[:, some, top, left], upper[:, some, top, left])
                        bound = _intersect(bound, known)
                    self._check_finite(number, bound)
                    lower[:, some, top, left] = bound.lower
                    upper[:, some, top, left] = bound.upper
        return Interval(lower, upper)

    def _backward(
        self,
        number: int,
        coefficients: Doubles,
        intervals: list[Interval],
        window: Window | None = None,
        *,
        only_linear: bool = False,
    ) -> Interval:
        """Return bounds (n, m) of m rows of a node.

        coefficients  (n or 1, m, C, h, w), in a window of the node; None: all of it
        only_linear   go back through linear layers only, and use the intervals there
        """
        nodes, count = self.network.nodes, len(intervals[0].lower)
        lower = upper = np.zeros((count, coefficients.shape[1]))
        nothing = np.zeros((1, 1))
        window = window or Window.from_shape(nodes[number].shape)
        pending = {number: Rows(coefficients, coefficients, nothing, nothing, window)}
        while pending:
            current = max(pending)
            rows, node = pending.pop(current), nodes[current]
            stop = (
                only_linear and node.layer is not None and not isinstance(node.layer, LinearLayer)
            )
            if current == 0 or stop:
                least, most = _concretize(rows, intervals[current])
                lower, upper = lower + least, upper + most
            elif node.layer is not None:
                made = node.layer.backward(rows, intervals[node.bottoms[0]])
                lower, upper = lower + made.lower_rest, upper + made.upper_rest
                made.lower_rest = made.upper_rest = nothing
                _merge(pending, node.bottoms[0], made)
            else:
                for factor, bottom in zip(node.coefficients, node.bottoms, strict=True):
                    down = factor * rows.lower
                    same = rows.upper is rows.lower
                    up = down if same else factor * rows.upper
                    _merge(pending, bottom, Rows(down, up, nothing, nothing, rows.window))
        return Interval(lower, upper)

    def _count_values_of_row(self, number: int, window: Window | None = None) -> int:
        """Return the most values that a row of a node needs on its way back."""
        nodes, most = self.network.nodes, 0
        windows = {number: window or Window.from_shape(nodes[number].shape)}
        while windows:
            current = max(windows)
            above, node = windows.pop(current), nodes[current]
            most = max(most, 2 * node.shape[0] * above.positions)
            if node.layer is not None:
                most = max(most, node.layer.count_working_values(above))
            for bottom in node.bottoms:
                below = node.layer.find_input_window(above) if node.layer is not None else above
                windows[bottom] = below.unite(windows[bottom]) if bottom in windows else below
        return most


def make_pixel_box(space: PixelSpace, images: Images, radii: Doubles) -> Interval:
    """Return bounds on the network's inputs for all pixels within a radius and within 0..255.

    In float32, too, the input is a monotonic function of a pixel, so these bound what the net
    gets, to the last bit.
    """
    far = radii[:, None, None, None]
    return make_input_box(space, images - far, images + far)


@allow_dark_pixels()
def make_input_box(space: PixelSpace, lower: Doubles, upper: Doubles) -> Interval:
    """Return bounds on the network's inputs for all pixels in boxes (N, C, H, W) and in 0..255.

    For a box of a single image of whole grey levels they are exact, for others slightly wider.
    """
    exact = (lower == upper) & (lower == np.rint(lower))
    least, most = (
        np.where(exact, it, np.nextafter(it.astype(np.float32), np.float32(towards)))
        for it, towards in ((lower, -np.inf), (upper, np.inf))
    )
    least, most = (np.clip(it, 0, 255).astype(np.float32) for it in (least, most))
    return Interval(*(space.to_input(it).astype(np.float64) for it in (least, most)))


def _concretize(rows: Rows, interval: Interval) -> tuple[Doubles, Doubles]:
    """Return the least and the most of A z for z in an interval."""
    lower, upper = (it[:, :, *rows.window.slices] for it in (interval.lower, interval.upper))
    centre = (lower + upper).reshape(len(lower), -1, 1) / 2
    radius = (upper - lower).reshape(len(lower), -1, 1) / 2

    def flatten(coefficients: Doubles) -> Doubles:
        return coefficients.reshape(*coefficients.shape[:2], -1)

    below = flatten(rows.lower)
    above = below if rows.upper is rows.lower else flatten(rows.upper)
    least = (below @ centre - np.abs(below) @ radius)[..., 0]
    return least, (above @ centre + np.abs(above) @ radius)[..., 0]


def _merge(pending: dict[int, Rows], number: int, rows: Rows) -> None:
    """Add rows to those pending at a node."""
    other = pending.get(number)
    if other is None:
        pending[number] = rows
        return
    window = rows.window.unite(other.window)
    lower = rows.window.embed(rows.lower, window) + other.window.embed(other.lower, window)
    same = rows.upper is rows.lower and other.upper is other.lower
    upper = (
        lower
        if same
        else rows.window.embed(rows.upper, window) + other.window.embed(other.upper, window)
    )
    pending[number] = Rows(lower, upper, rows.lower_rest, rows.upper_rest, window)


def _intersect(one: Interval, other: Interval) -> Interval:
    return Interval(np.maximum(one.lower, other.lower), np.minimum(one.upper, other.upper))


def _widen(given: Interval) -> Interval:
    """Return bounds widened by far more than float64's rounding errors."""
    lower, upper = given.lower, given.upper
    slack = _INNER_MARGIN * np.maximum(np.abs(lower), np.abs(upper))
    return Interval(lower - slack, upper + slack)
