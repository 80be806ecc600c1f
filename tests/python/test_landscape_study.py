"""study landscape: what it writes, how it goes on, and what it refuses."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from caffe_ext.cli import study as program
from caffe_ext.reporting import SilentReporter
from caffe_ext.studies.landscape import search
from caffe_ext.studies.landscape.exact_task import WidthTask, measure_overestimate
from caffe_ext.studies.landscape.quench import quench
from caffe_ext.studies.landscape.samples import load_iris_samples
from caffe_ext.studies.landscape.search import collect_minima
from caffe_ext.studies.landscape.sensitivity import Box, measure_sensitivity
from caffe_ext.studies.landscape.stationary import StationaryPoint
from caffe_ext.studies.landscape.store import LandscapeStore, read_hop
from caffe_ext.studies.landscape.study import LandscapeResult, LandscapeSettings, LandscapeStudy
from caffe_ext.studies.landscape.tables import save_results
from caffe_ext.studies.landscape.widths import LogitRanges, WidthMethod
from landscape_samples import run

SAMPLES = load_iris_samples()
HOPS = 4


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landscape") / "out"
    assert run(folder, "--exact", "1", "--results", folder.parent / "results") == 0
    return folder


def read_points(folder: Path) -> dict[str, StationaryPoint | None]:
    return {
        path.name: read_hop(path, (4, 6, 6, 3)) for path in sorted((folder / "minima").iterdir())
    }


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def forbid(*_: object, **__: object) -> None:
    raise AssertionError("nothing is searched again")


def test_the_tables_are_those_of_what_was_found(finished: Path) -> None:
    points = read_points(finished)
    assert len(points) == HOPS
    rows = read_rows(finished / "minima.csv")
    minima = collect_minima([it for it in points.values() if it is not None], SAMPLES.inputs)
    found = {f"{it.point.energy:.12f}": it for it in minima}
    assert minima
    assert set(found) <= {row["energy"] for row in rows}
    energies = [float(row["energy"]) for row in rows]
    assert energies == sorted(energies)
    for row in rows:
        assert float(row["residual"]) < 1e-8
        assert row["negative"] == row["falling_kinks"] == "0"
        assert row["kind"] == ("kink" if int(row["kinks"]) else "smooth")
        if row["energy"] in found:
            point = found[row["energy"]].point
            whole = measure_sensitivity(
                point.parameters, point.widths, SAMPLES.inputs, 0.1 * SAMPLES.ranges
            )
            assert float(row["S_0.1_150"]) == pytest.approx(whole.mean(), rel=1e-5)
            assert float(row["S_0.1_30"]) == pytest.approx(whole[SAMPLES.few].mean(), rel=1e-5)


def test_the_record_says_what_was_done(finished: Path) -> None:
    record = json.loads((finished / "landscape.json").read_text())
    assert record["hops"] == HOPS
    assert record["minima"] == len(read_rows(finished / "minima.csv"))
    assert record["settings"]["hidden"] == [6, 6]
    assert record["paths"] == min(1, record["minima"] - 1)
    results = finished.parent / "results"
    assert (results / "minima.csv").read_bytes() == (finished / "minima.csv").read_bytes()
    for name in ("sensitivity.png", "overestimate.png"):
        assert (results / name).read_bytes().startswith(b"\x89PNG")


def test_the_exact_sensitivity_is_not_above_the_dual_one(finished: Path) -> None:
    (row,) = read_rows(finished / "widths.csv")
    assert row["boxes"] == "30"
    exact, dual, reached = (float(row[name]) for name in ("S_exact", "S_dual", "S_reached"))
    assert reached <= exact * (1 + 1e-6)
    assert exact <= dual
    assert float(row["relative"]) == pytest.approx(dual / exact - 1, abs=1e-4)


def test_a_finished_search_is_not_done_again(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search, "quench", forbid)
    monkeypatch.setattr("caffe_ext.studies.landscape.connections.Pair.connect", forbid)
    monkeypatch.setattr("caffe_ext.studies.landscape.exact_task.find_ranges", forbid)
    before = (finished / "minima.csv").read_bytes()
    assert run(finished, "--exact", "1") == 0
    assert (finished / "minima.csv").read_bytes() == before
    printed = capsys.readouterr().out
    assert printed.startswith(f"{HOPS} descents: ")
    assert "Spearman" in printed
    assert "dual over exact" in printed


def interrupt_after(calls: int) -> Callable[..., StationaryPoint | None]:
    left = calls

    def count(*arguments: object) -> StationaryPoint | None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        return quench(*arguments)  # type: ignore[arg-type]

    return count


def test_an_interrupted_search_goes_on(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(search, "quench", interrupt_after(3))
        assert run(tmp_path) == 130
    kept = read_points(tmp_path)
    assert len(kept) == 3
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "minima").iterdir()}
    assert run(tmp_path) == 0
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    whole = read_points(finished)
    assert read_points(tmp_path).keys() == whole.keys()
    for name, point in read_points(tmp_path).items():
        other = whole[name]
        assert (point is None) == (other is None)
        if point is not None and other is not None:
            assert point.energy == other.energy


def test_more_hops_are_added(finished: Path, tmp_path: Path) -> None:
    settings = LandscapeSettings(starts=1, hops=1, hidden=(6, 6), pairs=0)
    result = LandscapeStudy(tmp_path, settings, jobs=1).run()
    assert result.hops == 2
    mine, theirs = read_points(tmp_path), read_points(finished)
    for name, point in mine.items():
        other = theirs[name]
        assert (point is None) == (other is None)
        if point is not None and other is not None:
            assert point.energy == other.energy


def test_no_figure_of_an_earlier_study_stays(tmp_path: Path) -> None:
    for name in ("sensitivity", "tree", "overestimate"):
        (tmp_path / f"{name}.png").write_text("a figure of another study")
    nothing = LandscapeResult(LandscapeSettings(), [], 1, 1, 0, [], [], 0, 0, [], [], [])
    save_results(tmp_path, nothing)
    assert not list(tmp_path.glob("*.png"))


def test_processes_find_the_same(finished: Path, tmp_path: Path) -> None:
    settings = LandscapeSettings(starts=2, hops=0, hidden=(6, 6), pairs=0)
    LandscapeStudy(tmp_path, settings, jobs=2).run()
    mine, theirs = read_points(tmp_path), read_points(finished)
    assert len(mine) == 2
    for name, point in mine.items():
        other = theirs[name]
        assert point is not None
        assert other is not None
        # The BLAS may use another number of threads, so the last digits may differ.
        assert point.energy == pytest.approx(other.energy, abs=1e-6)


def copy_minima(finished: Path, folder: Path) -> None:
    for name in ("minima", "connections", "widths"):
        (folder / name).mkdir(parents=True)
        for path in (finished / name).iterdir():
            (folder / name / path.name).write_bytes(path.read_bytes())
    name = "landscape-search.json"
    (folder / name).write_bytes((finished / name).read_bytes())


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("minima", lambda text: text[:-20]),
        ("minima", lambda text: text.replace('"parameters": [', '"parameters": [1.0, ')),
        ("widths", lambda text: text.replace('"lower": [[', '"lower": [[-1.0, ')),
    ],
)
def test_damaged_files_are_named(
    finished: Path, tmp_path: Path, kind: str, damage: Callable[[str], str]
) -> None:
    copy_minima(finished, tmp_path)
    path = min((tmp_path / kind).iterdir())
    text = path.read_text()
    assert damage(text) != text
    path.write_text(damage(text))
    with pytest.raises(SystemExit, match=f"{path.name} is damaged: remove it, or use --again"):
        run(tmp_path, "--exact", "1")


def test_the_folder_of_another_search_is_left_alone(finished: Path, tmp_path: Path) -> None:
    copy_minima(finished, tmp_path)
    with pytest.raises(SystemExit, match=r"is of another search \(it differs in: seed\)"):
        run(tmp_path, "--seed", "2")
    settings = LandscapeSettings(seed=2, starts=1, hops=0, hidden=(6, 6), pairs=0)
    LandscapeStudy(tmp_path, settings, jobs=1, again=True).run()
    assert len(list((tmp_path / "minima").iterdir())) == 1
    assert not list((tmp_path / "widths").iterdir())


def test_a_penalty_that_leaves_no_unit_is_told_at_once(tmp_path: Path) -> None:
    """Such a net computes the same for all inputs."""
    with pytest.raises(SystemExit, match=r"with the penalty 1, .*: choose a smaller --penalty"):
        run(tmp_path, "--penalty", "1")
    assert not list((tmp_path / "minima").iterdir())


def test_minima_of_an_unknown_search_are_left_alone(finished: Path, tmp_path: Path) -> None:
    """Without its description, they would count for any penalty."""
    copy_minima(finished, tmp_path)
    (tmp_path / "landscape-search.json").unlink()
    before = sorted((tmp_path / "minima").iterdir())
    with pytest.raises(SystemExit, match=r"search\.json is missing, .* choose another --output"):
        run(tmp_path, "--penalty", "0.01")
    assert sorted((tmp_path / "minima").iterdir()) == before
    assert not (tmp_path / "landscape-search.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--starts", "0"), "--starts must be at least 1, not 0"),
        (("--hops", "-1"), "--hops must be at least 0, not -1"),
        (("--penalty", "0"), "--penalty must be above 0, not 0.0"),
        (("--penalty", "nan"), "--penalty must be above 0, not nan"),
        (("--sigma", "inf"), "--sigma must be above 0, not inf"),
        (("--hidden", "3", "0"), "--hidden: a layer needs 1 unit or more, not 0"),
        (("--jobs", "0"), "--jobs must be at least 1, not 0"),
        (("--method", "mlip"), "did you mean milp?"),
    ],
)
def test_bad_arguments_end_with_a_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    with pytest.raises(SystemExit):
        program.main(["landscape", "--output", f"{tmp_path}", *arguments])
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_marabou_that_is_not_there_is_missed_before_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "quench", forbid)
    monkeypatch.setattr("caffe_ext.studies.landscape.marabou.find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="Marabou is not installed"):
        run(tmp_path, "--exact", "1", "--method", "marabou")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"starts": 0}, "there must be 1 start or more"),
        ({"hidden": ()}, "a hidden layer needs 1 unit or more"),
        # Such a net could be searched, but not stored.
        ({"hidden": (5,) * 8}, "a net has at most 7 hidden layers"),
        ({"exact_sigma": 1e300}, "sigma must be at most 100, not 1e.300: 1 is the whole range"),
        ({"hidden": (5, 1001)}, "of at most 1,000 units each"),
        ({"penalty": -1.0}, "penalty must be above 0"),
        ({"method": "x"}, "unknown method 'x': milp, branch, marabou"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LandscapeSettings(**changes)  # type: ignore[arg-type]


def test_more_time_is_spent_on_widths_that_are_not_exact(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_minima(finished, tmp_path)
    points = [it for it in read_points(tmp_path).values() if it is not None]
    minimum = collect_minima(points, SAMPLES.inputs)[0]
    task = WidthTask(tmp_path, minimum.key, minimum.point, 0.1, "milp", 60)
    whole = task.read()
    assert whole is not None
    assert whole.limits == [60] * 30
    # As it would be if the time had run out at the fourth sample.
    number, exact = whole.samples[3], whole.lower[3]
    asked: list[float] = []

    def find(_: object, box: Box, method: WidthMethod, seconds: float) -> LogitRanges:
        assert (box.centre == SAMPLES.inputs[number]).all()
        asked.append(seconds)
        ends = np.zeros(3), np.array(whole.upper[3]), np.zeros(3), np.array(exact)
        return LogitRanges(*ends)

    monkeypatch.setattr("caffe_ext.studies.landscape.exact_task.find_ranges", find)
    stored = json.loads(task.path.read_text())
    stored["lower"][3] = [0.9 * width for width in exact]
    task.path.write_text(json.dumps(stored))
    for seconds, expected in ((60, []), (10, []), (90, [90]), (120, [90])):
        replace(task, seconds=seconds)(SilentReporter())
        assert asked == expected
    found = task.read()
    assert found is not None
    assert (found.samples, found.lower, found.upper) == (whole.samples, whole.lower, whole.upper)
    assert found.limits == [60, 60, 60, 90, *[60] * 26]


def test_widths_of_other_boxes_have_a_file_of_their_own(tmp_path: Path) -> None:
    store = LandscapeStore(tmp_path)
    names = [store.locate_widths("a", sigma, "milp").name for sigma in (0.1, 0.10000001, 1.0)]
    assert names == ["a-0.1-milp.json", "a-0.10000001-milp.json", "a-1-milp.json"]


def test_an_overestimate_is_that_of_the_samples_that_are_there(
    finished: Path, tmp_path: Path
) -> None:
    """Of a task that was interrupted after two samples."""
    copy_minima(finished, tmp_path)
    points = [it for it in read_points(tmp_path).values() if it is not None]
    minimum = collect_minima(points, SAMPLES.inputs)[0]
    (path,) = (tmp_path / "widths").iterdir()
    stored = json.loads(path.read_text())
    for name in ("samples", "lower", "upper", "limits"):
        stored[name] = stored[name][:2]
    task = WidthTask(tmp_path, minimum.key, minimum.point, 0.1, "milp", 60)
    task.path.write_text(json.dumps(stored))
    found = measure_overestimate(minimum, task)
    assert found is not None
    assert found.samples == 2
    assert found.exact == pytest.approx(np.prod(stored["upper"], axis=1).mean())
    dual = measure_sensitivity(
        minimum.point.parameters,
        minimum.point.widths,
        SAMPLES.inputs[:2],
        0.1 * SAMPLES.ranges,
    )
    assert found.dual == pytest.approx(dual.mean())
