"""Which of the system's libraries Caffe runs on, and their versions."""

import ctypes
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from caffe_ext import PLUGIN

# The libraries that results may depend on, by the beginning of their files' names. Other wheels
# have copies of some, in folders of their own; Caffe does not use those.
LIBRARIES = {
    "boost": "libboost_thread",
    "cublas": "libcublas",
    "cudart": "libcudart",
    "glog": "libglog",
    "hdf5": "libhdf5",
    "leveldb": "libleveldb",
    "libc": "libc",
    "lmdb": "liblmdb",
    "openblas": "libopenblas",  # with BLAS=system; the bundled one is in Machine.blas
    "opencv": "libopencv_core",
    "protobuf": "libprotobuf",
    "stdc++": "libstdc++",
}
OWN_COPIES = "caffe_ext.libs"  # in a wheel of Caffe
DPKG_SECONDS = 10


@cache
def list_system_libraries() -> dict[str, str]:
    """Return the version of each of LIBRARIES that this process has loaded.

    The version is the package's where dpkg knows one ("libprotobuf32 3.21.12-3"), else the file's
    name ("libprotobuf.so.32.0.12"). Unknown versions are left out.
    """
    files = find_loaded_files()
    packages = _find_debian_packages(list(files.values()))
    versions = {name: packages.get(file, file.name) for name, file in files.items()}
    return dict(sorted((_find_linked_opencv() | versions).items()))


def _find_linked_opencv() -> dict[str, str]:
    """Return the version of OpenCV where it is linked into libcaffe: no file tells it."""
    plugin = ctypes.CDLL(str(PLUGIN))  # whose symbols are found in what it depends on
    if not hasattr(plugin, "caffe_opencv_version"):
        return {}
    plugin.caffe_opencv_version.restype = ctypes.c_char_p
    return {"opencv": f"{plugin.caffe_opencv_version().decode()}, part of libcaffe"}


def find_loaded_files(maps: Path = Path("/proc/self/maps")) -> dict[str, Path]:
    """Return the file of each of LIBRARIES that this process has loaded, links resolved."""
    try:
        lines = maps.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    # address, permissions, offset, device, inode, path
    paths = {Path(fields[5]) for line in lines if len(fields := line.split(maxsplit=5)) == 6}
    found: dict[str, Path] = {}
    for path in sorted(paths):
        if path.parent.name.endswith(".libs") and path.parent.name != OWN_COPIES:  # of a wheel
            continue
        for name, stem in LIBRARIES.items():
            if re.match(rf"{re.escape(stem)}(_serial|p|o)?(-r?[\da-f.]+)?\.so", path.name):
                found.setdefault(name, path)
    return found


def _find_debian_packages(files: list[Path]) -> dict[Path, str]:
    """Return "package version" of the files that belong to a package of Debian or a descendant."""
    if not files or shutil.which("dpkg-query") is None:
        return {}
    # libc's package lists its file without the /usr that /lib is a link into.
    names = {str(name): file for file in files for name in _list_names(file)}
    owners = {}
    for line in _query_dpkg("--search", *names):
        package, _, name = line.rpartition(": ")
        if name in names and "," not in package:
            owners[names[name]] = package
    if not owners:  # dpkg would list every package
        return {}
    versions = dict(
        line.split(" ", 1)
        for line in _query_dpkg(
            "--show", "--showformat=${binary:Package} ${Version}\\n", *owners.values()
        )
        if " " in line
    )
    return {
        file: f"{package.split(':')[0]} {versions[package]}"
        for file, package in owners.items()
        if package in versions
    }


def _list_names(file: Path) -> set[Path]:
    return {file, Path("/", *file.parts[2:])} if file.parts[1:3] == ("usr", "lib") else {file}


def _query_dpkg(*arguments: str) -> list[str]:
    try:
        done = subprocess.run(
            ["dpkg-query", *arguments],
            capture_output=True,
            text=True,
            check=False,  # fails if one of several is unknown
            timeout=DPKG_SECONDS,
        )
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return []
    return done.stdout.splitlines()
