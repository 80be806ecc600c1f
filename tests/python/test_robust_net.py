"""Robust training nets: their losses are those of the definitions, and Caffe trains them."""

from pathlib import Path

import caffe
import numpy as np
import pytest

from bounds_reference import Affine, dual_bounds
from caffe_ext.training.robust_net import (
    BOUNDED,
    METHODS,
    ChainError,
    Method,
    RobustLoss,
    read_chain,
    write_robust_net,
)
from robust_samples import (
    BATCH,
    EPSILON,
    LOSS,
    NETS,
    SHAPE,
    as_matrices,
    build,
    convolution,
    images_of,
    inner_product,
    relu,
    write_stock,
)

nets = pytest.mark.parametrize("name", NETS)
RADIUS = EPSILON * 0.01  # of the data layer's scale


def bounds_of(layers: list[Affine], image: np.ndarray) -> list[Affine]:
    return dual_bounds(layers, image, np.full(image.size, RADIUS))


@pytest.mark.any_device
@nets
def test_sensitivity_is_that_of_the_dual_bound(tmp_path: Path, name: str) -> None:
    net, chain = build(tmp_path, NETS[name], RobustLoss("sm", EPSILON))
    layers, volumes = as_matrices(net, chain), []
    for number, image in enumerate(images_of(net)):
        bounds = bounds_of(layers, image)
        for step, (lower, upper) in zip(chain.steps[:-1], bounds[:-1], strict=True):
            for ending, expected in (("lower", lower), ("upper", upper)):
                found = net.blobs[f"{step.name}_{ending}"].data[number].ravel()
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        lower, upper = bounds[-1]
        widths = net.blobs["up"].data[number] + net.blobs["down"].data[number]
        np.testing.assert_allclose(widths, upper - lower, rtol=1e-4)
        volumes.append(np.prod(upper - lower))
    assert net.blobs["sensitivity"].data == pytest.approx(np.mean(volumes), rel=1e-4)


@pytest.mark.any_device
@nets
def test_worst_case_loss_is_that_of_the_dual_bound(tmp_path: Path, name: str) -> None:
    net, chain = build(tmp_path, NETS[name], RobustLoss("kw", EPSILON))
    layers, losses = as_matrices(net, chain), []
    weights, bias = layers[-1]
    for image, label in zip(images_of(net), net.blobs["label"].data.astype(int), strict=True):
        # Margins z_label - z_t are the scores of a last layer of their own.
        margins = np.eye(len(bias))[label] - np.eye(len(bias))
        lower, _ = bounds_of([*layers[:-1], (margins @ weights, margins @ bias)], image)[-1]
        losses.append(np.log(np.exp(-lower).sum()) + lower[label])
    assert net.blobs["worst_loss"].data == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.any_device
@nets
def test_jacobian_loss_is_the_squared_norm(tmp_path: Path, name: str) -> None:
    net, chain = build(tmp_path, NETS[name], RobustLoss("jacob"))
    layers, norms = as_matrices(net, chain), []
    for image in images_of(net):
        value, jacobian = image, np.eye(image.size)
        for number, (weights, bias) in enumerate(layers):
            value, jacobian = weights @ value + bias, weights @ jacobian
            if number + 1 < len(layers):
                jacobian = jacobian * (value > 0)[:, None]
                value = np.maximum(value, 0)
        norms.append((jacobian**2).sum())
    assert net.blobs["jacobian"].data == pytest.approx(np.mean(norms), rel=1e-4)


@pytest.mark.any_device
@nets
def test_spectral_loss_is_half_the_squared_singular_value(tmp_path: Path, name: str) -> None:
    net, chain = build(tmp_path, NETS[name], RobustLoss("spectral"))
    for _ in range(300):
        net.forward()
    for step in chain.steps:
        weights = np.array(net.params[step.name][0].data, np.float64)
        sigma = np.linalg.norm(weights.reshape(len(weights), -1), 2)
        assert net.blobs[f"{step.name}_spectral"].data == pytest.approx(sigma**2 / 2, rel=1e-3)


