"""Image files are read as Caffe's ImageData layer reads them, whatever their format and mode."""

from pathlib import Path

import caffe
import cv2
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from caffe_ext.data import DataError, open_images, read_image
from caffe_ext.runtime.quiet import silence_caffe

ORIENTATION = 0x112
SMOOTH = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8), (31, 21), interpolation=2
)
COLOURS = PIL.Image.fromarray(SMOOTH)
DEEP = SMOOTH.astype(np.uint16) * 257 - (SMOOTH > 3)  # 16 bits, the lower 8 not those of zero
OPAQUE = np.full((*DEEP.shape[:2], 1), 65535, np.uint16)

MODES = {
    ".jpg": ("RGB", "L", "CMYK", "YCbCr"),
    ".png": ("RGB", "L", "RGBA", "LA", "P", "1"),
    ".bmp": ("RGB", "L", "P", "1"),
    ".tif": ("RGB", "L", "RGBA", "LA", "CMYK", "YCbCr", "P", "1"),
    ".webp": ("RGB", "RGBA"),
    ".ppm": ("RGB",),
    ".pgm": ("L",),
}


def as_caffe(path: Path, *, colour: bool) -> NDArray[np.uint8]:
    """Return an image as the ImageData layer passes it on, in RGB."""
    listing, net = path.with_suffix(".listing"), path.with_suffix(".prototxt")
    listing.write_text(f"{path} 0\n")
    net.write_text(
        'layer { name: "data" type: "ImageData" top: "data" top: "label" image_data_param { '
        f'source: "{listing}" batch_size: 1 is_color: {str(colour).lower()} }} }}'
    )
    with silence_caffe():
        layer = caffe.Net(str(net), caffe.TEST)
        layer.forward()
    return np.asarray(layer.blobs["data"].data[0][::-1], np.uint8)


def check(path: Path) -> NDArray[np.uint8]:
    """See that a file is read as Caffe reads it, in colour and in grey; return it as it is."""
    colour, grey = as_caffe(path, colour=True), as_caffe(path, colour=False)
    for wanted, choice in ((colour, False), (grey, True)):
        assert np.array_equal(read_image(path, choice), wanted)
        assert np.array_equal(open_images(path, grey=choice).read(slice(1)).images[0], wanted)
    own = read_image(path)
    assert np.array_equal(own, grey if len(own) == 1 else colour)
    return own


@pytest.mark.parametrize(
    ("suffix", "mode"), [(suffix, mode) for suffix, modes in MODES.items() for mode in modes]
)
def test_formats_and_modes(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"a{suffix}"
    COLOURS.convert(mode).save(path, lossless=True)  # what WebP takes
    image = check(path)
    assert len(image) == (1 if mode in {"L", "1"} or (mode, suffix) == ("LA", ".tif") else 3)
    if (suffix, mode) == (".jpg", "CMYK"):  # not inverted
        assert np.abs(image.transpose(1, 2, 0).astype(int) - SMOOTH).mean() < 10


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"a{suffix}"
    COLOURS.save(path, exif=exif)
    image = check(path)
    assert image.shape == ((3, 21, 31) if orientation < 5 else (3, 31, 21))
    if suffix == ".png" and orientation == 6:
        assert np.array_equal(image.transpose(1, 2, 0), np.rot90(SMOOTH, -1))


def test_an_orientation_that_not_every_opencv_applies_is_refused(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = 6
    COLOURS.save(tmp_path / "a.webp", exif=exif, lossless=True)
    with pytest.raises(DataError, match=r"a\.webp has an EXIF orientation"):
        read_image(tmp_path / "a.webp")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_the_upper_8_of_16_bits_are_read(tmp_path: Path, suffix: str) -> None:
    for number, deep in enumerate((DEEP, DEEP[:, :, :1], np.concatenate([DEEP, OPAQUE], axis=2))):
        path = tmp_path / f"{number}{suffix}"
        assert cv2.imwrite(str(path), deep)
        wanted = (deep[:, :, :3] >> 8).transpose(2, 0, 1)[::-1]
        assert np.array_equal(check(path), wanted)


def test_transparency_is_refused(tmp_path: Path) -> None:
    alpha = np.full(SMOOTH.shape[:2], 255, np.uint8)
    alpha[3, 4] = 254
    clear = COLOURS.convert("RGBA")
    clear.putalpha(PIL.Image.fromarray(alpha))
    for name in ("a.png", "a.webp", "a.tif"):
        clear.save(tmp_path / name, lossless=True)
    grey = COLOURS.convert("L")
    grey.save(tmp_path / "grey.png", transparency=int(np.asarray(grey)[0, 0]))
    palette = COLOURS.convert("P")
    palette.save(tmp_path / "palette.png", transparency=int(np.asarray(palette)[0, 0]))
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(DataError, match=rf"{path.name} is transparent in places"):
            read_image(path)
