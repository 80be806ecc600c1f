"""caffe-ext hotcold: after an interruption, and run a second time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from caffe_ext.runs import export as adversarial_files
from caffe_ext.runs import runner as attack_run
from caffe_ext.runs.overall_progress import OverallProgress
from data_samples import snapshot
from hotcold_samples import Setting, make_setting, run


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return make_setting(tmp_path)


def test_nothing_is_done_twice(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*setting.arguments) == 0
    times = {path: path.stat().st_mtime_ns for path in setting.hc1.iterdir()}
    monkeypatch.delattr(attack_run, "attack_images")
    monkeypatch.delattr(adversarial_files, "write_png")
    assert run(*setting.arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in setting.hc1.iterdir()} == times
    assert "nothing was left to do" in capsys.readouterr().out


@contextmanager
def interrupted_after(steps: int, what: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let Ctrl-C come in the step after so many of a piece of the work."""

    @contextmanager
    def show_progress(
        _: OverallProgress, title: str, total: int, unit: str, done: int = 0
    ) -> Iterator[Callable[[int], None]]:
        left = steps

        def step(_: int) -> None:
            nonlocal left
            if title == what and left == 0:
                raise KeyboardInterrupt
            left -= 1

        yield step

    with monkeypatch.context() as patch:
        patch.setattr(OverallProgress, "show_progress", show_progress)
        yield


@pytest.mark.parametrize("what", ["HC1", "HC1: PNG files"])
def test_interrupted(setting: Setting, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(attack_run, "_VALUES", 2 * 12 * 12)  # pieces of two images
    arguments = [*setting.arguments, "--batch-size", 2]
    assert run(*arguments, "--output", setting.output.with_name("whole")) == 0
    with interrupted_after(2, what, monkeypatch):
        assert run(*arguments) == 130
    left = [path for path in setting.output.rglob("*") if path.suffix in (".h5", ".png", ".json")]
    times = {path: path.stat().st_mtime_ns for path in left}
    assert len(left) > 3
    assert not (setting.output / "summary.json").exists()
    attacked = []

    def counted(*given: Any, **settings: Any) -> Any:
        attacked.append(given[3])
        return attack_images(*given, **settings)

    attack_images = attack_run.attack_images
    monkeypatch.setattr(attack_run, "attack_images", counted)
    assert run(*arguments) == 0
    assert attacked == ([6, 8] if what == "HC1" else [])
    for path, changed in times.items():
        if "parts" not in path.parent.name:
            assert path.stat().st_mtime_ns == changed
    whole, again = (
        snapshot(folder / "tiny" / "hc1")
        for folder in (setting.output.with_name("whole"), setting.output)
    )
    assert again == whole