@pytest.mark.any_device
@nets
@pytest.mark.parametrize("method", METHODS)
def test_gradient_of_the_shared_weights(tmp_path: Path, name: str, method: Method) -> None:
    """Along most of some directions, as by central differences; float allows a few digits."""
    epsilon = EPSILON if method in BOUNDED else None
    net, chain = build(tmp_path, NETS[name], RobustLoss(method, epsilon, weight=1.0))

    def objective() -> float:
        net.forward()
        weights = {"loss": 0.0 if method == "kw" else 1.0}
        return sum(weights.get(blob, 1.0) * float(net.blobs[blob].data) for blob in net.outputs)

    for _ in range(50 if method == "spectral" else 1):
        objective()
    for blobs in net.params.values():
        for blob in blobs:
            blob.diff[...] = 0
    net.backward()
    random = np.random.default_rng(5)
    for step in chain.steps:
        for blob in net.params[step.name]:
            before, errors = blob.data.copy(), []
            for _ in range(9):
                direction = random.normal(size=before.shape)
                direction /= np.linalg.norm(direction)
                slope = float((blob.diff * direction).sum())
                found = []
                for sign in (1, -1):
                    blob.data[...] = before + sign * 5e-4 * direction
                    found.append(objective())
                blob.data[...] = before
                errors.append(abs((found[0] - found[1]) / 1e-3 - slope) / (1 + abs(slope)))
            # Kinks, and the jumps of the Jacobian, lie between the two points of some.
            assert np.median(errors) < 0.01


@nets
@pytest.mark.parametrize("method", METHODS)
def test_caffe_logs_losses_only(tmp_path: Path, name: str, method: Method) -> None:
    net, _ = build(tmp_path, NETS[name], RobustLoss(method, EPSILON if method in BOUNDED else None))
    assert [blob for blob in net.outputs if net.blobs[blob].data.size != 1] == []


@pytest.mark.any_device
def test_caffe_trains_it(tmp_path: Path) -> None:
    """Descent along the gradient lowers the sensitivity; the shared weights stay the same."""
    net, chain = build(tmp_path, NETS["conv2"], RobustLoss("sm", EPSILON, weight=1e3))
    before = float(net.blobs["sensitivity"].data)
    for _ in range(20):
        for blobs in net.params.values():
            for blob in blobs:
                blob.diff[...] = 0
        net.forward()
        net.backward()
        for step in chain.steps:
            for blob in net.params[step.name]:
                blob.data[...] -= 0.01 * blob.diff
    assert float(net.blobs["sensitivity"].data) < before / 2
    np.testing.assert_array_equal(net.params["c1"][0].data, net.params["c1_rows"][0].data)


def test_the_stock_net_is_kept(tmp_path: Path) -> None:
    """In the test phase, nothing is added."""
    chain = read_chain(write_stock(tmp_path, NETS["conv2"]), SHAPE)
    text = write_robust_net(chain, RobustLoss("sm", EPSILON), "written\nfor a test")
    assert text.startswith('# written\n# for a test\nname: "net"\n')
    path = tmp_path / "robust.prototxt"
    stock = len(chain.network.layer)
    path.write_text(
        text[: text.index("layer {")]
        + f"layer {{ name: 'data' type: 'Input' top: 'data' top: 'label' input_param {{ "
        f"shape {{ dim: {BATCH} dim: 2 dim: 8 dim: 8 }} shape {{ dim: {BATCH} }} }} }}\n"
        + text[text.index("layer {", text.index("layer {") + 1) :]
    )
    names = [n for n in caffe.Net(str(path), caffe.TEST)._layer_names if "split" not in n]
    assert names == [layer.name for layer in chain.network.layer]
    assert len(names) == stock


