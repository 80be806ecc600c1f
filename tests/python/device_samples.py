"""Fake GPUs: the answers of the plug-in and of Caffe, for tests on machines without one."""

import threading
from dataclasses import dataclass, field

import pytest

from caffe_ext.runtime import device


@dataclass
class MadeUpGpus:
    """Takes the place of the plug-in and of pycaffe's calls in device.py; all runs on the CPU.

    count     -1: built for the CPU
    problems  why GPUs cannot be used, by number
    told      what Caffe was told, in all threads
    """

    count: int
    problems: dict[int, bytes] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    _thread: threading.local = field(default_factory=threading.local)

    def caffe_ext_gpu_count(self) -> int:
        return self.count

    def caffe_ext_gpu_problem(self, gpu: int) -> bytes | None:
        return self.problems.get(gpu)

    def caffe_ext_gpu_name(self, gpu: int) -> bytes:
        return f"Made-up {gpu}".encode()

    def caffe_ext_device(self) -> int:
        return getattr(self._thread, "gpu", 0) if getattr(self._thread, "on_gpu", False) else -1

    def set_device(self, gpu: int) -> None:
        self.told.append(f"device {gpu}")
        self._thread.gpu = gpu

    def set_mode_gpu(self) -> None:
        self.told.append("gpu")
        self._thread.on_gpu = True

    def set_mode_cpu(self) -> None:
        self.told.append("cpu")
        self._thread.on_gpu = False


def made_up(monkeypatch: pytest.MonkeyPatch, count: int, **problems: bytes) -> MadeUpGpus:
    """Put made-up GPUs in the place of real ones; problems: gpu_1=b"..."."""
    gpus = MadeUpGpus(count, {int(name[4:]): text for name, text in problems.items()})
    monkeypatch.setattr(device, "_library", gpus)
    monkeypatch.setattr(device, "caffe", gpus)
    return gpus
