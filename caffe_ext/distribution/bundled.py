"""What is in the wheel, in which version and under which licence.

The licences are in licences.toml, by library; their texts are taken from where the libraries are:
the copyright files of Debian's packages, the BLAS's Python package, Caffe's source.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

LICENCES = Path(__file__).with_name("licences.toml")
STATIC = ("core", "imgcodecs", "imgproc")  # of OpenCV, in libcaffe


class LicenceError(Exception):
    """Something in the wheel may not be passed on, or is unknown; the message says what to do."""


@dataclass(frozen=True)
class Bundled:
    """A library in the wheel: its file, its package and version, its licence and the text of it."""

    name: str
    version: str
    licence: str
    text: Path


def output_of(*command: str | Path) -> str:
    """Return what a program prints, whatever its status."""
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def begins_with(name: str, stem: str) -> bool:
    """Tell whether a file's name begins with a stem: libz-1.so does with libz, libzstd.so not."""
    following = name.removeprefix(stem)[:1]
    return name.startswith(stem) and (stem.endswith("_") or not following.isalpha())


def licence_of(name: str, table: dict[str, str] | None = None) -> str:
    """Return the licence of the library whose file has that name; refuse the GPL."""
    table = tomllib.loads(LICENCES.read_text(encoding="utf-8")) if table is None else table
    stems = [stem for stem in table if begins_with(name, stem)]
    if not stems:
        raise LicenceError(f"the licence of {name} is unknown: read it, and add it to {LICENCES}")
    licence = table[max(stems, key=len)]
    for part in licence.split(" AND "):
        if re.match(r"A?GPL", part) and "WITH GCC-exception" not in part:
            raise LicenceError(f"{name} is under {part}: a wheel with it cannot be passed on")
    return licence


def debian_package(file: Path) -> tuple[str, str]:
    """Return the name and the version of the package that a file of the system is from."""
    file = file.resolve()
    names = [file, Path("/", *file.parts[2:])]  # /usr/lib and /lib are one folder
    owner = output_of("dpkg-query", "--search", *names).partition(": ")[0]
    if not owner:
        raise LicenceError(f"{file} is from no package of the system: its licence is unknown")
    version = output_of("dpkg-query", "--show", "--showformat=${Version}", owner)
    return owner.partition(":")[0], version


def of_the_system(name: str, file: Path) -> Bundled:
    """Describe a library that is a file of a Debian package."""
    package, version = debian_package(file)
    text = Path("/usr/share/doc", package, "copyright")
    return Bundled(name, f"{package} {version}", licence_of(file.name), text)


def originals(folders: list[Path]) -> dict[str, Path]:
    """Return where the dynamic linker finds libraries, those in `folders` first, by their names."""
    found: dict[str, Path] = {}
    for line in output_of("/sbin/ldconfig", "-p").splitlines():
        if match := re.match(r"\s+(\S+) \(libc6,x86-64.*\) => (\S+)", line):
            found.setdefault(match[1], Path(match[2]))
    return found | {path.name: path for folder in folders for path in folder.glob("*.so*")}


def describe(copy: Path, known: dict[str, Path], stand_ins: Path) -> Bundled | None:
    """Describe a library that auditwheel copied as STEM-DIGEST.so.VERSION; None: a stand-in."""
    match = re.fullmatch(r"(.+)-([0-9a-f]{8})(\.so.*)", copy.name)
    if match is None:
        raise LicenceError(f"{copy.name} is not named as auditwheel names copies")
    stem, digest, suffix = match.groups()
    candidates = [path for name, path in known.items() if name.startswith(stem)]
    for path in candidates:
        if hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest):
            if path.parent == stand_ins:
                return None
            return of_the_system(copy.name, path)
    raise LicenceError(f"the file that {stem}{suffix} was copied from was not found")


def bundled(tree: Path, build: Path, stand_ins: Path) -> list[Bundled]:
    """Return all libraries in an unpacked wheel that are not this project's own."""
    site = next((build / "venv" / "lib").glob("python*/site-packages"))
    (blas,) = site.glob("scipy_openblas32-*.dist-info")
    blas_text = next(path for path in sorted(blas.rglob("LICENSE*")) if path.is_file())
    blas_version = blas.name.removesuffix(".dist-info").replace("-", " ")
    source = build / "caffe" / "src"
    found = [
        Bundled("libcaffe.so", "Caffe 1.0.0, patched", licence_of("libcaffe"), source / "LICENSE"),
        Bundled("libscipy_openblas.so", blas_version, licence_of("libscipy_openblas"), blas_text),
    ]
    known = originals([stand_ins])
    for module in STATIC:
        name = f"libopencv_{module}"
        found.append(of_the_system(f"{name}.a", Path(known[f"{name}.so"])))
    copies = sorted((tree / "caffe_ext.libs").iterdir())
    described = (describe(copy, known, stand_ins) for copy in copies)
    return found + [library for library in described if library is not None]


def add_licences(tree: Path, build: Path, stand_ins: Path) -> str:
    """Put the licences' texts into an unpacked wheel; return a table of what is in it."""
    libraries = bundled(tree, build, stand_ins)
    (info,) = tree.glob("*.dist-info")
    folder = info / "licenses" / "bundled"
    folder.mkdir(parents=True)
    for library in libraries:
        name = library.version.split()[0]
        (folder / f"{name}.txt").write_bytes(library.text.read_bytes())
    width = [max(len(getattr(row, field)) for row in libraries) for field in ("name", "version")]
    table = "\n".join(
        f"{row.name:<{width[0]}}  {row.version:<{width[1]}}  {row.licence}" for row in libraries
    )
    (folder / "CONTENTS").write_text(f"{table}\n", encoding="utf-8")
    metadata = info / "METADATA"
    files = sorted(path.relative_to(info / "licenses") for path in folder.iterdir())
    lines = "".join(f"License-File: {file}\n" for file in files)
    text = metadata.read_text(encoding="utf-8")
    metadata.write_text(text.replace("License-File: LICENSE\n", f"License-File: LICENSE\n{lines}"))
    return table
