"""Bounds of logits: against the slow reference, and whether anything ever leaves them."""

import os
import re
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bounds_reference import convolution_matrix, dual_bounds
from bounds_samples import SHAPE, layer, write_net
from caffe_ext.certification.bounds import METHODS, Bounder, LogitBounds, make_pixel_box
from caffe_ext.certification.layers import Convolution, InnerProduct
from caffe_ext.certification.network import UnboundableError, read_network
from caffe_ext.data import load_images
from caffe_ext.models.base import Images, Model
from caffe_ext.models.description import ModelDescription, read_model

LENET = Path(__file__).resolve().parents[2] / "prototxt" / "lenet.yaml"
RANDOM = np.random.default_rng(5)
IMAGES = RANDOM.integers(0, 256, (3, *SHAPE), dtype=np.uint8)
LABELS = np.array([0, 3, 1])
CONVOLUTION = "convolution_param { num_output: 4 %s }"

# Each is made of the blob before, whose name takes the place of %s.
PIECES = {
    "conv": layer("{0}", "Convolution", "%s", CONVOLUTION % "kernel_size: 3 pad: 1"),
    "strided": layer("{0}", "Convolution", "%s", CONVOLUTION % "kernel_h: 2 kernel_w: 3 stride: 2"),
    "dilated": layer("{0}", "Convolution", "%s", CONVOLUTION % "kernel_size: 2 dilation: 2 pad: 1"),
    "relu": layer("{0}", "ReLU", "%s"),
    "max": layer("{0}", "Pooling", "%s", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"),
    "overlapping": layer(
        "{0}", "Pooling", "%s", "pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 }"
    ),
    "average": layer(
        "{0}", "Pooling", "%s", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }"
    ),
    "norm": layer("{0}", "BatchNorm", "%s"),
    "scale": layer("{0}", "Scale", "%s", "scale_param { bias_term: true }"),
    "residual": layer("{0}a", "Convolution", "%s", CONVOLUTION % "kernel_size: 1")
    + layer("{0}b", "Convolution", "%s", CONVOLUTION % "kernel_size: 3 pad: 1")
    + layer("{0}c", "ReLU", "{0}b")
    + layer("{0}", "Eltwise", "{0}a {0}c", "eltwise_param {{ coeff: 1 coeff: -0.5 }}"),
    "dropout": layer("{0}", "Dropout", "%s"),
}


def net_of(names: list[str]) -> tuple[str, str]:
    """Return the layers of some pieces, one on the other, and the last blob."""
    text, last = "", "data"
    for name, number in zip(names, count(), strict=False):
        piece = PIECES[name].replace("{{", "{").replace("}}", "}")
        text += piece.replace("%s", last).replace("{0}", f"{name}{number}")
        last = f"{name}{number}"
    return text, last


def points_within(model: Model, image: Images, radius: float, label: int) -> Images:
    """Return real-valued images within a radius: random ones, corners, and where attacks lead."""
    random, shape = np.random.default_rng(0), image.shape
    offsets = [random.uniform(-radius, radius, (20, *shape))]
    offsets += [radius * random.choice([-1.0, 1.0], (20, *shape))]
    points = np.clip(image + np.concatenate(offsets), 0, 255)
    lower, upper = np.clip(image - radius, 0, 255), np.clip(image + radius, 0, 255)
    found = [points]
    for target in range(1, 4):  # PGD down each margin and up it, to corners mostly
        for sign in (-1.0, 1.0):
            point = np.clip(image + random.uniform(-radius, radius, shape), 0, 255)
            diff = np.zeros((1, model.classes), np.float32)
            diff[0, label] += 1
            diff[0, (label + target) % model.classes] -= 1
            for _ in range(5):
                gradient = model.gradient(point[None].astype(np.float32), diff)[0]
                point = np.clip(point + sign * radius / 2 * np.sign(gradient), lower, upper)
                found.append(point[None])
    # No point may leave the box as it is rounded to float32.
    rounded = np.concatenate(found).astype(np.float32)
    return np.clip(rounded, lower.astype(np.float32), upper.astype(np.float32))


def bounded(description: ModelDescription, method: str, radius: float, **more: int) -> LogitBounds:
    bounder = Bounder(read_network(description), method, **more)  # type: ignore[arg-type]
    return bounder.bound(IMAGES, LABELS, np.full(len(IMAGES), radius))


