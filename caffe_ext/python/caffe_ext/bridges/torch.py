"""A Model as a torch.nn.Module, for attacks that are written for PyTorch.

from caffe_ext.bridges.torch import as_module

module = as_module(read_model(Path("lenet.yaml")).load())
logits = module(images)                    # float32 (N, C, H, W) in [0, 1] -> (N, K)
logits[:, 3].sum().backward()              # images.grad is the Caffe net's own gradient

Needs PyTorch: `pip install caffe_ext[torch]`.
"""

from typing import Any

import numpy as np
import torch

from caffe_ext.bridges.value_range import ValueRange, check_model
from caffe_ext.models.base import Floats, Model


def as_module(model: Model, value_range: tuple[float, float] = (0.0, 1.0)) -> "CaffeModule":
    """Return a model as a PyTorch module.

    value_range  the values of black and of white in the images; (0, 255) for grey levels

    Raises ValueError for an invalid range, TypeError for what is no model.
    """
    check_model(model)
    return CaffeModule(model, ValueRange(*value_range))


class CaffeModule(torch.nn.Module):  # type: ignore[misc]  # torch may be missing when this is checked
    """A classifier whose forward pass is a Model's logits and whose backward pass its gradient.

    Images   (N, C, H, W), any N, C = 1 (grey) or 3 (RGB, whatever the Caffe network's channel
             order), on the CPU, of any floating-point type, from value_range's black to its white;
             mean, scale and crop are handled by the model
    Returns  the logits, (N, K), in the type of the images; no softmax

    The net computes in float32, on the model's own device. It has one mode: train() and eval() set
    `training` and change nothing; Dropout and BatchNorm behave as in a deploy net. The weights are
    not parameters: there is nothing to train. Only the images can be differentiated by, and only
    once: a second derivative raises RuntimeError. Each backward pass runs the forward pass again,
    so calls of the same model may be freely mixed, even from several threads if the model permits
    it: a Classifier lets them wait for one another.
    """

    def __init__(self, model: Model, value_range: ValueRange) -> None:
        """Take a model."""
        super().__init__()
        self.model = model
        self.value_range = value_range
        # Empty; other libraries look up the device of the first parameter.
        self.nothing_to_train = torch.nn.Parameter(torch.empty(0), requires_grad=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits; ValueError for images of another shape, type, range or device,
        TypeError for what is no tensor.
        """
        if not isinstance(images, torch.Tensor):
            raise TypeError(f"images must be a torch.Tensor, not {type(images).__name__}")
        if images.device.type != "cpu":
            raise ValueError(
                f"the images are on {images.device}, and a Caffe model takes them on the CPU: "
                "move them by .cpu(), or name device='cpu' to the library that made them"
            )
        if not images.is_floating_point():
            raise ValueError(f"images must be of a floating-point type, not {images.dtype}")
        return _Logits.apply(images, self)

    def extra_repr(self) -> str:
        """Return the model's part of the module's repr."""
        sides = ", ".join(map(str, self.model.image_shape))
        black, white = self.value_range.low, self.value_range.high
        return f"images=(N, {sides}) in [{black:g}, {white:g}], classes={self.model.classes}"

    def _compute_logits(self, images: torch.Tensor) -> torch.Tensor:
        return _make_tensor(self.model.logits(self._convert_to_pixels(images)), images)

    def _compute_gradient(self, images: torch.Tensor, diff: torch.Tensor) -> torch.Tensor:
        """Return dE/dimages for dE/dlogits."""
        numbers = np.ascontiguousarray(diff.detach().float().numpy())
        by_pixels = self.model.gradient(self._convert_to_pixels(images), numbers)
        return _make_tensor(self.value_range.convert_gradient(by_pixels), images)

    def _convert_to_pixels(self, images: torch.Tensor) -> Floats:
        # NumPy lacks bfloat16; double holds every type's values.
        values = images.detach().double().numpy()
        return self.value_range.to_pixels(values, self.model.image_shape)


class _Logits(torch.autograd.Function):  # type: ignore[misc]
    """logits = model(images)."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, module: CaffeModule) -> torch.Tensor:
        ctx.save_for_backward(images)
        ctx.module = module
        return module._compute_logits(images)

    @staticmethod
    def backward(ctx: Any, diff: torch.Tensor) -> tuple[torch.Tensor, None]:
        (images,) = ctx.saved_tensors
        return _Gradient.apply(images, diff, ctx.module), None


class _Gradient(torch.autograd.Function):  # type: ignore[misc]
    """gradient = dE/dimages for dE/dlogits; a separate function, to say what it lacks.

    It is linear in dE/dlogits, but the derivative by that is a product with the Jacobian, which
    Caffe does not compute either.
    """

    @staticmethod
    def forward(
        ctx: Any, images: torch.Tensor, diff: torch.Tensor, module: CaffeModule
    ) -> torch.Tensor:
        return module._compute_gradient(images, diff)

    @staticmethod
    def backward(ctx: Any, _: torch.Tensor) -> None:
        raise RuntimeError(
            "a Caffe model has first derivatives only: its gradient cannot be differentiated again"
        )


def _make_tensor(array: Floats, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(array).to(like.dtype)
