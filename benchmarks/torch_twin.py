"""A Caffe model of LeNet or CIFAR-10 quick in PyTorch, with its weights, for bench_attacks.py."""

# PyTorch is imported late: it is optional, and large.
# ruff: noqa: PLC0415

from typing import TYPE_CHECKING, Any

import numpy as np

from engine_jobs import CIFAR, LENET

if TYPE_CHECKING:
    from caffe_ext.models.base import Images
    from caffe_ext.models.classifier import Classifier
    from caffe_ext.models.description import ModelDescription

_MOST_APART = 1e-3
WHITE = 255


def make_torch_twin(
    description: "ModelDescription", classifier: "Classifier", images: "Images"
) -> tuple[Any, float]:
    """Return a torch.nn.Module of pixels 0..1, on one thread, and how far its logits are from ours.

    Raises ImportError without PyTorch, ValueError for another network, or logits that are apart by
    more than a thousandth of the largest.
    """
    import torch

    from caffe_ext.models.files import load_net
    from torch_jobs import make_torch_network

    torch.set_num_threads(1)
    parameters = load_net(description.deploy, description.weights).params
    blobs = [blob.data for layer in parameters.values() for blob in layer]
    for network in (LENET, CIFAR):
        net = make_torch_network(network).eval()
        own = list(net.parameters())
        if [tuple(one.shape) for one in own] == [blob.shape for blob in blobs]:
            break
    else:
        raise ValueError(f"{description.name} is neither LeNet nor CIFAR-10 quick")
    for parameter, blob in zip(own, blobs, strict=True):
        parameter.data = torch.from_numpy(blob.copy())
        parameter.requires_grad_(False)
    space = description.pixel_space
    channels, height, width = classifier.image_shape
    black = np.zeros((1, channels, height, width), np.float32)
    # input = (255 x - mean) scale is linear in the pixels: two images say what it is.
    shift = torch.from_numpy(space.to_input(black))
    slope = torch.from_numpy(space.to_input(black + WHITE)) - shift
    net.register_forward_pre_hook(lambda _, given: (given[0] * slope + shift,))
    with torch.no_grad():
        theirs = net(torch.from_numpy(images.astype(np.float32) / WHITE)).numpy()
    ours = classifier.logits(images)
    apart = float(np.abs(theirs - ours).max() / np.abs(ours).max())
    if apart > _MOST_APART:
        raise ValueError(
            f"{description.name}: PyTorch's logits differ from ours by {apart:.2g} of the largest"
        )
    return net, apart
