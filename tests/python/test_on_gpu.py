"""On a real GPU: the same results as on the CPU, up to the order of summation."""

from dataclasses import dataclass
from pathlib import Path

import caffe
import numpy as np
import pytest
from numpy.typing import NDArray

from caffe_ext.attacks.criteria import Misclassification
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runtime import engine
from caffe_ext.runtime.device import Device, count_gpus, get_current_device, synchronize
from caffe_ext.runtime.workers import Workers
from classifier_models import DEEP, LINEAR, SPACE, write_model
from data_samples import CHECKOUT

pytestmark = pytest.mark.gpu
LENET = (CHECKOUT / "prototxt" / "lenet_deploy.prototxt").read_text()
CIFAR = (CHECKOUT / "prototxt" / "cifar10_quick_deploy.prototxt").read_text()
GPU = Device(0)


def close(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    assert np.abs(other).max() > 0
    return bool(np.abs(one - other).max() <= 1e-4 * np.abs(other).max())


def nearly_all_close(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Say so of images' gradients, but for one of ten.

    Where two values of a maximum, or a ReLU's and 0, are as good as equal, the order of sums says
    which way the gradient takes.
    """
    most = 1e-4 * np.abs(other).max()
    near = np.abs(one - other).max(axis=(1, 2, 3)) <= most
    return bool(most > 0 and near.mean() > 0.9)


def images_of(shape: tuple[int, ...], count: int = 23) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, *shape), np.uint8)


@dataclass(frozen=True)
class Pair:
    """A model on both devices, and images for it."""

    cpu: Classifier
    gpu: Classifier
    images: NDArray[np.uint8]


def pair(folder: Path, net: str, space: PixelSpace, *, engine_on: bool = True) -> Pair:
    model = write_model(folder, net)
    with engine.switch(on=engine_on):
        cpu, gpu = (
            Classifier(*model, space, batch_size=10, device=device) for device in (Device(), GPU)
        )
    channels, height, width = cpu.input_shape
    images = images_of((channels, height, width))
    return Pair(cpu, gpu, images)


MODELS = {
    "linear": (LINEAR, PixelSpace()),
    "deep": (DEEP, SPACE),
    "LeNet": (LENET, PixelSpace(1 / 256)),
    "CIFAR-10 quick": (CIFAR, PixelSpace(1, 120)),
}


@pytest.fixture(params=[(name, on) for name in MODELS for on in (True, False)], ids=str)
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    name, engine_on = request.param
    return pair(tmp_path, *MODELS[name], engine_on=engine_on)


def test_scores(both: Pair) -> None:
    assert close(both.gpu.logits(both.images), both.cpu.logits(both.images))
    assert close(both.gpu.probabilities(both.images), both.cpu.probabilities(both.images))
    assert get_current_device() == Device()


def test_gradients(both: Pair) -> None:
    random = np.random.default_rng(2)
    diff = random.standard_normal((len(both.images), both.cpu.classes)).astype(np.float32)
    expected = both.cpu.gradient(both.images, diff)
    assert nearly_all_close(both.gpu.gradient(both.images, diff), expected)
    assert nearly_all_close(both.gpu.gradient(both.images, diff), expected)  # nothing is stale


@pytest.mark.parametrize("blob", ["conv1", "pool2", "ip1"])
def test_backward_from_any_layer(blob: str, tmp_path: Path) -> None:
    nets = pair(tmp_path, *MODELS["LeNet"])
    images = nets.images[:10]
    values = nets.cpu.features(images, blob)
    assert close(nets.gpu.features(images, blob), values)
    diff = np.random.default_rng(3).standard_normal(values.shape).astype(np.float32)
    both = [one.backward_from(blob, diff) for one in (nets.gpu, nets.cpu)]
    assert nearly_all_close(*both)
    scores = np.eye(10, dtype=np.float32)
    others = [one.backward_from(blob, diff, {"ip2": scores}) for one in (nets.gpu, nets.cpu)]
    assert nearly_all_close(*others)
    through = [one.gradient(images, scores, through=blob) for one in (nets.gpu, nets.cpu)]
    assert nearly_all_close(*through)


@pytest.mark.parametrize("attack", ["hc1", "fgs", "margin", "pgd=8/2x5"])
def test_attacks(attack: str, tmp_path: Path) -> None:
    nets = pair(tmp_path, *MODELS["LeNet"])
    images = images_of((1, 28, 28), 100)
    labels = nets.cpu.predict(images)
    assert np.mean(nets.gpu.predict(images) == labels) > 0.98
    rows = np.arange(len(images))
    parsed = parse_attack(attack)
    wrong = Misclassification(labels)
    gpu, cpu = (parsed.run(one, images, wrong, rows) for one in (nets.gpu, nets.cpu))
    # A score at the edge falls to one side or the other with the order of its sum.
    assert np.mean(gpu.found == cpu.found) > 0.95
    common = gpu.found & cpu.found
    assert common.mean() > 0.2
    same = (gpu.adversarials == cpu.adversarials)[common].mean(axis=(1, 2, 3)) > 0.99
    assert same.mean() > 0.9
    found = gpu.adversarials[gpu.found]
    assert (nets.gpu.predict(found) != labels[gpu.found]).all()


def test_a_net_made_on_one_device_runs_on_the_other(tmp_path: Path) -> None:
    nets = pair(tmp_path, *MODELS["LeNet"])
    expected = nets.cpu.logits(nets.images)
    for device in (GPU, Device(), GPU):
        for classifier in (nets.cpu, nets.gpu):
            classifier.device = device
            assert close(classifier.logits(nets.images), expected)


def test_backward_of_pycaffe(tmp_path: Path) -> None:
    deploy, weights = write_model(tmp_path, "force_backward: true\n" + LENET)
    images = images_of((1, 28, 28), 5) / np.float32(256)
    diff = np.random.default_rng(4).standard_normal((5, 500)).astype(np.float32)
    found = []
    for device in (Device(), GPU):
        with device.activate():
            net = caffe.Net(str(deploy), str(weights), caffe.TEST)
            net.blobs["data"].reshape(*images.shape)
            net.reshape()
            net.blobs["data"].data[...] = images
            net.forward()
            back = net.backward(start="ip1", ip1=diff)["data"].copy()
            ended = net.backward(start="ip1", end="conv2", ip1=diff)["pool1"].copy()
            found.append((back, ended, net.params["conv1"][0].diff.copy()))
    for one, other in zip(*found, strict=True):
        assert close(one, other)


@dataclass(frozen=True)
class Scores:
    """A task for a process of its own."""

    model: tuple[Path, Path]

    def __call__(self, _: Reporter) -> tuple[Device, NDArray[np.float32]]:
        classifier = Classifier(*self.model, PixelSpace(1 / 256))
        return classifier.device, classifier.logits(images_of((1, 28, 28)))


def test_processes_share_the_gpu(tmp_path: Path) -> None:
    model = write_model(tmp_path, LENET)
    expected = Classifier(*model, PixelSpace(1 / 256)).logits(images_of((1, 28, 28)))
    with GPU.activate(), Workers(2, SilentReporter()) as workers:
        results = workers.run([Scores(model)] * 3)
    for device, scores in results:
        assert device == GPU
        assert close(scores, expected)


def test_two_gpus(tmp_path: Path) -> None:
    if (count_gpus() or 0) < 2:
        pytest.skip("there is one GPU")
    model = write_model(tmp_path, LENET)
    images = images_of((1, 28, 28))
    first, second = (
        Classifier(*model, PixelSpace(1 / 256), device=Device(number)) for number in (0, 1)
    )
    for _ in range(3):
        assert close(first.logits(images), second.logits(images))


def test_the_name() -> None:
    assert ", compute capability " in GPU.describe()
    assert " GiB, CUDA " in GPU.describe()
    with GPU.activate():
        synchronize()
