"""models/pixels.py: round trips, agreement with Caffe, and gradients with respect to the pixels."""

import warnings
from pathlib import Path
from typing import Any, Literal

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from caffe_ext.data import write_mean_image
from caffe_ext.models.pixels import PixelSpace, read_mean

IMAGES = arrays(
    np.uint8,
    st.tuples(st.integers(0, 3), st.sampled_from([1, 3]), st.integers(1, 7), st.integers(1, 7)),
)


@st.composite
def cases(draw: Any) -> tuple[PixelSpace, NDArray[np.uint8]]:
    images = draw(IMAGES)
    channels, height, width = images.shape[1:]
    random = np.random.default_rng(draw(st.integers(0, 99)))
    order: Literal["RGB", "BGR"] = draw(st.sampled_from(["RGB", "BGR"]))
    mean = draw(
        st.sampled_from(
            [
                None,
                127.5,
                random.uniform(0, 255, channels),
                random.uniform(0, 255, (channels, height, width)),
            ]
        )
    )
    crop = draw(st.none() | st.integers(1, min(height, width)))
    scales = st.sampled_from([1.0, 0.00390625, 0.017, 1 / 255, 3.0])
    scale = draw(scales | st.lists(scales, min_size=channels, max_size=channels).map(tuple))
    return PixelSpace(scale, mean, order, crop), images


def cropped(space: PixelSpace, images: NDArray[Any]) -> NDArray[Any]:
    if space.crop is None:
        return images
    top, left = ((side - space.crop) // 2 for side in images.shape[2:])
    return images[:, :, top : top + space.crop, left : left + space.crop]


@given(cases())
def test_pixels_come_back(case: tuple[PixelSpace, NDArray[np.uint8]]) -> None:
    space, images = case
    before = images.copy()
    again = space.to_pixels(space.to_input(images))
    assert again.dtype == np.uint8
    assert np.array_equal(again, cropped(space, images))
    assert np.array_equal(images, before)


@given(cases())
def test_the_input_can_go_straight_into_a_net_s_blob(
    case: tuple[PixelSpace, NDArray[np.uint8]],
) -> None:
    space, images = case
    expected = space.to_input(images)
    blob = np.full((*expected.shape[:3], expected.shape[3] + 1), np.nan, np.float32)
    inner = blob[..., 1:]  # memory with gaps
    assert space.to_input(images, out=inner) is inner
    assert np.array_equal(inner, expected)
    assert np.isnan(blob[..., 0]).all()


@given(cases(), st.integers(0, 99))
def test_gradient_is_the_adjoint_of_the_input(
    case: tuple[PixelSpace, NDArray[np.uint8]], seed: int
) -> None:
    """<g, input(a) - input(b)> = <convert_gradient(g), a - b>, as the map is affine."""
    space, images = case
    others = np.random.default_rng(seed).integers(0, 256, images.shape).astype(np.uint8)
    change = space.to_input(images).astype(float) - space.to_input(others)
    gradient = np.random.default_rng(seed).normal(size=change.shape).astype(np.float32)
    before = gradient.copy()
    pixels = space.convert_gradient(gradient, (images.shape[2], images.shape[3]))
    assert pixels.dtype == np.float32
    assert pixels.shape == images.shape
    expected = np.sum(pixels * (images.astype(float) - others))
    tolerance = 1e-5 * (1 + np.abs(gradient).sum() * 255 * np.max(space.scale))
    np.testing.assert_allclose(np.sum(gradient * change), expected, atol=tolerance)
    assert np.array_equal(gradient, before)


def test_by_hand() -> None:
    image = np.array([10, 20, 30], np.uint8).reshape(1, 3, 1, 1)
    space = PixelSpace(0.5, [1, 2, 3], "BGR")
    net_input = space.to_input(image)
    assert net_input.dtype == np.float32
    assert net_input.ravel().tolist() == [14.5, 9, 3.5]  # blue first, and its mean
    gradient = np.array([1, 2, 3], np.float32).reshape(1, 3, 1, 1)
    assert space.convert_gradient(gradient).ravel().tolist() == [1.5, 1, 0.5]
    space = PixelSpace((0.5, 1, 2), [1, 2, 3], "BGR")  # blue's scale first
    assert space.to_input(image).ravel().tolist() == [14.5, 18, 14]
    assert space.convert_gradient(gradient).ravel().tolist() == [6, 2, 0.5]


def test_rounding_and_clipping() -> None:
    values = np.array([-3, 0.5, 1.5, 254.6, 255.4, 300, np.inf, -np.inf], np.float32)
    assert PixelSpace().to_pixels(values.reshape(-1, 1, 1, 1)).ravel().tolist() == [
        *(0, 0, 2, 255, 255, 255, 255, 0)
    ]


def test_the_middle_is_seen_and_the_border_has_no_gradient() -> None:
    images = np.arange(20, dtype=np.uint8).reshape(1, 1, 4, 5)
    space = PixelSpace(crop=2)
    assert space.to_input(images).ravel().tolist() == [6, 7, 11, 12]
    gradient = space.convert_gradient(np.ones((1, 1, 2, 2), np.float32), (4, 5))
    assert np.argwhere(gradient[0, 0]).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_same_bits_as_caffe_s_transformation(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2, 3, 6, 6), dtype=np.uint8)
    mean = random.uniform(0, 255, (3, 6, 6)).astype(np.float32)
    write_mean_image(tmp_path / "mean.binaryproto", mean)
    space = PixelSpace(0.017, read_mean(tmp_path / "mean.binaryproto"), crop=4)
    assert np.array_equal(space.mean, mean)
    transformer = caffe.io.Transformer({"data": (2, 3, 6, 6)})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_mean("data", mean)
    transformer.set_input_scale("data", 0.017)
    whole = np.stack([transformer.preprocess("data", i.transpose(1, 2, 0)) for i in images])
    assert np.array_equal(space.to_input(images), whole[:, :, 1:5, 1:5])


