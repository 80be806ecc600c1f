"""Device: where Caffe computes, on the CPU or on one of the GPUs.

Device.parse("gpu:1").use()               # this thread computes on GPU 1 from now on
with Device().activate():                 # on the CPU for a while
    ...
get_current_device()                          # where this thread computes

Each thread has its own device, and starts on the CPU. A net can move from the CPU to a GPU and
back, but not from one GPU to another. CUDA does not work in a process that was forked from
one that used it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import caffe

from caffe_ext.errors import DeviceError
from caffe_ext.runtime.native import library as _library


@dataclass(frozen=True)
class Device:
    """The CPU, or a GPU.

    gpu  its number, as CUDA counts (CUDA_VISIBLE_DEVICES hides some from it); None: the CPU
    """

    gpu: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a number below 0."""
        if self.gpu is not None and self.gpu < 0:
            raise ValueError(f"the number of a GPU must be at least 0, not {self.gpu}")

    @classmethod
    def parse(cls, given: "str | int | Device") -> Self:
        """Return the device of "cpu", "gpu" (the first), "gpu:1" or the number of a GPU.

        Raises ValueError for anything else.
        """
        if isinstance(given, Device):
            return cls(given.gpu)
        text = f"gpu:{given}" if isinstance(given, int) else given.lower()
        kind, colon, number = text.partition(":")
        if text == "cpu":
            return cls()
        if kind == "gpu" and (number.removeprefix("-").isdecimal() or not colon):
            return cls(int(number or 0))
        raise ValueError(f"a device must be cpu, gpu or gpu:N, not {given!r}")

    def __str__(self) -> str:
        """Return "CPU" or "GPU 0"."""
        return "CPU" if self.gpu is None else f"GPU {self.gpu}"

    def describe(self) -> str:
        """Return the description for records: a GPU's number, name, memory and CUDA version."""
        if self.gpu is None:
            return f"{self}"
        name = (_library.caffe_ext_gpu_name(self.gpu) or b"").decode(errors="replace")
        return f"{self}: {name or 'unknown'}"

    def check(self) -> None:
        """Raise DeviceError, with what to do, unless the device can be used here."""
        if self.gpu is None:
            return
        count = count_gpus()
        if count is None:
            raise DeviceError("this Caffe was built for the CPU: build it with `make CUDA=1`")
        if not count:
            raise DeviceError(f"there is no GPU here (CUDA: {_describe_problem(0)})")
        if self.gpu >= count:
            only = "is 1 GPU, number 0" if count == 1 else f"are {count} GPUs, 0 to {count - 1}"
            raise DeviceError(f"there is no GPU {self.gpu}: there {only}")
        if problem := _describe_problem(self.gpu):
            raise DeviceError(f"{self} cannot be used (CUDA: {problem})")

    def use(self) -> None:
        """Use this device in this thread from now on; raises DeviceError as check() does."""
        self.check()
        self._switch()

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Use this device in this thread inside a `with`, then the previous one again.

        Raises DeviceError as check() does.
        """
        before = get_current_device()
        if before == self:
            yield
            return
        self.use()
        try:
            yield
        finally:
            before._switch()

    def _switch(self) -> None:
        """Tell Caffe."""
        if self.gpu is None:
            caffe.set_mode_cpu()
        else:
            # In this order: asked for its mode first, Caffe would take memory of GPU 0, too.
            caffe.set_device(self.gpu)
            caffe.set_mode_gpu()


def count_gpus() -> int | None:
    """Count the GPUs here; None if Caffe was built for the CPU alone."""
    count = int(_library.caffe_ext_gpu_count())
    return None if count < 0 else count


def _describe_problem(gpu: int) -> str:
    """Return why a GPU cannot be used, in CUDA's words; empty if it can."""
    return (_library.caffe_ext_gpu_problem(gpu) or b"").decode(errors="replace")


def get_current_device() -> Device:
    """Return where this thread computes."""
    gpu = int(_library.caffe_ext_device())
    return Device(None if gpu < 0 else gpu)


def synchronize() -> None:
    """Wait until this thread's GPU has finished all its work; on the CPU, return at once.

    Caffe's calls return before a GPU has finished. Reading a blob waits automatically.
    """
    _library.caffe_ext_synchronize()
