"""Foolbox on LeNet in PyTorch, for bench_search.py: `pip install -e .[bench]` installs both.

Foolbox 3 has no search for the smallest step in a gradient's direction: its fast gradient attack
takes the epsilons that it is given, and says of each whether it is enough. What comes closest to
our search are whole grey levels, 1 to 255: all of them at once (`grid`), or one after the other,
where what is solved leaves (`ascending`). Besides, it has attacks that minimise Linf by iterating.
"""

# Foolbox and PyTorch are imported late: they are optional, and large.
# ruff: noqa: PLC0415

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search_timing import Answers

if TYPE_CHECKING:
    from caffe_ext.models.base import Floats, Images, Ints
    from caffe_ext.models.description import ModelDescription

Search = Callable[[NDArray[np.uint8], NDArray[np.int64]], Answers]
"""(images (N, 1, 28, 28), labels (N,)) -> adversarials"""

LAYERS = {
    "conv1": (20, 1, 5, 5),
    "conv2": (50, 20, 5, 5),
    "ip1": (500, 800),
    "ip2": (10, 500),
}
WHITE = 255
LEVELS = range(1, WHITE + 1)


def find_versions() -> dict[str, str] | None:
    """Return the versions of Foolbox and PyTorch, None if they are not installed."""
    try:
        import foolbox
        import torch
    except ImportError:
        return None
    return {"foolbox": foolbox.__version__, "torch": torch.__version__}


class TorchLeNet:
    """LeNet with a Caffe model's weights in PyTorch, and Foolbox's attacks on it, in Linf.

    Images are uint8 (N, 1, 28, 28); PyTorch and Foolbox see pixels / 255, 0 to 1, which Foolbox's
    settings are made for. One thread.
    """

    def __init__(self, model: "ModelDescription") -> None:
        """Take the weights over; ValueError for another network or pixels with a mean."""
        import foolbox
        import torch
        from torch import nn

        from caffe_ext.models.files import load_net

        parameters = load_net(model.deploy, model.weights).params
        shapes = {name: tuple(blobs[0].shape) for name, blobs in parameters.items()}
        space = model.pixel_space
        if shapes != LAYERS or space.mean is not None or space.crop is not None:
            raise ValueError(f"{model.name} is not LeNet as prototxt/lenet.yaml describes it")
        torch.set_num_threads(1)
        net = nn.Sequential(
            *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
        ).eval()
        layers = [layer for layer in net if hasattr(layer, "weight")]
        for layer, blobs in zip(layers, (parameters[name] for name in LAYERS), strict=True):
            layer.weight.data = torch.from_numpy(blobs[0].data.copy())
            layer.bias.data = torch.from_numpy(blobs[1].data.copy())
        layers[0].weight.data *= WHITE * space.scale
        self._net, self._torch = net, torch
        self._foolbox = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")

    def logits(self, images: "Images") -> "Floats":
        """Return the scores, float32 (N, 10)."""
        with self._torch.no_grad():
            return np.asarray(self._net(self._tensor(images)).numpy(), np.float32)

    def attacks(self) -> Mapping[str, Search]:
        """Return what the search is compared with, by name."""
        from foolbox import attacks

        def make_search(attack: Any) -> Search:
            return lambda images, labels: self._search_by(attack, images, labels)

        return {
            "FGSM, 255 epsilons": self._grid,
            "FGSM, epsilon by epsilon": self._search_ascending,
            "DeepFool (Linf), iterated": make_search(attacks.LinfDeepFoolAttack()),
            "FMN (Linf), iterated": make_search(attacks.LInfFMNAttack()),
        }

    def _tensor(self, images: "Images") -> Any:
        return self._torch.from_numpy(images.astype(np.float32) / WHITE)

    def _grid(self, images: "Images", labels: "Ints") -> Answers:
        """Ask Foolbox about all grey levels, and take the first that is enough."""
        from foolbox.attacks import LinfFastGradientAttack

        given = self._tensor(images), self._torch.from_numpy(labels)
        epsilons = [level / WHITE for level in LEVELS]
        _, clipped, success = LinfFastGradientAttack()(self._foolbox, *given, epsilons=epsilons)
        enough = success.numpy()
        found, first = enough.any(axis=0), enough.argmax(axis=0)
        adversarials = images.copy()
        for row in np.flatnonzero(found):
            adversarials[row] = _to_pixels(clipped[first[row]][row])
        return Answers(np.where(found, first + 1.0, np.nan), adversarials)

    def _search_ascending(self, images: "Images", labels: "Ints") -> Answers:
        """Ask about one grey level after the other; what is solved leaves."""
        from foolbox.attacks import LinfFastGradientAttack

        attack = LinfFastGradientAttack()
        adversarials, amplitudes = images.copy(), np.full(len(images), np.nan)
        active = np.arange(len(images))
        for level in LEVELS:
            given = self._tensor(images[active]), self._torch.from_numpy(labels[active])
            _, clipped, success = attack(self._foolbox, *given, epsilons=level / WHITE)
            solved = success.numpy()
            amplitudes[active[solved]] = level
            adversarials[active[solved]] = _to_pixels(clipped)[solved]
            active = active[~solved]
            if not len(active):
                break
        return Answers(amplitudes, adversarials)

    def _search_by(self, attack: Any, images: "Images", labels: "Ints") -> Answers:
        """Let an attack minimise Linf; its adversarials are no whole grey levels."""
        given = self._tensor(images), self._torch.from_numpy(labels)
        found, _, success = attack(self._foolbox, *given, epsilons=None)
        apart = WHITE * (found - given[0]).abs().amax(dim=(1, 2, 3)).numpy()
        return Answers(np.where(success.numpy(), apart, np.nan), _to_pixels(found))


def _to_pixels(values: Any) -> NDArray[np.uint8]:
    """Return values 0..1 in PyTorch as whole grey levels."""
    return np.asarray((values * WHITE).round().clamp(0, WHITE).numpy(), np.uint8)
