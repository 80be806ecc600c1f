"""A stock train_test prototxt as a chain: linear layers with a ReLU between each two.

Its layers: data layers, Convolution (square kernels), InnerProduct, ReLU, SoftmaxWithLoss and
Accuracy. Anything else is refused by name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path
from typing import Any, NoReturn

from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_ext.models.layer_windows import read_convolution_sides
from caffe_ext.models.text_file import check_utf8, read_text

Shape = tuple[int, ...]
"""(C, H, W), or (N,) of an InnerProduct."""

_BESIDE = ("Accuracy", "SoftmaxWithLoss")
_LINEAR = ("Convolution", "InnerProduct")
_KNOWN = (*_LINEAR, "ReLU", "SoftmaxWithLoss", "Accuracy")


class ChainError(ValueError):
    """A net that no robust training net can be written for."""


@dataclass(frozen=True, eq=False)
class LinearStep:
    """A Convolution or an InnerProduct, and the ReLU on it.

    layer         its LayerParameter
    below, above  the shapes of its bottom and its top
    kernel, stride, pad  of a Convolution; 0 of an InnerProduct
    relu          the ReLU's LayerParameter; None of the last one
    """

    layer: Any
    below: Shape
    above: Shape
    kernel: int = 0
    stride: int = 0
    pad: int = 0
    relu: Any = None

    @property
    def name(self) -> str:
        """Return the layer's name."""
        return str(self.layer.name)

    @property
    def has_bias(self) -> bool:
        """Tell whether the layer has a bias."""
        return bool(self.setting.bias_term)

    @property
    def setting(self) -> Any:
        """Return its convolution_param or inner_product_param."""
        return self.layer.convolution_param if self.kernel else self.layer.inner_product_param

    @property
    def weights_shape(self) -> Shape:
        """Return the shape of the weights."""
        sides = (self.kernel, self.kernel) if self.kernel else ()
        return (self.above[0], self.below[0] if sides else prod(self.below), *sides)


@dataclass(frozen=True, eq=False)
class Chain:
    """A net, as it was read.

    path        its file
    network     the NetParameter
    data, label  blobs
    data_layer  the data layer of the training phase
    steps       from the input on
    loss        the SoftmaxWithLoss
    """

    path: Path
    network: Any
    data: str
    label: str
    data_layer: Any
    steps: Sequence[LinearStep]
    loss: Any

    @property
    def scale(self) -> float:
        """Return by what the data layer multiplies grey levels."""
        return float(self.data_layer.transform_param.scale)

    @property
    def batch(self) -> int:
        """Return the images of a training batch."""
        return int(self.data_layer.data_param.batch_size)


def read_chain(path: Path, shape: tuple[int, int, int]) -> Chain:
    """Return a stock train_test net.

    shape  (C, H, W) of its images

    Raises ChainError naming the layer that does not fit, and for what is no prototxt; OSError.
    """
    network = caffe_pb2.NetParameter()
    try:
        text_format.Parse(read_text(path), network)
    except (text_format.ParseError, RecursionError) as error:
        raise ChainError(f"{path} is not the prototxt of a network: {error}") from error
    check_utf8(path, text_format.MessageToString(network, as_utf8=True))
    return _Reader(path, network).read(shape)