def test_the_settings_are_frozen() -> None:
    mean = np.ones(3)
    space = PixelSpace(mean=mean)
    mean[:] = 9
    assert space.mean.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        space.mean[0] = 2
    with pytest.raises(AttributeError):
        space.scale = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"scale": 0}, "scale must be above 0, not 0"),
        ({"scale": np.nan}, "scale must be above 0"),
        (
            {"scale": (1, 0, 1)},
            r"scale must be above 0, not \(1, 0, 1\): a number, or one per channel",
        ),
        ({"scale": ()}, "scale must be above 0"),
        ({"scale": 1e308}, "scale 1e\\+308 makes inputs that are too large"),
        ({"scale": (1, 1e37, 1)}, "makes inputs that are too large"),
        ({"scale": 1e-45}, "scale 1e-45 makes inputs that are .* too small"),
        ({"mean": (1e38,)}, "mean must be in grey levels, 0..255, not 1e\\+38"),
        ({"crop": 0}, "crop must be 1 or more"),
        ({"channel_order": "rgb"}, "RGB or BGR, not 'rgb'"),
        ({"mean": np.ones((2, 2))}, r"mean must be .* not \(2, 2\)"),
        ({"mean": np.nan}, "mean must be finite, .* not nan"),
        ({"mean": 1e300}, r"mean must be finite, .* not 1e\+300"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        PixelSpace(**settings)


def test_real_valued_pixels_are_marked_by_float32() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 4), dtype=np.uint8)
    space = PixelSpace(0.5, mean=[1, 2, 3], channel_order="BGR", crop=4)
    expected = space.to_input(images)
    np.testing.assert_array_equal(space.to_input(images.astype(np.float32)), expected)
    halves = images.astype(np.float32) * np.float32(0.5)
    np.testing.assert_array_equal(
        space.to_input(halves),
        (expected / 0.5 + [[[1]], [[2]], [[3]]]) * 0.25 - [[[0.5]], [[1]], [[1.5]]],
    )


def test_arrays_that_are_refused() -> None:
    images = np.zeros((2, 3, 4, 4), np.uint8)
    one = np.zeros((2, 3, 4, 4), np.float32)
    for space, array, text in [
        (PixelSpace(), one.astype(float), r"must be uint8 or, .* not float64 \(2, 3, 4, 4\)"),
        (PixelSpace(), one - 1, "real-valued pixels must be from 0 to 255"),
        (PixelSpace(), one + 256, "real-valued pixels must be from 0 to 255"),
        (PixelSpace(), one * np.nan, "real-valued pixels must be from 0 to 255"),
        (PixelSpace(), images[0], r"not uint8 \(3, 4, 4\)"),
        (PixelSpace(), images[:, :2], r"1 or 3 channels, not 2"),
        (PixelSpace(crop=5), images, "crop of 5 does not fit images of 4x4"),
        (PixelSpace((1, 2)), images, "channels: 3, and `scale:` .* has 2 numbers; --grey or"),
        (PixelSpace(mean=[1, 2]), images, r"images are in colour .*the mean \(2,\) has 2"),
        (PixelSpace(mean=np.ones((3, 5, 4))), images, r"\(3, 5, 4\) has another size .* 4x4"),
    ]:
        with pytest.raises(ValueError, match=text):
            space.to_input(array)
    with pytest.raises(ValueError, match="without NaN"):
        PixelSpace().to_pixels(one * np.nan)
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\) does not have the crop's size, 3"):
        PixelSpace(crop=3).to_pixels(one)
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\) does not fit the mean"):
        PixelSpace(mean=np.ones((3, 5, 4))).to_pixels(one)
    with pytest.raises(ValueError, match=r"needs the images' size"):
        PixelSpace(crop=4).convert_gradient(one)
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\) does not fit images of \(8, 8\)"):
        PixelSpace().convert_gradient(one, (8, 8))


def test_mean_files(tmp_path: Path) -> None:
    np.save(tmp_path / "mean.npy", np.arange(3.0))
    assert read_mean(tmp_path / "mean.npy").tolist() == [0, 1, 2]
    damaged = caffe_pb2.BlobProto(num=1, channels=3, height=2, width=2, data=[1, 2])
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(damaged.SerializeToString())
    with pytest.raises(ValueError, match=r"mean\.binaryproto is damaged.*but 2 numbers"):
        read_mean(path)
    path.write_bytes(b"\xff\xff")
    with pytest.raises(ValueError, match="is not a mean file"):
        read_mean(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="must hold one mean"):
        read_mean(path)
    with pytest.raises(FileNotFoundError):
        read_mean(tmp_path / "none.npy")


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04junk",
        b"\x93NUMPY\x01\x00\x10\x00{'a': (((((((((((",
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999,), }".ljust(117)
        + b"\n",
    ],
)
def test_a_damaged_mean_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mean.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"mean\.npy cannot be read: "):
        read_mean(tmp_path / "mean.npy")


def test_real_values_from_0_to_1_are_pointed_out() -> None:
    digit = np.zeros((2, 1, 4, 4), np.float32)
    for black in (digit, digit[:0]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            PixelSpace().to_input(black)
    digit[0, 0, 0, 0] = 1.0
    with pytest.warns(UserWarning, match=r"between 0 and 1, .* pass 255 \* images as float32"):
        PixelSpace().to_input(digit)
    digit[1, 0, 0, 0] = 1.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PixelSpace().to_input(digit)
        PixelSpace().to_input((digit > 0).astype(np.uint8))
