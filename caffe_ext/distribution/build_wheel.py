"""Make a wheel of a build: Caffe, the plug-in, pycaffe, Caffe's programs, all they are linked with.

    build/wheel-tools/bin/python caffe_ext/distribution/build_wheel.py BUILD

`make wheel` runs it, in the environment that requirements/wheel.txt describes. The build's
libraries are packed as they are, with caffe_ext and the networks, by the layout

    caffe/                pycaffe
    caffe_ext/            the package
    caffe_ext/lib/        libcaffe, libcaffe_ext, the BLAS
    caffe_ext/lib/programs/   Caffe's programs, as libraries: see caffe_ext/_programs.py
    caffe_ext/share/      prototxt/ and solvers/
    caffe_ext.libs/       the system's libraries that these need, copied and renamed by auditwheel

The wheel and its SHA-256 are in BUILD/wheel. The same build gives the same wheel, byte by byte,
and so does another build in the same system.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bundled import LicenceError, add_licences
from stand_ins import make_stand_ins

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
LIBRARIES = ("libcaffe.so.1.0.0", "libcaffe_ext.so", "libscipy_openblas.so")
# Where the libraries in a folder find those of the build. auditwheel adds caffe_ext.libs.
SEARCH_PATHS = {
    "caffe": "$ORIGIN/../caffe_ext/lib",
    "caffe_ext/lib": "$ORIGIN",
    "caffe_ext/lib/programs": "$ORIGIN/..",
}


class WheelError(Exception):
    """The wheel cannot be made; the message says why and what to do."""


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> None:
    """Run a program that says nothing unless it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        check=False,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise WheelError(f"`{command[0]}` failed:\n{done.stdout}{done.stderr}")


def only(folder: Path, pattern: str) -> Path:
    """Return the one file in a folder that matches."""
    (found,) = folder.glob(pattern)
    return found


def unpacked_package(scratch: Path) -> Path:
    """Return the unpacked wheel of the Python package alone, made by setuptools."""
    source = scratch / "source"  # a copy: setuptools leaves its own files in the source
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "caffe_ext" / "python", source / "caffe_ext" / "python", ignore=ignore)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    run(sys.executable, "-c", build, scratch, cwd=source)
    run(TOOLS / "wheel", "unpack", "--dest", scratch / "tree", only(scratch, "*.whl"))
    return only(scratch / "tree", "*")


def add_build(tree: Path, build: Path) -> None:
    """Add pycaffe, the libraries, the programs and the networks of a build."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(build / "python" / "caffe", tree / "caffe", ignore=ignore)
    library = tree / "caffe_ext" / "lib"
    shutil.copytree(build / "lib" / "programs", library / "programs")
    for name in LIBRARIES:
        if not (build / "lib" / name).is_file():
            raise WheelError(f"{build / 'lib' / name} is missing: build with BLAS=wheel")
        shutil.copy(build / "lib" / name, library)
    for name in ("prototxt", "solvers"):
        shutil.copytree(ROOT / name, tree / "caffe_ext" / "share" / name)
    for folder, path in SEARCH_PATHS.items():
        for file in sorted((tree / folder).glob("*.so*")):
            loosen(file, path)


def loosen(file: Path, search_path: str) -> None:
    """Let a library find the others wherever it is, and Python in the process that loads it."""
    patchelf = TOOLS / "patchelf"
    needed = subprocess.run(
        [patchelf, "--print-needed", file], check=True, capture_output=True, text=True
    ).stdout.split()
    for name in needed:
        if name.startswith("libpython"):
            run(patchelf, "--remove-needed", name, file)
    run(patchelf, "--set-rpath", search_path, file)


def add_commands(tree: Path, build: Path) -> None:
    """Make console commands of Caffe's programs, compiled ones and those in Python."""
    programs = sorted(path.stem for path in (build / "lib" / "programs").glob("*.so"))
    entry_points = only(tree, "*.dist-info") / "entry_points.txt"
    lines = [f"{name} = caffe_ext._programs:main\n" for name in programs]
    entry_points.write_text(entry_points.read_text().rstrip() + "\n" + "".join(lines))
    scripts = tree / only(tree, "*.dist-info").name.replace(".dist-info", ".data") / "scripts"
    scripts.mkdir(parents=True)
    for path in sorted((build / "python").glob("*.*")):
        first, _, rest = path.read_text().partition("\n")
        # pip puts the interpreter in the place of "python".
        script = "#!python" if path.suffix == ".py" else first
        (scripts / path.name).write_text(f"{script}\n{rest}")
        (scripts / path.name).chmod(0o755)


def set_tag(tree: Path, build: Path) -> None:
    """Say for which Python and machine the wheel is, instead of for all."""
    ask = "import sys, sysconfig as s; v = s.get_config_var('py_version_nodot'); "
    ask += "print(f'cp{v}-cp{v}-' + s.get_platform().replace('-', '_'))"
    done = subprocess.run(
        [build / "venv" / "bin" / "python", "-c", ask], check=True, capture_output=True, text=True
    )
    file = only(tree, "*.dist-info") / "WHEEL"
    text = file.read_text().replace("Root-Is-Purelib: true", "Root-Is-Purelib: false")
    file.write_text(text.replace("Tag: py3-none-any", f"Tag: {done.stdout.strip()}"))


def set_modes(tree: Path) -> None:
    """Let everybody read all files, and run programs, whatever the build's umask was."""
    for file in tree.rglob("*"):
        executable = file.is_dir() or file.stat().st_mode & 0o100
        file.chmod(0o755 if executable else 0o644)


def time_of_commit() -> str:
    """Return when the checkout was committed, in seconds: the time of all files in the wheel."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return given
    done = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    return done.stdout.strip() or "315532800"  # 1980, where ZIP's time begins


def make_wheel(build: Path, scratch: Path) -> Path:
    """Make the wheel in BUILD/wheel; return its path."""
    tree = unpacked_package(scratch)
    add_build(tree, build)
    add_commands(tree, build)
    set_tag(tree, build)
    (scratch / "raw").mkdir()
    run(TOOLS / "wheel", "pack", "--dest-dir", scratch / "raw", tree)

    stand_ins = make_stand_ins(build / "lib" / LIBRARIES[0], scratch / "stand_ins")
    repaired = scratch / "repaired"
    run(
        *(TOOLS / "auditwheel", "repair", "--wheel-dir", repaired, only(scratch / "raw", "*.whl")),
        LD_LIBRARY_PATH=str(stand_ins),
        PATH=f"{TOOLS}:{os.environ['PATH']}",
    )
    run(TOOLS / "wheel", "unpack", "--dest", scratch / "final", only(repaired, "*.whl"))
    final = only(scratch / "final", "*")
    print(add_licences(final, build, stand_ins))
    set_modes(final)
    output = build / "wheel"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    run(TOOLS / "wheel", "pack", "--dest-dir", output, final)
    return only(output, "*.whl")


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("build", type=Path, help="the folder of a build")
    build = parser.parse_args().build.resolve()
    os.environ["SOURCE_DATE_EPOCH"] = time_of_commit()
    os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(dir=build) as scratch:
            wheel = make_wheel(build, Path(scratch))
    except (WheelError, LicenceError) as error:
        sys.exit(f"build_wheel.py: {error}")
    content = wheel.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    (wheel.parent / "SHA256SUMS").write_text(f"{digest}  {wheel.name}\n")
    print(f"{wheel}: {len(content) / 1e6:.1f} MB, SHA-256 {digest}")


if __name__ == "__main__":
    main()