class _Reader:
    def __init__(self, path: Path, network: Any) -> None:
        self.path, self.network = path, network

    def refuse(self, layer: Any, why: str) -> NoReturn:
        raise ChainError(f"{self.path}: layer '{layer.name}' ({layer.type}): {why}")

    def read(self, shape: tuple[int, int, int]) -> Chain:
        training = list(self._iterate_training_layers())
        data_layer = self._find_data(training, shape)
        losses = [layer for layer in training if layer.type == "SoftmaxWithLoss"]
        if len(losses) != 1 or len(losses[0].bottom) != 2:
            raise ChainError(
                f"{self.path}: it needs one SoftmaxWithLoss of scores and labels in the training "
                f"phase, and has {len(losses)}"
            )
        scores, label = losses[0].bottom
        steps = self._read_steps(training, data_layer.top[0], shape, scores)
        return Chain(
            self.path, self.network, data_layer.top[0], label, data_layer, steps, losses[0]
        )

    def _iterate_training_layers(self) -> Iterator[Any]:
        """Yield the layers of the training phase."""
        for layer in self.network.layer:
            phases = {rule.phase for rule in layer.include if rule.HasField("phase")}
            if not phases or caffe_pb2.TRAIN in phases:
                yield layer

    def _find_data(self, training: list[Any], shape: tuple[int, int, int]) -> Any:
        found = [layer for layer in training if not layer.bottom]
        if len(found) != 1:
            raise ChainError(
                f"{self.path}: it needs one data layer in the training phase, and has {len(found)}"
            )
        layer = found[0]
        if layer.type != "Data":
            self.refuse(layer, "only Data can be the data layer, as in a train_test prototxt")
        if len(layer.top) != 2:
            self.refuse(layer, "its tops must be images and labels")
        if layer.data_param.batch_size < 1:
            self.refuse(layer, "batch_size must be 1 or more")
        if not 0 < layer.transform_param.scale < inf:
            self.refuse(layer, "scale must be above 0: it converts epsilon to the input's units")
        crop = layer.transform_param.crop_size
        if crop and shape[1:] != (crop, crop):
            self.refuse(
                layer,
                f"its crop_size makes images of {crop} x {crop}, and the shape says "
                f"{shape[1]} x {shape[2]}",
            )
        return layer

    def _read_steps(
        self, training: list[Any], blob: str, shape: Shape, scores: str
    ) -> list[LinearStep]:
        """Return the linear layers in their order."""
        steps: list[LinearStep] = []
        for layer in training:
            if not layer.bottom or layer.type in _BESIDE:
                continue
            if layer.type not in _KNOWN:
                self.refuse(layer, f"only {', '.join(_KNOWN)} can be in the net")
            if len(layer.top) != 1 or list(layer.bottom) != [blob]:
                self.refuse(layer, f"its bottom must be '{blob}', the layer before it")
            if layer.type == "ReLU":
                if layer.relu_param.negative_slope:
                    self.refuse(layer, "only negative_slope 0 can")
                if not steps or steps[-1].relu is not None:
                    self.refuse(layer, "it must follow a Convolution or an InnerProduct")
                last = steps.pop()
                steps.append(
                    LinearStep(
                        last.layer,
                        last.below,
                        last.above,
                        last.kernel,
                        last.stride,
                        last.pad,
                        layer,
                    )
                )
            else:
                if steps and steps[-1].relu is None:
                    self.refuse(layer, f"there is no ReLU between it and '{steps[-1].name}'")
                steps.append(self._read_linear(layer, shape))
                shape = steps[-1].above
            blob = layer.top[0]
        if len(steps) == 1:
            self.refuse(steps[0].layer, "it is the only layer with weights; there must be a ReLU")
        if not steps or blob != scores or steps[-1].relu is not None or steps[-1].kernel:
            raise ChainError(
                f"{self.path}: the scores '{scores}' must be the top of an InnerProduct, the last "
                "layer of the chain"
            )
        return steps

    def _read_linear(self, layer: Any, shape: Shape) -> LinearStep:
        if layer.type == "InnerProduct":
            param = layer.inner_product_param
            if param.axis != 1 or param.transpose:
                self.refuse(layer, "only axis 1 without transpose can")
            self._check_outputs(layer, param)
            return LinearStep(layer, shape, (int(param.num_output),))
        param = layer.convolution_param
        self._check_outputs(layer, param)
        if len(shape) != 3:
            self.refuse(layer, "a Convolution can follow no InnerProduct")
        settings = []
        for name, default in (("kernel_size", 0), ("stride", 1), ("pad", 0), ("dilation", 1)):
            height, width = read_convolution_sides(param, name, 2, default)
            if height != width:
                self.refuse(layer, f"{name} must be the same for height and width")
            settings.append(int(height))
        kernel, stride, pad, dilation = settings
        if kernel < 1 or stride < 1:
            self.refuse(layer, "kernel_size and stride must be 1 or more")
        if param.group != 1 or param.axis != 1 or dilation != 1:
            self.refuse(layer, "only group 1, axis 1 and dilation 1 can")
        sides = []
        for side in shape[1:]:
            free = side + 2 * pad - kernel
            if free < 0:
                self.refuse(layer, f"its kernel exceeds what is below, {_format_shape(shape)}")
            if free % stride:
                self.refuse(
                    layer,
                    f"its kernel leaves out the last {free % stride} of {side} values, which "
                    "Deconvolution cannot give back; another pad, kernel_size or stride fits",
                )
            sides.append(free // stride + 1)
        return LinearStep(layer, shape, (int(param.num_output), *sides), kernel, stride, pad)

    def _check_outputs(self, layer: Any, param: Any) -> None:
        if param.num_output < 1:
            self.refuse(layer, "num_output must be 1 or more")


def _format_shape(shape: Shape) -> str:
    return " x ".join(map(str, shape))
