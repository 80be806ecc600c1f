"""ImageSource: where images to evaluate and attack come from, read part by part.

source = open_images("adversarials/", labels="labels.txt")
for start in range(0, len(source), 100):
    batch = source.read(slice(start, start + 100))
    batch.images, batch.labels, batch.names
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from caffe_ext.data.image_arrays import (
    ChannelOrder,
    Reading,
    StoredImages,
    choose_rows,
    open_image_set,
)
from caffe_ext.data.image_files import Image
from caffe_ext.data.image_kinds import DATA_SETS, find_kind
from caffe_ext.data.image_labels import ClassNumbers
from caffe_ext.data.load import load_images
from caffe_ext.data.sample import draw_order, sample_rows
from caffe_ext.errors import DataError
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runtime.checkout import DATA
from caffe_ext.storage.regular_file import AnyPath

_BYTES_AT_A_TIME = 8 << 20
_ROWS_AT_A_TIME = 1000


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Consecutive images of a source; the arrays are copies that may be changed.

    images  uint8 (n, C, H, W), C 1 (grey) or 3 (RGB)
    labels  int64 (n,), 0 or above; None if the source has none
    names   n names: the path below the folder or as in the listing, the LMDB's key, else the number
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """The form that images are converted to: see open_images(). ValueError for a size below 1."""

    resize: tuple[int, int] | None = None
    grey: bool | None = None
    crop: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check the sizes."""
        for name, size in (("resize", self.resize), ("crop", self.crop)):
            if size is not None and (len(size) != 2 or min(size) < 1):
                raise ValueError(f"{name} must be (H, W), 1 or more, not {size}")

    def apply(self, image: Image) -> Image:
        """Return an image (C, H, W) in this form; unchanged if it already has it.

        Raises DataError for an image that is smaller than the crop.
        """
        if self.grey and len(image) == 3:
            image = np.asarray(
                cv2.cvtColor(_to_rows_first(image), cv2.COLOR_RGB2GRAY)[None], np.uint8
            )
        if self.grey is False and len(image) == 1:
            image = np.repeat(image, 3, axis=0)
        return self._take_centre(self._change_size(image))

    def _take_centre(self, image: Image) -> Image:
        """Return the centre, as Caffe's Data layers take it when they test."""
        if self.crop is None:
            return image
        (height, width), (whole_height, whole_width) = self.crop, image.shape[1:]
        if height > whole_height or width > whole_width:
            raise DataError(
                f"a crop of {height} x {width} does not fit an image of {whole_height} x "
                f"{whole_width}; --resize makes it larger"
            )
        top, left = (whole_height - height) // 2, (whole_width - width) // 2
        return image[:, top : top + height, left : left + width]

    def _change_size(self, image: Image) -> Image:
        if self.resize is None or image.shape[1:] == tuple(self.resize):
            return image
        height, width = self.resize
        smaller = height <= image.shape[1] and width <= image.shape[2]
        # Averages of areas, where every pixel counts; they have no meaning for a larger image.
        method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        try:
            resized = cv2.resize(_to_rows_first(image), (width, height), interpolation=method)
        except cv2.error as error:
            raise DataError(
                f"images cannot be resized to {height} x {width}: {error.err}"
            ) from error
        return np.asarray(resized.reshape(height, width, -1).transpose(2, 0, 1), np.uint8)