def check_sound(description: ModelDescription, radius: float) -> None:
    """Check that nothing leaves the bounds, and that they are the tighter the later the method."""
    model = description.load(64)
    by_method: dict[str, LogitBounds] = {
        method: bounded(description, method, radius) for method in METHODS
    }
    for number, image in enumerate(IMAGES):
        label = int(LABELS[number])
        logits = model.logits(points_within(model, image, radius, label)).astype(np.float64)
        margins = logits[:, [label]] - logits
        margins[:, label] = np.inf
        for method, bound in by_method.items():
            assert (logits >= bound.lower[number]).all(), method
            assert (logits <= bound.upper[number]).all(), method
            assert (margins >= bound.margins[number]).all(), method
    slack = 1e-4 * max(1, np.abs(by_method["interval"].upper).max())
    for looser, tighter in (("interval", "crown-ibp"), ("crown-ibp", "crown")):
        one, other = by_method[looser], by_method[tighter]
        assert (other.lower >= one.lower - slack).all() and (other.upper <= one.upper + slack).all()
        assert (other.margins >= one.margins - slack).all()


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(sorted(PIECES)), max_size=4),
    st.sampled_from([0.0, 0.4, 3.0, 40.0]),
    st.integers(0, 1000),
)
def test_nothing_leaves_the_bounds(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], radius: float, seed: int
) -> None:
    check_sound(write_net(tmp_path_factory.mktemp("net"), *net_of(names), seed), radius)


@pytest.mark.parametrize(
    "names",
    [
        ["conv", "relu", "max", "dilated", "relu"],
        ["residual", "overlapping", "norm", "scale", "relu"],
        ["strided", "relu", "average", "dropout", "residual"],
        ["max", "max"],
    ],
)
def test_nothing_leaves_the_bounds_of_these(tmp_path: Path, names: list[str]) -> None:
    check_sound(write_net(tmp_path, *net_of(names), 1), 2.5)


