"""PixelSpace: scale, mean, channel order, cropping, rounding and clipping, all in one place."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from caffe_ext.storage.numpy_file import load_array
from caffe_ext.storage.read_errors import convert_read_errors
from caffe_ext.storage.regular_file import AnyPath, require_regular_file

Float32s = NDArray[np.float32]

_MOST = 1e6
"""The largest mean, in grey levels: far above any real one, and small enough to keep precision."""


@dataclass(frozen=True, eq=False)
class PixelSpace:
    """How uint8 images become the float32 input of a network, as Caffe's transform_param does it.

        input = (crop(swap(pixels)) - mean) * scale

    scale          per grey level, above 0: LeNet 0.00390625; a number, or one per channel in the
                   network's channel order, kept as a tuple
    mean           in grey levels, in the network's channel order: None, one number for all
                   channels, one per channel (C,), or a mean image (C, H, W) as read_mean() reads
                   it, of the images' size before the crop; kept as read-only float32
    channel_order  of the network: "RGB" or "BGR" (swap reverses the channels of colour images; the
                   images are always RGB); grey images have one channel and are not changed
    crop           side of the central square that the network sees, or None for the whole image;
                   its corner is ((H - crop) // 2, (W - crop) // 2)

    Images are uint8 or, with real-valued pixels, float32 (N, C, H, W), C 1 (grey) or 3 (RGB).
    Nothing that is passed in is changed.
    Raises ValueError for settings and arrays that do not fit; the message has the shapes.
    """

    scale: float | tuple[float, ...] = 1.0
    mean: Any = None
    channel_order: Literal["RGB", "BGR"] = "RGB"
    crop: int | None = None

    def __post_init__(self) -> None:
        """Check the settings, and keep a copy of the mean."""
        scale = np.asarray(self.scale, np.float64)
        if scale.ndim > 1 or not scale.size or not (np.isfinite(scale) & (scale > 0)).all():
            raise ValueError(
                f"scale must be above 0, not {self.scale}: a number, or one per channel"
            )
        object.__setattr__(self, "scale", tuple(scale.tolist()) if scale.ndim else float(scale))
        if self.channel_order not in ("RGB", "BGR"):
            raise ValueError(f"channel_order must be RGB or BGR, not {self.channel_order!r}")
        if self.crop is not None and self.crop < 1:
            raise ValueError(f"crop must be 1 or more, not {self.crop}")
        if self.mean is not None:
            with np.errstate(over="ignore"):
                mean = np.array(self.mean, dtype=np.float32)
            if mean.ndim not in (0, 1, 3) or not np.isfinite(mean).all():
                shown = mean.shape if mean.ndim else f"{self.mean}"
                raise ValueError(f"mean must be finite, one number, (C,) or (C, H, W), not {shown}")
            mean.flags.writeable = False
            object.__setattr__(self, "mean", mean)
        self._check_range(scale)

    def _check_range(self, scale: NDArray[np.float64]) -> None:
        """Raise ValueError for settings under which float32 would lose the image."""
        mean = 0.0 if self.mean is None else float(np.abs(self.mean).max(initial=0))
        if mean > _MOST:
            raise ValueError(f"mean must be in grey levels, 0..255, not {mean:g}")
        largest, smallest = float(scale.max()), float(scale.min())
        if largest * (mean + 255) > float(np.finfo(np.float32).max) or smallest < 1 / _MOST**2:
            raise ValueError(
                f"scale {self.scale} makes inputs that are too large or too small for float32; "
                "the usual ones are 1 and 1/255"
            )

    def to_input(
        self, images: NDArray[np.uint8] | Float32s, out: Float32s | None = None
    ) -> Float32s:
        """Return the network's input, float32 (N, C, h, w), for images (N, C, H, W).

        images  uint8, or float32 for real-valued pixels, 0..255; a UserWarning says where none is
                above 1, as black images or images in 0..1 are
        out     where to write it, such as the net's own blob; by default a new array
        """
        check_pixels(images)
        if images.dtype == np.float32 and images.size:
            _check_real_values(float(images.min()), float(images.max()))
        channels, height, width = images.shape[1:]
        rows, columns = self.find_visible_window((height, width))
        mean = self._expand_mean(channels, (height, width))[:, rows, columns]
        pixels = self._swap(images)[:, :, rows, columns]
        if out is None:
            out = np.empty(pixels.shape, np.float32)
        # float32 from the start, in Caffe's order of operations: the same bits.
        np.subtract(pixels, mean, out=out, dtype=np.float32)
        return np.multiply(out, self._expand_scale(channels), out=out)

    def to_pixels(self, net_input: Float32s) -> NDArray[np.uint8]:
        """Return the images, uint8 (N, C, h, w), of an input (N, C, h, w).

            pixels = swap(clip(round(input / scale + mean), 0, 255))

        Halves are rounded to even. What the crop has cut off is not restored. Also raises
        ValueError for NaN.
        """
        if net_input.ndim != 4 or np.isnan(net_input).any():
            raise ValueError(
                f"a network's input must be (N, C, h, w) without NaN, not {net_input.shape}"
            )
        channels, height, width = net_input.shape[1:]
        if self.crop is not None and (height, width) != (self.crop, self.crop):
            raise ValueError(f"input {net_input.shape} does not have the crop's size, {self.crop}")
        full = self.mean_size or (height, width)
        rows, columns = self.find_visible_window(full)
        mean = self._expand_mean(channels, full)[:, rows, columns]
        if mean.shape[1:] not in ((1, 1), (height, width)):
            raise ValueError(f"input {net_input.shape} does not fit the mean image, {mean.shape}")
        # float64, so that what to_input returned comes back exactly whatever the scale.
        pixels = np.asarray(net_input, np.float64) / self._expand_scale(channels) + mean
        return np.ascontiguousarray(self._swap(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)))

    def convert_gradient(self, gradient: Float32s, size: tuple[int, int] | None = None) -> Float32s:
        """Return dE/dpixel, float32 (N, C, H, W), for dE/dinput (N, C, h, w): the chain rule.

            dE/dpixel = swap(scale * dE/dinput),  0 outside of the crop

        size  (H, W) of the images; needed where there is a crop
        """
        if gradient.ndim != 4:
            raise ValueError(f"a gradient must be (N, C, h, w), not {gradient.shape}")
        cut = gradient.shape[2:]
        if size is None and self.crop is not None:
            raise ValueError(f"the crop of {self.crop} needs the images' size (H, W)")
        rows, columns = self.find_visible_window(size or cut)
        pixels = np.zeros((*gradient.shape[:2], *(size or cut)), np.float32)
        window = pixels[:, :, rows, columns]
        if window.shape != gradient.shape:
            raise ValueError(
                f"gradient {gradient.shape} does not fit images of {size}: {window.shape} is needed"
            )
        scale = self._expand_scale(gradient.shape[1])
        np.multiply(gradient, scale, out=self._swap(window), casting="same_kind")
        return pixels

    def take_visible(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the pixels that the network sees, (N, C, h, w), in its channel order; a view."""
        rows, columns = self.find_visible_window((images.shape[2], images.shape[3]))
        return self._swap(images)[:, :, rows, columns]

    def replace_visible(self, images: NDArray[Any], pixels: NDArray[Any]) -> NDArray[Any]:
        """Return a copy of images in which take_visible() finds these pixels, (N, C, h, w)."""
        replaced = np.array(images, pixels.dtype)
        self.take_visible(replaced)[...] = pixels
        return replaced

    def _swap(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return a view with the channels in the network's order."""
        channels = images.shape[1]
        if channels not in (1, 3):
            raise ValueError(f"images have 1 or 3 channels, not {channels}: {images.shape}")
        return images[:, ::-1] if self.channel_order == "BGR" else images

    def find_visible_window(self, size: tuple[int, int]) -> tuple[slice, slice]:
        """Return which rows and columns of images (H, W) the network sees, after the crop.

        Raises ValueError for an image that is smaller than the crop.
        """
        height, width = size
        if self.crop is None:
            return slice(0, height), slice(0, width)
        if self.crop > min(height, width):
            raise ValueError(
                f"the crop of {self.crop} does not fit images of {height}x{width}; --resize makes "
                "them larger, `crop:` in the model's YAML file takes less of them"
            )
        top, left = (height - self.crop) // 2, (width - self.crop) // 2
        return slice(top, top + self.crop), slice(left, left + self.crop)

    @property
    def mean_size(self) -> tuple[int, int] | None:
        """Return (H, W) of the mean image, if there is one."""
        if self.mean is None or self.mean.ndim < 3:
            return None
        return self.mean.shape[1], self.mean.shape[2]

    def _expand_scale(self, channels: int) -> Float32s:
        """Return the scale of images with this many channels, as (1, 1, 1) or (C, 1, 1)."""
        scale = np.asarray(self.scale, np.float32).reshape(-1, 1, 1)
        if len(scale) not in (1, channels):
            raise ValueError(
                f"the images have channels: {channels}, and `scale:` (or `std:`) has {len(scale)} "
                "numbers; --grey or --colour makes the images of the other kind"
            )
        return scale

    def _expand_mean(self, channels: int, size: tuple[int, int]) -> Float32s:
        """Return the mean for images of this size as (C, H, W), as a view."""
        mean: Float32s = np.zeros((), np.float32) if self.mean is None else self.mean
        if mean.ndim and mean.shape[0] != channels:
            kind = {1: "grey ", 3: "in colour "}.get(channels, "")
            other = "--grey or --colour makes the images of the other kind, "
            raise ValueError(
                f"the images are {kind}(channels: {channels}) and the mean {mean.shape} has "
                f"{mean.shape[0]} channels: {other if mean.shape[0] in (1, 3) else ''}"
                "`mean:` in the model's YAML file gives another mean"
            )
        if self.mean_size not in (None, size):
            raise ValueError(
                f"the mean image {mean.shape} has another size than the images, {size[0]}x{size[1]}"
            )
        whole = mean if mean.ndim == 3 else mean.reshape(-1, 1, 1)
        return np.broadcast_to(whole, (channels, *size))


def check_pixels(images: NDArray[Any]) -> None:
    """Raise ValueError for an array that is not uint8 or float32 (N, C, H, W)."""
    if images.dtype not in (np.uint8, np.float32) or images.ndim != 4:
        raise ValueError(
            "images must be uint8 or, with real-valued pixels, float32 (N, C, H, W), not "
            f"{images.dtype} {images.shape}"
        )


@contextmanager
def allow_dark_pixels() -> Iterator[None]:
    """Take real-valued pixels for what they are: no warning where none is above 1."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "real-valued pixels are grey levels", UserWarning)
        yield


def _check_real_values(low: float, high: float) -> None:
    """Raise ValueError for values outside of 0..255; warn of those that are likely 0..1."""
    if not (low >= 0 and high <= 255):  # NaN compares false
        raise ValueError("real-valued pixels must be from 0 to 255")
    if 0 < high <= 1:
        warnings.warn(
            f"real-valued pixels are grey levels, 0..255, and these are all between {low:.3g} and "
            f"{high:.3g}, almost black; if they are in 0..1, pass 255 * images as float32",
            UserWarning,
            stacklevel=2,
        )


def read_mean(path: AnyPath) -> Float32s:
    """Read a mean: .npy of (C,) or (C, H, W), or a BlobProto as compute_image_mean writes it.

    The result is float32, in the file's channel order (BGR in Caffe's ImageNet models).
    Raises FileNotFoundError, and ValueError for a file with any other content.
    """
    path = Path(path)
    require_regular_file(path)
    if path.suffix == ".npy":
        # A file that cannot be opened is an OSError, as one of another kind is.
        with path.open("rb") as file, convert_read_errors(path, ValueError):
            array = load_array(file)
    else:
        blob = caffe_pb2.BlobProto()
        try:
            blob.ParseFromString(path.read_bytes())
        except DecodeError as error:
            raise ValueError(f"{path} is not a mean file (BlobProto)") from error
        shape = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
        array = np.array(blob.data or blob.double_data, np.float32)
        if array.size != np.prod(shape):
            raise ValueError(f"{path} is damaged: shape {shape}, but {array.size:,} numbers")
        array = array.reshape(shape)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim not in (1, 3) or array.size == 0:
        raise ValueError(f"{path} must hold one mean, (C,) or (C, H, W), not {array.shape}")
    return np.asarray(array, np.float32)
