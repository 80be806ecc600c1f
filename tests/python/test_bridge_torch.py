"""A Caffe model as a module of PyTorch: values, gradients, and what is refused."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe_ext.models.base import Model
from caffe_ext.models.classifier import Classifier
from classifier_models import DEEP, LINEAR, SPACE, WEIGHTS, write_model

torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra `torch`")

from caffe_ext.bridges.torch import as_module  # noqa: E402  (needs PyTorch)
from caffe_ext.models.description import read_model  # noqa: E402
from caffe_ext.models.pixels import PixelSpace  # noqa: E402

# The net computes in float32: gradcheck's differences of 1e-2 (2.55 grey levels) of its outputs,
# which are some units large, are good to about 1e-6 / 1e-2.
STEP, TOLERANCE = 1e-2, 2e-3


@pytest.fixture
def model(tmp_path: Path) -> Classifier:
    """Return a net with a mean, BGR, a crop of 6 of 8 pixels, and TanH."""
    mean = np.random.default_rng(5).uniform(90, 160, (3, 8, 8))
    space = PixelSpace(0.02, mean, "BGR", crop=6)
    return Classifier(*write_model(tmp_path, DEEP), space, batch_size=4)


def images_of(model: Model, count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, *model.image_shape), np.uint8)


def test_logits_are_those_of_the_grey_levels(model: Classifier) -> None:
    images = images_of(model, 10)
    logits = model.logits(images)
    whole, unit = torch.from_numpy(images).float(), torch.from_numpy(images) / 255
    assert unit.dtype == torch.float32
    for values, value_range in ((unit, (0, 1)), (whole, (0, 255)), (unit * 2 - 1, (-1, 1))):
        found = as_module(model, value_range)(values)
        np.testing.assert_allclose(found.numpy(), logits, rtol=0, atol=1e-5)
    assert torch.equal(as_module(model)(unit), torch.from_numpy(logits))
    assert as_module(model)(unit[:0]).shape == (0, model.classes)


def test_the_gradient_is_caffes(model: Classifier) -> None:
    images = images_of(model, 10)
    diff = np.random.default_rng(2).normal(size=(10, model.classes)).astype(np.float32)
    values = (torch.from_numpy(images) / 255).requires_grad_()
    (as_module(model)(values) * torch.from_numpy(diff)).sum().backward()
    np.testing.assert_allclose(
        values.grad.numpy(), 255 * model.gradient(images, diff), rtol=1e-4, atol=1e-5
    )


def test_gradcheck_in_double(model: Classifier) -> None:
    values = torch.from_numpy(images_of(model, 2)).double() / 255 * 0.8 + 0.1
    assert torch.autograd.gradcheck(
        as_module(model), values.requires_grad_(), eps=STEP, atol=TOLERANCE, rtol=TOLERANCE
    )


def test_of_a_linear_net_it_is_exact(tmp_path: Path) -> None:
    module = as_module(Classifier(*write_model(tmp_path, LINEAR), PixelSpace(1 / 256)))
    values = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    module(values)[0, 2].backward()
    assert torch.equal(values.grad.flatten(), torch.from_numpy(WEIGHTS[2] * (255 / 256)))


def test_types_of_values(model: Classifier) -> None:
    values = torch.full((2, *model.image_shape), 0.5)
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        images = values.to(dtype, copy=True).requires_grad_()
        logits = as_module(model)(images)
        logits.sum().backward()
        assert logits.dtype == images.grad.dtype == dtype


def test_it_keeps_no_graph_without_gradients(model: Classifier) -> None:
    values = torch.full((1, *model.image_shape), 0.5)
    module = as_module(model)
    assert not module(values).requires_grad
    with torch.no_grad():
        assert not module(values.clone().requires_grad_()).requires_grad
    assert [tuple(one.shape) for one in module.parameters()] == [(0,)]


def test_training_mode_changes_nothing(tmp_path: Path) -> None:
    text = LINEAR.replace(
        "layer { name: 'prob'",
        "layer { name: 'drop' type: 'Dropout' bottom: 'score' top: 'score' } layer { name: 'prob'",
    )
    module = as_module(Classifier(*write_model(tmp_path, text), PixelSpace()))
    values = torch.rand(4, 1, 2, 2)
    assert torch.equal(module.train()(values), module.eval()(values))


def test_second_derivatives_are_refused(model: Classifier) -> None:
    values = torch.full((1, *model.image_shape), 0.5, requires_grad=True)
    logits = as_module(model)(values)
    (gradient,) = torch.autograd.grad(logits[0, 0], values, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        gradient.square().sum().backward()


def test_the_calls_of_several_threads(model: Classifier) -> None:
    modules = [as_module(model), as_module(model)]
    batches = [torch.rand(5, *model.image_shape) for _ in range(8)]

    def gradient(number: int) -> Any:
        values = batches[number].clone().requires_grad_()
        modules[number % 2](values)[:, 0].sum().backward()
        return values.grad

    alone = [gradient(number) for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(gradient, range(8)))
    assert all(map(torch.equal, alone, together))


def test_what_is_refused(model: Classifier) -> None:
    module, images = as_module(model), torch.full((2, *model.image_shape), 0.5)
    with pytest.raises(ValueError, match=r"\(N, 3, 8, 8\), not \(2, 3, 7, 8\)"):
        module(images[:, :, 1:])
    with pytest.raises(
        ValueError, match=r"from 0 \(black\) to 1 \(white\); these are from 127.5 to"
    ):
        module(images * 255)
    with pytest.raises(ValueError, match="must be from 0"):
        module(images * float("nan"))
    with pytest.raises(ValueError, match=r"floating-point type, not torch\.uint8"):
        module(images.byte())
    with pytest.raises(ValueError, match=r"on meta, .* device='cpu'"):
        module(images.to("meta"))
    with pytest.raises(ValueError, match=r", not \(1, 0\)"):
        as_module(model, (1, 0))
    with pytest.raises(TypeError, match=r"images must be a torch\.Tensor, not ndarray"):
        module(images.numpy())


def test_a_model_that_is_not_loaded_is_refused(model: Classifier, tmp_path: Path) -> None:
    """read_model() without load(), and the file's name, are easily passed."""
    (tmp_path / "net.yaml").write_text("deploy: deploy.prototxt\nweights: w.caffemodel\n")
    description = read_model(tmp_path / "net.yaml")
    with pytest.raises(TypeError, match=r"not ModelDescription: load\(\) returns its model"):
        as_module(description)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"such as read_model\(\.\.\.\)\.load\(\), not str$"):
        as_module("net.yaml")  # type: ignore[arg-type]


def test_its_text(model: Classifier) -> None:
    assert repr(as_module(model)) == "CaffeModule(images=(N, 3, 8, 8) in [0, 1], classes=5)"


def test_foolbox_finds_adversarials(tmp_path: Path) -> None:
    foolbox = pytest.importorskip("foolbox", reason="Foolbox is not installed: the extra `bench`")
    model = Classifier(*write_model(tmp_path, DEEP), SPACE)
    images = images_of(model, 20)
    labels = model.predict(images)
    attacked = foolbox.PyTorchModel(as_module(model).eval(), bounds=(0, 1), device="cpu")
    values = torch.from_numpy(images) / 255
    _, (clipped,), (found,) = foolbox.attacks.LinfPGD(steps=10)(
        attacked, values, torch.from_numpy(labels), epsilons=[0.1]
    )
    assert (clipped - values).abs().max() <= 0.1 + 1e-6
    changed = model.predict((clipped * 255).numpy().clip(0, 255)) != labels
    assert found.numpy().tolist() == changed.tolist()
    assert changed.mean() > 0.5
