"""The engine from Python: its switch, its threads, and the results of Caffe's own layers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_ext.data import load_images
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.runtime import engine
from caffe_ext.runtime.blas import find_blas_function
from caffe_ext.storage.provenance import describe_machine
from data_samples import CHECKOUT

PROTOTXT = CHECKOUT / "prototxt"


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    enabled = engine.is_enabled()
    yield
    engine.enable(enabled)
    engine.set_threads(0)


def scores(on: bool, threads: int, batch: int = 7) -> Any:
    """Return LeNet's output for random images."""
    engine.enable(on)
    engine.set_threads(threads)
    caffe.set_random_seed(3)
    net = caffe.Net(str(PROTOTXT / "lenet_deploy.prototxt"), caffe.TEST)
    random = np.random.default_rng(1)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] = random.standard_normal(blob.data.shape) / 10
    net.blobs["data"].reshape(batch, 1, 28, 28)
    net.blobs["data"].data[...] = random.standard_normal((batch, 1, 28, 28))
    net.forward()
    last = list(net.params)[-1]
    return net.blobs[net.top_names[last][0]].data.copy()


def test_the_switch() -> None:
    assert engine.is_enabled()
    engine.enable(False)
    assert not engine.is_enabled()
    engine.enable()
    assert engine.is_enabled()


def test_blas_has_one_thread_while_it_is_on() -> None:
    engine.enable(True)
    if describe_machine().blas.threads is None:
        pytest.skip("the BLAS is not OpenBLAS")
    assert describe_machine().blas.threads == 1


@pytest.mark.parametrize("before", [True, False])
def test_switched_for_a_while(before: bool) -> None:
    engine.enable(before)
    with pytest.raises(RuntimeError), engine.switch(on=not before):
        assert engine.is_enabled() is not before
        raise RuntimeError
    assert engine.is_enabled() is before
    engine.enable(True)


def test_the_number_of_threads() -> None:
    default = engine.get_threads()
    assert default >= 1
    engine.set_threads(default + 2)
    assert engine.get_threads() == default + 2
    engine.set_threads(0)
    assert engine.get_threads() == default
    with pytest.raises(ValueError, match="must be at least 0, not -1"):
        engine.set_threads(-1)


@pytest.mark.parametrize(
    ("variables", "enabled", "threads"),
    [
        ({"CAFFE_EXT_ENGINE": "0", "OMP_NUM_THREADS": "3"}, False, 3),
        ({"CAFFE_EXT_ENGINE": "1", "OPENBLAS_NUM_THREADS": "4"}, True, 4),
        ({"OMP_NUM_THREADS": "2,1", "OPENBLAS_NUM_THREADS": "4"}, True, 2),
        ({"OMP_NUM_THREADS": "many"}, True, len(os.sched_getaffinity(0))),
    ],
)
def test_the_environment(variables: dict[str, str], enabled: bool, threads: int) -> None:
    names = ("CAFFE_EXT_ENGINE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    code = "from caffe_ext.runtime import engine; print(engine.is_enabled(), engine.get_threads())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(enabled), str(threads)]


def run_with_lanes(lanes: str) -> subprocess.CompletedProcess[str]:
    """Run a process that prints how many vector lanes it uses, and a convolution's outputs."""
    code = f"""
from caffe_ext.runtime import engine
import caffe, numpy as np
caffe.set_random_seed(1)
net = caffe.Net("{PROTOTXT / "lenet_deploy.prototxt"}", caffe.TEST)
net.blobs["data"].data[...] = np.random.default_rng(0).normal(size=net.blobs["data"].shape)
print(engine.get_vector_lanes(), net.forward(end="conv2")["conv2"].tobytes().hex())
"""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"CAFFE_EXT_VECTOR_LANES": lanes},
        capture_output=True,
        text=True,
        check=True,
    )


def test_vector_lanes() -> None:
    most = engine.get_vector_lanes()
    outputs = []
    for asked in (0, 8, 16):
        lanes, values = run_with_lanes(f"{asked}").stdout.split()
        assert int(lanes) == min(asked, most)
        outputs.append(np.frombuffer(bytes.fromhex(values), np.float32))
    for other in outputs[1:]:
        assert np.abs(other - outputs[0]).max() <= 1e-5 * np.abs(outputs[0]).max()
    done = run_with_lanes("32")
    assert int(done.stdout.split()[0]) == most
    assert 'CAFFE_EXT_VECTOR_LANES is "32", which is not 0, 8 (AVX2) or 16' in done.stderr


def test_scores_are_those_of_caffes_own_code() -> None:
    expected = scores(on=False, threads=1)
    for threads in (1, 2, 3):
        actual = scores(on=True, threads=threads)
        assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


def test_scores_hardly_depend_on_threads() -> None:
    expected = scores(on=True, threads=1, batch=64)
    assert np.array_equal(expected, scores(on=True, threads=1, batch=64))
    again = scores(on=True, threads=3, batch=64)
    assert np.abs(again - expected).max() <= 1e-5 * np.abs(expected).max()


def train(on: bool, folder: Path, iterations: int) -> list[float]:
    """Return the losses of LeNet while it learns digits."""
    engine.enable(on)
    engine.set_threads(2)
    with suppress(LookupError):  # its threads wait actively, for long on a busy machine
        find_blas_function("openblas_set_num_threads")(1)
    net = (PROTOTXT / "lenet_train_test.prototxt").read_text()
    param = caffe_pb2.NetParameter()
    text_format.Parse(net, param)
    layers = [layer for layer in param.layer if layer.type not in ("Data", "Accuracy")]
    del param.layer[:]
    for name, shape in (("data", (32, 1, 28, 28)), ("label", (32,))):
        param.layer.add(name=name, type="Input", top=[name]).input_param.shape.add(dim=shape)
    param.layer.extend(layers)
    settings = caffe_pb2.SolverParameter(
        type="BANG", base_lr=0.003, momentum=0.9, weight_decay=0.0005, lr_policy="fixed",
        random_seed=1, snapshot_after_train=False,
    )  # fmt: skip
    settings.train_net_param.CopyFrom(param)
    path = folder / "solver.prototxt"
    path.write_text(text_format.MessageToString(settings))
    solver = caffe.get_solver(str(path))
    digits = load_images("digits", "train")
    losses = []
    for i in range(iterations):
        chosen = np.arange(32 * i, 32 * (i + 1)) % len(digits)
        solver.net.blobs["data"].data[...] = digits.images[chosen] / 256.0
        solver.net.blobs["label"].data[...] = digits.labels[chosen]
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    return losses


def test_training_goes_as_on_caffes_own_code(tmp_path: Path) -> None:
    expected, actual = (np.array(train(on, tmp_path, 200)) for on in (False, True))
    apart = np.abs(actual - expected)
    assert apart[:15].max() < 1e-5  # only rounding differs
    # Training is chaotic: what began as rounding grows. What is learned stays the same.
    assert abs(actual[-50:].mean() - expected[-50:].mean()) < 0.15
    assert actual[-50:].mean() < 0.3 * actual[:5].mean()


def test_a_classifier_on_it(tmp_path: Path) -> None:
    weights = tmp_path / "w.caffemodel"
    caffe.set_random_seed(1)
    deploy = PROTOTXT / "lenet_deploy.prototxt"
    caffe.Net(str(deploy), caffe.TEST).save(str(weights))
    images = load_images("digits", "train").images[:5]
    results = []
    for on in (False, True):
        engine.enable(on)
        results.append(Classifier(deploy, weights, PixelSpace(1 / 256)).logits(images))
    assert np.abs(results[0] - results[1]).max() < 1e-5
