"""Attacks of a user's own: --import, in the programs and in their worker processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from caffe_ext.attacks.extensions import ExtensionError, load_extensions
from data_samples import CHECKOUT
from hotcold_samples import make_setting

OWN = '''
from dataclasses import dataclass

import numpy as np

from caffe_ext.attacks.base import Attack, AttackResult
from caffe_ext.attacks.registry import register_attack


@register_attack("invert")
@dataclass(frozen=True)
class Invert(Attack):
    """The negative of an image."""

    name = "Negative"
    threat_model = "knows nothing"

    def run(self, model, images, criterion, indices):
        moved = 255 - images
        logits = model.logits(moved)
        found = criterion.is_satisfied(logits, np.arange(len(images)))
        classes = np.where(found, logits.argmax(axis=1), -1)
        lengths = np.where(found, 1.0, np.nan)
        moved = np.where(found[:, None, None, None], moved, images)
        return AttackResult(found, moved, classes, lengths, len(images))
'''


def program(name: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, CHECKOUT / "tools" / f"{name}.py", *arguments]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own_attacks.py"
    path.write_text(OWN)
    return path


def test_the_programs_know_an_attack_of_a_file(tmp_path: Path, own: Path) -> None:
    setting = make_setting(tmp_path)
    common = [*setting.arguments, "--import", own, "--attacks", "invert"]
    ran = program("hotcold", *common)
    assert ran.returncode == 0, ran.stderr
    assert "Negative" in ran.stdout
    assert (setting.output / "tiny" / "invert.h5").exists()
    unknown = program("hotcold", *setting.arguments, "--attacks", "invert")
    assert unknown.returncode == 1
    assert "unknown attack 'invert'" in unknown.stderr


def test_worker_processes_know_it_too(tmp_path: Path, own: Path) -> None:
    setting = make_setting(tmp_path)
    common = [*setting.arguments, "--import", own, "--attacks", "invert", "--jobs", 2]
    ran = program("evaluate", *common, "--hot", 1, "--noise-images", 0, "--probe", 0)
    assert ran.returncode == 0, ran.stderr
    record = json.loads((setting.output / "evaluation.json").read_text())
    assert "invert" in {one["attack"] for one in record["models"][0]["attacks"]}


FACTORY = """

def make(name):
    cls = type(name, (Invert,), {})
    return register_attack(name)(dataclass(frozen=True)(cls))


make("made")
"""


def test_worker_processes_need_a_class_that_they_can_import(tmp_path: Path, own: Path) -> None:
    own.write_text(OWN + FACTORY)
    setting = make_setting(tmp_path)
    common = [*setting.arguments, "--import", own, "--attacks", "made", "--hot", 1, "--probe", 0]
    ran = program("evaluate", *common, "--noise-images", 0, "--jobs", 2)
    assert ran.returncode == 1
    says = "attack 'made' cannot be passed to a worker process: define its class made"
    assert says in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
    ran = program("evaluate", *common, "--noise-images", 0, "--jobs", 1)
    assert ran.returncode == 0, ran.stderr


def test_an_integer_setting_takes_the_radius_of_a_cascade(tmp_path: Path, own: Path) -> None:
    own.write_text(OWN.replace("    name =", "    most: int = 1\n    name ="))
    setting = make_setting(tmp_path)
    common = [*setting.arguments, "--import", own, "--cascade", "invert(most=E)", "--hot", 1]
    common += ["--noise-images", 0, "--probe", 0, "--jobs", 1]
    ran = program("evaluate", *common, "--within", 8)
    assert ran.returncode == 0, ran.stderr
    assert (setting.output / "tiny" / "within-linf-8" / "invert~most=8.h5").exists()
    ran = program("evaluate", *common, "--within", "0.1of1")
    assert ran.returncode == 1
    assert "most must be a whole number, not 25.5" in ran.stderr.splitlines()[-1]


def test_help_lists_it(own: Path) -> None:
    ran = program("fastgradient", "--import", own, "--help-attacks")
    assert ran.stdout.splitlines()[-1] == f"  {'invert':<20}The negative of an image."
    plain = program("fastgradient", "--help-attacks")
    assert "from outside" not in plain.stdout
    assert "pgd=8/2x40" in plain.stdout


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("nowhere.py", None, "nowhere.py is not a file"),
        ("two-words.py", "", "rename it to letters, digits and _"),
        ("broken.py", "1 / 0", "broken.py cannot be imported: ZeroDivisionError"),
        ("json.py", "", "json.py has the name of another module, json; rename it"),
    ],
)
def test_refused(
    tmp_path: Path,
    name: str,
    content: str | None,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ExtensionError, match=r"^[^\n]*$") as refused:
        load_extensions([str(tmp_path / name)])
    assert says in str(refused.value)
    with pytest.raises(ExtensionError, match=r"the module no\.such\.module cannot be imported"):
        load_extensions(["no.such.module"])


def test_entry_points_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "pointed-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: pointed\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[caffe_ext.attacks]\nmine = pointed_attacks\n")
    (tmp_path / "pointed_attacks.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    load_extensions()
    assert "pointed_attacks" in sys.modules
    del sys.modules["pointed_attacks"]
