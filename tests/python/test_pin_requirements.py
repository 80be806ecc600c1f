"""The pinned requirements match pyproject.toml and are complete; a mismatch is reported."""

import shutil
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pin_requirements as pins

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "caffe_ext" / "python" / "requirements"


def test_the_files_match_pyproject() -> None:
    assert list(pins.mismatches(CHECKOUT / "pyproject.toml", FOLDER)) == []


def test_the_files_name_no_package_index() -> None:
    for file in FOLDER.glob("*.txt"):
        assert "://" not in file.read_text(), file


def test_build_pins_all_that_its_packages_need() -> None:
    """pip installs the file with --no-deps: what is missing in it would be missing in the build."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    applicable = [pin for pin in pins.read_pins(FOLDER / "build.txt") if pin.applies_to(python)]
    pinned = {pin.name: pin.version for pin in applicable}
    seen = set()
    todo = [Requirement(name) for name in pinned]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{name} is needed, and not pinned"
        assert requirement.specifier.contains(pinned[name], prereleases=True), requirement
        if (name, *requirement.extras) in seen:
            continue
        seen.add((name, *requirement.extras))
        for line in distribution(name).requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in ["", *requirement.extras]
            ):
                todo.append(needed)


def _replace(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return edit


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        ("pyproject.toml", _replace('"h5py>=', '"tables==3.*",\n"h5py>='), "tables is missing"),
        ("pyproject.toml", _replace("h5py>=3.11,<4", "h5py==4.*"), "toml wants h5py==4.*"),
        ("pyproject.toml", _replace("mypy==2.*", "mypy==3.*"), "lint.txt: mypy is pinned to 2."),
        ("build.txt", _replace("six==1", "six>=1"), "is not pinned to one version"),
        ("build.txt", lambda text: text + "attrs==1.0\n", "attrs==1.0 has no hash"),
        ("lint.txt", lambda text: text + "six==1.0 \\\n    --hash=sha256:0\n", "six has several"),
        ("docs.txt", None, "docs.txt is missing"),
    ],
)
def test_a_mismatch_is_named(
    tmp_path: Path, file: str, edit: Callable[[str], str] | None, message: str
) -> None:
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    changed = tmp_path / file
    if edit is None:
        changed.unlink()
    else:
        changed.write_text(edit(changed.read_text()))
    assert message in "\n".join(pins.mismatches(tmp_path / "pyproject.toml", tmp_path))
