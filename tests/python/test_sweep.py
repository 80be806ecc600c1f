"""caffe-ext sweep on small networks: results, resumption, failures, the table and the maps."""

import csv
import errno
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import LocalCluster

from caffe_ext.cli import sweep as program
from caffe_ext.cli.sweep_display import format_clock, format_progress
from caffe_ext.data import load_images
from caffe_ext.errors import RecordError
from caffe_ext.models.description import read_model
from caffe_ext.sweeps.cluster import ClusterError
from caffe_ext.sweeps.file import read_sweep
from caffe_ext.sweeps.progress import SweepProgress
from caffe_ext.sweeps.run import SweepOptions, SweepResult, describe_plan
from caffe_ext.sweeps.sweep import Sweep
from caffe_ext.sweeps.table import flatten_figures
from caffe_ext.sweeps.worker import run_point
from sweep_samples import write_sweep


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep that the program has computed."""
    folder = tmp_path_factory.mktemp('sweep "\u00fc\U0001f600" ')
    run(folder)
    return folder


def run(folder: Path, *more: str, **changes: Any) -> int:
    path = write_sweep(folder / "files", **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "files")
        return program.main([f"{path}", "--output", f"{folder / 'out'}", "--workers", "1", *more])


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "out" / "sweep.json").read_text())["rows"]
    return found


def test_all_points_are_in_the_table(finished: Path) -> None:
    table = rows(finished)
    assert [row["bang_param.beta"] for row in table] == [None, 1.0, 1.0, 1.2, 1.2]
    assert [row["baseline"] for row in table] == [True, False, False, False, False]
    assert {row["state"] for row in table} == {"done"}
    assert all(0 < row["accuracy"] <= 1 for row in table)
    assert all(0 <= row["within linf=8"] <= row["accuracy"] for row in table)
    assert all(row["fgs.paper.rate"] <= row["fgs.strict.rate"] for row in table)
    with (finished / "out" / "sweep.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 5
    for name in ("maps.png", "maps.svg", "surfaces.png", "surfaces.svg"):
        assert (finished / "out" / name).stat().st_size > 1000


def test_the_weights_are_those_that_were_measured(finished: Path) -> None:
    """The accuracy of a point, from its weights by another way."""
    row = rows(finished)[2]
    weights = finished / "out" / "points" / f"{row['digest']}.caffemodel"
    images = load_images("digits", "test")
    model = read_model(finished / "files" / "model.yaml", weights).load()
    right = model.predict(images.images[:20]) == images.labels[:20]
    assert row["accuracy"] == pytest.approx(right.mean())


def test_a_point_is_a_pure_function(finished: Path, tmp_path: Path) -> None:
    """Computed again, elsewhere, it has the same weights and figures."""
    row = rows(finished)[3]
    stored = json.loads((finished / "out" / "points" / f"{row['digest']}.json").read_text())
    again = run_point(stored["description"], tmp_path / "scratch", tmp_path / "data")
    assert again["figures"] == stored["figures"]
    assert (
        again["weights"]
        == (finished / "out" / "points" / f"{row['digest']}.caffemodel").read_bytes()
    )
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_table_of_another_sweep_stays(finished: Path) -> None:
    table = finished / "out" / "sweep.json"
    before = table.read_text()
    table.write_text(before.replace('"sweep": "', '"sweep": "another '))
    with pytest.raises(SystemExit, match=r"is of the sweep 'another .*': choose another --output"):
        run(finished)
    table.write_text(before)


def test_only_what_is_missing_is_computed(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = finished / "out" / "points"
    before = {path.name: path.stat().st_mtime_ns for path in points.iterdir()}
    assert run(finished) == 0
    assert "nothing left to compute" in capsys.readouterr().err
    first, *_ = sorted(points.glob("*.caffemodel"))
    first.unlink()
    assert run(finished) == 0
    assert "4 done, 1 left" in capsys.readouterr().err
    after = {path.name: path.stat().st_mtime_ns for path in points.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {
        first.name,
        first.with_suffix(".json").name,
    }


def test_a_damaged_result_is_named(finished: Path) -> None:
    sweep = Sweep(
        read_sweep(finished / "files" / "sweep.yaml"), finished / "out", finished / "files"
    )
    points = sweep.plan().points
    path = sweep.store.locate(points[0])
    whole = path.read_text()
    try:
        for damage in (whole[:100], whole.replace("digits", "mnist")):
            path.write_text(damage)
            with pytest.raises(RecordError, match=r"is damaged: remove it to compute the point"):
                sweep.read(points)
    finally:
        path.write_text(whole)


def test_the_reason_of_a_failure_names_no_temporary_file(
    tmp_path: Path,
) -> None:
    """The weights of the second point become 1,000 times as large in each iteration."""
    with pytest.raises(SystemExit):
        run(tmp_path, axes={"base_lr": [0.01, 100]}, settings={"weight_decay": 10}, baseline=None)
    _, row = rows(tmp_path)
    assert row["error"].startswith("caffe train failed: Training stopped: at iteration ")
    assert "log" not in row["error"]
    assert f"{tmp_path}" not in row["error"]


def test_failed_points_are_told_and_do_not_stop_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes: dict[str, Any] = {"axes": {"max_iter": [20, 100_000_000]}, "baseline": None}
    limit = ["--time-limit", "8s"]
    with pytest.raises(SystemExit) as end:
        run(tmp_path, *limit, **changes)
    assert "1 of 2 points failed" in f"{end.value}"
    printed = capsys.readouterr()
    told = "WARNING: max_iter 100000000 failed: it ran longer than the time limit of 8 s"
    assert told in printed.err
    assert "Restarting data prefetching" in printed.err  # the log
    assert [row["state"] for row in rows(tmp_path)] == ["done", "failed"]
    failure = json.loads(next((tmp_path / "out" / "failed").iterdir()).read_text())
    assert "Restarting data prefetching" in failure["log"]
    with pytest.raises(SystemExit):
        run(tmp_path, **changes)
    assert "1 failed (--retry computes them again)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(tmp_path, "--retry", *limit, **changes)
    assert told in capsys.readouterr().err


def test_a_folder_that_dask_cannot_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "caf\udce9"
    monkeypatch.setenv("CAFFE_EXT_SWEEP_DATA", f"{tmp_path}")  # Caffe could not read it there
    monkeypatch.chdir(tmp_path)
    argv = [f"{write_sweep(tmp_path)}", "--output", f"{odd}", "--workers", "1"]
    with pytest.raises(SystemExit, match=r"has no path in UTF-8, .*: choose another --out"):
        program.main(argv)
    assert not (odd / "points").exists()
    with pytest.raises(SystemExit, match=r"net\.prototxt: the path is not UTF-8, and Caffe cannot"):
        run(odd)


@pytest.mark.parametrize("whole", [True, False])
def test_a_full_disk_is_no_failure_of_a_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """The machine gets no more points: they would all fail, after they were trained."""
    full = os.strerror(errno.ENOSPC)

    class Pool:
        is_usable = True

        def take(self, *, threads: bool) -> "Pool":
            if whole:
                raise OSError(errno.ENOSPC, full)
            return self

        def run(self, folder: Path, *_: object) -> None:
            outcome = {"kind": "failed", "error": f"caffe train failed: cannot write x: {full}"}
            (folder / "outcome.json").write_text(json.dumps(outcome))

        def put_back(self, _: object, *, threads: bool) -> None:
            pass

    monkeypatch.setattr("caffe_ext.sweeps.worker._POOL", Pool())
    outcome = run_point({}, tmp_path / "scratch", tmp_path / "data")
    assert outcome["kind"] == "refused"
    assert outcome["sentence"].startswith("its disk is full (")
    assert full in outcome["sentence"]


def test_every_row_says_where_and_by_which_code_it_was_computed(finished: Path) -> None:
    record = json.loads((finished / "out" / "sweep.json").read_text())
    assert {row["commit"] for row in rows(finished)} == {record["commit"]}
    assert {row["device"] for row in rows(finished)} == {"CPU"}
    assert record["device"] == "CPU"


def test_points_of_another_version_of_the_code_are_told(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(finished)
    assert "versions of the code" not in capsys.readouterr().err
    path = next((finished / "out" / "points").glob("*.json"))
    before = path.read_text()
    stored = json.loads(before)
    stored["measured"]["commit"] = "another"
    path.write_text(json.dumps(stored))
    assert run(finished) == 0
    assert "the points were computed by 2 versions of the code" in capsys.readouterr().err
    path.write_text(before)


def test_what_is_finished_is_in_the_table_whatever_ends_the_sweep(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = finished / "out"
    next((folder / "points").glob("*.caffemodel")).unlink()
    (folder / "sweep.csv").unlink()

    def fail(*_: object) -> None:
        raise ClusterError("no worker can compute the points")

    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="no worker can compute"):
        patch.setattr("caffe_ext.sweeps.run._Run.compute", fail)
        run(finished)
    assert [row["state"] for row in rows(finished)].count("done") == 4
    assert (folder / "sweep.csv").exists()
    assert run(finished) == 0


@pytest.mark.parametrize(
    ("workers", "left", "says"),
    [
        (2, 1, "about 10 minutes with 2 workers"),
        (1000, 2, "about 10 minutes with 1,000 workers"),
        (2, 3, "about 20 minutes with 2 workers"),
    ],
)
def test_the_time_before_the_first_point(workers: int, left: int, says: str) -> None:
    plan: Any = SimpleNamespace(distinct=[None] * left, seconds=600.0)
    state: Any = SimpleNamespace(finished=0, failed=(), reused={}, done={})
    assert describe_plan(plan, state, left, SweepOptions(workers=workers)).endswith(says)


def test_without_weights_only_figures_are_kept(tmp_path: Path) -> None:
    run(tmp_path, axes={"random_seed": [1]}, baseline=None, keep_weights=False)
    assert [path.suffix for path in (tmp_path / "out" / "points").iterdir()] == [".json"]


def test_a_cluster_that_is_slow_to_end_costs_no_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = LocalCluster.close

    def close_late(cluster: LocalCluster, timeout: float) -> None:
        close(cluster)
        raise TimeoutError(f"timed out after {timeout} s.")

    monkeypatch.setattr(LocalCluster, "close", close_late)
    assert run(tmp_path, axes={"random_seed": [1]}, baseline=None) == 0
    assert rows(tmp_path)[0]["state"] == "done"


VARIANTS = [
    {"name": "R0", "solver": "plain.prototxt", "published": {"accuracy": 0.9, "fgs.paper.linf": 8}},
    {"name": "B0", "settings": {"bang_param.beta": 1.2, "bang_param.epsilon": 0.5}},
]


def test_variants_are_averaged_over_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = {"variant": VARIANTS, "random_seed": [1, 2]}
    assert run(tmp_path, axes=axes, baseline=None) == 0
    table = rows(tmp_path)
    assert [(row["variant"], row["random_seed"]) for row in table] == [
        ("R0", 1),
        ("R0", 2),
        ("B0", 1),
        ("B0", 2),
    ]
    with (tmp_path / "out" / "means.csv").open() as file:
        plain, bang = csv.DictReader(file)
    assert (plain["variant"], plain["points"], bang["variant"]) == ("R0", "2", "B0")
    for mean, same in ((plain, table[:2]), (bang, table[2:])):
        for figure in ("accuracy", "fgs.strict.rate", "hc1.linf"):
            values = [row[figure] for row in same]
            assert float(mean[figure]) == pytest.approx(sum(values) / 2)
            # The deviation of two values, divided by n - 1.
            deviation = abs(values[0] - values[1]) / 2**0.5
            assert float(mean[f"{figure}.deviation"]) == pytest.approx(deviation)
    assert (plain["accuracy.published"], bang["accuracy.published"]) == ("0.9", "")
    page = (tmp_path / "out" / "means.md").read_text()
    assert "| *published* |  | *90.00%* |" in page
    assert "fgs.paper.linf" not in page  # its title
    assert (tmp_path / "out" / "means.png").stat().st_size > 1000
    printed = capsys.readouterr().out
    assert "published" in printed
    assert "means.md" in printed


def test_a_variant_is_what_its_settings_say(tmp_path: Path) -> None:
    """Its points are those of a sweep that has the same settings as axes."""
    run(tmp_path / "a", axes={"variant": VARIANTS}, baseline=None)
    run(tmp_path / "b", axes={"bang_param.beta": [1.2], "bang_param.epsilon": [0.5]})
    assert [row["digest"] for row in rows(tmp_path / "a")] == [
        row["digest"] for row in rows(tmp_path / "b")
    ]


def test_figures_have_flat_names() -> None:
    spread = {"mean": 1.5, "std": 0.5}
    figures: dict[str, Any] = {
        "images": 9,
        "accuracy": 1.0,
        "attacks": {
            "fgs": {"paper": {"rate": 0.1, "linf": spread}},
            "hc1": {"all": {"pass_published": None}},
        },
        "within": {"linf=8": {"accuracy": 0.2, "accuracy_real": 0.1}},
    }
    assert flatten_figures(figures) == {
        "images": 9,
        "accuracy": 1.0,
        "fgs.paper.rate": 0.1,
        "fgs.paper.linf": 1.5,
        "fgs.paper.linf.std": 0.5,
        "hc1.pass_published": None,
        "within linf=8": 0.2,
        "within linf=8.real": 0.1,
    }


def test_the_live_table() -> None:
    progress = SweepProgress(1200, 3, 1, [("beta 1", "tcp://a", 75.0)], 2, 2, 7300.0, "http://x")
    assert format_progress(progress) == [
        "3 of 1,200 points done, 1 failed, 1 running, 1,195 waiting, 2:01:40 left",
        "2 workers   http://x",
        "      1:15  beta 1",
    ]
    assert format_clock(59.6) == "1:00"


def test_the_table_of_points_without_figures() -> None:
    row = {"baseline": False, "a.b": 1, "state": "failed", "error": "x", "digest": "0"}
    shown = program.format_results(SweepResult([row], 1, 0, ()))
    assert shown.splitlines() == ["b   state", "─────────", "1  failed"]


def test_unknown_figures_are_refused(tmp_path: Path) -> None:
    meant = "unknown figure 'fgs.papr.rate' (did you mean fgs.paper.rate?)"
    with pytest.raises(SystemExit) as end:
        run(tmp_path, maps=["fgs.papr.rate"])
    assert f"`maps:` has the {meant}" in f"{end.value}"
    variant = {"name": "B9", "published": {"fgs.papr.rate": 0.5}}
    with pytest.raises(SystemExit) as end:
        run(tmp_path, axes={"variant": [variant]}, baseline=None)
    assert f"`published:` of B9 has the {meant}" in f"{end.value}"
    variant = {"name": "B9", "published": {"accuracy": 99.1}}
    with pytest.raises(SystemExit, match=r"of B9: accuracy is a share, 0 to 1, not 99\.1"):
        run(tmp_path, axes={"variant": [variant]}, baseline=None)


@pytest.mark.parametrize("name", ["distributed", "bokeh"])
def test_what_is_missing_is_told_before_any_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit, match=r"pip install caffe_ext\[sweep\]"):
        run(tmp_path)
    assert not (tmp_path / "out").exists()


def test_wrong_fields_are_refused_before_any_work(tmp_path: Path) -> None:
    for changes in (
        {"axes": {"bang_param.beta": [1, "high"]}},
        {"settings": {"base_lr": "high"}},
        {"baseline": {"solver": "plain.prototxt", "settings": {"base_lr": "high"}}},
        {"axes": {"variant": [{"name": "a", "settings": {"base_lr": "high"}}]}},
    ):
        with pytest.raises(SystemExit, match="must be a number, not 'high'"):
            run(tmp_path, **changes)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["x.yaml", "--time-limit", "soon"], "must be a time such as 90, 30m or 2h, not 'soon'"),
        (["x.yaml", "--workers", "0"], "--workers must be at least 1"),
        (["x.yaml", "--workers", "2", "--scheduler", "tcp://a:1"], "has its own"),
    ],
)
def test_wrong_arguments(
    argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        program.parse(argv)
    assert sentence in capsys.readouterr().err
