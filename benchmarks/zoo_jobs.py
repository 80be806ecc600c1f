"""What bench_zoo.py times: networks of prototxt/zoo with random weights, in Caffe and elsewhere.

All have the same weights and read the same random images, real-valued pixels. A job is a forward
pass to the logits; one with the gradient with respect to the pixels, for a derivative of ones with
respect to the logits; or one with the gradients with respect to all weights, as a training
iteration has them.
"""

# The packages are imported late: only the process that measures needs them.
# ruff: noqa: PLC0415

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from caffe_ext.runtime.checkout import ROOT
from engine_jobs import PEAK_SIZE, Blas, compute_relative_difference, count_operations
from job_timing import Job

ZOO = ROOT / "prototxt" / "zoo"
USUAL = ("squeezenet_v1.1", "mobilenet", "googlenet", "resnet50", "caffenet")
MOST_APART = 1e-3
FORWARD, GRADIENT, TRAINING = TASKS = "forward", "gradient", "training"


def list_zoo_networks() -> tuple[str, ...]:
    """Return the names of all networks of prototxt/zoo."""
    return tuple(sorted(path.stem.removesuffix("_deploy") for path in ZOO.glob("*.prototxt")))


def write_random_weights(name: str, path: Path) -> None:
    """Write weights of a network, drawn by its fillers; BatchNorm has mean 0 and variance 1."""
    import caffe

    caffe.set_random_seed(1)
    net = caffe.Net(str(locate_deploy(name)), caffe.TEST)
    for layer, blobs in net.params.items():
        if net.layer_dict[layer].type == "BatchNorm":
            _, variance, factor = blobs
            variance.data[...] = factor.data[...] = 1
    net.save(str(path))


def locate_deploy(name: str) -> Path:
    """Return the prototxt of a network."""
    return ZOO / f"{name}_deploy.prototxt"


@dataclass(frozen=True, eq=False)
class Subject:
    """One network, with weights, images and threads.

    images    float32 (N, C, H, W), 0..255
    compiled  whether PyTorch runs it compiled, too
    """

    name: str
    weights: Path
    images: Any
    threads: int
    compiled: bool = False

    def onnx(self) -> bytes:
        """Return it as ONNX, of pixels as they are."""
        from caffe_ext.exchange.caffe_to_onnx.export import export_model
        from caffe_ext.models.description import describe_model

        settings = {"deploy": str(locate_deploy(self.name)), "weights": str(self.weights)}
        return export_model(describe_model(settings)).network


@dataclass(frozen=True)
class Peer:
    """What computes the logits, and how it came out.

    differ  the largest difference from ours, as a share of the largest logit
    """

    title: str
    jobs: tuple[Job, ...]
    differ: float


def make_subject(
    name: str, weights: Path, batch: int, threads: int, compiled: bool = False
) -> Subject:
    """Return a network with random images; writes its weights."""
    import caffe
    import numpy as np

    write_random_weights(name, weights)
    side = caffe.Net(str(locate_deploy(name)), caffe.TEST).blobs["data"].data.shape[-1]
    images = np.random.default_rng(0).uniform(0, 255, (batch, 3, side, side))
    return Subject(name, weights, images.astype(np.float32), threads, compiled)


def make_peers(subject: Subject) -> Iterator[Peer]:
    """Yield ours, stock Caffe, and whatever else is installed."""
    from caffe_ext.runtime import engine

    engine.set_threads(subject.threads)
    blas = Blas()
    ours = None
    for title, on in (("caffe_ext", True), ("stock Caffe", False)):
        ready = partial(blas.set_threads, 1 if on else subject.threads)
        ready()
        with engine.switch(on=on):
            logits, jobs = _make_caffe(subject, title, ready)
        ours = logits if ours is None else ours
        yield Peer(title, jobs, compute_relative_difference(logits, ours))
    for package, make in (
        ("torch", _make_torch),
        ("onnxruntime", _make_onnx_runtime),
        ("openvino", _make_openvino),
        ("cv2", _make_opencv),
    ):
        if find_spec(package) is None:
            continue
        for title, *tasks in make(subject):
            differ = compute_relative_difference(tasks[0](), ours)
            if not differ < MOST_APART:
                raise ValueError(f"{subject.name}: {title} differs from Caffe by {differ:.2g}")
            jobs = tuple(Job(name, title, run) for name, run in zip(TASKS, tasks, strict=False))
            yield Peer(title, jobs, differ)


def make_peak_job(threads: int) -> Job:
    """Return a product of large matrices."""
    blas = Blas()
    ready = partial(blas.set_threads, threads)
    return Job("peak", "OpenBLAS", blas.product(), ready, 2.0 * PEAK_SIZE**3)


