"""Folders that cannot take results: the option is named, before any work."""

from pathlib import Path

import pytest

from caffe_ext.cli import study, table1


@pytest.mark.parametrize("name", ["landscape", "distortion", "report-table1", "pass-table1"])
def test_results(tmp_path: Path, name: str) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(SystemExit, match=f"^--results {file}: {file} is not a folder$"):
        study.main([name, "--output", f"{tmp_path / 'out'}", "--results", f"{file}"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [["landscape"], ["distortion"], ["report-table1"], ["pass-table1"], ["human", "plot"]],
    ids=" ".join,
)
@pytest.mark.parametrize("place", [".", "below"])
def test_output(tmp_path: Path, arguments: list[str], place: str) -> None:
    file = tmp_path / "file"
    file.write_text("")
    output = file / place
    with pytest.raises(SystemExit, match=f"^--output {output}: {file} is not a folder$"):
        study.main([*arguments, "--output", f"{output}"])


def test_evaluate(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(SystemExit, match=f"^--evaluate {file}: {file} is not a folder$"):
        table1.main(["--evaluate", f"{file}"])
