"""The device that tests run on, and fixtures shared by several test files.

gpu         needs a GPU: `pytest -m gpu` runs these alone; without a GPU they are skipped
any_device  with CAFFE_EXT_TEST_MODE=GPU, runs its nets on the first GPU
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from caffe_ext.runtime.device import Device, count_gpus

pytest_plugins = ["attack_run_samples", "report_samples"]


def pytest_configure(config: pytest.Config) -> None:
    # A job in the background of a shell script ignores it, and so would what tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "gpu: needs a GPU, and a build with CUDA")
    config.addinivalue_line("markers", "any_device: CAFFE_EXT_TEST_MODE=GPU runs it on a GPU")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if (item.get_closest_marker("gpu") or on_gpu(item)) and not count_gpus():
        pytest.skip("skipped: no GPU")


def on_gpu(item: pytest.Item) -> bool:
    """Say whether a test that runs on any device is to run on a GPU."""
    marked = item.get_closest_marker("any_device") is not None
    return marked and os.environ.get("CAFFE_EXT_TEST_MODE") == "GPU"


@pytest.fixture(autouse=True)
def device_of_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a test begin on the CPU or on the first GPU."""
    with Device(0 if on_gpu(request.node) else None).activate():
        yield


@pytest.fixture
def record_path(tmp_path: Path) -> Path:
    """Return where test_records*.py write records."""
    return tmp_path / "hc1.h5"
