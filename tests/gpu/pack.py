"""Pack a CUDA build, with all that it loads, for a machine that has only CUDA and Python.

    tests/gpu/run pack FILE [--build build-cuda]

It builds the tests first, which `make CUDA=1` leaves out.
The archive holds the tests, the plug-in with Caffe, pycaffe, tools, a Python interpreter with the
packages that the GPU tests import, and the shared libraries of all these. What it leaves to the
other machine: the C library, the driver, and what is large: cuBLAS, cuRAND, NCCL, Python's OpenCV.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Of the system: the driver, and the libraries of C and C++, which its own programs need as is.
LEFT_OUT = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|stdc\+\+|gcc_s|cuda))\.so.*")
LEFT_TO_THE_MACHINE = re.compile(r"lib(cublas|cublasLt|curand|nccl)\.so.*")
# Its one library runs in every Python 3.
PACKAGES_LEFT_TO_THE_MACHINE = {"cv2", "opencv_python_headless.libs"}
# OpenCV reads geodata and medical images by libraries which bring a hundred others.
STUBBED = re.compile(r"lib(gdal|gdcm.*)\.so.*")

SOURCES = [
    "benchmarks",
    "caffe_ext/python",
    "prototxt",
    "pyproject.toml",
    "solvers",
    "tests",
    "tools",
]
TESTS = ("caffe_ext_tests", "caffe_ext_gpu_kernel_tests", "caffe_upstream_tests")
BUILT = [
    *(f"bin/{name}" for name in ("caffe", "convert_imageset", "compute_image_mean")),
    "lib",
    "python",
    *(f"tests/{name}" for name in TESTS),
    "caffe/src/examples/images",
    "caffe/src/src/caffe/test/test_data",
    "caffe/src/python/caffe/test",
]
NO_PYTHON = shutil.ignore_patterns(
    "__pycache__",
    "test",
    "idlelib",
    "tkinter",
    "turtledemo",
    "lib2to3",
    "ensurepip",
    "pydoc_data",
    "config-*",
    "*.a",
)
# Imports what the GPU tests and the benchmark import; prints the files that this has loaded.
PROBE = """
import importlib, pathlib, re, sys
import caffe, caffe_ext, h5py, lmdb, pytest, hypothesis, tqdm
sys.path[:0] = ["benchmarks", "tests/python"]
tests, benchmarks = pathlib.Path("tests/python"), pathlib.Path("benchmarks")
for path in [*tests.glob("*.py"), *benchmarks.glob("*_gpu.py")]:
    if path.match("benchmarks/*") or re.search(r"mark\\.(gpu|any_device)\\b", path.read_text()):
        importlib.import_module(path.stem)
modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
maps = [line.split()[-1] for line in open("/proc/self/maps") if ".so" in line]
print("\\n".join(sorted({name for name in modules + maps if name})))
"""


def is_elf(path: Path) -> bool:
    """Whether `path` is a program or a library."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def lines_of(*command: str | Path) -> list[str]:
    """What a command prints; ends the program where the command fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stderr}")
    return done.stdout.splitlines()


def needed(path: Path) -> list[str]:
    """Names of the libraries that a program or library asks for itself."""
    return re.findall(r"\(NEEDED\).*\[(.+)\]", "\n".join(lines_of("readelf", "-d", path)))


def places(path: Path) -> dict[str, Path]:
    """Where the loader finds the libraries of `path`, and theirs."""
    found = (re.match(r"\s*(\S+) => (/\S+)", line) for line in lines_of("ldd", path))
    return {match[1]: Path(match[2]) for match in found if match}


def make_stub(library: Path, users: list[Path], target: Path) -> None:
    """Make a library whose functions, those of `library` that `users` call, return 0."""
    has = {
        line.split()[-1].split("@")[0] for line in lines_of("nm", "-D", "--defined-only", library)
    }
    wants = {
        line.split()[-1].split("@")[0]
        for user in users
        for line in lines_of("nm", "-D", "--undefined-only", user)
    }
    code = "".join(f"long {name}(void) {{ return 0; }}\n" for name in sorted(has & wants))
    command = ["cc", "-shared", "-fPIC", "-w", "-xc", "-", f"-Wl,-soname,{target.name}"]
    subprocess.run([*command, "-o", target], input=code, text=True, check=True)


def pack_libraries(tree: Path, machine: set[str]) -> None:
    """Put the shared libraries of all programs in `tree` into its folder libs.

    Adds to `machine` those that the other machine must have.
    """
    folder = tree / "libs"
    folder.mkdir()
    programs = [path for path in tree.rglob("*") if path.is_file() and is_elf(path)]
    own = {path.name for path in programs}
    users: dict[str, list[Path]] = {}
    where: dict[str, Path] = {}
    todo = list(programs)
    while todo:
        user = todo.pop()
        names = needed(user)
        if any(name not in where for name in names):
            where = {**places(user), **where}
        for name in names:
            if LEFT_TO_THE_MACHINE.fullmatch(name):
                machine.add(name)
            elif name not in own and not LEFT_OUT.fullmatch(name) and name in where:
                if name not in users and not STUBBED.fullmatch(name):
                    shutil.copy(where[name], folder / name)
                    todo.append(where[name])
                users.setdefault(name, []).append(user)
    for name in filter(STUBBED.fullmatch, users):
        make_stub(where[name], users[name], folder / name)


def pack_python(venv: Path, target: Path) -> None:
    """Put an interpreter with what the GPU tests import into `target`."""
    python = venv / "bin" / "python"
    code = "import sysconfig as s; print(s.get_path('stdlib')); print(s.get_path('purelib'))"
    standard, site = map(Path, lines_of(python, "-c", code))
    library = target / "lib" / standard.name
    (target / "bin").mkdir(parents=True)
    shutil.copy(python.resolve(), target / "bin" / "python3")
    shutil.copytree(standard, library, ignore=NO_PYTHON, symlinks=True)
    shutil.rmtree(library / "dist-packages", ignore_errors=True)

    loaded = {Path(line) for line in lines_of(python, "-B", "-c", PROBE)}
    packages = {path.relative_to(site).parts[0] for path in loaded if path.is_relative_to(site)}
    for package in sorted(packages - PACKAGES_LEFT_TO_THE_MACHINE):
        for path in [site / package, *(site / package).rglob("*")]:
            name = path.relative_to(site)
            if not path.is_file() or {"tests", "__pycache__"} & set(name.parts):
                continue
            # All Python files, which may be imported later, but of the large libraries only those
            # that are in use.
            if path in loaded or (path.suffix in (".py", ".pyi", ".typed") and not is_elf(path)):
                copy = target / "site-packages" / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)


def pack(build: Path, archive: Path) -> None:
    """Write the archive."""
    if not (build / "CMakeCache.txt").is_file():
        sys.exit(f"{build} is no build; `make CUDA=1` makes one")
    if subprocess.run(["cmake", "--build", build, "--target", *TESTS], check=False).returncode:
        sys.exit(f"The tests in {build} cannot be built.")
    missing = [name for name in BUILT if not (build / name).exists()]
    if missing:
        sys.exit(f"{build} has no {', '.join(missing)}; `make CUDA=1` builds it")
    with tempfile.TemporaryDirectory(prefix="caffe_ext_pack.") as scratch:
        tree = Path(scratch) / "caffe_ext"
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for base, target, names in ((ROOT, tree, SOURCES), (build, tree / "build-cuda", BUILT)):
            for name in names:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                if (base / name).is_dir():
                    shutil.copytree(base / name, target / name, symlinks=True, ignore=ignore)
                else:
                    shutil.copy(base / name, target / name)
        pack_python(build / "venv", tree / "python")
        machine: set[str] = set()
        pack_libraries(tree, machine)
        for path in (tree / "build-cuda").rglob("*"):
            if path.is_file() and not path.is_symlink() and is_elf(path):
                lines_of("strip", "--strip-unneeded", path)
        (tree / "pack.json").write_text(json.dumps({"machine": sorted(machine)}), encoding="utf-8")
        with tarfile.open(archive, "w:xz", preset=9) as tar:
            tar.add(tree, "caffe_ext")
    size = archive.stat().st_size / 2**20
    print(f"{archive}: {size:.1f} MiB; the machine must have {', '.join(sorted(machine))}")


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="tests/gpu/run pack", description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path, help="the archive to write, a .tar.xz")
    parser.add_argument(
        "--build", type=Path, default=ROOT / "build-cuda", help="folder of the build"
    )
    arguments = parser.parse_args()
    os.environ.pop("PYTHONPATH", None)
    pack(arguments.build.resolve(), arguments.file)


if __name__ == "__main__":
    main()
