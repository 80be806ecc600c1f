"""pycaffe's backward from any layer in nets that end early, reshape, or have several losses."""

import os
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest

from backward_nets import NET, build, data_gradient, random_diff, soil

pytestmark = pytest.mark.any_device


@pytest.fixture
def net(tmp_path: Path) -> Any:
    return build(tmp_path, "force_backward: true" + NET)


def test_same_as_the_truncated_net(tmp_path: Path, net: Any) -> None:
    head = NET[: NET.index("layer { name: 'product'")]
    short = build(tmp_path, "force_backward: true" + head)
    for name, parameters in short.params.items():
        for mine, others in zip(parameters, net.params[name], strict=True):
            mine.data[...] = others.data
    short.forward()
    diff = random_diff(net, "c")
    short.blobs["aux"].diff[...] = 0  # upstream's way, in a net that ends here
    short.blobs["c"].diff[...] = diff
    expected = short.backward()["data"].copy()
    soil(net)
    net.clear_param_diffs()
    assert np.array_equal(net.backward(start="c", c=diff)["data"], expected)
    assert np.array_equal(net.params["layer_x"][0].diff, short.params["layer_x"][0].diff)
    assert not net.params["layer_b"][0].diff.any()


def test_a_dangling_output_does_not_leak_into_training(tmp_path: Path) -> None:
    net = build(
        tmp_path,
        "force_backward: true"
        + NET
        + "layer { name: 'feature' type: 'Power' bottom: 'd' top: 'feature' }"
        + "layer { name: 'place' type: 'ReLU' bottom: 'feature' top: 'feature' }",
    )
    net.backward()
    expected = net.blobs["data"].diff.copy()
    assert data_gradient(net, feature=random_diff(net, "feature")).any()
    assert np.array_equal(net.backward()["data"], expected)


def test_softmax_output(tmp_path: Path) -> None:
    net = build(
        tmp_path,
        "force_backward: true"
        + NET[: NET.index("layer { name: 'loss'")]
        + "layer { name: 'prob' type: 'Softmax' bottom: 'out' top: 'prob' }",
    )
    probabilities = net.blobs["prob"].data.copy()
    diff = random_diff(net, "prob")
    logits = probabilities * (diff - (diff * probabilities).sum(axis=1, keepdims=True))
    by_hand = data_gradient(net, out=logits)
    np.testing.assert_allclose(data_gradient(net, prob=diff), by_hand, rtol=1e-4, atol=1e-6)
    both = data_gradient(net, prob=diff, out=logits)
    np.testing.assert_allclose(both, 2 * by_hand, rtol=1e-4, atol=1e-6)


def test_shared_memory_of_reshaping_layers(tmp_path: Path) -> None:
    net = build(
        tmp_path,
        "force_backward: true"
        + NET[: NET.index("layer { name: 'loss'")]
        + """layer { name: 'f' type: 'Flatten' bottom: 'out' top: 'f' }
             layer { name: 'r' type: 'Reshape' bottom: 'f' top: 'r'
               reshape_param { shape { dim: 0 dim: 2 dim: 2 } } }""",
    )
    for _ in range(2):  # Flatten shares its diff for good, the first time
        given = {name: random_diff(net, name, i) for i, name in enumerate(["out", "r", "f"])}
        soil(net)
        by_hand = given["out"] + given["r"].reshape(2, 4) + given["f"]
        gradient = data_gradient(net, **given)
        np.testing.assert_allclose(gradient, data_gradient(net, out=by_hand), rtol=1e-4)


@pytest.mark.parametrize(
    "below",
    [
        'type: "Reshape" reshape_param { shape { dim: 0 dim: 2 dim: 2 } }',
        'type: "Slice"',
        'type: "Concat"',
    ],
)
def test_the_gradient_passes_flatten(tmp_path: Path, below: str) -> None:
    net = build(
        tmp_path,
        "force_backward: true layer { name: 'data' type: 'Input' top: 'data' "
        "input_param { shape { dim: 2 dim: 4 } } }"
        f"layer {{ name: 'below' bottom: 'data' top: 'below' {below} }}"
        "layer { name: 'out' type: 'Flatten' bottom: 'below' top: 'out' }",
    )
    net.forward()
    diff = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert np.array_equal(net.backward(out=diff)["data"], diff)


def test_a_net_without_force_backward_says_so(tmp_path: Path) -> None:
    deploy = NET[: NET.index("layer { name: 'loss'")].replace("loss_weight: 0.3", "loss_weight: 0")
    net = build(tmp_path, deploy)
    with pytest.raises(ValueError, match=r"'out'.* is not run backward.*force_backward: true"):
        net.backward(out=random_diff(net, "out"))
    net = build(tmp_path, NET)
    diff = random_diff(net, "out")
    with pytest.raises(ValueError, match=r"blob data is not computed.*force_backward: true"):
        net.backward(out=diff)
    assert net.backward(end="x", out=diff)["x"].any()
    in_place = "layer { name: 'scaled' type: 'Scale' bottom: 'data' top: 'data' }\n"
    net = build(
        tmp_path, NET.replace("layer { name: 'layer_x'", in_place + "layer { name: 'layer_x'")
    )
    with pytest.raises(ValueError, match="blob data is not computed"):
        net.backward(data=random_diff(net, "data"))


def test_layers_without_a_backward_pass_do_not_end_python(tmp_path: Path) -> None:
    net = build(
        tmp_path,
        "force_backward: true"
        + NET
        + """layer { name: 'labels' type: 'DummyData' top: 'label'
               dummy_data_param { shape { dim: 2 } data_filler { type: 'constant' } } }
             layer { name: 'acc' type: 'Accuracy' bottom: 'out' bottom: 'label' top: 'acc' }""",
    )
    assert data_gradient(net, out=random_diff(net, "out")).any()
    with pytest.raises(ValueError, match=r"layer 'acc' has no backward pass \(Accuracy\)"):
        net.backward(acc=np.float32(1))


def googlenet() -> Path:
    """BVLC's own prototxt, in the source that the build unpacks beside python/caffe."""
    build = Path(os.environ.get("CAFFE_ROOT", Path(caffe.__file__).parents[2] / "caffe" / "src"))
    path = build / "models" / "bvlc_googlenet" / "train_val.prototxt"
    if not path.is_file():
        pytest.skip(f"skipped: {path} does not exist")
    return path


def test_googlenet_below_its_losses(tmp_path: Path) -> None:
    text = googlenet().read_text()
    head = """force_backward: true
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } } }
layer { name: 'label' type: 'DummyData' top: 'label'
  dummy_data_param { shape { dim: 1 } data_filler { type: 'constant' } } }
"""
    cut = text.index("layer {", text.index('name: "inception_4b/1x1"') - 20)
    net = build(tmp_path, head + text[text.index('layer {\n  name: "conv1/7x7_s2"') : cut])
    blob = "inception_4a/output"
    diff = random_diff(net, blob)
    soil(net)
    below = data_gradient(net, **{blob: diff})
    assert np.isfinite(below).all()
    assert below.any()
    again = data_gradient(net, **{blob: diff})
    assert np.array_equal(below, again)
    net.clear_param_diffs()
    net.backward()
    trained = net.blobs["data"].diff.copy()
    loss = data_gradient(net, **{"loss1/loss1": np.float32(0.3)})
    np.testing.assert_allclose(loss, trained, rtol=1e-3, atol=1e-7)
    both = data_gradient(net, **{"loss1/loss1": np.float32(0.3), blob: diff})
    scale = np.abs(both).max()
    np.testing.assert_allclose(both, loss + below, rtol=1e-3, atol=1e-5 * scale)
