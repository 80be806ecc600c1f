"""Tables and pictures of sweeps on odd axes, with points whose figures are made up."""

import csv
import fcntl
import json
import os
import struct
import sys
import termios
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from caffe_ext.cli.sweep import format_results
from caffe_ext.cli.sweep_display import SweepDisplay
from caffe_ext.errors import RecordError
from caffe_ext.sweeps.file import read_sweep
from caffe_ext.sweeps.maps import make_maps
from caffe_ext.sweeps.means import average_rows, format_markdown, make_cells
from caffe_ext.sweeps.progress import SweepProgress
from caffe_ext.sweeps.reuse import read_table
from caffe_ext.sweeps.run import SweepResult, run_sweep
from caffe_ext.sweeps.sweep import Sweep
from sweep_samples import write_sweep

EVALUATION = {"attacks": ["fgs"], "limit": 5}
OUTCOME: dict[str, Any] = {
    "figures": {"images": 5, "accuracy": 0.75, "iterations": 1, "attacks": {}, "within": {}},
    "measured": {"seconds": {"training": 1.0}},
    "weights": b"none",
}


def finish(
    folder: Path, devices: Sequence[str | None] = (), **changes: Any
) -> tuple[Path, SweepResult]:
    """Return the folder of a sweep whose points are finished, and its tables.

    devices  of the first points; None, and the rest: as earlier versions left them
    """
    path = write_sweep(folder / "files", **{"evaluation": EVALUATION, **changes})
    sweep = Sweep(read_sweep(path), folder / "out", folder / "files")
    for point, device in zip_longest(sweep.plan().distinct, devices):
        measured = OUTCOME["measured"] | ({} if device is None else {"device": device})
        sweep.store.write(point, OUTCOME | {"measured": measured})
    return folder / "out", run_sweep(sweep)


def test_an_axis_of_lists(tmp_path: Path) -> None:
    out, result = finish(
        tmp_path,
        axes={"stepvalue": [[5, 10], [8]], "random_seed": [1, 2]},
        settings={"lr_policy": "multistep", "gamma": 0.5},
        baseline=None,
    )
    assert [row[:2] for row in result.means] == [
        ["stepvalue", "points"],
        ["[5, 10]", "2"],
        ["[8]", "2"],
    ]
    rows = json.loads((out / "sweep.json").read_text())["rows"]
    assert [row["stepvalue"] for row in rows] == [[5, 10], [5, 10], [8], [8]]


def test_the_devices_are_those_of_the_points(tmp_path: Path) -> None:
    axes = {"momentum": [0.1, 0.2, 0.3, 0.4]}
    devices = ["GPU 0: H", None, "GPU 0: H", "CPU"]
    out, _ = finish(tmp_path, devices, axes=axes, baseline=None)
    assert [row["device"] for row in read_rows(out)] == devices
    assert json.loads((out / "sweep.json").read_text())["device"] == "GPU 0: H, CPU"
    again = Sweep(
        read_sweep(tmp_path / "files" / "sweep.yaml"),
        tmp_path / "second",
        tmp_path / "files",
        [read_table(out / "sweep.json")],
    )
    run_sweep(again)
    assert [row["device"] for row in read_rows(tmp_path / "second")] == devices


def test_points_of_earlier_versions_say_no_device(tmp_path: Path) -> None:
    out, _ = finish(tmp_path, axes={"momentum": [0.1]}, baseline=None)
    assert [row["device"] for row in read_rows(out)] == [None]
    assert json.loads((out / "sweep.json").read_text())["device"] is None


def read_rows(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "sweep.json").read_text())["rows"]
    return rows


