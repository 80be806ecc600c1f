"""Tests that need a GPU: `pytest -m gpu` runs them alone; without a GPU they are skipped.

And whose fixtures several files of tests share.
"""

import pytest

from caffe_ext.device import gpu_count

pytest_plugins = ["attack_run_samples"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: needs a GPU, and a build with CUDA")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not gpu_count():
        pytest.skip("skipped: no GPU")
