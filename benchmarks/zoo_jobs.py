"""What bench_zoo.py times: networks of prototxt/zoo with random weights, in Caffe and elsewhere.

All have the same weights and read the same random images, real-valued pixels. A job is a forward
pass to the logits; one with the gradient with respect to the pixels, for a derivative of ones with
respect to the logits; or one with the gradients with respect to all weights, as a training
iteration has them.
"""

# The packages are imported late: only the process that measures needs them.
# ruff: noqa: PLC0415

from collections.abc import Callable, Iterator, Mapping, Sequence
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
PACKAGES = ("torch", "onnxruntime", "openvino", "cv2")
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
    flop      of each of TASKS: multiplications and additions of its products
    compiled  whether PyTorch runs it compiled, too
    """

    name: str
    weights: Path
    images: Any
    threads: int
    flop: Mapping[str, float]
    compiled: bool = False

    def onnx(self) -> bytes:
        """Return it as ONNX, of pixels as they are."""
        from caffe_ext.exchange.caffe_to_onnx.export import export_model
        from caffe_ext.models.description import describe_model

        settings = {"deploy": str(locate_deploy(self.name)), "weights": str(self.weights)}
        return export_model(describe_model(settings)).network


@dataclass(frozen=True)
class Peer:
    """What does a task, and how its logits came out.

    differ  the largest difference from ours, as a share of the largest logit
    """

    title: str
    job: Job
    differ: float


def make_subject(
    name: str, weights: Path, batch: int, threads: int, compiled: bool = False
) -> Subject:
    """Return a network with random images; writes its weights."""
    import caffe
    import numpy as np

    write_random_weights(name, weights)
    net = caffe.Net(str(locate_deploy(name)), caffe.TEST)
    one, channels, height, width = net.blobs["data"].data.shape
    images = np.random.default_rng(0).uniform(0, 255, (batch, channels, height, width))
    forward, training = (each * batch / one for each in count_operations(net))
    flop = {FORWARD: forward, GRADIENT: 2 * forward, TRAINING: training}
    return Subject(name, weights, images.astype(np.float32), threads, flop, compiled)


Function = Callable[[], Any]


@dataclass(frozen=True)
class Runner:
    """What runs networks.

    tasks  what of TASKS it can do; each makes what does it, with all the memory that it needs
    """

    title: str
    tasks: Mapping[str, Callable[[], Function]]
    ready: Function = lambda: None


def make_peers(subject: Subject, task: str, packages: Sequence[str] = PACKAGES) -> Iterator[Peer]:
    """Yield ours, stock Caffe, and the packages that are installed, as far as they do the task.

    Raises ValueError if one of them computes other logits.
    """
    ours = None
    for runner in list_runners(subject, packages):
        if task not in runner.tasks:
            continue
        runner.ready()
        run = runner.tasks[FORWARD]()
        logits = run()
        ours = logits if ours is None else ours
        differ = compute_relative_difference(logits, ours)
        if not differ < MOST_APART:
            raise ValueError(f"{subject.name}: {runner.title} differs from Caffe by {differ:.2g}")
        if task != FORWARD:
            del run  # and its memory
            run = runner.tasks[task]()
        job = Job(task, runner.title, run, runner.ready, subject.flop[task])
        yield Peer(runner.title, job, differ)


def list_runners(subject: Subject, packages: Sequence[str]) -> Iterator[Runner]:
    """Yield all that runs the network, ours first."""
    from caffe_ext.runtime import engine

    engine.set_threads(subject.threads)
    blas = Blas()
    yield _make_caffe(subject, "caffe_ext", True, partial(blas.set_threads, 1))
    yield _make_caffe(subject, "stock Caffe", False, partial(blas.set_threads, subject.threads))
    for package in packages:
        if find_spec(package) is not None:
            yield from _MAKERS[package](subject)


def make_peak_job(threads: int) -> Job:
    """Return a product of large matrices."""
    blas = Blas()
    ready = partial(blas.set_threads, threads)
    return Job("peak", "OpenBLAS", blas.product(), ready, 2.0 * PEAK_SIZE**3)


def _make_caffe(subject: Subject, title: str, on: bool, ready: Function) -> Runner:
    import numpy as np

    from caffe_ext.models.classifier import Classifier
    from caffe_ext.models.pixels import PixelSpace
    from caffe_ext.runtime import engine

    images = subject.images

    def make_model() -> Classifier:
        deploy = locate_deploy(subject.name)
        with engine.switch(on=on):
            return Classifier(deploy, subject.weights, PixelSpace(), batch_size=len(images))

    def make_forward() -> Function:
        return partial(make_model().logits, images)

    def make_gradient() -> Function:
        model = make_model()
        return partial(model.gradient, images, np.ones_like(model.logits(images)))

    def make_training() -> Function:
        with engine.switch(on=on):
            net = make_trained_net(subject)

        def train() -> Any:
            net.clear_param_diffs()
            net.forward()
            net.backward()
            return [blob.diff for blobs in net.params.values() for blob in blobs]

        return train

    tasks = {FORWARD: make_forward, GRADIENT: make_gradient, TRAINING: make_training}
    return Runner(title, tasks, ready)


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


def _make_torch(subject: Subject) -> Iterator[Runner]:
    import torch
    from torch import nn

    from torch_jobs import set_torch_modes
    from zoo_torch import read_torch_network

    labels = torch.zeros(len(subject.images), dtype=torch.long)
    for title, layout, wrap in set_torch_modes(subject.threads, subject.compiled):
        images = torch.from_numpy(subject.images).contiguous(memory_format=layout)

        def make_net(
            trained: bool = False, layout: Any = layout, wrap: Any = wrap
        ) -> tuple[Any, list[Any]]:
            net = read_torch_network(locate_deploy(subject.name), subject.weights)
            weights = list(net.requires_grad_(trained).parameters())
            return wrap(net.to(memory_format=layout)), weights

        def make_forward(make_net: Any = make_net, images: Any = images) -> Function:
            net, _ = make_net()

            def forward() -> Any:
                with torch.inference_mode():
                    return net(images).numpy()

            return forward

        def make_gradient(make_net: Any = make_net, images: Any = images) -> Function:
            net, _ = make_net()
            asked = images.clone(memory_format=torch.preserve_format).requires_grad_()
            return lambda: torch.autograd.grad(net(asked).sum(), asked)[0]

        def make_training(make_net: Any = make_net, images: Any = images) -> Function:
            net, weights = make_net(trained=True)
            return lambda: torch.autograd.grad(
                nn.functional.cross_entropy(net(images), labels), weights
            )

        tasks = {FORWARD: make_forward, GRADIENT: make_gradient, TRAINING: make_training}
        yield Runner(title, tasks)


def _make_onnx_runtime(subject: Subject) -> Iterator[Runner]:
    import onnxruntime

    def make_forward() -> Function:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = subject.threads
        session = onnxruntime.InferenceSession(
            subject.onnx(), options, providers=["CPUExecutionProvider"]
        )
        given = {session.get_inputs()[0].name: subject.images}
        return lambda: session.run(["logits"], given)[0]

    yield Runner("ONNX Runtime", {FORWARD: make_forward})


def _make_openvino(subject: Subject) -> Iterator[Runner]:
    import openvino

    def make_forward() -> Function:
        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": subject.threads, "PERFORMANCE_HINT": "LATENCY"}
        settings |= {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(core.read_model(subject.onnx()), "CPU", settings)
        request = compiled.create_infer_request()
        return lambda: request.infer([subject.images])["logits"]

    yield Runner("OpenVINO", {FORWARD: make_forward})


def _make_opencv(subject: Subject) -> Iterator[Runner]:
    import cv2

    def make_forward() -> Function:
        net = cv2.dnn.readNetFromCaffe(str(locate_deploy(subject.name)), str(subject.weights))
        name = net.getLayerNames()[-2]  # what the softmax reads

        def forward() -> Any:
            net.setInput(subject.images)
            return net.forward(name).reshape(len(subject.images), -1)

        return forward

    cv2.setNumThreads(subject.threads)
    with suppress(cv2.error):  # a layer that it does not have
        make_forward()()
        yield Runner("OpenCV", {FORWARD: make_forward})


_MAKERS = {
    "torch": _make_torch,
    "onnxruntime": _make_onnx_runtime,
    "openvino": _make_openvino,
    "cv2": _make_opencv,
}