# A title, and the first of TASKS.
Made = tuple[str, Callable[[], Any]] | tuple[str, *tuple[Callable[[], Any], ...]]


def _make_caffe(
    subject: Subject, title: str, ready: Callable[[], object]
) -> tuple[Any, tuple[Job, ...]]:
    import numpy as np

    from caffe_ext.models.classifier import Classifier
    from caffe_ext.models.pixels import PixelSpace

    batch = len(subject.images)
    model = Classifier(locate_deploy(subject.name), subject.weights, PixelSpace(), batch_size=batch)
    logits = model.logits(subject.images)
    ones = np.ones_like(logits)
    flop = count_operations(model._net)[0]
    net = make_trained_net(subject)

    def train() -> Any:
        net.clear_param_diffs()
        net.forward()
        net.backward()
        return [blob.diff for blobs in net.params.values() for blob in blobs]

    return logits, (
        Job(FORWARD, title, partial(model.logits, subject.images), ready, flop),
        Job(GRADIENT, title, partial(model.gradient, subject.images, ones), ready, 2 * flop),
        Job(TRAINING, title, train, ready, 3 * flop),
    )


def make_trained_net(subject: Subject) -> Any:
    """Return the net with a loss in place of its softmax, for labels of 0; BatchNorm and Dropout
    as when testing.
    """

    from caffe_ext.models.files import build_net, read_prototxt

    parameter = read_prototxt(locate_deploy(subject.name))
    parameter.layer[0].input_param.shape[0].dim[0] = len(subject.images)
    label = parameter.layer.add(name="label", type="Input", top=["label"])
    label.input_param.shape.add(dim=[len(subject.images)])
    softmax = next(layer for layer in parameter.layer if layer.type == "Softmax")
    loss = parameter.layer.add(name="loss", type="SoftmaxWithLoss", top=["loss"])
    loss.bottom.extend([softmax.bottom[0], "label"])
    parameter.layer.remove(softmax)
    net = build_net(str(parameter))
    net.copy_from(str(subject.weights))
    net.blobs["data"].data[...] = subject.images
    return net


def _make_torch(subject: Subject) -> Iterator[Made]:
    import torch
    from torch import nn

    from torch_jobs import set_torch_modes
    from zoo_torch import read_torch_network

    labels = torch.zeros(len(subject.images), dtype=torch.long)
    for title, layout, wrap in set_torch_modes(subject.threads, subject.compiled):
        nets = [read_torch_network(locate_deploy(subject.name), subject.weights) for _ in range(2)]
        weights = list(nets[1].requires_grad_().parameters())
        net, trained = (wrap(one.to(memory_format=layout)) for one in nets)
        images = torch.from_numpy(subject.images).contiguous(memory_format=layout)
        asked = images.clone(memory_format=torch.preserve_format).requires_grad_()

        def forward(net: Any = net, images: Any = images) -> Any:
            with torch.inference_mode():
                return net(images).numpy()

        def gradient(net: Any = net, asked: Any = asked) -> Any:
            return torch.autograd.grad(net(asked).sum(), asked)[0]

        def train(net: Any = trained, images: Any = images, weights: Any = weights) -> Any:
            return torch.autograd.grad(nn.functional.cross_entropy(net(images), labels), weights)

        yield title, forward, gradient, train


def _make_onnx_runtime(subject: Subject) -> Iterator[Made]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = subject.threads
    session = onnxruntime.InferenceSession(
        subject.onnx(), options, providers=["CPUExecutionProvider"]
    )
    given = {session.get_inputs()[0].name: subject.images}
    yield "ONNX Runtime", lambda: session.run(["logits"], given)[0]


def _make_openvino(subject: Subject) -> Iterator[Made]:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": subject.threads, "PERFORMANCE_HINT": "LATENCY"}
    settings |= {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(subject.onnx()), "CPU", settings)
    request = compiled.create_infer_request()
    images = subject.images
    yield "OpenVINO", lambda: request.infer([images])["logits"]


def _make_opencv(subject: Subject) -> Iterator[Made]:
    import cv2

    cv2.setNumThreads(subject.threads)
    net = cv2.dnn.readNetFromCaffe(str(locate_deploy(subject.name)), str(subject.weights))
    name = net.getLayerNames()[-2]  # what the softmax reads

    def forward() -> Any:
        net.setInput(subject.images)
        return net.forward(name).reshape(len(subject.images), -1)

    with suppress(cv2.error):
        forward()
        yield "OpenCV", forward