class ImageSource:
    """Images in a fixed order, read into memory on demand.

    origin       where they come from, in words, for records and messages
    image_shape  (C, H, W) of every image; C is 1 (grey) or 3 (RGB)
    selection    which of the images these are, in words: "the first 500 of 10,000"

    Created by open_images(), which reads the first image. All images must have its shape; the
    others are checked when they are read, so that compute_digest(), which reads all, finds any
    problem before long work starts.
    """

    def __init__(self, stored: StoredImages, form: Form, selection: str | None = None) -> None:
        """Read the first image."""
        self.origin = stored.origin
        self.selection = selection or f"all {stored.count:,}"
        self._stored, self._form = stored, form
        pulled = stored.pull(0, 1)
        self._first: tuple[str, tuple[int, ...]] | None = None
        (image,) = map(self._transform, pulled.names, pulled.images)
        self.image_shape: tuple[int, int, int] = (len(image), image.shape[1], image.shape[2])

    def __len__(self) -> int:
        """Count the images."""
        return self._stored.count

    def read(self, rows: slice) -> ImageBatch:
        """Return a slice of the images; the step must be 1.

        Raises DataError naming an image that is damaged, or not like the first one; OSError naming
        a file that is gone.
        """
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"rows must be a slice with step 1, not {rows}")
        pulled = self._stored.pull(start, max(start, stop))
        images = np.empty((len(pulled.names), *self.image_shape), np.uint8)
        for row, (name, image) in enumerate(zip(pulled.names, pulled.images, strict=True)):
            images[row] = self._transform(name, image)
        labels = None if pulled.labels is None else pulled.labels.copy()
        return ImageBatch(images, labels, tuple(pulled.names))

    def read_labelled(
        self, limit: int | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the first images, or all for None, and their labels.

        Raises ValueError if they have none, and as read() does.
        """
        batch = self.read(slice(limit))
        if batch.labels is None:
            raise ValueError(f"{self.origin}: labels are needed")
        return batch.images, batch.labels

    @property
    def labelled(self) -> bool:
        """Return whether the images have labels."""
        return self._stored.labelled

    @property
    def draws_samples(self) -> bool:
        """Return whether sample() draws images at random; otherwise it takes the first ones."""
        return self._stored.part is not None

    def take_first(self, count: int) -> "ImageSource":
        """Return the first images (1 or more) as a new source; all if there are fewer."""
        if count >= len(self):
            return self
        selection = f"the first {count:,} of {len(self):,}"
        return ImageSource(replace(self._stored, count=count), self._form, selection)

    def sample(self, limit: int | None, seed: int = 0) -> "ImageSource":
        """Return at most `limit` images (1 or more) as a new source; None: all.

        From a folder or a listing, which are usually sorted by class, this is a sample in the
        original order, in which each class has its share; it depends only on the seed. From data
        sets, databases and arrays, these are the first images.
        """
        if limit is None or limit >= len(self):
            return self
        if self._stored.part is None:
            return self.take_first(limit)
        rows = self.choose_sample_rows(limit, seed).tolist()
        shares = ", each class with its share" if self.labelled else ""
        selection = f"a sample of {limit:,} of {len(self):,}{shares} (seed {seed})"
        return ImageSource(self._stored.part(rows), self._form, selection)

    def choose(self, rows: NDArray[np.int64], selection: str) -> "ImageSource":
        """Return the images in these rows, one or more, as a new source.

        selection  which these are, in words
        """
        return ImageSource(choose_rows(self._stored, rows.tolist()), self._form, selection)

    def draw_order(self, seed: int = 0) -> NDArray[np.int64]:
        """Return all rows, int64 (N,): in random order where sample() draws at random, else
        ascending.
        """
        if not self.draws_samples:
            return np.arange(len(self))
        return np.array(draw_order(self._stored.pull(0, len(self)).names, seed), np.int64)

    def choose_sample_rows(self, limit: int, seed: int = 0) -> NDArray[np.int64]:
        """Return which of the images sample() takes, int64 (n,), ascending."""
        if limit >= len(self) or not self.draws_samples:
            return np.arange(min(limit, len(self)))
        names = self._stored.pull(0, len(self)).names
        return np.array(sample_rows(names, self.load_labels(), limit, seed), np.int64)

    def load_labels(self) -> NDArray[np.int64] | None:
        """Return all labels, int64 (N,), or None if there are none; image files are not read."""
        parts = []
        # An LMDB has the images beside the labels.
        at_a_time = max(1, min(_ROWS_AT_A_TIME, _BYTES_AT_A_TIME // int(np.prod(self.image_shape))))
        for start in range(0, len(self), at_a_time):
            part = self._stored.pull(start, min(start + at_a_time, len(self))).labels
            if part is None:
                return None
            parts.append(part)
        return np.concatenate(parts)

    def compute_digest(self, reporter: Reporter | None = None) -> str:
        """Return the SHA-256, in hexadecimal, of all pixels, labels and names from read().

        Takes as long as reading all images. The same images in another place have the same digest.
        Raises the same as read().
        """
        names, labels, pixels = (sha256() for _ in range(3))
        at_a_time = max(1, _BYTES_AT_A_TIME // int(np.prod(self.image_shape)))
        total = len(self)
        with (reporter or SilentReporter()).show_progress(
            "checking the images", total, "image"
        ) as step:
            for start in range(0, total, at_a_time):
                batch = self.read(slice(start, start + at_a_time))
                names.update("".join(f"{name!a}\n" for name in batch.names).encode())
                if batch.labels is not None:
                    labels.update(batch.labels.astype("<i8").tobytes())
                pixels.update(batch.images.tobytes())
                step(len(batch.names))
        parts = [*map(str, (total, *self.image_shape))]
        parts += [digest.hexdigest() for digest in (names, labels, pixels)]
        return sha256(" ".join(parts).encode()).hexdigest()

    def _transform(self, name: str, image: Image) -> Image:
        """Return an image in the source's form; DataError unless it fits the first one."""
        if len(image) not in (1, 3):
            last = ". If these are (H, W, C), save images.transpose(0, 3, 1, 2)"
            raise DataError(
                f"{self.origin}: {name} is {image.shape}; images are (C, H, W) with C 1 (grey) or "
                f"3 (RGB){last if image.shape[-1] in (1, 3) else ''}"
            )
        self._first = self._first or (name, image.shape)
        first, shape = self._first
        if self._form.grey is None and len(image) != shape[0]:
            grey, colour = (name, first) if len(image) == 1 else (first, name)
            raise DataError(
                f"{self.origin}: {grey} is grey and {colour} is in colour; make all grey "
                "or all RGB (--grey or --colour; in Python grey=True or grey=False)"
            )
        if self._form.resize is None and image.shape[1:] != shape[1:]:
            one, other = (f"{s[1]} x {s[2]}" for s in (image.shape, shape))
            raise DataError(
                f"{self.origin}: {name} has {one} pixels (H x W) and {first} has {other}; bring "
                "all to one size (--resize HxW; in Python resize=(H, W))"
            )
        return self._form.apply(image)


def open_images(  # noqa: PLR0913  they are independent of each other
    spec: AnyPath,
    labels: AnyPath | None = None,
    *,
    resize: tuple[int, int] | None = None,
    crop: tuple[int, int] | None = None,
    grey: bool | None = None,
    channel_order: ChannelOrder = "RGB",
    classes: ClassNumbers | None = None,
    data_dir: AnyPath | None = None,
    homes: Sequence[AnyPath] = (DATA,),
) -> ImageSource:
    """Return the images of a data set, a folder or a file, recognised by its content.

    spec           a str "mnist", "cifar10" or "digits", with ":train" or ":test" (or nothing: test)
                   behind it, for the data set as load_images() finds it (a folder of that name is
                   "./mnist"); or the path of one of KINDS
    labels         a file of labels that replace those that come with the images. For image files
                   (otherwise labelled by folders named after the numbers or the names of classes),
                   a text file with lines "path label", with paths relative to the folder.
                   For an IDX, HDF5 or NumPy file: an IDX or .npy file
    resize         (H, W) of all images, by averaging if both sides shrink and otherwise by linear
                   interpolation
    crop           (H, W) of the central part of each image that is taken, after resizing
    grey           True: make all images grey; False: make all RGB; None: they must all be alike.
                   For image files, this is Caffe's `is_color`
    channel_order  of the arrays in an LMDB, HDF5 or NumPy file: "BGR" if convert_imageset wrote it
    classes        number of each class by its name, for labels that are names; without it,
                   labels must be numbers, since only the model knows the number of each class
    data_dir, homes  where data sets are searched for, as in load_images()

    Raises DataError naming the file if it is not, or has no, images, is damaged, or does not fit
    the arguments; ValueError for an invalid resize, crop or channel_order, TypeError for images in
    memory (see ImageBatch).
    """
    if not isinstance(spec, (str, PathLike)):
        raise TypeError(
            f"open_images() takes the name of a data set or a path, not {type(spec).__name__}; "
            "images in memory are attacked as ImageBatch(images, labels)"
        )
    form = Form(resize, grey, crop)
    if channel_order not in ("RGB", "BGR"):
        raise ValueError(f"channel_order must be RGB or BGR, not {channel_order!r}")
    name, colon, split = spec.partition(":") if isinstance(spec, str) else ("", "", "")
    if name in DATA_SETS:
        split = split if colon else "test"
        _refuse(f"the data set {name}", labels=labels is not None, order=channel_order != "RGB")
        images = load_images(name, split, data_dir=data_dir, homes=homes)
        origin = f"{name}, {split} images: {images.origin}"
        return ImageSource(open_image_set(images, origin), form)
    path = Path(spec)
    kind = find_kind(path)
    _refuse(
        f"{path}, {kind.title}",
        labels=labels is not None and not kind.takes_labels,
        order=channel_order != "RGB" and not kind.takes_order,
    )
    reading = Reading(Path(labels) if labels else None, channel_order, grey, classes or {})
    return ImageSource(kind.opener(path, reading), form)


def _refuse(what: str, *, labels: bool, order: bool) -> None:
    """Raise DataError for arguments that the data itself determine."""
    if labels:
        raise DataError(f"--labels does not apply to {what}, which has its own labels")
    if order:
        raise DataError(f"--image-order does not apply to {what}, whose channel order is known")


def _to_rows_first(image: Image) -> Image:
    """Return (C, H, W) as (H, W, C), as OpenCV expects it."""
    return np.ascontiguousarray(image.transpose(1, 2, 0))
