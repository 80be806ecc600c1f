"""What bench_engine.py times: the same network, batch and loss in Caffe and in PyTorch.

All of them read the same random images, which lie in memory. A job is one training iteration, one
forward pass, or one product of large matrices, which says what the processor can do.
"""

# The packages, which load Caffe and PyTorch, are imported late: only the child needs them.
# ruff: noqa: PLC0415

import ctypes
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shared.console import ROOT

SETTINGS = {"base_lr": 0.001, "momentum": 0.9, "weight_decay": 0.0005}
FORWARD_BATCH = 500
PEAK_SIZE = 1024


@dataclass(frozen=True)
class Network:
    """A network of prototxt/, and the shape of its images."""

    title: str
    stem: str
    shape: tuple[int, int, int]
    batch: int
    rounds: int


LENET = Network("LeNet", "lenet", (1, 28, 28), 64, 15)
CIFAR = Network("CIFAR-10 quick", "cifar10_quick", (3, 32, 32), 100, 6)
NETWORKS = {network.stem: network for network in (LENET, CIFAR)}


@dataclass(frozen=True)
class Job:
    """What is timed.

    task   "SGD", "BANG", "forward" or "peak"
    ready  called before each row of runs, outside of the measured time
    flop   floating point operations of a run: multiplications and additions of its products
    """

    task: str
    framework: str
    run: Callable[[], object]
    ready: Callable[[], object]
    flop: float


class Blas:
    """The OpenBLAS that Caffe calls."""

    def __init__(self) -> None:
        """Find it; raises RuntimeError if the BLAS is another one."""
        from caffe_ext import PLUGIN

        self.library = ctypes.CDLL(str(PLUGIN))  # names are looked up in what it depends on, too
        if not hasattr(self.library, "openblas_set_num_threads"):
            raise RuntimeError("Caffe's BLAS is not OpenBLAS, whose threads this program sets")

    def set_threads(self, threads: int) -> None:
        """Set how many threads it uses."""
        self.library.openblas_set_num_threads(threads)

    def product(self) -> Callable[[], object]:
        """Return a product of square matrices of PEAK_SIZE."""
        import numpy as np

        n = PEAK_SIZE
        a, b, c = (np.full((n, n), 0.5, np.float32) for _ in range(3))
        pointers = [matrix.ctypes.data_as(ctypes.c_void_p) for matrix in (a, b, c)]
        one, row_major, plain = ctypes.c_float(1), 101, 111

        def run() -> object:
            p, q, r = pointers
            args = (row_major, plain, plain, n, n, n, one, p, n, q, n, ctypes.c_float(0), r, n)
            self.library.cblas_sgemm(*args)
            return (a, b, c)  # they live as long as this function

        return run


def solver(network: Network, kind: str, folder: Path) -> Any:
    """Return a Caffe solver whose net reads images and labels that are set once."""
    import caffe
    import numpy as np
    from caffe.proto import caffe_pb2
    from google.protobuf import text_format

    net = caffe_pb2.NetParameter()
    text_format.Parse((ROOT / f"prototxt/{network.stem}_train_test.prototxt").read_text(), net)
    layers = [layer for layer in net.layer if layer.type not in ("Data", "Accuracy")]
    del net.layer[:]
    for name, shape in (("data", (network.batch, *network.shape)), ("label", (network.batch,))):
        net.layer.add(name=name, type="Input", top=[name]).input_param.shape.add(dim=shape)
    net.layer.extend(layers)
    settings = caffe_pb2.SolverParameter(
        type=kind, lr_policy="fixed", random_seed=1, snapshot_after_train=False, **SETTINGS
    )
    settings.train_net_param.CopyFrom(net)
    path = folder / f"{kind}.prototxt"
    path.write_text(text_format.MessageToString(settings))
    made = caffe.get_solver(str(path))
    images, labels = random_batch(network, network.batch)
    made.net.blobs["data"].data[...] = images
    made.net.blobs["label"].data[...] = labels
    assert np.isfinite(made.net.forward()["loss"])
    return made


def random_batch(network: Network, batch: int) -> Any:
    """Return images and labels."""
    import numpy as np

    random = np.random.default_rng(0)
    images = random.standard_normal((batch, *network.shape), np.float32)
    return images, random.integers(0, 10, batch)


def operations(net: Any) -> tuple[float, float]:
    """Return the operations of a forward pass, and of one with the backward pass to the weights."""
    forward = backward = 0.0
    first = True
    for name, layer in zip(net._layer_names, net.layers, strict=True):
        if layer.type in ("Convolution", "InnerProduct"):
            values = net.blobs[net.top_names[name][0]].count
            products = 2.0 * values * layer.blobs[0].count / layer.blobs[0].shape[0]
            forward += products
            backward += products if first else 2 * products  # no gradient of the images
            first = False
    return forward, forward + backward


