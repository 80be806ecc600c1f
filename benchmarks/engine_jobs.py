"""What bench_engine.py and bench_gpu.py time: the same network and batch in Caffe and in PyTorch.

All of them read the same random images, which lie in memory. A job is one training iteration, one
forward pass, or one product of large matrices, which says what the processor can do.
"""

# The packages, which load Caffe and PyTorch, are imported late: only the child needs them.
# ruff: noqa: PLC0415

import ctypes
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from caffe_ext.runtime.checkout import ROOT
from job_timing import Job

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


class Blas:
    """The OpenBLAS that Caffe calls."""

    def __init__(self) -> None:
        """Find it; raises RuntimeError if the BLAS is another one."""
        from caffe_ext.runtime.blas import find_blas_function

        try:
            self._set_threads = find_blas_function("openblas_set_num_threads")
        except LookupError:
            raise RuntimeError(
                "Caffe's BLAS is not OpenBLAS, whose threads this program sets"
            ) from None
        self._multiply = find_blas_function("cblas_sgemm")

    def set_threads(self, threads: int) -> None:
        """Set how many threads it uses."""
        self._set_threads(threads)

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
            self._multiply(*args)
            return (a, b, c)  # they live as long as this function

        return run


def make_solver(network: Network, kind: str, folder: Path, more: str = "") -> Any:
    """Return a Caffe solver whose net reads images and labels that are set once.

    more  further settings of the solver, as a solver file has them
    """
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
    text_format.Merge(more, settings)
    settings.train_net_param.CopyFrom(net)
    path = folder / f"{kind}.prototxt"
    path.write_text(text_format.MessageToString(settings))
    made = caffe.get_solver(str(path))
    images, labels = draw_batch(network, network.batch)
    made.net.blobs["data"].data[...] = images
    made.net.blobs["label"].data[...] = labels
    assert np.isfinite(made.net.forward()["loss"])
    return made


def draw_batch(network: Network, batch: int) -> Any:
    """Return images and labels."""
    import numpy as np

    random = np.random.default_rng(0)
    images = random.standard_normal((batch, *network.shape), np.float32)
    return images, random.integers(0, 10, batch)


def count_operations(net: Any) -> tuple[float, float]:
    """Return the operations of a forward pass, and of one with the backward pass to the weights.

    The backward pass to the images, without weights, has as many as the forward pass.
    """
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


def make_caffe_jobs(network: Network, threads: int) -> Iterator[Job]:
    """Yield the jobs of stock Caffe and of the engine, and the product of large matrices."""
    from caffe_ext.runtime import engine

    engine.set_threads(threads)
    blas = Blas()
    for on in (False, True):
        yield from make_layer_jobs(network, on, partial(blas.set_threads, 1 if on else threads))
    ready = partial(blas.set_threads, threads)
    yield Job("peak", "OpenBLAS", blas.product(), ready, 2.0 * PEAK_SIZE**3)


def make_layer_jobs(
    network: Network, engine_on: bool, ready: Callable[[], object] = lambda: None
) -> Iterator[Job]:
    """Yield the jobs of Caffe's own layers or of the engine's, where Caffe computes."""
    import caffe

    from caffe_ext.runtime import engine

    title = "caffe_ext" if engine_on else "stock Caffe"
    with engine.switch(on=engine_on), tempfile.TemporaryDirectory() as folder:
        made = {kind: make_solver(network, kind, Path(folder)) for kind in ("SGD", "BANG")}
        net = forward_net(network, caffe)
    for kind, one in made.items():
        yield Job(kind, title, partial(one.step, 1), ready, count_operations(one.net)[1])
    # Not net.forward, which copies the scores.
    forward = partial(net._forward, 0, len(net.layers) - 1)
    yield Job("forward", title, forward, ready, count_operations(net)[0])


def forward_net(network: Network, caffe: Any) -> Any:
    """Return the network that is deployed, with FORWARD_BATCH images in it."""
    caffe.set_random_seed(1)
    net = caffe.Net(str(ROOT / f"prototxt/{network.stem}_deploy.prototxt"), caffe.TEST)
    images, _ = draw_batch(network, FORWARD_BATCH)
    net.blobs["data"].reshape(*images.shape)
    net.reshape()
    net.blobs["data"].data[...] = images
    return net


def compute_relative_difference(one: Any, other: Any) -> float:
    """Return the largest difference of two arrays in relation to the largest value."""
    import numpy as np

    one, other = np.asarray(one), np.asarray(other)
    return float(np.abs(one - other).max() / np.abs(other).max())


def generate_weights(shapes: Iterable[tuple[int, ...]]) -> Iterator[Any]:
    """Yield weights of these shapes, the same for all frameworks."""
    import numpy as np

    random = np.random.default_rng(1)
    for shape in shapes:
        yield random.standard_normal(shape).astype(np.float32) / 10


def set_weights(net: Any) -> None:
    """Give a Caffe net the known weights."""
    blobs = [blob for name in net.params for blob in net.params[name]]
    for blob, values in zip(blobs, generate_weights(b.data.shape for b in blobs), strict=True):
        blob.data[...] = values


def compute_caffe_scores(network: Network) -> Any:
    """Return Caffe's scores before the softmax, with known weights."""
    import caffe

    net = forward_net(network, caffe)
    set_weights(net)
    net.forward()
    last = list(net.params)[-1]
    return net.blobs[net.top_names[last][0]].data.copy()
