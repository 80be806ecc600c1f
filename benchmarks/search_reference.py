"""The search in one direction, image by image: what the fast one is compared with.

Slow and obvious: pycaffe, one image in the net, one amplitude after the other. Nothing here comes
from the package but the patched net.backward() and, with it, gradients by the pixels.

    x(t) = clip(round(x + t u), 0, 255)          u = direction / max |direction|
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import caffe
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


class PlainNet:
    """A deploy net that holds one image (C, H, W); input = pixels * scale.

    forwards  how many images went through it
    """

    def __init__(self, deploy: Path, weights: Path, logits: str, scale: float = 1.0) -> None:
        """Load the net; gradients reach its input."""
        with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
            file.write("force_backward: true\n" + deploy.read_text())
            file.flush()
            self._net = caffe.Net(file.name, caffe.TEST)
        self._net.copy_from(str(weights))
        self._input, self._logits, self._scale = self._net.inputs[0], logits, np.float32(scale)
        self.forwards = 0
        blob = self._net.blobs[self._input]
        blob.reshape(1, *blob.shape[1:])
        self._net.reshape()

    def scores(self, image: Image) -> Floats:
        """Return the logits (K,)."""
        self._net.blobs[self._input].data[0] = image.astype(np.float32) * self._scale
        self._net.forward()
        self.forwards += 1
        return np.asarray(self._net.blobs[self._logits].data[0].ravel().copy(), np.float32)

    def gradient(self, omega: Floats) -> Floats:
        """Return d<omega, logits>/dpixel (C, H, W) of the image that scores() had last."""
        diff = omega.reshape(self._net.blobs[self._logits].shape)
        found = self._net.backward(start=self._logits, **{self._logits: diff})
        return np.asarray(found[self._input][0] * self._scale, np.float32)


def differentiate(kind: str, scores: Floats, label: int) -> Floats:
    """Return what goes back from the logits for hc1, margin-s or fgs."""
    others = [k for k in range(len(scores)) if k != label]
    closest = max(others, key=lambda k: (scores[k], -k))
    omega = np.zeros_like(scores)
    if kind == "hc1":
        omega[closest], omega[label] = abs(scores[closest]), -scores[label]
    elif kind == "margin-s":
        omega[closest], omega[label] = 1, -1
    elif kind == "fgs":
        exponentials = np.exp(scores - scores.max())
        omega = exponentials / exponentials.sum()
        omega[label] -= 1
    else:
        raise ValueError(kind)
    return omega


def compute_direction(net: PlainNet, kind: str, image: Image, label: int) -> Floats:
    """Return u, whose largest |value| is 1; 0 if there is no direction."""
    values = net.gradient(differentiate(kind, net.scores(image), label))
    if kind in ("fgs", "margin-s"):
        values = np.sign(values)
    largest = float(np.abs(values).max())
    return (values.astype(np.float64) / largest).astype(np.float32) if largest else values


def move(image: Image, u: Floats, t: int) -> Image:
    """Return x(t)."""
    return np.asarray(np.clip(np.rint(image + t * u.astype(np.float64)), 0, 255).astype(np.uint8))


def find_last_amplitude(image: Image, u: Floats) -> int:
    """Return the t from which on every pixel that moves has arrived at 0 or 255."""
    pixels, steps = image.astype(np.float64), u.astype(np.float64)
    up, down = steps > 0, steps < 0
    ways = np.concatenate([(255 - pixels[up]) / steps[up], pixels[down] / -steps[down], [0.0]])
    return int(np.ceil(ways.max()))


@dataclass(frozen=True, eq=False)
class Path1D:
    """The way of one image in one direction."""

    net: PlainNet
    image: Image
    label: int
    u: Floats

    def is_misclassified(self, t: int) -> bool:
        """Say whether x(t) is misclassified."""
        return int(self.net.scores(move(self.image, self.u, t)).argmax()) != self.label

    def search(self) -> int | None:
        """Return the amplitude by doubling and bisection; None if nothing was found."""
        last = find_last_amplitude(self.image, self.u)
        low, high = 0, min(1, last)
        while not self.is_misclassified(high):
            if high == last:
                return None
            low, high = high, min(2 * high, last) if high else 1
        while high - low > 1:
            middle = (low + high) // 2
            if self.is_misclassified(middle):
                high = middle
            else:
                low = middle
        return high

    def find_first(self) -> int | None:
        """Return the very first amplitude that is misclassified; None if there is none."""
        last = find_last_amplitude(self.image, self.u)
        return next((t for t in range(1, last + 1) if self.is_misclassified(t)), None)


def make_plain_path(net: PlainNet, kind: str, image: Image, label: Any) -> Path1D:
    """Return the way of an image in the direction of that kind."""
    return Path1D(net, image, int(label), compute_direction(net, kind, image, int(label)))