def caffe_jobs(network: Network, threads: int) -> Iterator[Job]:
    """Yield the jobs of stock Caffe and of the engine, and the product of large matrices."""
    import caffe

    from caffe_ext import engine

    engine.set_threads(threads)
    blas = Blas()
    for title, on in (("stock Caffe", False), ("caffe_ext", True)):
        engine.enable(on)
        ready = partial(blas.set_threads, 1 if on else threads)
        with tempfile.TemporaryDirectory() as folder:
            for kind in ("SGD", "BANG"):
                made = solver(network, kind, Path(folder))
                _, flop = operations(made.net)
                yield Job(kind, title, partial(made.step, 1), ready, flop)
        net = forward_net(network, caffe)
        yield Job("forward", title, net.forward, ready, operations(net)[0])
    ready = partial(blas.set_threads, threads)
    yield Job("peak", "OpenBLAS", blas.product(), ready, 2.0 * PEAK_SIZE**3)


def forward_net(network: Network, caffe: Any) -> Any:
    """Return the network that is deployed, with FORWARD_BATCH images in it."""
    caffe.set_random_seed(1)
    net = caffe.Net(str(ROOT / f"prototxt/{network.stem}_deploy.prototxt"), caffe.TEST)
    images, _ = random_batch(network, FORWARD_BATCH)
    net.blobs["data"].reshape(*images.shape)
    net.reshape()
    net.blobs["data"].data[...] = images
    return net


def torch_version() -> str | None:
    """Return PyTorch's version, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    return str(torch.__version__)


def torch_network(network: Network) -> Any:
    """Return the network in PyTorch; its scores, without the softmax."""
    from torch import nn

    if network is LENET:
        return nn.Sequential(
            nn.Conv2d(1, 20, 5),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(800, 500),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(500, 10),
        )
    return nn.Sequential(
        nn.Conv2d(3, 32, 5, padding=2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 32, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(1024, 64),
        nn.Linear(64, 10),
    )


def check_same(network: Network) -> float:
    """Return how far the scores of both frameworks lie apart for the same weights, relatively."""
    import caffe
    import numpy as np
    import torch

    net, model = forward_net(network, caffe), torch_network(network).eval()
    parameters = iter(model.parameters())
    random = np.random.default_rng(1)
    for name in net.params:
        for blob in net.params[name]:
            values = random.standard_normal(blob.data.shape).astype(np.float32) / 10
            blob.data[...] = values
            next(parameters).data[...] = torch.from_numpy(values)
    net.forward()
    last = list(net.params)[-1]
    scores = net.blobs[net.top_names[last][0]].data
    with torch.inference_mode():
        other = model(torch.from_numpy(net.blobs["data"].data.copy())).numpy()
    return float(np.abs(scores - other).max() / np.abs(other).max())


def torch_jobs(network: Network, threads: int) -> Iterator[Job]:
    """Yield the jobs of PyTorch: eager, in the layout that it likes better, and compiled."""
    import torch

    torch.set_num_threads(threads)
    for title, last, compiled in (
        ("PyTorch eager", False, False),
        ("PyTorch channels_last", True, False),
        ("PyTorch compile", False, True),
        ("PyTorch compile channels_last", True, True),
    ):
        layout = torch.channels_last if last else torch.contiguous_format
        wrap = torch.compile if compiled else lambda function: function
        torch.manual_seed(1)
        model = torch_network(network).to(memory_format=layout)
        optimizer = torch.optim.SGD(
            model.parameters(),
            lr=SETTINGS["base_lr"],
            momentum=SETTINGS["momentum"],
            weight_decay=SETTINGS["weight_decay"],
            fused=True,
        )
        images, labels = map(torch.from_numpy, random_batch(network, network.batch))
        images = images.to(memory_format=layout)
        loss = wrap(lambda x, y, model=model: torch.nn.functional.cross_entropy(model(x), y))

        def step(loss=loss, optimizer=optimizer, images=images, labels=labels):  # type: ignore[no-untyped-def]
            optimizer.zero_grad(set_to_none=True)
            loss(images, labels).backward()
            optimizer.step()

        yield Job("SGD", title, step, os.getpid, 0)
        many = torch.from_numpy(random_batch(network, FORWARD_BATCH)[0]).to(memory_format=layout)
        scores = wrap(torch_network(network).to(memory_format=layout).eval())

        def forward(scores=scores, many=many):  # type: ignore[no-untyped-def]
            with torch.inference_mode():
                return torch.softmax(scores(many), 1)

        yield Job("forward", title, forward, os.getpid, 0)
