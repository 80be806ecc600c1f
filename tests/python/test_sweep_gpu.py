"""caffe-ext sweep --gpu: a worker for each GPU of the machine, whose points are computed there."""

import json
from pathlib import Path

import pytest

from caffe_ext.cli import sweep as program
from sweep_samples import write_sweep


@pytest.mark.gpu
def test_points_are_computed_on_the_gpu(tmp_path: Path) -> None:
    changes = {
        "axes": {"random_seed": [1]},
        "baseline": None,
        "evaluation": {"attacks": ["fgs"], "limit": 10},
    }
    path = write_sweep(tmp_path / "files", **changes)
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "files")
        for device in ("GPU 0", "CPU"):
            output = tmp_path / device
            gpu = ["--gpu"] * (device != "CPU")
            assert program.main([f"{path}", "--output", f"{output}", "--workers", "1", *gpu]) == 0
            (row,) = json.loads((output / "sweep.json").read_text())["rows"]
            assert row["state"] == "done"
            assert row["device"].startswith(device)
            found[device] = row
    for figure in ("accuracy", "fgs.strict.rate"):
        assert found["GPU 0"][figure] == pytest.approx(found["CPU"][figure], abs=0.01), figure
