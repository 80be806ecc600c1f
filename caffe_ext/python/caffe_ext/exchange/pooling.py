"""Where the windows of Caffe's Pooling layer lie, along one axis of an image.

Window i begins at i * stride - pad, and is clipped to the image. There are

    round((size + 2 * pad - kernel) / stride) + 1

of them, rounded up, or down with round_mode: FLOOR; windows at the end that begin beyond the image
are left out (pooling_layer.cpp). The mean of AVE is over a window's values inside of the image and
of its padding, size + pad at the end: the padding counts, what a window has beyond it does not.
"""

from dataclasses import dataclass


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
        """Return the padding at the end with which exactly all windows have their full size."""
        needed = (self.windows - 1) * self.stride + self.kernel
        return max(0, needed - self.size - self.pad)

    @property
    def divisors(self) -> list[int]:
        """Return how many values along this axis count in the mean of each window."""
        starts = (number * self.stride - self.pad for number in range(self.windows))
        return [min(start + self.kernel, self.size + self.pad) - start for start in starts]