def test_columns_of_another_table_change_no_axis_and_break_no_picture(tmp_path: Path) -> None:
    out, _ = finish(tmp_path, axes={"momentum": [0.1, 0.2]}, baseline=None)
    table = json.loads((out / "sweep.json").read_text())
    table["axes"] = {}
    for row in table["rows"]:
        row |= {"momentum": 0.9, "odd.rate": 0.5}
    path = tmp_path / "table.json"
    path.write_text(json.dumps(table))
    file = read_sweep(tmp_path / "files" / "sweep.yaml")
    sweep = Sweep(file, tmp_path / "second", tmp_path / "files", [read_table(path)])
    result = run_sweep(sweep)
    rows = read_rows(tmp_path / "second")
    assert [row["momentum"] for row in rows] == [0.1, 0.2]
    assert [row["odd.rate"] for row in rows] == [0.5, 0.5]
    assert result.computed == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"accuracy": 7}, "Expected `float` <= 1.0"),
        ({"attacks": {"fgs": {"paper": {"rate": 1.5}}}}, "rate is a share, 0 to 1, not 1.5"),
        ({"attacks": {"fgs": {"all": {"saturated": {"mean": 1, "std": 0}}}}}, "saturated is a"),
        ({"within": {"linf=8": {"accuracy": -1, "accuracy_real": None}}}, "Expected `float` >= 0"),
    ],
)
def test_figures_that_no_evaluation_gives_are_damage(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    out, _ = finish(tmp_path, axes={"momentum": [0.1]}, baseline=None)
    (path,) = (out / "points").glob("*.json")
    record = json.loads(path.read_text())
    record["figures"] |= changes
    path.write_text(json.dumps(record))
    sweep = Sweep(read_sweep(tmp_path / "files" / "sweep.yaml"), out, tmp_path / "files")
    with pytest.raises(RecordError, match=f"{path.name} is damaged: remove it .*{says}"):
        run_sweep(sweep)


@pytest.mark.parametrize("name", ["points", "failed", "data", "scratch", "sweep.csv", "maps.png"])
def test_what_is_in_the_way_is_told_before_any_work(tmp_path: Path, name: str) -> None:
    path = write_sweep(tmp_path / "files")
    out = tmp_path / "out"
    out.mkdir()
    is_file = "." in name
    if is_file:
        (out / name).mkdir()
    else:
        (out / name).touch()
    says = f"out/{name} is not {'a file' if is_file else 'a folder'}: choose another --output"
    with pytest.raises(OSError, match=says):
        run_sweep(Sweep(read_sweep(path), out, tmp_path / "files"))
    assert [one.name for one in out.iterdir()] == [name]


def test_maps_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    axes: dict[str, Any] = {"momentum": [0.1, 0.2], "base_lr": [0.1, 0.2]}
    out, _ = finish(tmp_path, axes=axes, baseline=None)
    pictures = {f"{name}.{kind}" for name in ("maps", "surfaces") for kind in ("png", "svg")}
    assert pictures < {path.name for path in out.iterdir()}
    (out / "maps.txt").touch()  # somebody else's
    _, result = finish(tmp_path, axes=axes | {"gamma": [0.1, 0.2]}, baseline=None)
    assert not pictures & {path.name for path in out.iterdir()}
    assert (out / "maps.txt").exists()
    assert {path.name for path in result.files} == {"sweep.csv", "sweep.json", "sweep.html"}


def test_the_baseline_of_seeds_alone_is_named(tmp_path: Path) -> None:
    out, result = finish(tmp_path, axes={"random_seed": [1, 2]})
    assert [row[:2] for row in result.means] == [
        ["training", "points"],
        ["baseline", "2"],
        ["–", "2"],
    ]
    with (out / "means.csv").open() as file:
        assert [row["baseline"] for row in csv.DictReader(file)] == ["True", "False"]


def make_rows(axis: str) -> list[dict[str, Any]]:
    """Return rows over a data set or a network, and beta, with a baseline for each."""
    return [
        {"baseline": beta is None, axis: name, "beta": beta, "state": "done"} | {"accuracy": level}
        for beta in (None, 1, 2)
        for name, level in (("a", 0.25), ("b", 0.75))
    ]


@pytest.mark.parametrize("axis", ["data", "net"])
def test_each_baseline_is_that_of_its_data_set_or_network(axis: str) -> None:
    rows = make_rows(axis)
    shown = format_results(SweepResult(rows, 0, 0, ())).splitlines()
    assert [line.split("  ")[0] for line in shown[2:4]] == ["baseline, a", "baseline, b"]
    axes: dict[str, list[Any]] = {axis: ["a", "b"], "beta": [1, 2]}
    (found,) = make_maps(rows, axes, {"accuracy": "accuracy"})
    assert found.baseline is None  # and not the mean of both


def test_names_do_not_break_the_table_of_a_page() -> None:
    name = "a|b <b>c</b> *d* `e` _f_ [g] $h$ base_lr"
    axes: dict[str, list[Any]] = {"variant": [name], "random_seed": [1]}
    rows = [
        {"baseline": False, "variant": name, "random_seed": 1, "state": "done", "accuracy": 0.5}
    ]
    found = average_rows(rows, axes, ["accuracy"], {name: {"accuracy": 0.25}})
    page = format_markdown("a <sweep>", make_cells(found, ["accuracy"]), {"accuracy": "hc1*1.05"})
    shown = r"a\|b \<b>c\</b> \*d\* \`e\` \_f\_ \[g] \$h\$ base_lr"
    assert page.startswith("# a \\<sweep>\n")
    assert page.splitlines()[-4:] == [
        r"| variant | points | hc1\*1.05 |",
        "| --- | ---: | ---: |",
        f"| {shown} | 1 | 50.00% |",
        "| *published* |  | *25.00%* |",
    ]


def test_the_live_table_on_a_small_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 5, 30, 0, 0))
    with open(theirs, "w", encoding="utf-8") as terminal:  # noqa: PTH123  a descriptor
        monkeypatch.setattr(sys, "stderr", terminal)
        display = SweepDisplay()
        running = [(f"beta {number}", "tcp://a", 75.0) for number in range(9)]
        progress = SweepProgress(1200, 3, 1, running, 2, 2, 7300.0, "http://x")
        display.show(progress)
        shown = os.read(ours, 4096).decode()
        display.clear()
        cleared = os.read(ours, 4096).decode()
    os.close(ours)
    lines = shown.removeprefix("\x1b[?7l").removesuffix("\x1b[?7h").splitlines()
    assert lines[0] == "3 of 1,200 points done, 1 fail"
    assert len(lines) == 4
    assert max(map(len, lines)) <= 30
    assert cleared == "\x1b[4A\x1b[J"
