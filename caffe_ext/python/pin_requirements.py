"""Pin the Python packages that the build installs by version and hash.

    pin_requirements.py            write requirements/*.txt for pyproject.toml
    pin_requirements.py --upgrade  the same, with the newest versions that it permits
    pin_requirements.py --check    say where they do not match; needs no network

`make lock` runs the first. It needs uv, which resolves for all platforms and all versions of Python
at once; the files are installed by pip, with --require-hashes --no-deps.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHONS = ("3.11", "3.12", "3.13")
# Which of pyproject.toml's lists make up a file. They are installed into one environment, one after
# another: the pins of a file bind those below it.
FILES = {
    "build": ("build-system", "build", "dependencies", "test"),
    "lint": ("lint",),
    "docs": ("docs",),
    "wheel": ("build-system", "wheel"),
    "lock": ("lock",),
    "cuda": ("cuda",),
}
HEADER = "# {lists} of pyproject.toml, pinned. Written by `make lock`; do not edit.\n"


@dataclass(frozen=True)
class Pin:
    """A line of a requirements file: `name==version ; marker`, and the number of its hashes."""

    requirement: Requirement
    hashes: int

    @property
    def name(self) -> str:
        """The package's normalised name."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The version, without the `==`."""
        return str(self.requirement.specifier).removeprefix("==")

    def applies_to(self, python: str) -> bool:
        """Tell whether that version of Python installs it (on Linux, x86-64)."""
        return _applies(self.requirement, python)


def read_requirements(pyproject: Path, file: str) -> list[Requirement]:
    """Return what pyproject.toml asks for in the lists of a requirements file."""
    content = tomllib.loads(pyproject.read_text())
    lists = {
        "build-system": content["build-system"]["requires"],
        "dependencies": content["project"]["dependencies"],
        **content["project"]["optional-dependencies"],
    }
    return [Requirement(line) for name in FILES[file] for line in lists[name]]


def read_pins(path: Path) -> list[Pin]:
    """Return the pins of a requirements file."""
    text = "".join(
        line for line in path.read_text().splitlines(True) if not line.lstrip().startswith("#")
    )
    pins = []
    for line in text.replace("\\\n", " ").splitlines():
        requirement, *hashes = line.split("--hash=sha256:")
        pins.append(Pin(Requirement(requirement.strip()), len(hashes)))
    return pins


def mismatches(pyproject: Path, folder: Path) -> Iterator[str]:
    """Yield a sentence for each requirement of pyproject.toml that the files do not satisfy."""
    pinned: list[Pin] = []
    for file in FILES:
        path = folder / f"{file}.txt"
        if not path.exists():
            yield f"{path} is missing"
            continue
        pins = read_pins(path)
        pinned += pins
        for pin in pins:
            if not re.fullmatch(r"==[^*,]+", str(pin.requirement.specifier)):
                yield f"{path}: {pin.requirement} is not pinned to one version"
            if not pin.hashes:
                yield f"{path}: {pin.requirement} has no hash"
        for requirement in read_requirements(pyproject, file):
            for python in PYTHONS:
                if fault := _find_fault(requirement, pinned, python):
                    yield f"{path}: {fault}"
    for python in PYTHONS:
        for name in sorted({pin.name for pin in pinned}):
            versions = _versions(name, pinned, python)
            if len(versions) > 1:
                yield f"{folder}: {name} has several versions for Python {python}: {versions}"


def write(pyproject: Path, folder: Path, upgrade: bool) -> None:
    """Write the requirements files by uv."""
    constraints: list[str] = []
    for file, lists in FILES.items():
        path = folder / f"{file}.txt"
        subprocess.run(
            [
                *("uv", "pip", "compile", "-", "--output-file", str(path), "--quiet"),
                *("--universal", "--python-version", PYTHONS[0], "--generate-hashes"),
                *("--no-header", "--no-annotate"),
                *(["--upgrade"] if upgrade else []),
                *constraints,
            ],
            input="\n".join(map(str, read_requirements(pyproject, file))),
            text=True,
            check=True,
        )
        path.write_text(HEADER.format(lists=", ".join(lists)) + path.read_text())
        constraints += ["--constraint", str(path)]


def _find_fault(requirement: Requirement, pinned: list[Pin], python: str) -> str | None:
    if not _applies(requirement, python):
        return None
    versions = _versions(canonicalize_name(requirement.name), pinned, python)
    if not versions:
        return f"{requirement.name} is missing for Python {python}"
    if not requirement.specifier.contains(versions[0], prereleases=True):
        return f"{requirement.name} is pinned to {versions[0]}; pyproject.toml wants {requirement}"
    return None


def _versions(name: str, pinned: list[Pin], python: str) -> list[str]:
    """Return the versions of a package that the files install for that Python."""
    return sorted({pin.version for pin in pinned if pin.name == name and pin.applies_to(python)})


def _applies(requirement: Requirement, python: str) -> bool:
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    return requirement.marker is None or requirement.marker.evaluate(environment)


def main() -> None:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a mismatch")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions permitted")
    arguments = parser.parse_args()
    here = Path(__file__).resolve().parent
    pyproject, folder = here.parents[1] / "pyproject.toml", here / "requirements"
    if not arguments.check:
        write(pyproject, folder, arguments.upgrade)
    found = list(mismatches(pyproject, folder))
    if found:
        sys.exit("\n".join([*found, "Run `make lock`."]))


if __name__ == "__main__":
    main()
