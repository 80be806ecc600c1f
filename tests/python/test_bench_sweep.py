"""benchmarks/bench_sweep.py: what is measured and written."""

import json
from pathlib import Path

import bench_sweep as bench


def test_the_figures_of_a_few_points(tmp_path: Path) -> None:
    few = ["--points", "3", "--iterations", "2", "--images", "2", "--empty", "4", "--workers", "1"]
    assert bench.main(["--data", "digits", *few, "--output", f"{tmp_path}"]) == 0
    record = json.loads((tmp_path / "bench_sweep.json").read_text())
    (work,) = record["work"]
    assert (work["points"], len(work["pauses"])) == (3, 2)
    assert min(work["pauses"]) > 0
    assert work["points_an_hour"] > 0
    assert 0 < work["processor_seconds_of_a_point"] < 60
    empty = record["empty"]
    assert empty["processor_seconds_of_writing"] > 0
    assert (
        empty["processor_seconds_of_writing"] < empty["processor_seconds_of_client_and_scheduler"]
    )
    assert empty["bytes_returned"] == bench.WEIGHTS
