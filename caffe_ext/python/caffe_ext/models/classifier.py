"""Classifier: a deploy net and its weights; uint8 images in, scores and pixel gradients out.

classifier = Classifier("lenet_deploy.prototxt", "lenet.caffemodel.h5", PixelSpace(1 / 256))
classifier.predict(images)
classifier.gradient(images, one_hot)    # of the label's score
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_ext.models.base import Diff, Floats, Model, Pixels, softmax
from caffe_ext.models.files import load_net
from caffe_ext.models.pixels import PixelSpace, check_pixels
from caffe_ext.runtime.device import Device, get_current_device
from caffe_ext.runtime.exclusive import ExclusiveLock

_MOST_VALUES = 2**31 - 1
"""The most values in a blob: Caffe counts with 32 bits."""


class Classifier(Model):
    """A trained Caffe network that returns scores and gradients with respect to the pixels.

    Images are uint8, or float32 for real-valued pixels, (N, C, H, W), any N. They run in batches of
    batch_size, and results do not depend on how images are distributed over batches (except for the
    last bits of float32: BLAS may sum in another order for other sizes). Results are copies, and
    arguments are not changed. A classifier holds the state of its net: calls from several threads
    run one after the other (with a Classifier each, they run in parallel), and a call from inside
    another one raises RuntimeError. It always computes on its own device, whichever one Caffe
    currently uses.

    A network with a single score h for each image, one that ends in a Sigmoid, has two classes: the
    logits are (0, h), whose softmax is (1 - sigmoid(h), sigmoid(h)).

    device       the CPU or a GPU
    input_shape  (C, H, W) of the network's input, after the pixel space's crop
    logits_blob  name of the blob of scores before the softmax
    single_score whether that has one score h per image, and the logits are (0, h)
    classes      K
    """

    def __init__(  # noqa: PLR0913  they are independent of each other
        self,
        deploy: Path | str,
        weights: Path | str,
        pixel_space: PixelSpace,
        *,
        batch_size: int = 100,
        logits: str | None = None,
        device: Device | None = None,
    ) -> None:
        """Load the net.

        deploy       prototxt with one input (N, C, H, W); force_backward need not be set in it
        weights      .caffemodel or .caffemodel.h5
        pixel_space  how pixels become the net's input
        logits       blob of scores (N, K), or (N, 1) for two classes; by default the bottom of the
                     last Softmax layer, or of a Sigmoid layer with one output per image
        device       by default this thread's current device

        Raises FileNotFoundError and ValueError as files.load_net does, ValueError for another
        input, for missing logits, and for a batch_size below 1 or too large for Caffe,
        DeviceError for a GPU that cannot be used.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {batch_size}")
        self.pixel_space = pixel_space
        self.batch_size = batch_size
        self.device = device or get_current_device()
        with self.device.activate():
            self._net = load_net(Path(deploy), Path(weights), batch_size)
        self._input: str = self._net.inputs[0]
        shape = self._find_shape(self._input)
        if len(shape) != 4:
            raise ValueError(f"{deploy}: input '{self._input}' must be (N, C, H, W), not {shape}")
        self.input_shape: tuple[int, int, int] = (shape[1], shape[2], shape[3])
        softmax = self._find_last_layer("Softmax")
        last = softmax or self._find_sigmoid_output()
        if logits is None and last is None:
            how = "`logits:` in the model's YAML file, logits= in Python"
            raise ValueError(
                f"{deploy} has no Softmax layer and no Sigmoid layer with one output per image; "
                f"name the blob of scores: {how}"
            )
        self.logits_blob: str = logits or last[0]  # type: ignore[index]
        self._check_blob(self.logits_blob)
        if last and self.logits_blob == last[1]:
            other = f"leave `logits` out, and '{last[0]}' is used"
            way = "do not let that layer work in place" if last[0] == last[1] else other
            raise ValueError(
                f"{deploy}: blob '{last[1]}' holds the probabilities of the last "
                f"{'Softmax' if softmax else 'Sigmoid'} layer instead of the scores: {way}"
            )
        self._probabilities = softmax[1] if softmax and softmax[0] == self.logits_blob else None
        self._check_batch_size()
        self._reshape(batch_size)
        scores = self._find_shape(self.logits_blob)
        if len(scores) < 2 or scores[0] != batch_size or any(side != 1 for side in scores[2:]):
            raise ValueError(
                f"{deploy}: blob '{self.logits_blob}' must be (N, K) or (N, K, 1, 1) for N "
                f"images, not {scores} for {batch_size}"
            )
        if scores[1] == 1 and self._probabilities is not None:
            raise ValueError(
                f"{deploy}: the last Softmax layer has one class; two or more are needed"
            )
        self.single_score: bool = scores[1] == 1
        self.classes: int = max(2, scores[1])
        self._last: tuple[int, tuple[int, int]] | str = "nothing has run yet"
        self._last_thread = get_ident()
        self._exclusive = ExclusiveLock("a Classifier")

    @property
    def blob_names(self) -> list[str]:
        """Return the names that features() accepts, in the order of the network."""
        return list(self._net.blobs)

    def logits(self, images: Pixels) -> Floats:
        """Return the scores before the softmax, float32 (N, K)."""
        return self.features(images, self.logits_blob)

    def probabilities(self, images: Pixels) -> Floats:
        """Return the softmax of the scores, float32 (N, K), as Caffe computes it."""
        if self._probabilities is not None:
            return self.features(images, self._probabilities).reshape(len(images), self.classes)
        return softmax(self.logits(images))

    def features(self, images: Pixels, blob: str) -> Floats:
        """Return a blob's values, float32 (N, ...), after the forward pass; the logits as (N, K).

        Raises ValueError for an unknown blob or one without one row per image.
        """
        self._check_blob(blob)
        row = (self.classes,) if blob == self.logits_blob else self._find_shape(blob)[1:]
        results = np.empty((len(images), *row), np.float32)
        with self._exclusive.hold(), self.device.activate():
            for rows in self._forward(images):
                results[rows] = self._read_rows(blob, rows.stop - rows.start)
        return results

    def run_layers(self, images: Pixels) -> Iterator[tuple[str, str, dict[str, Floats]]]:
        """Run images, at most batch_size, and yield each layer's name, type and tops as it runs.

        The tops, by the names of the blobs, are not copied: a later layer may change them in place.
        """
        with self._exclusive.hold():
            self._reshape(len(images))
            self._last = "the last call ran the layers one by one"
            self.pixel_space.to_input(images, out=self._net.blobs[self._input].data)
            for number, name in enumerate(self._net._layer_names):
                with self.device.activate():
                    self._net._forward(number, number)
                tops = {top: self._net.blobs[top].data for top in self._net.top_names[name]}
                yield str(name), str(self._net.layers[number].type), tops

    def backward_from(
        self, blob: str, diff: NDArray[Any], others: Mapping[str, NDArray[Any]] | None = None
    ) -> Floats:
        """Return d<diff, blob>/dpixel, float32 (n, C, H, W), for the n images of the last call.

        diff    (n, ...) of the blob's shape
        others  the same for more blobs; what is backpropagated is the sum

        Raises ValueError for unknown blobs, other shapes, and unless the last call was in this
        thread and ran a single batch.
        """
        with self._exclusive.hold(), self.device.activate():
            if isinstance(self._last, str):
                raise ValueError(f"no batch to backpropagate through: {self._last}")
            if self._last_thread != get_ident():
                raise ValueError(
                    "no batch to backpropagate through: the last call was in another thread"
                )
            count, size = self._last
            return self._backward({**(others or {}), blob: diff}, count, size)

    def gradient(
        self,
        images: Pixels,
        diff: Diff | Mapping[str, Diff],
        blob: str | None = None,
        *,
        through: str | None = None,
    ) -> Floats:
        """Return dE/dpixel, float32 (N, C, H, W), for an objective E given by its derivatives.

        diff     dE/dblob: an array (N, ...), or a function of the blob's values in a batch (n, ...)
                 and of the slice of its images; for several blobs, a mapping by name
        blob     the blob, by default the logits (whose values and diffs are always (n, K))
        through  the blob itself, or an inner one h below it: the derivative there, g = dE/dh, is
                 backpropagated as |h| g, weighting each feature by its magnitude; by default as
                 it is

        Raises ValueError for other images, unknown blobs, diffs of other shapes, and a `through`
        that is not between the input and the blobs of the diffs.
        """
        diffs = diff if isinstance(diff, Mapping) else {blob or self.logits_blob: diff}
        if through is not None:
            self._check_blob(through)
        for name, given in diffs.items():
            self._check_blob(name)
            if not callable(given) and len(given) != len(images):
                raise ValueError(
                    f"the diff of blob '{name}' has {len(given)} rows for {len(images)} images"
                )
        results = np.empty(images.shape, np.float32)
        with self._exclusive.hold(), self.device.activate():
            for rows in self._forward(images):
                count = rows.stop - rows.start
                parts = {
                    name: given(self._read_rows(name, count).copy(), rows)
                    if callable(given)
                    else given[rows]
                    for name, given in diffs.items()
                }
                if through is not None:
                    parts = {through: self._weight_by_activation(parts, through, count)}
                results[rows] = self._backward(parts, count, (images.shape[2], images.shape[3]))
        return results

    def _forward(self, images: Pixels) -> Iterator[slice]:
        """Run the images batch by batch; yield the slice of those that the net holds."""
        check_pixels(images)
        shape = self.pixel_space.to_input(images[:0]).shape[1:]
        if shape != self.input_shape:
            raise ValueError(
                f"images {images.shape} make an input (N, {', '.join(map(str, shape))}); the net "
                f"takes (N, {', '.join(map(str, self.input_shape))})"
            )
        self._last, self._last_thread = "the last call had no images", get_ident()
        for start in range(0, len(images), self.batch_size):
            rows = slice(start, min(start + self.batch_size, len(images)))
            self._reshape(rows.stop - start)
            self.pixel_space.to_input(images[rows], out=self._net.blobs[self._input].data)
            self._net.forward()
            self._last = (rows.stop - start, (images.shape[2], images.shape[3]))
            yield rows
        if len(images) > self.batch_size:
            self._last = (
                f"the last call ran {len(images)} images in batches of {self.batch_size}; "
                "gradient() does that"
            )

    def _backward(
        self, diffs: Mapping[str, NDArray[Any]], count: int, size: tuple[int, int]
    ) -> Floats:
        """Return the gradient with respect to the pixels of the batch that the net holds."""
        found = self._net.backward(**self._reshape_diffs(diffs, count))
        return self.pixel_space.convert_gradient(found[self._input], size)

    def _weight_by_activation(
        self, diffs: Mapping[str, NDArray[Any]], blob: str, count: int
    ) -> Floats:
        """Return |h| dE/dh of an inner blob h for the batch that the net holds."""
        values, given = self._net.blobs[blob].data, self._reshape_diffs(diffs, count)
        if set(given) != {blob}:
            given = self._net.backward(
                diffs=[blob], end=self._find_layer_above(blob, diffs), **given
            )
        return self._as_rows(blob, np.abs(values) * given[blob].reshape(values.shape))

    def _find_layer_above(self, blob: str, tops: Iterable[str]) -> str:
        """Return the layer above an inner blob; ValueError unless the tops depend on the blob.

        A layer, since a blob's name may also be that of another layer.
        """
        names, layers = list(self._net._blob_names), list(self._net._layer_names)
        number, ends = names.index(blob), {names.index(top) for top in tops}
        # Above the last one that writes it: layers can change it in place.
        last = max(i for i in range(len(layers)) if number in self._net._top_ids(i))
        reached = {number}
        for i in range(last + 1, len(layers)):
            if not reached.isdisjoint(self._net._bottom_ids(i)):
                reached.update(self._net._top_ids(i))
        if blob == self._input or not ends <= reached:
            raise ValueError(f"blob '{blob}' is not between the input and the scores")
        return str(layers[last + 1])

    def _reshape_diffs(self, diffs: Mapping[str, NDArray[Any]], count: int) -> dict[str, Floats]:
        """Return the diffs in the shapes that pycaffe expects."""
        given = {}
        for name, diff in diffs.items():
            values = self._read_rows(name, count)
            if np.shape(diff) != values.shape:
                raise ValueError(
                    f"the diff of blob '{name}' has shape {np.shape(diff)}, the blob {values.shape}"
                )
            if values.size != self._net.blobs[name].count:
                diff = diff[:, 1]  # noqa: PLW2901  logit 0 is a constant
            given[name] = np.asarray(diff, np.float32).reshape(self._find_shape(name))
        return given

    def _read_rows(self, blob: str, count: int) -> Floats:
        """Return a blob's values, one row per image; logits (n, K); views except a single score."""
        self._check_blob(blob)
        values: Floats = self._net.blobs[blob].data
        if values.ndim == 0 or len(values) != count:
            raise ValueError(
                f"blob '{blob}' must have one row per image, not the shape {values.shape}"
            )
        return self._as_rows(blob, values)

    def _as_rows(self, blob: str, values: Floats) -> Floats:
        """Return values in a blob's shape as rows: logits as (n, K), a single score h as (0, h)."""
        if blob != self.logits_blob:
            return values
        rows = values.reshape(len(values), -1)
        if rows.shape[1] < self.classes:
            rows = np.concatenate([np.zeros_like(rows), rows], axis=1)
        return rows

    def _check_batch_size(self) -> None:
        """Raise ValueError for more values in a blob than Caffe can count."""
        counts = []
        for images in (1, min(2, self.batch_size)):
            self._reshape(images)
            counts.append({name: blob.count for name, blob in self._net.blobs.items()})
        sizes = {name: count - counts[0][name] for name, count in counts[1].items()}
        name = max(sizes, key=sizes.__getitem__)
        largest = _MOST_VALUES // max(1, sizes[name])
        if self.batch_size > largest:
            raise ValueError(
                f"batch_size must be at most {largest}, not {self.batch_size}: blob '{name}' has "
                f"{sizes[name]} values for each image, and Caffe supports fewer than 2^31 in total"
            )

    def _reshape(self, count: int) -> None:
        """Make room for a batch of `count` images."""
        if self._find_shape(self._input)[0] != count:
            self._net.blobs[self._input].reshape(count, *self.input_shape)
            self._net.reshape()

    def _find_shape(self, blob: str) -> tuple[int, ...]:
        return tuple(self._net.blobs[blob].shape)

    def _check_blob(self, blob: str) -> None:
        """Raise ValueError for a blob that the net does not have."""
        if blob not in self._net.blobs:
            names = ", ".join(self._net.blobs)
            raise ValueError(f"the net has no blob '{blob}'; it has {names}")

    def _find_sigmoid_output(self) -> tuple[str, str] | None:
        """Return bottom and top of a Sigmoid whose top is an output with one value per image."""
        last = self._find_last_layer("Sigmoid")
        if last is None or last[1] not in self._net.outputs:
            return None
        shape = self._find_shape(last[1])
        return last if len(shape) > 1 and all(side == 1 for side in shape[1:]) else None

    def _find_last_layer(self, wanted: str) -> tuple[str, str] | None:
        """Return bottom and top of the last layer of a type; the bottom before Caffe's Splits."""
        bottoms, tops = self._net.bottom_names, self._net.top_names
        types = {
            name: layer.type
            for name, layer in zip(self._net._layer_names, self._net.layers, strict=True)
        }
        split = {
            top: bottoms[name][0]
            for name, kind in types.items()
            if kind == "Split"
            for top in tops[name]
        }
        for name, kind in reversed(types.items()):
            if kind == wanted:
                return split.get(bottoms[name][0], bottoms[name][0]), tops[name][0]
        return None
