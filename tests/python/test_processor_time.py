"""runtime/processor_time.py: how long work takes on idle cores, by three clocks."""

from types import SimpleNamespace

import pytest

from caffe_ext.runtime import engine, processor_time
from caffe_ext.runtime.device import Device
from caffe_ext.runtime.processor_time import Stopwatch, count_cores


@pytest.mark.parametrize(
    ("gpu", "cores", "used", "seconds"),
    [
        (None, 4, (3.0, 3.0), 3.0),  # one thread; on a busy machine the wall time is 100 s
        (None, 4, (3.0, 12.0), 3.0),  # four threads with the same work
        (None, 4, (1.0, 12.0), 3.0),  # this thread waits for four others
        (None, 2, (3.0, 12.0), 6.0),  # more threads than cores
        (0, 4, (3.0, 3.0), 100.0),  # the GPU works, not the processor
    ],
)
def test_waiting_for_a_core_does_not_count(
    gpu: int | None,
    cores: int,
    used: tuple[float, float],
    seconds: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = SimpleNamespace(wall=1000.0, thread=70.0, process=80.0)
    monkeypatch.setattr(processor_time, "perf_counter", lambda: now.wall)
    monkeypatch.setattr(processor_time, "thread_time", lambda: now.thread)
    monkeypatch.setattr(processor_time, "process_time", lambda: now.process)
    monkeypatch.setattr(processor_time, "get_current_device", lambda: Device(gpu))
    watch = Stopwatch(cores)
    now.wall, now.thread, now.process = 1100.0, 70.0 + used[0], 80.0 + used[1]
    assert watch.seconds == seconds


def test_all_cores_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor_time, "process_time", iter([0.0, 12.0]).__next__)
    monkeypatch.setattr(processor_time, "thread_time", lambda: 0.0)
    monkeypatch.setattr(processor_time, "get_current_device", Device)
    assert Stopwatch().seconds == 12.0 / count_cores()


def test_threads_are_limited_for_a_while() -> None:
    before = engine.get_threads()
    with engine.limit_threads(1):
        assert engine.get_threads() == 1
        with engine.limit_threads(1000):
            assert engine.get_threads() == 1
    assert engine.get_threads() == before