POOLING = """
layer { name: 'p' type: 'Pooling' bottom: 'c1' top: 'p' pooling_param { kernel_size: 2 } }
"""
C1 = convolution("c1", "data", 3, "kernel_size: 4 stride: 2 pad: 1")
I1 = inner_product("i", "data", 4)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (C1 + POOLING + LOSS % "p", "layer 'p' (Pooling): only Convolution, InnerProduct, ReLU"),
        (
            C1 + inner_product("ip", "c1", 3) + LOSS % "ip",
            "layer 'ip' (InnerProduct): there is no ReLU between it and 'c1'",
        ),
        (
            convolution("c", "data", 3, "kernel_size: 3 stride: 2") + LOSS % "c",
            "layer 'c' (Convolution): its kernel leaves out the last 1 of 8 values",
        ),
        (
            convolution("c", "data", 3, "kernel_size: 9") + LOSS % "c",
            "layer 'c' (Convolution): its kernel exceeds what is below, 2 x 8 x 8",
        ),
        (
            convolution("c", "data", 4, "kernel_size: 3 group: 2") + LOSS % "c",
            "layer 'c' (Convolution): only group 1, axis 1 and dilation 1 can",
        ),
        (
            convolution("c", "data", 4, "kernel_h: 3 kernel_w: 2") + LOSS % "c",
            "layer 'c' (Convolution): kernel_size must be the same for height and width",
        ),
        (
            I1 + relu("r", "i") + convolution("c", "i", 2, "kernel_size: 1"),
            "it needs one SoftmaxWithLoss of scores and labels",
        ),
        (I1 + LOSS % "i", "layer 'i' (InnerProduct): it is the only layer"),
        (relu("r", "data") + LOSS % "data", "layer 'r' (ReLU): it must follow a Convolution"),
        (
            C1 + "layer { name: 'r' type: 'ReLU' bottom: 'c1' top: 'c1' "
            "relu_param { negative_slope: 0.1 } }" + LOSS % "c1",
            "layer 'r' (ReLU): only negative_slope 0 can",
        ),
        (
            C1 + relu("r", "c1") + inner_product("ip", "data", 3) + LOSS % "ip",
            "layer 'ip' (InnerProduct): its bottom must be 'c1', the layer before it",
        ),
        (
            C1 + relu("r", "c1") + convolution("c2", "c1", 2, "kernel_size: 4") + LOSS % "c2",
            "the scores 'c2' must be the top of an InnerProduct",
        ),
        (C1 + "nonsense", "is not the prototxt of a network"),
    ],
)
def test_refuses_by_name(tmp_path: Path, layers: str, message: str) -> None:
    path = write_stock(tmp_path, layers)
    with pytest.raises(ChainError) as raised:
        read_chain(path, SHAPE)
    assert f"{path}" in str(raised.value)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("scale: 0.01", "scale: 0", "layer 'data' (Data): scale must be above 0"),
        ("scale: 0.01", "scale: -0.01", "layer 'data' (Data): scale must be above 0"),
        ("scale: 0.01", "scale: nan", "layer 'data' (Data): scale must be above 0"),
        (
            "scale: 0.01",
            "scale: 0.01 crop_size: 6",
            "layer 'data' (Data): its crop_size makes images of 6 x 6, and the shape says 8 x 8",
        ),
        ("batch_size: 3", "batch_size: 0", "layer 'data' (Data): batch_size must be 1 or more"),
        ("top: 'label'", "", "layer 'data' (Data): its tops must be images and labels"),
        ("'Data'", "'Input'", "layer 'data' (Input): only Data can be the data layer"),
        ("num_output: 3", "num_output: 0", "layer 'c1' (Convolution): num_output must be 1"),
        ("num_output: 5", "num_output: 0", "layer 'ip' (InnerProduct): num_output must be 1"),
    ],
)
def test_refuses_data_layers(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write_stock(tmp_path, NETS["conv1"])
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(ChainError) as raised:
        read_chain(path, SHAPE)
    assert f"{path}: {message}" in str(raised.value)


def test_takes_images_that_are_cropped(tmp_path: Path) -> None:
    path = write_stock(tmp_path, NETS["conv1"])
    path.write_text(path.read_text().replace("scale: 0.01", "scale: 0.01 crop_size: 8"))
    assert read_chain(path, SHAPE).steps[0].above == (3, 8, 8)


def test_refuses_a_name_that_a_new_layer_needs(tmp_path: Path) -> None:
    layers = NETS["conv1"].replace("'ip'", "'rows'")
    chain = read_chain(write_stock(tmp_path, layers), SHAPE)
    with pytest.raises(ChainError, match="the name 'rows' is needed for a new layer"):
        write_robust_net(chain, RobustLoss("sm", EPSILON))


@pytest.mark.parametrize("loss", [("sm", None), ("jacob", 3.0), ("other", None)])
def test_refuses_settings(loss: tuple[str, float | None]) -> None:
    with pytest.raises(ValueError, match="method"):
        RobustLoss(*loss)  # type: ignore[arg-type]
