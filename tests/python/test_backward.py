"""pycaffe's backward from any layer or blob, against finite differences, and nothing stale."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backward_nets import BLOBS, NET, Array, build, data_gradient, numeric, random_diff, soil

pytestmark = pytest.mark.any_device


@pytest.fixture
def net(tmp_path: Path) -> Any:
    return build(tmp_path, "force_backward: true" + NET)


@pytest.mark.parametrize("blob", BLOBS)
def test_every_blob_against_finite_differences(net: Any, blob: str) -> None:
    given = {blob: random_diff(net, blob)}
    soil(net)
    gradient = data_gradient(net, **given)
    assert np.abs(gradient).max() > 1e-3
    np.testing.assert_allclose(gradient, numeric(net, given), atol=5e-4)


@pytest.mark.parametrize(
    "blobs", [["x", "out"], ["b", "c"], ["data", "d"], ["aux", "out"], ["b", "aux"], BLOBS]
)
def test_several_blobs_add_up(net: Any, blobs: list[str]) -> None:
    given = {blob: random_diff(net, blob, seed) for seed, blob in enumerate(blobs)}
    soil(net)
    gradient = data_gradient(net, **given)
    np.testing.assert_allclose(gradient, numeric(net, given), atol=1e-3)
    single = sum(data_gradient(net, **{blob: diff}) for blob, diff in given.items())
    np.testing.assert_allclose(gradient, single, rtol=1e-4, atol=1e-5)


def test_a_branch_that_did_not_run_is_zero_and_not_stale(net: Any) -> None:
    soil(net)
    outs = net.backward(diffs=["b", "x", "d"], start="c", c=random_diff(net, "c"))
    assert not outs["b"].any()
    assert not outs["d"].any()  # above the start
    assert outs["x"].any()


def test_start_at_a_layer_is_its_output_and_at_a_blob_the_last_in_place(net: Any) -> None:
    diff, c = random_diff(net, "c"), net.blobs["c"].data.copy()

    def at(start: str, diff: Array) -> Array:
        return np.array(net.backward(start=start, c=diff)["data"])

    expected = data_gradient(net, x=diff @ net.params["layer_c"][0].data)
    np.testing.assert_allclose(at("layer_c", diff), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(at("scale", diff), 2 * expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(at("sigmoid", diff), at("scale", diff * c * (1 - c)), rtol=1e-4)
    assert np.array_equal(at("c", diff), at("sigmoid", diff))
    assert np.array_equal(data_gradient(net, c=diff), at("sigmoid", diff))


def test_a_start_without_a_diff_takes_the_blob_s_own(net: Any) -> None:
    diff = random_diff(net, "c")
    expected = data_gradient(net, c=diff)
    soil(net)
    net.blobs["c"].diff[...] = diff
    assert np.array_equal(net.backward(start="c")["data"], expected)


def test_a_view_of_a_diff_may_be_given(net: Any) -> None:
    diff = random_diff(net, "b")
    expected = data_gradient(net, b=diff)
    for blob in ("b", "c"):  # the pass itself writes over both
        net.blobs[blob].diff[...] = diff
        assert np.array_equal(data_gradient(net, b=net.blobs[blob].diff), expected)


def test_end_at_a_blob_or_a_layer(net: Any) -> None:
    diff = random_diff(net, "out")
    full = net.backward(diffs=["x", "d"], out=diff)
    x, d = full["x"].copy(), full["d"].copy()
    c = random_diff(net, "c")
    assert np.array_equal(net.backward(end="c", c=c)["c"], c)
    assert np.array_equal(net.backward(end="d", out=diff)["d"], d)
    layer = net.backward(end="out", start="out", out=diff)  # both names: the layer's
    assert set(layer) == {"d"}
    assert np.array_equal(layer["d"], d)
    # x stands for what the last layer in place left; the full pass went through tanh as well.
    tip = net.backward(end="x", out=diff)["x"].copy()
    np.testing.assert_allclose(x, tip * (1 - net.blobs["x"].data ** 2), rtol=1e-5)


def test_losses_keep_their_weights_and_training_its_gradients(net: Any) -> None:
    def trained() -> list[Array]:
        net.clear_param_diffs()
        net.forward()  # Scale in place writes over what its backward pass needs for the weights
        net.backward()
        return [p.diff.copy() for ps in net.params.values() for p in ps]

    expected = trained()
    outs = net.backward(diffs=["aux"], aux=np.float32(7), out=random_diff(net, "out"))
    assert outs["aux"] == 7
    assert net.blobs["aux"].diff == np.float32(0.3)
    assert all(np.array_equal(a, b) for a, b in zip(trained(), expected, strict=True))


def test_upstream_s_calls_are_as_they_were(net: Any) -> None:
    soil(net)
    outs = net.backward()
    assert set(outs) == {"data"}
    trained = outs["data"].copy()
    weights = {"aux": 0.3 * np.ones(()), "loss": np.ones(())}
    assert np.allclose(data_gradient(net, **weights), trained, rtol=1e-5)
    net.blobs["out"].diff[...] = diff = random_diff(net, "out")
    layer = net.backward(start="out", end="out")
    assert set(layer) == {"d"}
    assert np.allclose(layer["d"], diff @ net.params["out"][0].data, rtol=1e-4, atol=1e-6)


def test_errors_name_what_is_wrong_and_what_there_is(net: Any) -> None:
    diff = random_diff(net, "out")
    with pytest.raises(ValueError, match=r"'nowhere'.*layer_x.*target"):
        net.backward(start="nowhere")
    with pytest.raises(ValueError, match=r"'nowhere'.*layer_x"):
        net.backward(end="nowhere", out=diff)
    with pytest.raises(ValueError, match=r"no blob is called 'nothing'; there are data"):
        net.backward(nothing=diff)
    with pytest.raises(ValueError, match=r"no blob is called 'nothing'"):
        net.backward(out=diff, diffs=["nothing"])
    with pytest.raises(ValueError, match=r"diff of blob 'out' has shape \(2, 3\), the blob \(2, 4"):
        net.backward(out=diff[:, :3])
    with pytest.raises(ValueError, match=r"'out' is above the layer 'tanh'"):
        net.backward(start="x", out=diff)
    with pytest.raises(ValueError, match=r"'x' is below the layer 'out'"):
        net.backward(end="out", out=diff, x=random_diff(net, "x"))


def test_weights_alone_are_skipped_on_request(net: Any) -> None:
    diff = random_diff(net, "out")
    net.clear_param_diffs()
    expected = data_gradient(net, out=diff)
    assert net.params["layer_b"][0].diff.any()
    net.clear_param_diffs()
    for layer in net.layers:
        for number in range(len(layer.blobs)):
            layer.set_param_propagate_down(number, False)
    assert np.array_equal(data_gradient(net, out=diff), expected)
    assert not any(p.diff.any() for ps in net.params.values() for p in ps)
