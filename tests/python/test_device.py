"""runtime/device.py: names, early errors, and the device of each thread."""

import threading
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from caffe_ext.errors import DeviceError
from caffe_ext.evaluation.tasks import Resources
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runtime import workers
from caffe_ext.runtime.device import Device, count_gpus, get_current_device, synchronize
from caffe_ext.runtime.workers import Workers
from caffe_ext.storage.provenance import collect_provenance
from classifier_models import BIAS, IMAGES, WEIGHTS, write_model
from device_samples import made_up

NO_GPU = r"make CUDA=1|there is no GPU here"


@pytest.mark.parametrize(
    ("given", "gpu"),
    [("cpu", None), ("CPU", None), ("gpu", 0), ("gpu:1", 1), ("GPU:12", 12), (0, 0), (3, 3)],
)
def test_parse(given: str | int, gpu: int | None) -> None:
    assert Device.parse(given) == Device(gpu)
    assert Device.parse(Device(gpu)) == Device(gpu)


@pytest.mark.parametrize("given", ["", "cuda", "gpu:", "gpu:a", "gpu:1,2", "gpu1", "cpu:0", "1"])
def test_no_device(given: str) -> None:
    with pytest.raises(ValueError, match="a device must be cpu, gpu or gpu:N"):
        Device.parse(given)


@pytest.mark.parametrize("given", ["gpu:-1", -1])
def test_no_number(given: str | int) -> None:
    with pytest.raises(ValueError, match="the number of a GPU must be at least 0, not -1"):
        Device.parse(given)


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch, 2)
    assert [str(Device()), str(Device(1))] == ["CPU", "GPU 1"]
    assert [Device().describe(), Device(1).describe()] == ["CPU", "GPU 1: Made-up 1"]


def test_this_build() -> None:
    assert count_gpus() in (None, *range(100))
    assert get_current_device() == Device()
    Device().use()
    synchronize()
    assert get_current_device() == Device()
    if not count_gpus():
        assert Device(0).describe() == "GPU 0: unknown"
        with pytest.raises(DeviceError, match=NO_GPU):
            Device(0).use()
        assert get_current_device() == Device()


@pytest.mark.parametrize(
    ("count", "gpu", "sentence"),
    [
        (-1, 0, "this Caffe was built for the CPU: build it with `make CUDA=1`"),
        (0, 2, "there is no GPU here (CUDA: no driver)"),
        (1, 1, "there is no GPU 1: there is 1 GPU, number 0"),
        (4, 10**12, "there is no GPU 1000000000000: there are 4 GPUs, 0 to 3"),
        (2, 0, "GPU 0 cannot be used (CUDA: no driver)"),
    ],
)
def test_errors(monkeypatch: pytest.MonkeyPatch, count: int, gpu: int, sentence: str) -> None:
    gpus = made_up(monkeypatch, count, gpu_0=b"no driver")
    with pytest.raises(DeviceError) as error:
        Device(gpu).use()
    assert str(error.value) == sentence
    with pytest.raises(DeviceError), Device(gpu).activate():
        pytest.fail("it was used")
    assert gpus.told == []


def test_the_number_goes_before_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = made_up(monkeypatch, 2)
    Device(1).use()
    assert gpus.told == ["device 1", "gpu"]
    assert get_current_device() == Device(1)


def test_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = made_up(monkeypatch, 2)
    with pytest.raises(RuntimeError), Device(1).activate():
        with Device(1).activate():
            assert get_current_device() == Device(1)
        with Device().activate(), Device(0).activate():
            assert get_current_device() == Device(0)
        assert get_current_device() == Device(1)
        raise RuntimeError
    assert get_current_device() == Device()
    assert gpus.told.count("device 1") == 2


def test_the_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert asdict(collect_provenance())["device"] == "CPU"
    made_up(monkeypatch, 1)
    Device(0).use()
    assert collect_provenance().device == "GPU 0: Made-up 0"


def test_classifiers_keep_their_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpus = made_up(monkeypatch, 2)
    model = write_model(tmp_path)
    on_cpu = Classifier(*model, PixelSpace())
    with Device(0).activate():
        on_first = Classifier(*model, PixelSpace())
    on_second = Classifier(*model, PixelSpace(), device=Device(1))
    places = [one.device for one in (on_cpu, on_first, on_second)]
    assert places == [Device(), Device(0), Device(1)]
    expected = IMAGES.reshape(2, 4) @ WEIGHTS.T + BIAS
    seen = []

    def ones(values: np.ndarray, _: slice) -> np.ndarray:
        seen.append(get_current_device())
        return np.ones_like(values)

    for before in (Device(), Device(1)):
        before.use()
        for classifier in (on_second, on_cpu, on_first):
            gpus.told.clear()
            assert np.allclose(classifier.logits(IMAGES), expected)
            classifier.gradient(IMAGES, ones)
            classifier.backward_from("score", np.ones((2, 3)))
            assert seen.pop() == classifier.device
            assert (gpus.told == []) == (classifier.device == before)
            assert get_current_device() == before
        with pytest.raises(ValueError, match="no blob 'nowhere'"):
            on_first.features(IMAGES, "nowhere")
        assert get_current_device() == before


def test_a_classifier_in_another_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made_up(monkeypatch, 1)
    classifier = Classifier(*write_model(tmp_path), PixelSpace(), device=Device(0))
    seen = []

    def ones(values: np.ndarray, _: slice) -> np.ndarray:
        seen.append(get_current_device())
        return np.ones_like(values)

    def ask() -> None:
        classifier.gradient(IMAGES, ones)
        seen.append(get_current_device())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert seen == [Device(0), Device()]  # Caffe begins on the CPU in each thread


def test_a_classifier_on_a_missing_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made_up(monkeypatch, 0, gpu_0=b"no driver")
    with pytest.raises(DeviceError, match="there is no GPU here"):
        Classifier(*write_model(tmp_path), PixelSpace(), device=Device(0))


def where(_: Reporter) -> Device:
    return get_current_device()


@pytest.mark.parametrize("jobs", [1, 2])
def test_tasks_run_where_their_parent_computes(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with Workers(jobs, SilentReporter()) as team:
        assert team.run([where] * 3) == [Device()] * 3
    if jobs == 1:
        made_up(monkeypatch, 1)
        Device(0).use()
        with Workers(jobs, SilentReporter()) as team:
            assert team.run([where]) == [Device(0)]


@pytest.mark.skipif(bool(count_gpus()), reason="there is a GPU")
def test_a_process_without_its_parents_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "get_current_device", lambda: Device(0))
    with (
        pytest.raises(DeviceError, match=NO_GPU),
        Workers(2, SilentReporter()) as team,
    ):
        team.run([where])


def test_a_gpu_needs_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch, 1)
    assert Resources().processes == Resources().cores
    Device(0).use()
    assert Resources().processes == 1
    assert Resources(jobs=3).processes == 3
