"""caffe-ext sweep --reuse: points that other sweeps have finished are not computed again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caffe_ext.cli import sweep as program
from caffe_ext.errors import RecordError
from caffe_ext.sweeps.reuse import find_rows, read_table
from sweep_samples import write_sweep

BETA = "bang_param.beta"


def run(folder: Path, betas: list[float], *more: str, name: str = "out") -> Path:
    """Compute a sweep over beta with its baseline; return its folder."""
    path = write_sweep(folder / "files", axes={BETA: betas}, keep_weights=False)
    output = folder / name
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "files")
        program.main([f"{path}", "--output", f"{output}", "--workers", "1", *more])
    return output


def read_record(output: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((output / "sweep.json").read_text())
    return record


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished sweep: the baseline, and beta 1.0."""
    return run(tmp_path_factory.mktemp("first"), [1.0])


@pytest.fixture(scope="module")
def second(first: Path) -> Path:
    """That of a sweep with one value more, which has reused the points of the first."""
    return run(first.parent, [1.0, 1.2], "--reuse", f"{first / 'sweep.json'}", name="second")


def test_finished_points_are_not_computed_again(first: Path, second: Path) -> None:
    theirs, ours = read_record(first)["rows"], read_record(second)["rows"]
    assert [row["state"] for row in ours] == ["done"] * 3
    assert len(list((second / "points").iterdir())) == 1
    for row, other in zip(ours, theirs, strict=False):
        here = {"reused": f"{first / 'sweep.json'}", "worker": None}
        assert row == {**other, **here}
    assert ours[2]["reused"] is None
    assert ours[2]["accuracy"] is not None


def test_the_record_says_where_they_are_from(first: Path, second: Path) -> None:
    about = read_record(second)["reused"]
    assert [one["file"] for one in about] == [f"{first / 'sweep.json'}"]
    assert about[0]["machine"] == read_record(first)["machine"]
    assert "reused" not in read_record(first)


def test_a_table_with_reused_points_can_be_reused(first: Path, second: Path) -> None:
    third = run(first.parent, [1.2, 1.0], "--reuse", f"{second / 'sweep.json'}", name="third")
    assert not (third / "points").exists()
    record = read_record(third)
    assert [row[BETA] for row in record["rows"]] == [None, 1.2, 1.0]
    here, there = f"{first / 'sweep.json'}", f"{second / 'sweep.json'}"
    assert [row["reused"] for row in record["rows"]] == [here, there, here]
    assert [one["file"] for one in record["reused"]] == [there, here]
    assert record["reused"][1] == read_record(second)["reused"][0]
    figures = {row[BETA]: row["hc1.rate"] for row in read_record(second)["rows"]}
    assert {row[BETA]: row["hc1.rate"] for row in record["rows"]} == figures


def test_points_computed_here_come_first(first: Path, second: Path) -> None:
    """The second sweep's own point stays its own."""
    run(first.parent, [1.0, 1.2], "--reuse", f"{second / 'sweep.json'}", name="second")
    assert [row["reused"] is None for row in read_record(second)["rows"]] == [False, False, True]


def test_a_table_of_other_points_is_told(
    first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (first / "sweep.json").read_text()
    for row in read_record(first)["rows"]:
        text = text.replace(row["digest"], row["digest"][::-1])
    (tmp_path / "other.json").write_text(text)
    run(tmp_path, [1.0], "--reuse", f"{tmp_path / 'other.json'}")
    printed = capsys.readouterr().err
    assert "other.json has no finished point of this sweep" in printed
    assert "2 points, 2 left" in printed


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[:-30], "is damaged: --reuse takes the sweep.json of a sweep"),
        (lambda _: "[]", "Expected `object`"),
        (lambda _: '{"command": "caffe-ext evaluate"}', "missing required field `sweep`"),
        (lambda text: text.replace('"accuracy": 0', '"accuracy": 7'), "0 to 1, not 7"),
        (lambda text: text.replace('"hc1.l2": ', '"hc1.l2": "x", "x": '), "Expected `float`"),
        (lambda text: text.replace('"digest": "', '"digest": "../'), "matching regex"),
        (lambda text: text.replace('"state": "done"', '"state": "done", "reused": []'), "Expected"),
        (lambda text: text.replace('"images": 20', '"images": -1'), "Expected `int` >= 0"),
        (lambda text: text.replace('"axes":', '"reused": [{}], "axes":'), "missing .* `file`"),
    ],
)
def test_what_is_no_table_is_refused(
    first: Path, tmp_path: Path, damage: Callable[[str], str], says: str
) -> None:
    path = tmp_path / "table.json"
    path.write_text(damage((first / "sweep.json").read_text()))
    with pytest.raises(SystemExit, match=says) as end:
        run(tmp_path, [1.0], "--reuse", f"{path}")
    assert f"{path}" in f"{end.value}"
    assert not (tmp_path / "out").exists()
    with pytest.raises(RecordError, match=says):
        read_table(path)


def test_a_table_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(tmp_path, [1.0], "--reuse", f"{tmp_path / 'none.json'}")
    assert "none.json" in f"{end.value}{capsys.readouterr().err}"
    assert not (tmp_path / "out").exists()


def test_the_first_table_counts(first: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.json").write_text((first / "sweep.json").read_text())
    tables = [read_table(one / "sweep.json") for one in (first,)] + [
        read_table(tmp_path / "copy.json")
    ]
    assert {row["reused"] for row in find_rows(tables).values()} == {f"{first / 'sweep.json'}"}
