"""The windows of Caffe's Convolution and Pooling layers: their settings and positions.

In a Pooling layer, along one axis of an image, window i begins at i * stride - pad, and is clipped
to the image. There are

    round((size + 2 * pad - kernel) / stride) + 1

of them, rounded up, or down with round_mode: FLOOR; windows that begin beyond the image are left
out (pooling_layer.cpp). The mean of AVE is over a window's values in the image and in its padding,
up to size + pad: the padding counts, anything beyond it does not.
"""

from dataclasses import dataclass
from typing import Any

from caffe.proto import caffe_pb2

_CEIL = caffe_pb2.PoolingParameter.CEIL


@dataclass(frozen=True)
class PoolingAxis:
    """The geometry along one axis.

    size    of the image
    pad     on either side
    ceil    whether the number of windows is rounded up
    """

    size: int
    kernel: int
    stride: int
    pad: int
    ceil: bool = True

    @property
    def windows(self) -> int:
        """Return the number of windows, which is the size of the output."""
        room = self.size + 2 * self.pad - self.kernel
        number = (-(-room // self.stride) if self.ceil else room // self.stride) + 1
        # Once, as Caffe does.
        return number - ((number - 1) * self.stride >= self.size + self.pad)

    @property
    def end_pad(self) -> int:
        """Return the padding at the end with which all windows just have their full size."""
        needed = (self.windows - 1) * self.stride + self.kernel
        return max(0, needed - self.size - self.pad)

    @property
    def divisors(self) -> list[int]:
        """Return how many values along this axis count in the mean of each window."""
        starts = (number * self.stride - self.pad for number in range(self.windows))
        return [min(start + self.kernel, self.size + self.pad) - start for start in starts]


def read_pooling_axes(given: Any, height: int, width: int) -> tuple[PoolingAxis, PoolingAxis]:
    """Return the geometry of the rows and of the columns of images.

    given  a PoolingParameter
    """
    pads = [given.pad] * 2
    if given.HasField("pad_h") or given.HasField("pad_w"):
        pads = [given.pad_h, given.pad_w]
    strides = [given.stride] * 2
    if given.HasField("stride_h"):
        strides = [given.stride_h, given.stride_w]
    kernels = [given.kernel_size] * 2
    if given.global_pooling:
        kernels = [height, width]
    elif not given.HasField("kernel_size"):
        kernels = [given.kernel_h, given.kernel_w]
    rows, columns = (
        PoolingAxis(size, kernel, stride, pad, given.round_mode == _CEIL)
        for size, kernel, stride, pad in zip((height, width), kernels, strides, pads, strict=True)
    )
    return rows, columns


def read_convolution_sides(given: Any, name: str, spatial: int, default: int) -> list[int]:
    """Return a number for each spatial axis, given as one for all, one for each, or _h and _w.

    given  a ConvolutionParameter
    name   "kernel_size", "pad", "stride" or "dilation"
    """
    height, width = f"{name.removesuffix('_size')}_h", f"{name.removesuffix('_size')}_w"
    if spatial == 2 and name != "dilation" and (given.HasField(height) or given.HasField(width)):
        return [getattr(given, height), getattr(given, width)]
    sides = list(getattr(given, name)) or [default]
    return sides * spatial if len(sides) == 1 else sides