def matrices(
    description: ModelDescription,
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return the linear layers of a chain as matrices."""
    found = []
    for node in read_network(description).nodes:
        if isinstance(node.layer, Convolution):
            it = node.layer.sliding
            matrix = convolution_matrix(
                node.layer.weights,
                it.shape,
                stride=it.stride[0],
                pad=it.pad[0],
                dilation=it.dilation[0],
                group=node.layer.group,
            )
            found.append((matrix, np.repeat(node.layer.bias, np.prod(it.outputs))))
        elif isinstance(node.layer, InnerProduct):
            found.append((node.layer.weights, node.layer.bias))
    return found


@pytest.mark.parametrize("radius", [0.0, 1.0, 12.0])
def test_the_dual_bound_is_the_reference(tmp_path: Path, radius: float) -> None:
    grouped = "kernel_size: 3 stride: 2 pad: 1 group: 2"
    text = (
        layer("one", "Convolution", "data", CONVOLUTION % "kernel_size: 2 dilation: 2")
        + layer("relu1", "ReLU", "one", top="one")
        + layer("two", "Convolution", "one", CONVOLUTION % grouped)
        + layer("relu2", "ReLU", "two", top="two")
        + layer("three", "InnerProduct", "two", "inner_product_param { num_output: 6 }")
        + layer("relu3", "ReLU", "three", top="three")
    )
    description = write_net(tmp_path, text, "three", 3)
    network = read_network(description)
    radii = np.full(len(IMAGES), radius)
    found = Bounder(network, "dual").bound(IMAGES, LABELS, radii)
    box = make_pixel_box(network.pixel_space, IMAGES, radii)
    for number in range(len(IMAGES)):
        lower, upper = box.lower[number].ravel(), box.upper[number].ravel()
        expected = dual_bounds(matrices(description), (lower + upper) / 2, (upper - lower) / 2)[-1]
        assert np.allclose(found.lower[number], expected[0], rtol=1e-4, atol=1e-4)
        assert np.allclose(found.upper[number], expected[1], rtol=1e-4, atol=1e-4)
    assert (found.upper - found.lower > 0.001 * radius).all()


def test_nothing_leaves_the_bounds_of_a_published_lenet() -> None:
    folder, name = os.environ.get("CAFFE_EXT_MODELS"), "lenet_R0.caffemodel.h5"
    if folder is None or not (Path(folder) / name).is_file() or "CAFFE_EXT_DATA" not in os.environ:
        pytest.skip(f"needs {name} in CAFFE_EXT_MODELS and MNIST in CAFFE_EXT_DATA")
    description = read_model(LENET, Path(folder) / name)
    test, model = load_images("mnist", "test"), description.load(100)
    image, label = test.images[:1], int(test.labels[0])
    bound = Bounder(read_network(description), "crown").bound(
        image, test.labels[:1], np.array([2.0])
    )
    points = points_within(model, image[0], 2.0, label)
    logits = model.logits(points).astype(np.float64)
    assert (logits >= bound.lower).all() and (logits <= bound.upper).all()
    assert bound.certified.all()


def test_slices_change_nothing(tmp_path: Path) -> None:
    description = write_net(tmp_path, *net_of(["conv", "relu", "max", "dilated", "relu"]), 1)
    for method in METHODS:
        whole = bounded(description, method, 2.5)
        sliced = bounded(description, method, 2.5, memory=200_000)
        assert np.allclose(whole.lower, sliced.lower, rtol=0, atol=1e-9)
        assert np.allclose(whole.margins, sliced.margins, rtol=0, atol=1e-9)


def test_images_keep_to_their_own_radii(tmp_path: Path) -> None:
    description = write_net(tmp_path, *net_of(["conv", "relu"]), 1)
    bounder = Bounder(read_network(description), "crown")
    radii = np.array([0.5, 4.0, 0.0])
    together = bounder.bound(IMAGES, LABELS, radii)
    for number in range(3):
        rows = slice(number, number + 1)
        alone = bounder.bound(IMAGES[rows], LABELS[rows], radii[rows])
        assert np.allclose(together.lower[rows], alone.lower, rtol=0, atol=1e-9)
    logits = description.load(3).logits(IMAGES)[2]
    assert np.allclose(together.lower[2], logits, atol=1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (layer("odd", "Sigmoid", "data"), r"layer 'odd' \(Sigmoid\) cannot be bounded"),
        (layer("odd", "LRN", "data"), r"layer 'odd' \(LRN\) cannot be bounded"),
        (layer("odd", "ReLU", "data", "relu_param { negative_slope: 0.1 }"), "negative_slope 0"),
        (layer("odd", "Eltwise", "data data", "eltwise_param { operation: PROD }"), "SUM"),
        (
            layer("odd", "Pooling", "data", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"),
            "AVE",
        ),
    ],
)
def test_layers_without_bounds_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UnboundableError, match=message):
        read_network(write_net(tmp_path, text + layer("relu", "ReLU", "odd"), "relu"))


def test_what_lies_beside_the_logits_is_left_out(tmp_path: Path) -> None:
    text = layer("beside", "Sigmoid", "data") + layer("relu", "ReLU", "data")
    assert len(read_network(write_net(tmp_path, text, "relu")).nodes) == 3


def test_the_mask_of_a_maximum_is_not_its_value(tmp_path: Path) -> None:
    pool = "layer { name: 'pool' type: 'Pooling' bottom: 'data' top: 'pool' top: 'mask'\n"
    pool += "pooling_param { pool: MAX kernel_size: 2 stride: 2 } }\n"
    with pytest.raises(UnboundableError, match=r"layer 'pool' \(Pooling\).* it has 2 tops"):
        read_network(write_net(tmp_path, pool, "mask"))


def test_layers_are_those_of_the_built_net(tmp_path: Path) -> None:
    phases = layer("same", "ReLU", "data", "include { phase: TRAIN }")
    phases += layer("same", "Dropout", "data", "include { phase: TEST }")
    nodes = read_network(write_net(tmp_path / "phases", phases, "same")).nodes
    assert [type(node.layer).__name__ for node in nodes] == ["NoneType", "InnerProduct"]


def test_a_prototxt_of_an_old_version_is_bounded_alike(tmp_path: Path) -> None:
    description = write_net(tmp_path, layer("relu", "ReLU", "data"), "relu")
    expected = bounded(description, "crown", 2.0)
    text = description.deploy.read_text()
    start, rest = text.split("layer { name: 'relu'", 1)
    dims = re.findall(r"dim: (\d+)", start)
    old = "input: 'data'\n" + "".join(f"input_dim: {dim}\n" for dim in dims)
    old += ("layer { name: 'relu'" + rest).replace("layer {", "layers {")
    kinds = {"ReLU": "RELU", "InnerProduct": "INNER_PRODUCT", "Softmax": "SOFTMAX"}
    for kind, number in kinds.items():
        old = old.replace(f"type: '{kind}'", f"type: {number}")
    description.deploy.write_text(old)
    actual = bounded(description, "crown", 2.0)
    assert np.array_equal(actual.margins, expected.margins)


def test_what_makes_no_bounds(tmp_path: Path) -> None:
    description = write_net(tmp_path, *net_of(["conv", "relu"]))
    with pytest.raises(ValueError, match="methods are interval, crown-ibp, crown, dual"):
        bounded(description, "exact", 1)
    for radius in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="radii must be 0 or more"):
            bounded(description, "crown", radius)
    with pytest.raises(ValueError, match=r"at least 1 MiB of memory \(--memory\)"):
        bounded(description, "crown", 1, memory=1000)
